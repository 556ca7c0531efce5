"""Emotions change slower than frames do: a mean over time and a steady label, per face."""

from __future__ import annotations

import math
from typing import Dict, Iterable, Tuple

import numpy as np
from numpy.typing import NDArray


class EmaFilter:
    """First-order low pass with a time constant, so that the frame rate does not matter.

    ``value += (1 - exp(-dt / time_constant)) * (new - value)``; dt is the time between the
    stamps at which this face was seen.
    """

    def __init__(self) -> None:
        self._state: Dict[int, Tuple[float, NDArray[np.float32]]] = {}
        self._labels: Dict[int, int] = {}

    def update(
        self, face_id: int, values: NDArray[np.float32], stamp_s: float, time_constant_s: float
    ) -> NDArray[np.float32]:
        """Return the smoothed values (k,) of a face; its first sighting passes unchanged."""
        if time_constant_s > 0 and face_id in self._state:
            before_s, before = self._state[face_id]
            elapsed_s = max(stamp_s - before_s, 0.0)
            weight = 1 - math.exp(-elapsed_s / time_constant_s)
            values = before + np.float32(weight) * (values - before)
        self._state[face_id] = (stamp_s, values)
        return values

    def label(self, face_id: int, probabilities: NDArray[np.float32], hysteresis: float) -> int:
        """Return the emotion to name: the one before, until another leads by ``hysteresis``."""
        best = int(probabilities.argmax())
        named = self._labels.get(face_id, best)
        if probabilities[best] - probabilities[named] >= hysteresis:
            named = best
        self._labels[face_id] = named
        return named

    def keep(self, face_ids: Iterable[int]) -> None:
        """Forget all faces but these."""
        kept = set(face_ids)
        self._state = {i: state for i, state in self._state.items() if i in kept}
        self._labels = {i: label for i, label in self._labels.items() if i in kept}
