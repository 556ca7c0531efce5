"""Accuracy of a network on disturbed faces: blurred, dark, shifted, rotated, detected.

All disturbances are deterministic and scale with the image, so results are comparable.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Callable, Dict, List

import cv2
import numpy as np
from numpy.typing import NDArray

from esr_core.data.corruptions import blur, compress
from esr_core.evaluation.metrics import Conversion, Predictor, predictions
from esr_core.perception.detection import Detector, find_faces
from esr_core.perception.preprocessing import InputSpec, crop, whole
from esr_core.pipeline import PipelineOptions

if TYPE_CHECKING:
    from esr_core.data.faces import FaceDataset

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


#: To the right, down, left and up, in shares of the width.
_SHIFTS = ((0.1, 0.0), (0.0, 0.1), (-0.1, 0.0), (0.0, -0.1))
#: The disturbances by the name in reports.
DISTURBANCES: Dict[str, Disturbance] = {
    "blurred": lambda face, _: blur(face, 1 / 32),  # 1.5 px at 48
    "darkened": lambda face, _: (face * 0.33).astype(np.uint8),
    "compressed": lambda face, _: compress(face, 30),
    "shifted": lambda face, number: _move(face, 0.0, *_SHIFTS[number % 4]),
    "turned": lambda face, number: _move(face, 15.0 if number % 2 else -15.0, 0.0, 0.0),
}
#: Number of times that :func:`measure_robustness` evaluates a data set.
PASSES = len(DISTURBANCES) + 2


def measure_robustness(
    predict: Predictor,
    plain: NDArray[np.float32],
    data: FaceDataset,
    spec: InputSpec,
    detector: Detector,
    on_progress: Callable[[int], None] = lambda done: None,
) -> Dict[str, float]:
    """Evaluate a network on a data set with every disturbance.

    plain: (n, 8) probabilities of the original faces. on_progress: up to PASSES * len(data).

    Returns accuracies by the mean of the branches: ``accuracy`` of the original faces; those of
    DISTURBANCES; ``photographed`` of the faces that the detector finds in a photograph, cropped by
    its boxes, whose share is ``found``; and ``mirrored_too`` of the mean over each face and its
    mirror image, at twice the time.
    """
    target = data.emotions.argmax(axis=1)
    found: List[int] = []

    def detected(face: NDArray[np.uint8], number: int) -> NDArray[np.float32]:
        rgb = photograph(face, number)
        faces = find_faces(detector, rgb, PHOTOGRAPH_PX)
        boxes = faces.boxes[:1][faces.scores[:1] >= PipelineOptions.min_score]
        found.extend([number] * len(boxes))
        return crop(rgb, boxes, spec)

    def disturbed(disturbance: Disturbance) -> Conversion:
        return lambda face, number: whole([disturbance(face, number)], spec)

    def accuracy(probabilities: NDArray[np.float32], rows: Any = slice(None)) -> float:
        correct = probabilities.argmax(axis=1) == target[rows]
        return float(correct.mean()) if len(correct) else 0.0

    mirrored = disturbed(lambda face, _: np.ascontiguousarray(face[:, ::-1]))
    outputs: List[NDArray[np.float32]] = []
    for conversion in (*map(disturbed, DISTURBANCES.values()), mirrored, detected):
        before = len(outputs) * len(data)
        progress = partial(lambda before, done: on_progress(before + done), before)
        outputs += predictions(predict, data, spec, _BATCH, progress, conversion)[:1]
    *outputs, mirror, photographed = outputs
    return {
        "accuracy": accuracy(plain),
        **dict(zip(DISTURBANCES, map(accuracy, outputs))),
        "found": len(found) / len(data),
        "photographed": accuracy(photographed, found),
        "mirrored_too": accuracy(plain + mirror),
    }


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
