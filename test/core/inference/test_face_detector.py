"""The face detector, and the faces that it finds in one image."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from esr_core import DetectorError, ModelError, load_model
from esr_core.hashing import digest
from esr_core.inference.face_detector import DEFAULT_DETECTOR, YuNet, open_detector
from esr_core.inference.onnx_model import default_model, shipped_file
from esr_core.perception.detection import SCORE_FLOOR, Detections, Detector, find_faces

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


def test_scores_lie_between_the_floor_and_one(detector: Detector, rgb: NDArray[np.uint8]) -> None:
    faces = detector.detect(cv2.GaussianBlur(rgb, (0, 0), 5), 256)
    assert len(faces) >= 1
    assert faces.scores.min() >= SCORE_FLOOR
    assert faces.scores.max() <= 1


def test_boxes_have_fractions_of_pixels(detector: Detector, rgb: NDArray[np.uint8]) -> None:
    """The image is reduced to a half, so whole pixels there would be steps of 2 here."""
    left = [detector.detect(np.roll(rgb, n, axis=1), 256).boxes[0, 0] for n in range(5)]
    assert (np.diff(left) > 0).all()
    assert left[4] - left[0] == pytest.approx(4, abs=1)


def test_faces_that_overlap_by_half_are_both_kept(
    detector: Detector, rgb: NDArray[np.uint8]
) -> None:
    """Suppression compares areas: neighbours whose boxes touch are two faces."""
    face = rgb[40:200, 160:285]
    faces = detector.detect(np.hstack([face[:, :110], face]), 320)
    assert len(faces[faces.scores > 0.6]) == 2


def test_the_file_is_the_one_that_its_page_describes() -> None:
    path = shipped_file(DEFAULT_DETECTOR, "")
    assert digest(path) in path.with_suffix(".md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def fixed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """YuNet for images of 320x320 only, as OpenCV's zoo has it for 640x640."""
    model = onnx.load(str(shipped_file(DEFAULT_DETECTOR, "")))
    for dimension in model.graph.input[0].type.tensor_type.shape.dim[2:]:
        dimension.dim_value = 320
    path = tmp_path_factory.mktemp("fixed") / "yunet_320.onnx"
    onnx.save(model, str(path))
    return path


@pytest.mark.parametrize("size_px", [200, 320, 960])
@pytest.mark.parametrize("shape", ["square", "wide", "tall"])
def test_file_with_a_fixed_input_size(
    fixed: Path, rgb: NDArray[np.uint8], detector: Detector, size_px: int, shape: str
) -> None:
    rows, columns = {"square": (512, 512), "wide": (200, 512), "tall": (512, 300)}[shape]
    image = rgb[:rows, :columns]
    faces, same = (
        each.detect(image, min(size_px, 320))
        for each in (open_detector("auto", str(fixed)), detector)
    )
    assert len(faces) == len(same) == 1
    np.testing.assert_allclose(faces.boxes, same.boxes, atol=2)  # other padding
    np.testing.assert_allclose(
        open_detector("opencv", str(fixed)).detect(image, size_px).boxes, faces.boxes
    )


@pytest.mark.parametrize("kind", ["auto", "opencv"])
def test_missing_model_file_is_named(tmp_path: Path, kind: str) -> None:
    with pytest.raises(DetectorError, match=r"here\.onnx: no such file"):
        open_detector(kind, str(tmp_path / "here.onnx"))


def test_opencv_without_a_file_says_what_it_needs() -> None:
    with pytest.raises(DetectorError, match="'opencv' needs detector_model"):
        open_detector("opencv")


def test_yuface_is_the_file_that_ships_whatever_the_model() -> None:
    detector = open_detector("yuface", "gone.onnx")
    assert isinstance(detector, YuNet)
    assert (detector.name, detector.path) == ("yunet", shipped_file(DEFAULT_DETECTOR, ""))


def test_file_that_is_no_network_is_named(tmp_path: Path) -> None:
    path = tmp_path / "broken.onnx"
    path.write_bytes(b"not a network")
    with pytest.raises(DetectorError, match=r"broken\.onnx: .*does not load it"):
        open_detector("opencv", str(path))


def test_another_network_is_named() -> None:
    with pytest.raises(DetectorError, match=r"int8\.onnx: not a YuNet file; .* outputs cls_8"):
        open_detector("opencv", str(default_model()))


def test_unknown_detector_names_those_there_are() -> None:
    with pytest.raises(DetectorError, match="one of auto, yuface, opencv, but got 'haar'"):
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


def test_threads_share_a_detector(detector: Detector, rgb: NDArray[np.uint8]) -> None:
    expected = detector.detect(rgb, 256)
    with ThreadPoolExecutor(8) as pool:
        for faces in pool.map(lambda _: detector.detect(rgb, 256), range(32)):
            np.testing.assert_array_equal(faces.boxes, expected.boxes)


def test_file_that_cannot_be_looked_at_is_named(tmp_path: Path) -> None:
    path = tmp_path / ("x" * 300)  # as with a folder that is not readable, which root never meets
    with pytest.raises(ModelError, match="no such model file"):
        load_model(path)
    with pytest.raises(DetectorError, match="no such file"):
        open_detector("opencv", str(path))
