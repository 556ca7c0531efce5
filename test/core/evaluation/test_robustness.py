"""Accuracy on disturbed faces."""

from __future__ import annotations

import json
from typing import Any, Sequence

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from esr_core import Model
from esr_core.data.ferplus import FerPlus
from esr_core.evaluation.metrics import predictions
from esr_core.evaluation.robustness import (
    DISTURBANCES,
    FACE_PX,
    PASSES,
    PHOTOGRAPH_PX,
    measure_robustness,
    photograph,
)
from esr_core.inference.face_detector import open_detector
from esr_core.perception.detection import find_faces
from esr_core.perception.preprocessing import InputSpec, whole


@pytest.fixture
def face(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The astronaut's face, framed as in FER+."""
    grey = cv2.cvtColor(rgb[15:155, 155:295], cv2.COLOR_RGB2GRAY)
    return cv2.resize(grey, (48, 48), interpolation=cv2.INTER_AREA)  # type: ignore[return-value]


def split(*images: NDArray[np.uint8]) -> FerPlus:
    n = len(images)
    return FerPlus(np.stack(images), np.eye(8, dtype=np.float32)[[1] * n], np.ones(n, np.int64))


@pytest.mark.parametrize("name", DISTURBANCES)
@pytest.mark.parametrize("colour", [False, True])
def test_disturbed_faces_differ_and_keep_their_form(
    face: NDArray[np.uint8], name: str, colour: bool
) -> None:
    image = np.stack([face] * 3, axis=2) if colour else face
    before = image.copy()
    after = DISTURBANCES[name](image, 1)
    assert (after.shape, after.dtype) == (image.shape, np.uint8)
    assert np.abs(after.astype(int) - image).mean() > 1
    np.testing.assert_array_equal(image, before)
    np.testing.assert_array_equal(after, DISTURBANCES[name](image, 1))


def test_shifts_go_four_ways_by_a_tenth() -> None:
    image = np.zeros((50, 50), np.uint8)
    image[25, 25] = 255
    places = [np.argwhere(DISTURBANCES["shifted"](image, k) > 100)[0].tolist() for k in range(4)]
    assert places == [[25, 30], [30, 25], [25, 20], [20, 25]]


def test_turns_go_both_ways() -> None:
    image = np.zeros((51, 51), np.uint8)
    image[25, 45] = 255
    rows = []
    for number in (0, 1):
        row, column = np.argwhere(DISTURBANCES["turned"](image, number) > 60)[0]
        assert np.degrees(np.arctan2(abs(row - 25), column - 25)) == pytest.approx(15, abs=2)
        rows.append(row)
    assert (rows[0] - 25) * (rows[1] - 25) < 0


def test_photographs_hold_the_face_in_different_places(face: NDArray[np.uint8]) -> None:
    centres = []
    for number in range(5):
        rgb = photograph(face, number)
        assert rgb.shape == (PHOTOGRAPH_PX, PHOTOGRAPH_PX, 3)
        (box,) = find_faces(open_detector(), rgb, PHOTOGRAPH_PX).boxes
        assert 0.6 * FACE_PX < box[2] - box[0] < FACE_PX
        centres.append((box[:2] + box[2:]) / 2)
    assert np.ptp(centres, axis=0).min() > 100


def test_disturbed_images_do_not_depend_on_the_batch(face: NDArray[np.uint8]) -> None:
    def shifted(image: NDArray[np.uint8], row: int) -> NDArray[np.float32]:
        return whole([DISTURBANCES["shifted"](image, row)], InputSpec())

    faces = split(face, face, face)
    once, singly = (
        predictions(lambda batch: [batch], faces, InputSpec(), n, conversion=shifted)[0]
        for n in (3, 1)
    )
    assert len(once) == 3
    np.testing.assert_array_equal(once[2], singly[2])


def test_accuracies_of_a_known_predictor(face: NDArray[np.uint8], model: Model) -> None:
    """A predictor of happy for bright images, on bright faces and an image without a face."""

    def bright(batch: NDArray[np.float32]) -> Sequence[NDArray[Any]]:
        labels = (batch.mean(axis=(1, 2, 3)) > 0.25).astype(int)
        votes = labels[:, None]
        return np.eye(8, dtype=np.float32)[labels], np.zeros((len(batch), 2), np.float32), votes

    blank = np.full((48, 48), 150, np.uint8)
    progress: list[int] = []
    faces, spec = split(face, face, face, blank), model.metadata.input
    plain = predictions(bright, faces, spec)[0]
    report = measure_robustness(bright, plain, faces, spec, open_detector(), progress.append)
    assert (report["accuracy"], report["mirrored_too"]) == (1.0, 1.0)
    assert report["darkened"] == 0.0
    assert {report[name] for name in ("blurred", "compressed", "turned")} == {1.0}
    assert (report["found"], report["photographed"]) == (0.75, 1.0)
    assert progress == sorted(progress)
    assert progress[-1] == PASSES * 4
    assert json.loads(json.dumps(report)) == report


def test_no_face_found_at_all(model: Model) -> None:
    blank = split(np.full((48, 48), 200, np.uint8))
    spec = model.metadata.input
    plain = predictions(model.predict, blank, spec)[0]
    report = measure_robustness(model.predict, plain, blank, spec, open_detector())
    assert (report["found"], report["photographed"]) == (0.0, 0.0)
