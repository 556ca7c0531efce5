"""Face detection by YuNet in ONNX Runtime.

Wu, Peng, Yu, "YuNet: A Tiny Millisecond-level Face Detector", Machine Intelligence Research, 2023.
"""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path
from typing import Tuple

import cv2
import numpy as np

from esr_core.errors import DetectorError, ModelError
from esr_core.inference.execution_providers import session_of
from esr_core.inference.onnx_model import shipped_file
from esr_core.perception.arrays import Floats, Image
from esr_core.perception.detection import SCORE_FLOOR, Detections, Detector

#: Values of the parameter ``detector``.
DETECTORS = ("auto", "yuface", "opencv")
#: The network that ships with the package, see models/yunet.md.
DEFAULT_DETECTOR = "yunet.onnx"
_STRIDES = (8, 16, 32)
_OUTPUTS = tuple(f"{kind}_{s}" for kind in ("cls", "obj", "bbox", "kps") for s in _STRIDES)
#: Of two detections with more in common (intersection over union) the better one is kept.
_MAX_IOU = 0.45


class YuNet:
    """A YuNet ``.onnx`` file: the one that ships, or one of OpenCV's model zoo."""

    def __init__(self, path: Path) -> None:
        if not os.path.isfile(path):  # Path.is_file() raises PermissionError
            raise DetectorError(
                f"{path}: no such file, or no permission; it must be a YuNet .onnx file"
            )
        # One thread: on two, the layers are too small to gain more than a tenth.
        self._session = session_of(path, threads=1)
        (image, *others), outputs = self._session.get_inputs(), self._session.get_outputs()
        if others or len(image.shape) != 4 or not {o.name for o in outputs} >= set(_OUTPUTS):
            raise DetectorError(
                f"{path}: not a YuNet file; it must have one input (1, 3, height, width) and the "
                f"outputs {', '.join(_OUTPUTS)}"
            )
        self._input = image.name
        height, width = image.shape[2:]
        #: (height, width) of a file with a fixed input size.
        self._fixed = (height, width) if isinstance(height, int) else None
        self.path, self.name = path, path.stem

    def detect(self, rgb: Image, size_px: int) -> Detections:
        """Return the faces in (h, w, 3) uint8, reduced to ``size_px`` on its longer side.

        A file with a fixed input size limits ``size_px`` to that, and takes as long for less.
        """
        small, scale = _reduce(rgb, min(size_px, *self._fixed) if self._fixed else size_px)
        height, width = self._fixed or (-(-side // 32) * 32 for side in small.shape[:2])
        padding = (0, height - small.shape[0], 0, width - small.shape[1])
        padded = cv2.copyMakeBorder(small, *padding, cv2.BORDER_CONSTANT)
        batch = cv2.dnn.blobFromImage(padded, swapRB=True)
        outputs = self._session.run(list(_OUTPUTS), {self._input: batch})
        classes, objects, boxes, points = (
            np.concatenate([each[0] for each in outputs[i : i + 3]]) for i in (0, 3, 6, 9)
        )
        scores = np.sqrt(np.clip(classes * objects, 0, 1))[:, 0]
        cells = np.flatnonzero(scores >= SCORE_FLOOR)
        if not len(cells):
            return Detections.none()
        stride, corners = np.split(_grid(width, height)[cells], [1], axis=1)
        centres = corners + boxes[cells, :2] * stride
        sizes = np.exp(boxes[cells, 2:]) * stride
        landmarks = corners[:, None] + points[cells].reshape(-1, 5, 2) * stride[:, None]
        xyxy = np.hstack([centres - sizes / 2, centres + sizes / 2])
        xywh = np.hstack([xyxy[:, :2], sizes]).tolist()
        kept = np.ravel(cv2.dnn.NMSBoxes(xywh, scores[cells].tolist(), 0, _MAX_IOU))
        boxes = xyxy[kept] * np.tile(scale, 2)
        return Detections(boxes, scores[cells][kept], landmarks[kept] * scale)


@lru_cache(maxsize=16)
def _grid(width: int, height: int) -> Floats:
    """Return stride, x and y of the cells of all outputs, (cells, 3), in the order of the file."""
    levels = []
    for stride in _STRIDES:
        rows, columns = np.divmod(np.arange(height // stride * (width // stride)), width // stride)
        levels.append(np.stack([np.ones_like(rows), columns, rows], axis=1) * stride)
    return np.array(np.concatenate(levels), np.float32)


def _reduce(rgb: Image, size_px: int) -> Tuple[Image, Floats]:
    """Return the image, reduced if larger, and the factors from its x and y to those of ``rgb``."""
    height, width = rgb.shape[:2]
    scale = max(max(height, width) / size_px, 1.0)
    step = int(scale) if scale < min(height, width) else 1
    if step > 1:
        # Averages of whole pixels take a third of the time of those of fractions, so a row and a
        # column of less than a step are left out.
        height, width = height // step * step, width // step * step
        whole = (width // step, height // step)
        rgb = cv2.resize(  # type: ignore[assignment]
            rgb[:height, :width], whole, interpolation=cv2.INTER_AREA
        )
    if scale > 1.0:
        small = (max(round(width / scale), 1), max(round(height / scale), 1))
        rgb = cv2.resize(rgb, small, interpolation=cv2.INTER_LINEAR)  # type: ignore[assignment]
    return rgb, np.divide((width, height), rgb.shape[1::-1]).astype(np.float32)


def open_detector(kind: str = "auto", model: str = "") -> Detector:
    """Return the detector of a file; ``auto`` is ``opencv`` if one is given, else ``yuface``.

    kind: ``yuface``, the file that ships; ``opencv``, the file ``model``.

    Raises:
        DetectorError: ``kind`` is none of these, or the file is missing or not of YuNet.
    """
    if kind not in DETECTORS:
        raise DetectorError(f"detector must be one of {', '.join(DETECTORS)}, but got {kind!r}")
    if kind == "opencv" and not model:
        raise DetectorError("the detector 'opencv' needs detector_model, the path of a YuNet file")
    try:
        if model and kind != "yuface":
            return YuNet(Path(model))
        return YuNet(shipped_file(DEFAULT_DETECTOR, "install the package again"))
    except ModelError as error:
        raise DetectorError(str(error)) from error
