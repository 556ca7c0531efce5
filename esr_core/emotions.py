"""The eight emotions: order, labels, colours, and positions in valence and arousal."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

# One row per emotion: label, RGB colour of its boxes, bars and charts, (valence, arousal).
#
# Order: AffectNet (Mollahosseini et al., 2017), as in ``Emotion.msg``. Colours: distinguishable
# with colour blindness (Okabe and Ito, 2008). Valence and arousal in [-1, 1]: read from figure 4
# of Russell, "A Circumplex Model of Affect", 1980, to about 0.05, for happy, sad, astonished,
# afraid and angry; disgust: "disgusted" in Russell and Mehrabian, "Evidence for a Three-Factor
# Theory of Emotions", 1977. Neither has contempt; Russell's "annoyed" is this project's choice.
_EMOTIONS = (
    ("neutral", (187, 187, 187), (0.0, 0.0)),
    ("happy", (240, 228, 66), (0.85, 0.5)),
    ("sad", (86, 140, 233), (-0.65, -0.25)),
    ("surprise", (86, 210, 233), (0.15, 0.9)),
    ("fear", (204, 121, 167), (-0.35, 0.65)),
    ("disgust", (0, 158, 115), (-0.6, 0.35)),
    ("anger", (230, 80, 30), (-0.5, 0.6)),
    ("contempt", (230, 159, 0), (-0.55, 0.4)),
)
LABELS = tuple(label for label, _, _ in _EMOTIONS)
COLOURS_RGB = tuple(colour for _, colour, _ in _EMOTIONS)
#: Valence and arousal of each label, (8, 2).
CIRCUMPLEX: NDArray[np.float32] = np.array([affect for _, _, affect in _EMOTIONS], np.float32)


def affect_of(probabilities: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the expected valence and arousal (n, 2) of emotion distributions (n, 8)."""
    expected: NDArray[np.float32] = probabilities.astype(np.float32) @ CIRCUMPLEX
    return expected
