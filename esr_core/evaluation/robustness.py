"""How right a network stays when faces come as a camera gives them: blurred, dark, askew.

Every disturbance is the same each time and scales with the image, so that figures compare.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Callable, Dict, List, Sequence, Tuple

import cv2
import numpy as np
from numpy.typing import NDArray

from esr_core.data.corruptions import blur, compress
from esr_core.evaluation.metrics import Images, Predictor, predictions
from esr_core.perception.detection import Detector, find_faces
from esr_core.perception.preprocessing import InputSpec, crop
from esr_core.pipeline import PipelineOptions

if TYPE_CHECKING:
    from esr_core.data.dataset import FaceDataset

#: Takes a face (h, w) or (h, w, 3) uint8 and its number, returns it disturbed.
Disturbance = Callable[[NDArray[np.uint8], int], NDArray[np.uint8]]
#: The photograph that a face is put into for the detector to find, px, and the face in it.
PHOTOGRAPH_PX, FACE_PX = 480, 192
_BATCH = 64


def blurred(face: NDArray[np.uint8], number: int) -> NDArray[np.uint8]:
    """Out of focus: a Gaussian of 1/32 of the width, 1.5 px at 48."""
    return blur(face, 1 / 32)


def darkened(face: NDArray[np.uint8], number: int) -> NDArray[np.uint8]:
    """A third of the light."""
    return (face * 0.33).astype(np.uint8)


def compressed(face: NDArray[np.uint8], number: int) -> NDArray[np.uint8]:
    """JPEG of quality 30."""
    return compress(face, 30)


def shifted(face: NDArray[np.uint8], number: int) -> NDArray[np.uint8]:
    """A tenth of the width to the right, down, left or up, by turns."""
    angle = number % 4 * math.pi / 2
    step = face.shape[1] / 10
    return _moved(face, 0.0, (step * math.cos(angle), step * math.sin(angle)))


def turned(face: NDArray[np.uint8], number: int) -> NDArray[np.uint8]:
    """By 15 degrees, to the one side and the other by turns."""
    return _moved(face, 15.0 if number % 2 else -15.0, (0.0, 0.0))


def mirrored(face: NDArray[np.uint8], number: int) -> NDArray[np.uint8]:
    """The mirror image; no disturbance, but half of what is averaged at times."""
    return np.ascontiguousarray(face[:, ::-1])


def _moved(face: NDArray[np.uint8], angle_deg: float, shift: Sequence[float]) -> NDArray[np.uint8]:
    height, width = face.shape[:2]
    centre = ((width - 1) / 2, (height - 1) / 2)
    matrix = np.asarray(cv2.getRotationMatrix2D(centre, angle_deg, 1.0), np.float64)
    matrix[:, 2] += shift
    return cv2.warpAffine(  # type: ignore[return-value]
        face, matrix, (width, height), borderMode=cv2.BORDER_REPLICATE
    )


#: What is tried, by the name in reports.
DISTURBANCES: Dict[str, Disturbance] = {
    "blurred": blurred,
    "darkened": darkened,
    "compressed": compressed,
    "shifted": shifted,
    "turned": turned,
}


@dataclass(frozen=True)
class Disturbed:
    """Images of which each is disturbed when it is read."""

    images: Images
    disturbance: Disturbance

    def __len__(self) -> int:
        return len(self.images)

    def load(self, rows: Sequence[int]) -> NDArray[np.uint8]:
        """Return images as they are after the disturbance, of the same shape."""
        images = self.images.load(rows)
        return np.stack([self.disturbance(image, row) for image, row in zip(images, rows)])


@dataclass(frozen=True)
class Robustness:
    """Accuracies of one network on one split, by the mean of its branches."""

    accuracy: float  # of the faces as they are
    disturbed: Dict[str, float]  # by the names in DISTURBANCES
    found: float  # share of faces that the detector finds in a photograph
    photographed: float  # accuracy of those, framed by the detector's boxes
    mirrored_too: float  # the mean over each face and its mirror image; costs twice the time

    def summary(self) -> Dict[str, Any]:
        """The figures as plain JSON values."""
        return {
            "accuracy": round(self.accuracy, 4),
            **{name: round(value, 4) for name, value in self.disturbed.items()},
            "found": round(self.found, 4),
            "photographed": round(self.photographed, 4),
            "mirrored_too": round(self.mirrored_too, 4),
        }


def measure_robustness(
    predict: Predictor,
    plain: NDArray[np.float32],
    data: FaceDataset,
    spec: InputSpec,
    detector: Detector,
    on_progress: Callable[[int], None] = lambda done: None,
) -> Robustness:
    """Run a network over a split in every way but the plain one, whose answers are known.

    plain: (n, 8) probabilities of the faces as they are. ``on_progress`` counts up to
    PASSES * len(data).
    """
    target = data.emotions.argmax(axis=1)
    passes = 0

    def told(done: int) -> None:
        on_progress(passes * len(data) + done)

    def probabilities(faces: Images) -> NDArray[np.float32]:
        nonlocal passes
        answers: NDArray[np.float32] = predictions(predict, faces, spec, _BATCH, told)[0]
        passes += 1
        return answers

    def right(answers: NDArray[np.float32]) -> float:
        return float((answers.argmax(axis=1) == target).mean())

    disturbed = {
        name: right(probabilities(Disturbed(data, disturbance)))
        for name, disturbance in DISTURBANCES.items()
    }
    mirror = probabilities(Disturbed(data, mirrored))
    rows, answers = _photographed(predict, data, spec, detector, told)
    correct = answers.argmax(axis=1) == target[rows]
    return Robustness(
        right(plain),
        disturbed,
        found=len(rows) / len(data),
        photographed=float(correct.mean()) if len(rows) else 0.0,
        mirrored_too=right(plain + mirror),
    )


#: How often :func:`measure_robustness` goes through a split.
PASSES = len(DISTURBANCES) + 2


def _photographed(
    predict: Predictor,
    data: FaceDataset,
    spec: InputSpec,
    detector: Detector,
    on_progress: Callable[[int], None],
) -> Tuple[NDArray[np.intp], NDArray[np.float32]]:
    """Return which faces were found in a photograph, and the probabilities of those."""
    rows: List[int] = []
    answers: List[NDArray[Any]] = [np.zeros((0, 8), np.float32)]
    for start in range(0, len(data), _BATCH):
        crops: List[NDArray[Any]] = []
        numbers = range(start, min(start + _BATCH, len(data)))
        for number, face in zip(numbers, data.load(numbers)):
            rgb = photograph(face, number)
            found = find_faces(detector, rgb, PHOTOGRAPH_PX)
            if len(found) and found.scores[0] >= PipelineOptions.min_score:
                rows.append(number)
                crops.append(crop(rgb, found.boxes[:1], spec))
        if crops:
            answers.append(predict(np.concatenate(crops))[0])
        on_progress(numbers.stop)
    return np.array(rows, np.intp), np.concatenate(answers)


def photograph(face: NDArray[np.uint8], number: int) -> NDArray[np.uint8]:
    """Return an RGB image with the face somewhere in it; its border's pixels fill the rest."""
    if face.ndim == 2:
        face = cv2.cvtColor(face, cv2.COLOR_GRAY2RGB)  # type: ignore[assignment]
    large = cv2.resize(face, (FACE_PX, FACE_PX), interpolation=cv2.INTER_CUBIC)
    room = PHOTOGRAPH_PX - FACE_PX
    # Steps without a common divisor with the room, so that faces come to lie everywhere.
    left, top = number * 89 % (room + 1), number * 131 % (room + 1)
    return cv2.copyMakeBorder(  # type: ignore[return-value]
        large, top, room - top, left, room - left, cv2.BORDER_REPLICATE
    )
