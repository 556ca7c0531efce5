"""The eight emotions: order, labels, colours, and where they lie in valence and arousal."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

#: AffectNet's order (Mollahosseini et al., 2017); ``Emotion.msg`` has the same numbers.
LABELS = ("neutral", "happy", "sad", "surprise", "fear", "disgust", "anger", "contempt")

#: One colour per label, RGB, told apart by colour-blind people too (Okabe and Ito, 2008).
COLOURS_RGB = (
    (187, 187, 187),
    (240, 228, 66),
    (86, 140, 233),
    (86, 210, 233),
    (204, 121, 167),
    (0, 158, 115),
    (230, 80, 30),
    (230, 159, 0),
)

#: Valence and arousal of each label, (8, 2) in [-1, 1]. Read off figure 4 of Russell, "A
#: Circumplex Model of Affect", 1980, to about 0.05: happy, sad, astonished, afraid, angry there.
#: Disgust: "disgusted" in Russell and Mehrabian, "Evidence for a Three-Factor Theory of
#: Emotions", 1977. Neither has contempt; it stands at Russell's "annoyed", which is our choice.
CIRCUMPLEX: NDArray[np.float32] = np.array(
    [
        [0.0, 0.0],
        [0.85, 0.5],
        [-0.65, -0.25],
        [0.15, 0.9],
        [-0.35, 0.65],
        [-0.6, 0.35],
        [-0.5, 0.6],
        [-0.55, 0.4],
    ],
    dtype=np.float32,
)


def affect_of(probabilities: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the expected valence and arousal (n, 2) of emotion distributions (n, 8)."""
    expected: NDArray[np.float32] = probabilities.astype(np.float32) @ CIRCUMPLEX
    return expected
