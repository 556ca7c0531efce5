"""One face in one image, and what it shows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from esr_core.emotions import LABELS


@dataclass(frozen=True)
class FaceEmotion:
    """One face and what it shows."""

    face_id: int
    box: NDArray[np.float32]  # (4,) x1, y1, x2, y2 in pixels; may reach over the border
    score: float  # of the detector, in [0, 1]
    landmarks: NDArray[np.float32]  # (5, 2) eyes, nose, corners of the mouth
    probabilities: NDArray[np.float32]  # (8,), sum to 1
    valence: float  # in [-1, 1]
    arousal: float  # in [-1, 1]
    votes: NDArray[np.int64]  # (branches,) in this image, not smoothed; -1: was not asked
    emotion: int  # an index into LABELS: the most probable one, but for ``hysteresis``

    @property
    def label(self) -> str:
        """The name of ``emotion``."""
        return LABELS[self.emotion]

    @property
    def confidence(self) -> float:
        """The probability of ``emotion``, in [0, 1]."""
        return float(self.probabilities[self.emotion])

    @property
    def agreement(self) -> float:
        """Share of the branches that voted for ``emotion``, of those that were asked."""
        return float((self.votes == self.emotion).sum() / (self.votes >= 0).sum())
