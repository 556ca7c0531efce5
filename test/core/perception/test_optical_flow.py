"""Tracking faces by optical flow between two detections."""

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
def tracker() -> OpticalFlowTracker:
    """A tracker that has started with the detected face."""
    tracker = OpticalFlowTracker()
    assert tracker.track(data.astronaut(), 10) is None
    tracker.restart(faces())
    return tracker


@pytest.mark.parametrize(
    ("x_px", "y_px", "zoom"),
    [(0, 0, 1), (9, 0, 1), (-20, 12, 1), (0, 0, 1.08), (0, 0, 0.93), (12, -7, 1.05)],
)
def test_box_and_landmarks_move_with_the_face(
    tracker: OpticalFlowTracker, x_px: float, y_px: float, zoom: float
) -> None:
    rgb, expected = moved(x_px, y_px, zoom)
    found = tracker.track(rgb, 10)
    assert found is not None
    np.testing.assert_allclose(found.boxes[0], expected, atol=2.0)
    np.testing.assert_allclose(found.landmarks, faces(expected).landmarks, atol=2.0)
    assert found.scores.tolist() == pytest.approx([0.9])


def test_small_steps_do_not_add_up_to_a_large_error(tracker: OpticalFlowTracker) -> None:
    for step in range(1, 30):
        rgb, expected = moved(3 * step, 40 * np.sin(step / 5), 1 + 0.01 * step)
        found = tracker.track(rgb, 100)
        assert found is not None
        np.testing.assert_allclose(found.boxes[0], expected, atol=0.05 * (BOX[2] - BOX[0]))


def test_faces_are_detected_in_every_third_image() -> None:
    tracker, detected = OpticalFlowTracker(), []
    for image in range(7):
        if tracker.track(data.astronaut(), 3) is None:
            tracker.restart(faces())
            detected.append(image)
    assert detected == [0, 3, 6]


def test_nothing_is_tracked_if_every_image_is_detected(tracker: OpticalFlowTracker) -> None:
    assert tracker.track(data.astronaut(), 1) is None
    tracker.restart(faces())
    assert tracker.track(data.astronaut(), 10) is None, "the image before was not kept"


def test_without_faces_nothing_is_tracked_until_the_next_detection() -> None:
    tracker = OpticalFlowTracker()
    assert tracker.track(data.astronaut(), 3) is None
    tracker.restart(Detections.none())
    found = tracker.track(data.astronaut(), 3)
    assert found is not None
    assert len(found) == 0


def test_face_that_is_hidden_is_lost_at_once(tracker: OpticalFlowTracker) -> None:
    rgb = data.astronaut()
    x1, y1, x2, y2 = BOX.astype(int)
    rgb[y1:y2, x1:x2] = 90
    assert tracker.track(rgb, 10) is None


def test_hand_that_covers_a_face_loses_it(tracker: OpticalFlowTracker) -> None:
    x1, y1, x2, y2 = BOX.astype(int)
    lost = False
    for step in range(1, 11):
        rgb = data.astronaut()
        edge = y2 - (y2 - y1) * step // 10
        rgb[edge:y2, x1:x2] = (180, 140, 120)
        lost = lost or tracker.track(rgb, 100) is None
    assert lost


@pytest.mark.parametrize("change", ["another picture", "another size", "the light goes out"])
def test_other_scene_is_detected_at_once(tracker: OpticalFlowTracker, change: str) -> None:
    rgb = data.astronaut()
    other = {
        "another picture": np.full_like(rgb, 200),
        "another size": rgb[:256],
        "the light goes out": rgb // 8,
    }[change]
    assert tracker.track(other, 10) is None


def test_large_images_are_tracked_in_their_own_pixels() -> None:
    def large(rgb: Photo) -> Photo:
        return cv2.resize(rgb, (1536, 1536), interpolation=cv2.INTER_LINEAR)

    tracker = OpticalFlowTracker()
    tracker.track(large(data.astronaut()), 10)
    tracker.restart(faces(BOX * 3))
    rgb, expected = moved(8, 5, 1.04)
    found = tracker.track(large(rgb), 10)
    assert found is not None
    np.testing.assert_allclose(found.boxes[0], expected * 3, atol=6.0)
