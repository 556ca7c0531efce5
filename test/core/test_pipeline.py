"""The pipeline from an image to emotions."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from esr_core import (
    DetectorError,
    EmotionPipeline,
    ImageError,
    Model,
    ModelError,
    OptionError,
    PipelineOptions,
    Prediction,
    Stream,
    View,
)
from esr_core.options import options
from esr_core.perception.stream_clock import SILENCE_S
from esr_core.pipeline import FrameAnalyzer

GREY = np.full((480, 640, 3), 128, np.uint8)


def without_mouth(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The astronaut no longer smiles."""
    changed = rgb.copy()
    changed[130:158, 195:250] = rgb[115:120, 195:200].mean(axis=(0, 1))
    return changed


@pytest.fixture
def pipeline(model: Model) -> EmotionPipeline:
    return EmotionPipeline(model=model)


def test_astronaut_is_happy(pipeline: EmotionPipeline, rgb: NDArray[np.uint8]) -> None:
    (face,) = pipeline.step(rgb, 0.0)
    assert (face.label, face.emotion, face.face_id) == ("happy", 1, 1)
    assert face.confidence == face.probabilities.max() > 0.5
    assert face.probabilities.sum() == pytest.approx(1, abs=1e-5)
    assert 0 < face.valence <= 1
    assert face.votes.shape == (pipeline.model.metadata.branches,)
    evaluated = face.votes[face.votes >= 0]
    assert face.agreement == np.mean(evaluated == 1) >= 0.5
    np.testing.assert_allclose(face.box, [178, 63, 267, 175], atol=12)


def test_image_without_faces_gives_an_empty_list(pipeline: EmotionPipeline) -> None:
    assert pipeline.step(GREY, 0.0) == []


def test_largest_face_comes_first(pipeline: EmotionPipeline, rgb: NDArray[np.uint8]) -> None:
    image = np.zeros((512, 1024, 3), np.uint8)
    image[128:384, :256] = rgb[::2, ::2]
    image[:, 512:] = rgb
    pipeline.options = replace(pipeline.options, detection_size_px=1024)
    large, small = pipeline.step(image, 0.0)
    assert large.box[0] > 512
    assert small.box[2] < 256
    pipeline.options = replace(pipeline.options, max_faces=1)
    (only,) = pipeline.step(image, 0.1)
    assert only.face_id == large.face_id


def test_faces_below_the_least_score_are_left_out(
    pipeline: EmotionPipeline, rgb: NDArray[np.uint8]
) -> None:
    (face,) = pipeline.step(rgb, 0.0)
    pipeline.options = replace(pipeline.options, min_score=min(face.score + 0.01, 1.0))
    assert pipeline.step(rgb, 0.1) == []


def test_scores_of_another_detector_are_not_compared(
    pipeline: EmotionPipeline, rgb: NDArray[np.uint8]
) -> None:
    found = pipeline.detector.detect(rgb, 256)
    doubtful = replace(found, scores=np.zeros(len(found), np.float32))
    (answer,) = pipeline.answer([View(pipeline.stream, rgb, 0.0, doubtful)])
    assert [(face.label, face.score) for face in answer.faces] == [("happy", 0.0)]


@pytest.mark.parametrize("detect_every", [1, 3])
@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_turned_images_are_answered_as_upright_ones(
    pipeline: EmotionPipeline, rgb: NDArray[np.uint8], degrees: int, detect_every: int
) -> None:
    """Boxes and landmarks are those of the image as it came, which is turned the other way."""
    upright = [np.ascontiguousarray(np.roll(rgb[:400], 3 * i, axis=1)) for i in range(3)]
    sideways = [np.ascontiguousarray(np.rot90(each, degrees // 90)) for each in upright]
    pipeline.options = replace(pipeline.options, detect_every=detect_every)
    expected = [pipeline.step(each, i / 30) for i, each in enumerate(upright)]
    other = EmotionPipeline(replace(pipeline.options, rotate=degrees), pipeline.model)
    for i, image in enumerate(sideways):
        (wanted,), (face,) = expected[i], other.step(image, i / 30)
        np.testing.assert_array_equal(face.probabilities, wanted.probabilities)
        assert (face.face_id, face.label) == (1, "happy")
        # The pixels in the box are those of the upright face.
        x1, y1, x2, y2 = np.rint(face.box).astype(int)
        u1, v1, u2, v2 = np.rint(wanted.box).astype(int)
        inside = np.rot90(upright[i][v1:v2, u1:u2], degrees // 90)
        np.testing.assert_array_equal(image[y1:y2, x1:x2], inside)
        middle = (face.box[:2] + face.box[2:]) / 2
        np.testing.assert_allclose(face.landmarks[2], middle, atol=25)
        assert np.linalg.norm(face.landmarks[2] - middle) == pytest.approx(
            np.linalg.norm(wanted.landmarks[2] - (wanted.box[:2] + wanted.box[2:]) / 2), abs=0.01
        )


def test_external_detections_are_those_of_the_image_as_it_came(
    pipeline: EmotionPipeline, rgb: NDArray[np.uint8]
) -> None:
    found = pipeline.detector.detect(rgb[:400], 256)
    (expected,) = pipeline.answer([View(Stream(), rgb[:400], 0.0, found)])
    image = np.ascontiguousarray(np.rot90(rgb[:400]))
    height = image.shape[0]  # x, y becomes y, height - x
    x1, y1, x2, y2 = found.boxes.T
    boxes = np.stack([y1, height - x2, y2, height - x1], axis=1)
    pipeline.options = replace(pipeline.options, rotate=90)
    (answer,) = pipeline.answer([View(Stream(), image, 0.0, replace(found, boxes=boxes))])
    (face,), (wanted,) = answer.faces, expected.faces
    np.testing.assert_allclose(face.box, boxes[0], atol=1e-3)
    np.testing.assert_allclose(face.probabilities, wanted.probabilities, atol=0.02)


def test_face_keeps_its_id_through_images_without_it(
    pipeline: EmotionPipeline, rgb: NDArray[np.uint8]
) -> None:
    shown = [rgb, GREY, rgb, GREY, GREY, rgb]
    stamps = [0.0, 0.2, 0.4, 0.6, 1.0, 1.2]
    answers = [pipeline.step(image, stamp_s) for image, stamp_s in zip(shown, stamps)]
    assert [[face.face_id for face in faces] for faces in answers] == [[1], [], [1], [], [], [2]]


def test_answers_are_smoothed_over_time(pipeline: EmotionPipeline, rgb: NDArray[np.uint8]) -> None:
    changed = without_mouth(rgb)
    raw = EmotionPipeline(
        replace(pipeline.options, smoothing_s=0.0), pipeline.model, pipeline.detector
    )
    first, second = raw.step(rgb, 0.0)[0], raw.step(changed, 0.25)[0]
    assert abs(first.valence - second.valence) > 0.05
    pipeline.step(rgb, 0.0)
    smooth = pipeline.step(changed, 0.25)[0]
    weight = 1 - np.exp(-1)
    expected = first.probabilities + weight * (second.probabilities - first.probabilities)
    np.testing.assert_allclose(smooth.probabilities, expected, atol=1e-3)
    assert smooth.valence == pytest.approx(
        first.valence + weight * (second.valence - first.valence), abs=1e-3
    )
    np.testing.assert_array_equal(smooth.votes, second.votes)


def test_same_recording_gives_the_same_answers(model: Model, rgb: NDArray[np.uint8]) -> None:
    images = [rgb, np.roll(rgb, 12, axis=1), GREY, np.roll(rgb, 20, axis=0)]
    runs = [
        [
            (face.face_id, face.probabilities.tolist(), face.box.tolist())
            for i, image in enumerate(images)
            for face in pipeline.step(image, i / 10)
        ]
        for pipeline in (EmotionPipeline(model=model), EmotionPipeline(model=model))
    ]
    assert len(runs[0]) == 3
    assert runs[0] == runs[1]


def test_recording_that_starts_over_has_new_faces(
    pipeline: EmotionPipeline, rgb: NDArray[np.uint8]
) -> None:
    (before,) = pipeline.step(without_mouth(rgb), 100.0)
    (again,) = pipeline.step(rgb, 0.0)
    (fresh,) = EmotionPipeline(model=pipeline.model, detector=pipeline.detector).step(rgb, 0.0)
    assert again.face_id > before.face_id
    np.testing.assert_array_equal(again.probabilities, fresh.probabilities)


def test_reset_removes_all_faces(pipeline: EmotionPipeline, rgb: NDArray[np.uint8]) -> None:
    pipeline.step(rgb, 0.0)
    pipeline.step(GREY, 0.1)
    pipeline.reset()
    assert pipeline.stream.tracker.tracks == []
    assert [face.face_id for face in pipeline.step(rgb, 0.05)] == [2]


def test_several_cameras_share_the_network_and_nothing_else(
    pipeline: EmotionPipeline, rgb: NDArray[np.uint8]
) -> None:
    left, right, empty = Stream(), Stream(), Stream()
    small = np.ascontiguousarray(rgb[:400, 100:400])
    calls = []
    real = pipeline.model.predict

    def counted(batch: NDArray[np.float32], branches: int | str) -> Prediction:
        calls.append(len(batch))
        return real(batch, branches)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipeline.model, "predict", counted)
        first = pipeline.answer([View(left, rgb, 0.0), View(empty, GREY, 0.0)])
        second = pipeline.answer([View(right, small, 5.0), View(left, rgb, 0.1)])
    assert calls == [1, 2]
    assert [[face.face_id for face in answer.faces] for answer in first] == [[1], []]
    assert [[face.face_id for face in answer.faces] for answer in second] == [[1], [1]]
    alone = EmotionPipeline(model=pipeline.model, detector=pipeline.detector).step(small, 5.0)[0]
    np.testing.assert_allclose(second[0].faces[0].probabilities, alone.probabilities, atol=1e-5)
    np.testing.assert_array_equal(second[0].faces[0].box, alone.box)
    assert pipeline.answer([]) == []


def test_bad_image_among_several_changes_nothing(
    pipeline: EmotionPipeline, rgb: NDArray[np.uint8]
) -> None:
    good, bad = Stream(), Stream()
    with pytest.raises(ImageError, match="must be"):
        pipeline.answer([View(good, rgb, 0.0), View(bad, rgb[..., 0], 0.0)])
    assert good.tracker.tracks == []


def test_warm_up_leaves_no_trace(pipeline: EmotionPipeline, rgb: NDArray[np.uint8]) -> None:
    pipeline.warm_up()
    assert pipeline.stream.tracker.tracks == []
    assert pipeline.step(rgb, 0.0)[0].face_id == 1


def test_analysis_depends_on_no_earlier_image(model: Model, rgb: NDArray[np.uint8]) -> None:
    analyzer, stream = FrameAnalyzer(model=model), Stream()
    images = [rgb, without_mouth(rgb), GREY]
    views = [View(stream, image, i / 10) for i, image in enumerate(images)]
    forwards = [analyzer.analyze([view])[0] for view in views]
    backwards = [analyzer.analyze([view])[0] for view in views[::-1]][::-1]
    for one, other in zip(forwards, backwards):
        np.testing.assert_array_equal(one.faces.boxes, other.faces.boxes)
        np.testing.assert_array_equal(one.prediction.probabilities, other.prediction.probabilities)
    assert [len(analysis.faces) for analysis in forwards] == [1, 1, 0]
    assert stream.tracker.tracks == []


def test_results_cannot_change_the_state(pipeline: EmotionPipeline, rgb: NDArray[np.uint8]) -> None:
    pipeline.options = replace(pipeline.options, detect_every=2)
    for stamp_s in (0.0, 0.1):
        (face,) = pipeline.step(rgb, stamp_s)
        for array in (face.box, face.landmarks, face.probabilities, face.votes):
            with pytest.raises(ValueError, match="read-only"):
                array[...] = 0


def test_image_is_left_alone(pipeline: EmotionPipeline, rgb: NDArray[np.uint8]) -> None:
    before = rgb.copy()
    rgb.setflags(write=False)
    pipeline.step(rgb, 0.0)
    np.testing.assert_array_equal(rgb, before)


@pytest.mark.parametrize("shape", [(1, 1, 3), (1, 4000, 3), (3, 2, 3)])
def test_image_of_odd_shape_has_no_faces(pipeline: EmotionPipeline, shape: tuple[int, ...]) -> None:
    assert pipeline.step(np.full(shape, 77, np.uint8), 0.0) == []


@pytest.mark.parametrize(
    ("shape", "dtype"),
    [
        ((480, 640), np.uint8),
        ((480, 640, 4), np.uint8),
        ((480, 640, 3), np.float32),
        ((480, 640, 3), np.uint16),
        ((0, 640, 3), np.uint8),
        ((480, 0, 3), np.uint8),
    ],
)
def test_what_is_no_image_is_refused(
    pipeline: EmotionPipeline, shape: tuple[int, ...], dtype: type
) -> None:
    with pytest.raises(ImageError, match=r"must be \(h, w, 3\) uint8, but got"):
        pipeline.step(np.zeros(shape, dtype), 0.0)


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        ({"min_score": 1.5}, "min_score must be from 0.3 to 1, but got 1.5"),
        ({"max_faces": -1}, "max_faces must be from 0 to 256"),
        ({"detection_size_px": 20}, "detection_size_px must be from 64 to 4096"),
        ({"detector": "dlib"}, "detector must be one of auto, yuface, opencv"),
        ({"provider": "gpu"}, "provider must be one of"),
        ({"threads": 2.0}, r"threads must be an int, but got 2\.0 \(float\)"),
    ],
)
def test_options_out_of_range(wrong: dict[str, Any], text: str) -> None:
    with pytest.raises(OptionError, match=text):
        PipelineOptions(**wrong)


def test_options_reach_the_model_and_the_detector(model: Model) -> None:
    with pytest.raises(ModelError, match=r"gone\.onnx: no such model file"):
        EmotionPipeline(PipelineOptions(model="gone.onnx"))
    with pytest.raises(DetectorError, match=r"gone\.onnx: no such file"):
        EmotionPipeline(PipelineOptions(detector_model="gone.onnx"), model)


def test_faces_are_tracked_between_detections(
    pipeline: EmotionPipeline, rgb: NDArray[np.uint8]
) -> None:
    detected: list[int] = []
    detect = pipeline.detector.detect

    def counting(image: NDArray[np.uint8], size_px: int) -> Any:
        detected.append(number)
        return detect(image, size_px)

    pipeline.detector.detect = counting  # type: ignore[method-assign]
    pipeline.options = replace(pipeline.options, detect_every=4)
    boxes = []
    for number in range(8):
        (face,) = pipeline.step(np.roll(rgb, 3 * number, axis=1), number / 30)
        assert (face.face_id, face.label) == (1, "happy")
        boxes.append(face.box)
    assert detected == [0, 4]
    centres = np.array([(box[0] + box[2]) / 2 for box in boxes])
    np.testing.assert_allclose(centres - centres[0], 3 * np.arange(8), atol=4)

    number = 8
    assert pipeline.step(GREY, 8 / 30) == []
    assert detected == [0, 4, 8], "the detector runs at once in another scene"


def test_external_detections_are_not_tracked_by_optical_flow(
    pipeline: EmotionPipeline, rgb: NDArray[np.uint8]
) -> None:
    pipeline.options = replace(pipeline.options, detect_every=5)
    pipeline.step(rgb, 0.0)
    faces = pipeline.detector.detect(rgb, 256)
    for number in range(1, 4):
        shifted = replace(faces, boxes=faces.boxes + np.float32(number))
        (answer,) = pipeline.answer([View(pipeline.stream, rgb, number / 30, shifted)])
        np.testing.assert_array_equal(answer.faces[0].box, shifted.boxes[0])


def test_more_branches_than_the_network_has_are_refused() -> None:
    with pytest.raises(OptionError, match="branches must be adaptive, or from 1 to 9 for ESR-9"):
        EmotionPipeline(PipelineOptions(branches=10))
    pipeline = EmotionPipeline(PipelineOptions(branches=9))
    with pytest.raises(OptionError, match="but got 10"):
        pipeline.options = PipelineOptions(branches=10)
    assert pipeline.options.branches == 9


def test_the_limit_of_a_pause_is_described() -> None:
    described = {each.name: each.description for each in options(PipelineOptions)}
    assert f"after {SILENCE_S:g} s without an image" in described["track_timeout_s"]
