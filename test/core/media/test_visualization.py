"""Drawing of faces on frames."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from esr_core import EmotionPipeline, FaceEmotion, Model
from esr_core.emotions import COLOURS_RGB
from esr_core.media.visualization import draw_faces


@pytest.fixture
def face(model: Model, rgb: NDArray[np.uint8]) -> FaceEmotion:
    return EmotionPipeline(model=model).step(rgb, 0.0)[0]


def test_picture_is_a_copy_of_the_same_form(rgb: NDArray[np.uint8], face: FaceEmotion) -> None:
    before = rgb.copy()
    picture = draw_faces(rgb, [face])
    assert (picture.shape, picture.dtype) == (rgb.shape, np.uint8)
    np.testing.assert_array_equal(rgb, before)
    assert not np.array_equal(picture, rgb)


def test_nothing_is_drawn_without_faces(rgb: NDArray[np.uint8]) -> None:
    picture = draw_faces(rgb, [])
    np.testing.assert_array_equal(picture, rgb)
    assert not np.shares_memory(picture, rgb)


def test_box_has_the_colour_of_the_emotion(face: FaceEmotion) -> None:
    picture = draw_faces(np.zeros((512, 512, 3), np.uint8), [face])
    x1, y1, x2, y2 = (round(float(v)) for v in face.box)
    happy = list(COLOURS_RGB[1])
    for x, y in ((x1, (y1 + y2) // 2), (x2, y2 - 5), ((x1 + x2) // 2, y2)):
        assert picture[y, x].tolist() == happy
    assert picture[(y1 + y2) // 2, (x1 + x2) // 2].tolist() == [0, 0, 0]


def test_bars_grow_with_probabilities(face: FaceEmotion) -> None:
    fear = np.array(COLOURS_RGB[4])
    counts = []
    for share in (0.05, 0.45):
        probabilities = np.zeros(8, np.float32)
        probabilities[[1, 4]] = 1 - share, share
        picture = draw_faces(
            np.zeros((512, 512, 3), np.uint8), [replace(face, probabilities=probabilities)]
        )
        counts.append(int((picture == fear).all(axis=2).sum()))
    assert counts[1] > 4 * counts[0] > 0


@pytest.mark.parametrize(
    "box",
    [(-40, -40, 60, 60), (460, 460, 560, 560), (0, 0, 512, 512), (-900, 100, -800, 200)],
)
def test_box_over_the_border_is_clipped(
    rgb: NDArray[np.uint8], face: FaceEmotion, box: tuple[int, ...]
) -> None:
    picture = draw_faces(rgb, [replace(face, box=np.array(box, np.float32))])
    assert picture.shape == rgb.shape
    assert not np.array_equal(picture, rgb)


@pytest.mark.parametrize("shape", [(1, 1, 3), (20, 400, 3), (400, 20, 3)])
def test_tiny_picture_does_not_fail(face: FaceEmotion, shape: tuple[int, ...]) -> None:
    small = replace(face, box=np.array([0, 0, 10, 10], np.float32))
    assert draw_faces(np.zeros(shape, np.uint8), [small]).shape == shape


def test_mirrored_and_read_only_views_can_be_annotated(
    rgb: NDArray[np.uint8], face: FaceEmotion
) -> None:
    rgb.setflags(write=False)
    expected = draw_faces(np.ascontiguousarray(rgb[:, ::-1]), [face])
    np.testing.assert_array_equal(draw_faces(rgb[:, ::-1], [face]), expected)
