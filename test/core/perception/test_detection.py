"""Face detection."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from esr_core import DetectorError
from esr_core.perception.detection import (
    SCORE_FLOOR,
    Detections,
    Detector,
    find_faces,
    open_detector,
)

FACE = np.array([178, 63, 267, 175], np.float32)


@pytest.fixture(scope="module")
def detector() -> Detector:
    return open_detector()


def test_astronaut_has_one_face(detector: Detector, rgb: NDArray[np.uint8]) -> None:
    faces = detector.detect(rgb, 512)
    assert len(faces) == 1
    np.testing.assert_allclose(faces.boxes[0], FACE, atol=6)
    assert faces.scores[0] > 0.8


@pytest.mark.parametrize("size_px", [192, 256, 320, 960])
def test_box_is_in_pixels_of_the_image(
    detector: Detector, rgb: NDArray[np.uint8], size_px: int
) -> None:
    np.testing.assert_allclose(detector.detect(rgb, size_px).boxes, [FACE], atol=12)


@pytest.mark.parametrize("factor", [0.5, 2.0])
def test_box_grows_with_the_image(
    detector: Detector, rgb: NDArray[np.uint8], factor: float
) -> None:
    side = round(512 * factor)
    scaled = cv2.resize(rgb, (side, side), interpolation=cv2.INTER_AREA)
    faces = detector.detect(scaled, 256)
    np.testing.assert_allclose(faces.boxes, [FACE * factor], atol=10 * factor)


def test_landmarks_lie_in_the_face_eyes_above_mouth(
    detector: Detector, rgb: NDArray[np.uint8]
) -> None:
    points = detector.detect(rgb, 512).landmarks[0]
    assert bool((points > FACE[:2]).all())
    assert bool((points < FACE[2:]).all())
    eyes, nose, mouth = points[:2, 1], points[2, 1], points[3:, 1]
    assert eyes.max() < nose < mouth.min()


def test_two_faces_best_first(detector: Detector, rgb: NDArray[np.uint8]) -> None:
    faces = detector.detect(np.hstack([cv2.GaussianBlur(rgb, (0, 0), 2), rgb]), 1024)
    assert len(faces) == 2
    assert faces.scores[0] > faces.scores[1]
    np.testing.assert_allclose(faces.boxes[0], FACE + np.float32([512, 0, 512, 0]), atol=12)
    np.testing.assert_allclose(faces.boxes[1], FACE, atol=16)


def test_mirrored_view_without_a_copy(detector: Detector, rgb: NDArray[np.uint8]) -> None:
    view = rgb[:, ::-1]
    assert not view.flags.c_contiguous
    box = detector.detect(view, 512).boxes[0]
    np.testing.assert_allclose(box, [512 - 267, 63, 512 - 178, 175], atol=12)


@pytest.mark.parametrize("kind", ["fortran", "every second", "window"])
def test_memory_layout_makes_no_difference(
    detector: Detector, rgb: NDArray[np.uint8], kind: str
) -> None:
    view = {
        "fortran": np.asfortranarray(rgb),
        "every second": rgb[::2, ::2],
        "window": rgb[10:400, 20:500],
    }[kind]
    faces = detector.detect(view, 256)
    same = detector.detect(np.ascontiguousarray(view), 256)
    assert len(faces) == 1
    np.testing.assert_array_equal(faces.boxes, same.boxes)


@pytest.mark.parametrize("shape", [(480, 640), (1, 1), (1, 3000), (3000, 1), (2, 2)])
def test_grey_image_has_no_face(detector: Detector, shape: tuple[int, int]) -> None:
    faces = detector.detect(np.full((*shape, 3), 128, np.uint8), 256)
    assert len(faces) == 0
    assert faces.boxes.shape == (0, 4)
    assert faces.landmarks.shape == (0, 5, 2)


def test_earlier_results_outlive_the_next_call(detector: Detector, rgb: NDArray[np.uint8]) -> None:
    """The library writes into one buffer; results must be copies."""
    first = detector.detect(rgb, 256)
    boxes, landmarks = first.boxes.copy(), first.landmarks.copy()
    detector.detect(rgb[:, ::-1], 512)
    np.testing.assert_array_equal(first.boxes, boxes)
    np.testing.assert_array_equal(first.landmarks, landmarks)


def test_scores_lie_between_the_floor_and_one(detector: Detector, rgb: NDArray[np.uint8]) -> None:
    faces = detector.detect(cv2.GaussianBlur(rgb, (0, 0), 5), 256)
    assert len(faces) >= 1
    assert faces.scores.min() >= SCORE_FLOOR
    assert faces.scores.max() <= 1


def test_missing_model_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "yunet.onnx"
    with pytest.raises(DetectorError, match=r"yunet\.onnx: no such file"):
        open_detector("opencv", str(path))


def test_automatic_choice_takes_opencv_where_a_model_is_given(tmp_path: Path) -> None:
    with pytest.raises(DetectorError, match=r"here\.onnx: no such file"):
        open_detector("auto", str(tmp_path / "here.onnx"))


def test_opencv_without_a_model_says_which_one_it_needs() -> None:
    with pytest.raises(DetectorError, match=r"face_detection_yunet_2023mar\.onnx"):
        open_detector("opencv")


def test_model_file_that_is_no_network_is_named(tmp_path: Path) -> None:
    path = tmp_path / "broken.onnx"
    path.write_bytes(b"not a network")
    with pytest.raises(DetectorError, match=r"broken\.onnx: .*does not load it"):
        open_detector("opencv", str(path))


def test_unknown_detector_names_those_there_are() -> None:
    with pytest.raises(DetectorError, match="auto, yuface or opencv, but got 'haar'"):
        open_detector("haar")


def test_faces_check_their_shapes() -> None:
    with pytest.raises(ValueError, match=r"scores must be \(2,\) float32, but got \(3,\)"):
        Detections(
            np.zeros((2, 4), np.float32), np.zeros(3, np.float32), np.zeros((2, 5, 2), np.float32)
        )


def test_faces_check_their_type() -> None:
    with pytest.raises(ValueError, match=r"boxes must be .* but got .* float64"):
        Detections(np.zeros((1, 4)), np.zeros(1, np.float32), np.zeros((1, 5, 2), np.float32))


@pytest.mark.parametrize("side_px", [400, 1000, 4000])
def test_a_face_that_fills_the_picture_is_found_at_any_size(
    rgb: NDArray[np.uint8], side_px: int
) -> None:
    close = cv2.resize(rgb[63:175, 170:275], (side_px, side_px), interpolation=cv2.INTER_CUBIC)
    faces = find_faces(open_detector(), close, 960)
    assert len(faces) == 1
    assert faces.scores[0] > 0.9
    assert (faces.boxes[0, 2:] - faces.boxes[0, :2]).min() > 0.7 * side_px


def test_small_and_large_faces_are_found_together_and_once(rgb: NDArray[np.uint8]) -> None:
    picture = np.full((1200, 1600, 3), 120, np.uint8)
    picture[:1200, :1000] = cv2.resize(rgb[40:200, 155:288], (1000, 1200))
    picture[100:300, 1300:1500] = cv2.resize(rgb[:256, 100:356], (200, 200))
    faces = find_faces(open_detector(), picture, 960)
    faces = faces[faces.scores > 0.6]
    widths = sorted(faces.boxes[:, 2] - faces.boxes[:, 0])
    assert len(widths) == 2
    assert widths[0] < 100
    assert widths[1] > 500


def test_many_first_calls_at_once(tmp_path: Path) -> None:
    """The library creates its network in the first call of a process, which must run alone."""
    code = (
        "from concurrent.futures import ThreadPoolExecutor as Pool\n"
        "import numpy as np\n"
        "from esr_core.perception.detection import LibFaceDetection\n"
        "image = np.zeros((192, 256, 3), np.uint8)\n"
        "with Pool(8) as pool:\n"
        "    counts = pool.map(lambda n: len(LibFaceDetection().detect(image, 256)), range(32))\n"
        "    print(sum(counts))\n"
    )
    for _ in range(10):
        done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True)
        assert (done.returncode, done.stdout) == (0, b"0\n")
