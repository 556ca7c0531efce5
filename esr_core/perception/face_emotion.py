"""The result for one face in one image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Tuple

import numpy as np

from esr_core.emotions import LABELS
from esr_core.perception.arrays import Boxes, Floats, Landmarks, Shape, Votes


@dataclass(frozen=True)
class FaceEmotion:
    """One detected face with its emotion and affect."""

    face_id: int
    box: Boxes  # (4,), may reach over the border
    score: float  # of the detector, in [0, 1]
    landmarks: Landmarks  # (5, 2)
    probabilities: Floats  # (8,), sum to 1
    valence: float  # in [-1, 1]
    arousal: float  # in [-1, 1]
    votes: Votes  # (branches,) in this image, not smoothed
    emotion: int  # an index into LABELS: the most probable one, but for ``hysteresis``

    def visible_box(self, shape: Shape) -> Tuple[float, float, float, float]:
        """Return the box cut to an image of ``shape`` (h, w, …): x1, y1, x2, y2 in pixels."""
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
