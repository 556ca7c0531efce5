"""Events of faces."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from esr_core import EmotionPipeline, FaceEmotion, Model, PipelineOptions, View
from esr_core.perception.events import EventDetector

HAPPY, SAD = 1, 2


def face(face_id: int, emotion: int) -> FaceEmotion:
    return FaceEmotion(
        face_id=face_id,
        box=np.zeros(4, np.float32),
        score=1.0,
        landmarks=np.zeros((5, 2), np.float32),
        probabilities=np.eye(8, dtype=np.float32)[emotion],
        valence=0.0,
        arousal=0.0,
        votes=np.array([emotion]),
        emotion=emotion,
    )


def summaries(detector: EventDetector, faces: list[FaceEmotion], tracked: set[int]) -> list[object]:
    events = detector.update(faces, tracked)
    return [
        (event.kind, event.face.face_id, event.face.emotion, event.previous) for event in events
    ]


def test_faces_appear_change_and_disappear() -> None:
    detector = EventDetector()
    assert summaries(detector, [face(1, HAPPY)], {1}) == [("appeared", 1, HAPPY, HAPPY)]
    assert summaries(detector, [face(1, HAPPY)], {1}) == []
    assert summaries(detector, [face(2, SAD), face(1, SAD)], {1, 2}) == [
        ("appeared", 2, SAD, SAD),
        ("changed", 1, SAD, HAPPY),
    ]
    assert summaries(detector, [], set()) == [
        ("disappeared", 1, SAD, SAD),
        ("disappeared", 2, SAD, SAD),
    ]
    assert summaries(detector, [], set()) == []


def test_a_face_with_a_track_has_not_disappeared() -> None:
    detector = EventDetector()
    detector.update([face(1, HAPPY)], {1})
    assert summaries(detector, [], {1}) == []
    assert summaries(detector, [face(1, SAD)], {1}) == [("changed", 1, SAD, HAPPY)]


def test_pipeline_reports_events(model: Model, rgb: NDArray[np.uint8]) -> None:
    pipeline = EmotionPipeline(PipelineOptions(track_timeout_s=0.5), model)
    empty = np.full_like(rgb, 110)
    kinds = []
    for stamp_s, image in enumerate([rgb, rgb, empty, rgb]):
        (answer,) = pipeline.answer([View(pipeline.stream, image, stamp_s / 4)])
        kinds.append([event.kind for event in answer.events])
    assert kinds == [["appeared"], [], [], []]
    (answer,) = pipeline.answer([View(pipeline.stream, empty, 9.0)])
    (event,) = answer.events
    assert (event.kind, event.face.label) == ("disappeared", "happy")


def test_faces_of_a_recording_that_starts_over_are_others(
    model: Model, rgb: NDArray[np.uint8]
) -> None:
    pipeline = EmotionPipeline(model=model)
    pipeline.step(rgb, 100.0)
    (answer,) = pipeline.answer([View(pipeline.stream, rgb, 0.0)])
    assert [(event.kind, event.face.face_id) for event in answer.events] == [
        ("disappeared", 1),
        ("appeared", 2),
    ]


def test_reset_reports_that_all_faces_disappeared(model: Model, rgb: NDArray[np.uint8]) -> None:
    pipeline = EmotionPipeline(model=model)
    pipeline.step(rgb, 0.0)
    (event,) = pipeline.stream.reset()
    assert (event.kind, event.face.face_id) == ("disappeared", 1)
    assert pipeline.stream.reset() == []
    (answer,) = pipeline.answer([View(pipeline.stream, rgb, 0.1)])
    assert [(event.kind, event.face.face_id) for event in answer.events] == [("appeared", 2)]
