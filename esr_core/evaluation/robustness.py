"""Accuracy of a network on disturbed faces: blurred, dark, shifted, rotated, detected.

All disturbances are deterministic and scale with the image, so results are comparable.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Callable, Dict, List, Sequence, Tuple

import cv2
import numpy as np
from numpy.typing import NDArray

from esr_core.data.corruptions import blur, compress
from esr_core.evaluation.metrics import ImageSplit, Predictor, predictions
from esr_core.perception.detection import Detector, find_faces
from esr_core.perception.preprocessing import InputSpec, crop
from esr_core.pipeline import PipelineOptions

if TYPE_CHECKING:
    from esr_core.data.dataset import FaceDataset

#: Maps a face (h, w) or (h, w, 3) uint8 and its row in the data set to the disturbed face.
Disturbance = Callable[[NDArray[np.uint8], int], NDArray[np.uint8]]
#: Side of the photograph for the detector, and of the face in it.
PHOTOGRAPH_PX, FACE_PX = 480, 192
_BATCH = 64


def _move(face: NDArray[np.uint8], angle_deg: float, dx: float, dy: float) -> NDArray[np.uint8]:
    """Rotate about the centre and shift by shares of the width; repeat the border's pixels."""
    height, width = face.shape[:2]
    centre = ((width - 1) / 2, (height - 1) / 2)
    matrix = np.asarray(cv2.getRotationMatrix2D(centre, angle_deg, 1.0), np.float64)
    matrix[:, 2] += dx * width, dy * width
    return cv2.warpAffine(  # type: ignore[return-value]
        face, matrix, (width, height), borderMode=cv2.BORDER_REPLICATE
    )


def _shift(face: NDArray[np.uint8], number: int) -> NDArray[np.uint8]:
    angle = number % 4 * math.pi / 2  # to the right, down, left and up by turns
    return _move(face, 0.0, math.cos(angle) / 10, math.sin(angle) / 10)


#: The disturbances by the name in reports.
DISTURBANCES: Dict[str, Disturbance] = {
    "blurred": lambda face, _: blur(face, 1 / 32),  # 1.5 px at 48
    "darkened": lambda face, _: (face * 0.33).astype(np.uint8),
    "compressed": lambda face, _: compress(face, 30),
    "shifted": _shift,
    "turned": lambda face, number: _move(face, 15.0 if number % 2 else -15.0, 0.0, 0.0),
}
#: Number of times that :func:`measure_robustness` evaluates a data set.
PASSES = len(DISTURBANCES) + 2


@dataclass(frozen=True)
class Disturbed:
    """Images that are disturbed when they are loaded."""

    images: ImageSplit
    disturbance: Disturbance

    def __len__(self) -> int:
        return len(self.images)

    def load(self, rows: Sequence[int]) -> NDArray[np.uint8]:
        """Return disturbed images of the original shape."""
        images = self.images.load(rows)
        return np.stack([self.disturbance(image, row) for image, row in zip(images, rows)])


@dataclass(frozen=True)
class Robustness:
    """Accuracies of a network on one data set, by the mean of its branches."""

    accuracy: float  # of the original faces
    disturbed: Dict[str, float]  # by the names in DISTURBANCES
    found: float  # share of the faces that the detector finds in a photograph
    photographed: float  # accuracy of those, cropped by the detector's boxes
    mirrored_too: float  # of the mean over each face and its mirror image, at twice the time

    def summary(self) -> Dict[str, Any]:
        """Return the metrics as JSON values."""
        values = {"accuracy": self.accuracy, **self.disturbed, **vars(self)}
        del values["disturbed"]
        return {name: round(value, 4) for name, value in values.items()}


def measure_robustness(
    predict: Predictor,
    plain: NDArray[np.float32],
    data: FaceDataset,
    spec: InputSpec,
    detector: Detector,
    on_progress: Callable[[int], None] = lambda done: None,
) -> Robustness:
    """Evaluate a network on a data set with every disturbance.

    plain: (n, 8) probabilities of the original faces. ``on_progress`` counts up to
    PASSES * len(data).
    """
    target = data.emotions.argmax(axis=1)

    def accuracy(probabilities: NDArray[np.float32]) -> float:
        return float((probabilities.argmax(axis=1) == target).mean())

    def progress(passes: int) -> Callable[[int], None]:
        return lambda done: on_progress(passes * len(data) + done)

    def flip(face: NDArray[np.uint8], number: int) -> NDArray[np.uint8]:
        return np.ascontiguousarray(face[:, ::-1])

    splits = map(partial(Disturbed, data), (*DISTURBANCES.values(), flip))
    *disturbed, mirror = (
        predictions(predict, split, spec, _BATCH, progress(i))[0] for i, split in enumerate(splits)
    )
    rows, detected = _photographed(predict, data, spec, detector, progress(PASSES - 1))
    correct = detected.argmax(axis=1) == target[rows]
    return Robustness(
        accuracy(plain),
        dict(zip(DISTURBANCES, map(accuracy, disturbed))),
        found=len(rows) / len(data),
        photographed=float(correct.mean()) if len(rows) else 0.0,
        mirrored_too=accuracy(plain + mirror),
    )


def _photographed(
    predict: Predictor,
    data: FaceDataset,
    spec: InputSpec,
    detector: Detector,
    on_progress: Callable[[int], None],
) -> Tuple[NDArray[np.intp], NDArray[np.float32]]:
    """Return the rows of the faces detected in a photograph, and their probabilities."""
    rows: List[int] = []
    outputs: List[NDArray[Any]] = [np.zeros((0, 8), np.float32)]
    for start in range(0, len(data), _BATCH):
        crops: List[NDArray[Any]] = []
        block = range(start, min(start + _BATCH, len(data)))
        for number, face in zip(block, data.load(block)):
            rgb = photograph(face, number)
            detections = find_faces(detector, rgb, PHOTOGRAPH_PX)
            if len(detections) and detections.scores[0] >= PipelineOptions.min_score:
                rows.append(number)
                crops.append(crop(rgb, detections.boxes[:1], spec))
        if crops:
            outputs.append(predict(np.concatenate(crops))[0])
        on_progress(block.stop)
    return np.array(rows, np.intp), np.concatenate(outputs)


def photograph(face: NDArray[np.uint8], number: int) -> NDArray[np.uint8]:
    """Return an RGB image with the face in it, filled up with its border pixels."""
    if face.ndim == 2:
        face = cv2.cvtColor(face, cv2.COLOR_GRAY2RGB)  # type: ignore[assignment]
    large = cv2.resize(face, (FACE_PX, FACE_PX), interpolation=cv2.INTER_CUBIC)
    room = PHOTOGRAPH_PX - FACE_PX
    # Steps coprime to the room + 1 spread the faces over the whole image.
    left, top = number * 89 % (room + 1), number * 131 % (room + 1)
    return cv2.copyMakeBorder(  # type: ignore[return-value]
        large, top, room - top, left, room - left, cv2.BORDER_REPLICATE
    )
