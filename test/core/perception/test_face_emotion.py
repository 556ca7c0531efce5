"""Values derived from the votes of one face."""

from __future__ import annotations

import numpy as np
import pytest

from esr_core.perception.face_emotion import FaceEmotion


@pytest.mark.parametrize(
    ("votes", "evaluated", "agreement"),
    [([1, -1, -1, -1], 1, 1.0), ([1, 0, 1, 3], 4, 0.5), ([2, 2, 2], 3, 0.0), ([1, 1, -1], 2, 1.0)],
)
def test_agreement_is_a_share_of_the_evaluated_branches(
    votes: list[int], evaluated: int, agreement: float
) -> None:
    face = FaceEmotion(
        face_id=1,
        box=np.zeros(4, np.float32),
        score=1.0,
        landmarks=np.zeros((5, 2), np.float32),
        probabilities=np.full(8, 0.125, np.float32),
        valence=0.0,
        arousal=0.0,
        votes=np.array(votes),
        emotion=1,
    )
    assert face.branches_evaluated == evaluated
    assert type(face.branches_evaluated) is int
    assert face.agreement == agreement
