"""Following faces between detections."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from skimage import data

from esr_core.perception.detection import Detections
from esr_core.perception.optical_flow import OpticalFlowTracker

Photo = NDArray[np.uint8]
#: The astronaut's face, in her photograph.
BOX = np.array([178, 63, 267, 175], np.float32)


def moved(x_px: float, y_px: float, zoom: float) -> tuple[Photo, NDArray[np.float32]]:
    """The photograph after a movement and a zoom around the face; and where the face is then."""
    centre = (BOX[:2] + BOX[2:]) / 2
    shift = np.array([x_px, y_px])
    matrix = np.column_stack([np.eye(2) * zoom, centre * (1 - zoom) + shift])
    rgb = cv2.warpAffine(data.astronaut(), matrix, (512, 512), borderMode=cv2.BORDER_REPLICATE)
    corners = (BOX.reshape(2, 2) - centre) * zoom + centre + shift
    return rgb, corners.ravel()


def faces(box: NDArray[np.float32] = BOX) -> Detections:
    landmarks = np.linspace(box[:2], box[2:], 5, dtype=np.float32)[None]
    return Detections(box[None].astype(np.float32), np.array([0.9], np.float32), landmarks)


@pytest.fixture
def follower() -> OpticalFlowTracker:
    """One that has seen the face detected."""
    begun = OpticalFlowTracker()
    assert begun.follow(data.astronaut(), 10) is None
    begun.detected(faces())
    return begun


@pytest.mark.parametrize(
    ("x_px", "y_px", "zoom"),
    [(0, 0, 1), (9, 0, 1), (-20, 12, 1), (0, 0, 1.08), (0, 0, 0.93), (12, -7, 1.05)],
)
def test_box_and_landmarks_go_with_the_face(
    follower: OpticalFlowTracker, x_px: float, y_px: float, zoom: float
) -> None:
    rgb, expected = moved(x_px, y_px, zoom)
    found = follower.follow(rgb, 10)
    assert found is not None
    np.testing.assert_allclose(found.boxes[0], expected, atol=2.0)
    np.testing.assert_allclose(found.landmarks, faces(expected).landmarks, atol=2.0)
    assert found.scores.tolist() == pytest.approx([0.9])


def test_small_steps_do_not_add_up_to_a_large_error(follower: OpticalFlowTracker) -> None:
    for step in range(1, 30):
        rgb, expected = moved(3 * step, 40 * np.sin(step / 5), 1 + 0.01 * step)
        found = follower.follow(rgb, 100)
        assert found is not None
        np.testing.assert_allclose(found.boxes[0], expected, atol=0.05 * (BOX[2] - BOX[0]))


def test_faces_are_detected_in_every_third_image() -> None:
    follower, asked = OpticalFlowTracker(), []
    for image in range(7):
        if follower.follow(data.astronaut(), 3) is None:
            follower.detected(faces())
            asked.append(image)
    assert asked == [0, 3, 6]


def test_nothing_is_followed_where_every_image_is_looked_at(follower: OpticalFlowTracker) -> None:
    assert follower.follow(data.astronaut(), 1) is None
    follower.detected(faces())
    assert follower.follow(data.astronaut(), 10) is None, "it was not told of the image before"


def test_without_faces_there_is_nothing_to_follow_until_it_is_time() -> None:
    follower = OpticalFlowTracker()
    assert follower.follow(data.astronaut(), 3) is None
    follower.detected(Detections.none())
    found = follower.follow(data.astronaut(), 3)
    assert found is not None
    assert len(found) == 0


def test_face_that_is_hidden_is_lost_at_once(follower: OpticalFlowTracker) -> None:
    rgb = data.astronaut()
    x1, y1, x2, y2 = BOX.astype(int)
    rgb[y1:y2, x1:x2] = 90
    assert follower.follow(rgb, 10) is None


def test_hand_that_covers_a_face_loses_it(follower: OpticalFlowTracker) -> None:
    x1, y1, x2, y2 = BOX.astype(int)
    lost = False
    for step in range(1, 11):
        rgb = data.astronaut()
        edge = y2 - (y2 - y1) * step // 10
        rgb[edge:y2, x1:x2] = (180, 140, 120)
        lost = lost or follower.follow(rgb, 100) is None
    assert lost


@pytest.mark.parametrize("change", ["another picture", "another size", "the light goes out"])
def test_other_scene_is_seen_at_once(follower: OpticalFlowTracker, change: str) -> None:
    rgb = data.astronaut()
    other = {
        "another picture": np.full_like(rgb, 200),
        "another size": rgb[:256],
        "the light goes out": rgb // 8,
    }[change]
    assert follower.follow(other, 10) is None


def test_large_images_are_followed_in_their_own_pixels() -> None:
    def large(rgb: Photo) -> Photo:
        return cv2.resize(rgb, (1536, 1536), interpolation=cv2.INTER_LINEAR)

    follower = OpticalFlowTracker()
    follower.follow(large(data.astronaut()), 10)
    follower.detected(faces(BOX * 3))
    rgb, expected = moved(8, 5, 1.04)
    found = follower.follow(large(rgb), 10)
    assert found is not None
    np.testing.assert_allclose(found.boxes[0], expected * 3, atol=6.0)
