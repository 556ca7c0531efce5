"""Face detection by YuNet, with libfacedetection (in the package yuface) or OpenCV.

Wu, Peng, Yu, "YuNet: A Tiny Millisecond-level Face Detector", Machine Intelligence Research, 2023.
"""

from __future__ import annotations

import ctypes
import importlib.util
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any, List, Optional, Protocol, Tuple, Union

import cv2
import numpy as np
from numpy.typing import NDArray

from esr_core.errors import DetectorError

#: Detections with a lower score are dropped, whatever ``min_score`` is.
SCORE_FLOOR = 0.3
_YUNET = "a YuNet model such as face_detection_yunet_2023mar.onnx of OpenCV's model zoo"
#: YuNet misses faces that fill an image larger than this ...
LARGEST_FOR_CLOSE_FACES_PX = 480
#: ... so it runs at this size as well.
CLOSE_SIZE_PX = 320
#: Two detections are the same face if they share more of the smaller one.
MAX_COVER = 0.6


@dataclass(frozen=True)
class Detections:
    """Faces detected in one image, in its pixels; the best score first."""

    boxes: NDArray[np.float32]  # (n, 4) x1, y1, x2, y2
    scores: NDArray[np.float32]  # (n,) in [0, 1]
    landmarks: NDArray[np.float32]  # (n, 5, 2) eyes, nose, corners of the mouth: x, y

    def __post_init__(self) -> None:
        n = len(self.boxes)
        for name, shape in (("boxes", (n, 4)), ("scores", (n,)), ("landmarks", (n, 5, 2))):
            value = getattr(self, name)
            if value.shape != shape or value.dtype != np.float32:
                got = f"{value.shape} {value.dtype}"
                raise ValueError(f"{name} must be {shape} float32, but got {got}")

    def __len__(self) -> int:
        return len(self.boxes)

    def __getitem__(self, rows: Union[NDArray[np.intp], NDArray[np.bool_], slice]) -> Detections:
        return Detections(self.boxes[rows], self.scores[rows], self.landmarks[rows])

    @staticmethod
    def none() -> Detections:
        """Return the detections of an image without faces."""
        return Detections(*(np.zeros(s, np.float32) for s in ((0, 4), (0,), (0, 5, 2))))


class Detector(Protocol):
    """Interface of a face detector."""

    name: str

    def detect(self, rgb: NDArray[np.uint8], size_px: int) -> Detections:
        """Return the faces in (h, w, 3) uint8, reduced to ``size_px`` on its longer side."""


class LibFaceDetection:
    """libfacedetection with its weights, from the package ``yuface``; x86-64 only.

    The library is called directly: the package's own binding supports Python up to 3.11 only, and
    holds the GIL during a detection.
    """

    name = "yuface"
    _BUFFER_BYTES = 0x9000  # required by facedetect_cnn
    _FIRST = threading.Lock()

    def __init__(self) -> None:
        package = importlib.util.find_spec("yuface")
        if package is None or package.origin is None:
            raise DetectorError(
                "the detector 'yuface' is not installed; run 'make setup' in a clone, or 'pip "
                "install yuface' (x86-64, Python up to 3.11), or give detector_model the path of "
                "a YuNet .onnx file"
            )
        path = Path(package.origin).parent / "libfacedetection.so"
        try:
            library = ctypes.CDLL(str(path))
            # The mangled facedetect_cnn(unsigned char*, unsigned char*, int, int, int).
            self._detect = library._Z14facedetect_cnnPhS_iii
            self._set_threads = library.omp_set_num_threads
        except (OSError, AttributeError) as error:
            raise DetectorError(f"{path}: does not load as libfacedetection ({error})") from error
        self._detect.restype = ctypes.c_void_p
        self._detect.argtypes = [ctypes.c_void_p, ctypes.c_void_p] + [ctypes.c_int] * 3
        self._buffer = np.zeros(self._BUFFER_BYTES, np.uint8)
        # The first call of a process creates the network of the library; two at once crash.
        with self._FIRST:
            self.detect(np.zeros((64, 64, 3), np.uint8), 64)

    def detect(self, rgb: NDArray[np.uint8], size_px: int) -> Detections:
        """Return the faces in (h, w, 3) uint8, reduced to ``size_px`` on its longer side."""
        bgr, scale = _working_image(rgb, size_px)
        height, width, _ = bgr.shape
        # Two threads synchronise after each of about fifty layers. With one of two cores busy that
        # takes 65 ms instead of 9. The setting is per calling thread, so it is made here.
        self._set_threads(1)
        buffer = self._buffer
        if not self._detect(buffer.ctypes.data, bgr.ctypes.data, width, height, bgr.strides[0]):
            return Detections.none()
        count = int(buffer[:4].view(np.int32)[0])
        # 16 numbers per face: score in percent, x, y, width, height, five points, one unused.
        rows = buffer[4 : 4 + 32 * count].view(np.int16).reshape(count, 16)
        return _detections(rows[:, 1:5], rows[:, 0] / 100, rows[:, 5:15], scale)


class OpenCvYuNet:
    """OpenCV's ``FaceDetectorYN`` with a YuNet ``.onnx`` file; for machines without yuface."""

    name = "opencv"

    def __init__(self, model: Path) -> None:
        if not model.is_file():
            raise DetectorError(
                f"{model}: no such file; the detector 'opencv' needs {_YUNET} (OpenCV 4.8 or newer)"
            )
        try:
            create = cv2.FaceDetectorYN.create
            self._detector = create(str(model), "", (320, 320), score_threshold=SCORE_FLOOR)
        except (cv2.error, AttributeError) as error:
            raise DetectorError(
                f"{model}: OpenCV {cv2.__version__} does not load it as a YuNet model; the "
                f"2023mar file needs OpenCV 4.8 or newer ({error})"
            ) from error

    def detect(self, rgb: NDArray[np.uint8], size_px: int) -> Detections:
        """Return the faces in (h, w, 3) uint8, reduced to ``size_px`` on its longer side."""
        bgr, scale = _working_image(rgb, size_px)
        self._detector.setInputSize((bgr.shape[1], bgr.shape[0]))
        rows: Optional[NDArray[Any]] = self._detector.detect(bgr)[1]  # the stub lacks None
        if rows is None:
            return Detections.none()
        return _detections(rows[:, :4], rows[:, 14], rows[:, 4:14], scale)


def open_detector(kind: str = "auto", model: str = "") -> Detector:
    """Return a detector; ``auto`` is OpenCV's if a model file is given, else yuface.

    Raises:
        DetectorError: it is not installed, or its model does not load.
    """
    if kind not in ("auto", "yuface", "opencv"):
        raise DetectorError(f"detector must be auto, yuface or opencv, but got {kind!r}")
    if kind == "yuface" or (kind == "auto" and not model):
        return LibFaceDetection()
    if not model:
        raise DetectorError(f"the detector 'opencv' needs detector_model, the path of {_YUNET}")
    return OpenCvYuNet(Path(model))


def find_faces(detector: Detector, rgb: NDArray[np.uint8], size_px: int) -> Detections:
    """Return the small and the image-filling faces of an image (h, w, 3) uint8, each once."""
    faces = detector.detect(rgb, size_px)
    if min(size_px, max(rgb.shape[:2])) <= LARGEST_FOR_CLOSE_FACES_PX:
        return faces
    close = detector.detect(rgb, CLOSE_SIZE_PX)
    parts = ((f.boxes, f.scores, f.landmarks) for f in (faces, close))
    both = Detections(*map(np.concatenate, zip(*parts)))
    return _suppress(both[np.argsort(-both.scores, kind="stable")])


def _suppress(faces: Detections) -> Detections:
    """Non-maximum suppression by the shared part of the smaller box; the best comes first."""
    kept: List[int] = []
    area = (faces.boxes[:, 2:] - faces.boxes[:, :2]).prod(axis=1)
    for row, box in enumerate(faces.boxes):
        others = faces.boxes[kept]
        overlap = np.minimum(box[2:], others[:, 2:]) - np.maximum(box[:2], others[:, :2])
        shared = np.maximum(overlap, 0).prod(axis=1)
        if not (shared > MAX_COVER * np.minimum(area[row], area[kept])).any():
            kept.append(row)
    return faces[np.array(kept, np.intp)]


def _working_image(rgb: NDArray[np.uint8], size_px: int) -> Tuple[NDArray[np.uint8], float]:
    """Return a BGR copy, not enlarged, and the factor from its pixels to those of the image."""
    height, width = rgb.shape[:2]
    scale = max(max(height, width) / size_px, 1.0)
    if scale >= 2.0:
        # Averaging over whole pixels is five times faster than over fractions of them.
        whole = (max(width // int(scale), 1), max(height // int(scale), 1))
        rgb = cv2.resize(rgb, whole, interpolation=cv2.INTER_AREA)  # type: ignore[assignment]
    if scale > 1.0:
        small = (max(round(width / scale), 1), max(round(height / scale), 1))
        rgb = cv2.resize(rgb, small, interpolation=cv2.INTER_LINEAR)  # type: ignore[assignment]
    bgr = cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR)
    return bgr, scale  # type: ignore[return-value]


def _detections(
    xywh: NDArray[Any], scores: NDArray[Any], points: NDArray[Any], scale: float
) -> Detections:
    boxes = xywh.astype(np.float32) * np.float32(scale)
    boxes[:, 2:] += boxes[:, :2]
    landmarks = points.astype(np.float32).reshape(-1, 5, 2) * np.float32(scale)
    scores = scores.astype(np.float32)
    solid = (scores >= SCORE_FLOOR) & (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
    order = np.flatnonzero(solid)[np.argsort(-scores[solid], kind="stable")]
    return Detections(boxes, scores, landmarks)[order]
