"""The eight emotions."""

from __future__ import annotations

import numpy as np
import pytest

from esr_core.emotions import CIRCUMPLEX, COLOURS_RGB, LABELS, affect_of


def test_labels_are_in_the_order_of_affectnet() -> None:
    assert LABELS == (
        "neutral",
        "happy",
        "sad",
        "surprise",
        "fear",
        "disgust",
        "anger",
        "contempt",
    )


def test_every_label_has_a_colour_of_its_own() -> None:
    assert len(set(COLOURS_RGB)) == len(LABELS)
    assert all(0 <= value <= 255 for colour in COLOURS_RGB for value in colour)


def test_circumplex_lies_in_the_unit_square_with_neutral_at_its_centre() -> None:
    assert CIRCUMPLEX.shape == (8, 2)
    assert np.abs(CIRCUMPLEX).max() <= 1
    assert CIRCUMPLEX[LABELS.index("neutral")].tolist() == [0, 0]


@pytest.mark.parametrize(
    ("label", "valence", "arousal"),
    [("happy", 1, 1), ("sad", -1, -1), ("fear", -1, 1), ("anger", -1, 1), ("surprise", 1, 1)],
)
def test_emotions_lie_in_russells_quadrants(label: str, valence: int, arousal: int) -> None:
    assert np.sign(CIRCUMPLEX[LABELS.index(label)]).tolist() == [valence, arousal]


def test_affect_of_a_certain_emotion_is_its_position() -> None:
    np.testing.assert_allclose(affect_of(np.eye(8, dtype=np.float32)), CIRCUMPLEX)


def test_affect_of_a_mixture_is_between() -> None:
    mixture = np.zeros((1, 8), np.float32)
    mixture[0, [1, 2]] = 0.75, 0.25
    expected = 0.75 * CIRCUMPLEX[1] + 0.25 * CIRCUMPLEX[2]
    np.testing.assert_allclose(affect_of(mixture)[0], expected, rtol=1e-6)


def test_affect_of_no_faces() -> None:
    assert affect_of(np.zeros((0, 8), np.float32)).shape == (0, 2)
