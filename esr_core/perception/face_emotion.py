"""One face in one image with its emotion and affect."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Tuple

import numpy as np
from numpy.typing import NDArray

from esr_core.emotions import LABELS


@dataclass(frozen=True)
class FaceEmotion:
    """One detected face with its emotion and affect."""

    face_id: int
    box: NDArray[np.float32]  # (4,) x1, y1, x2, y2 in pixels; may reach over the border
    score: float  # of the detector, in [0, 1]
    landmarks: NDArray[np.float32]  # (5, 2) eyes, nose, corners of the mouth
    probabilities: NDArray[np.float32]  # (8,), sum to 1
    valence: float  # in [-1, 1]
    arousal: float  # in [-1, 1]
    votes: NDArray[np.int64]  # (branches,) in this image, not smoothed; -1: not evaluated
    emotion: int  # an index into LABELS: the most probable one, but for ``hysteresis``

    def visible_box(self, shape: Tuple[int, ...]) -> Tuple[float, float, float, float]:
        """Return the box cut to an image of ``shape`` (h, w, …): x1, y1, x2, y2 in pixels.

        Messages, CSV and JSON have this one.
        """
        height, width = shape[:2]
        x1, y1, x2, y2 = np.clip(self.box, 0, (width, height, width, height)).tolist()
        return x1, y1, x2, y2

    @property
    def label(self) -> str:
        """Return the name of ``emotion``."""
        return LABELS[self.emotion]

    @property
    def confidence(self) -> float:
        """Return the probability of ``emotion``, in [0, 1]."""
        return float(self.probabilities[self.emotion])

    @property
    def branches_evaluated(self) -> int:
        """Return the number of branches that were evaluated for this face, 1 or more."""
        return int((self.votes >= 0).sum())

    @property
    def agreement(self) -> float:
        """Return the share of the evaluated branches that voted for ``emotion``, in [0, 1]."""
        return float((self.votes == self.emotion).sum() / self.branches_evaluated)
