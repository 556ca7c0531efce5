"""Exponential smoothing of a face's predictions over time, and hysteresis of its label."""

from __future__ import annotations

import math
from typing import Dict, Iterable, Tuple

import numpy as np

from esr_core.perception.arrays import Floats


class EmaFilter:
    """Exponential moving average with a time constant, independent of the frame rate.

    ``value += (1 - exp(-dt / time_constant)) * (new - value)``; dt is the time between two
    detections of a face.
    """

    def __init__(self) -> None:
        self._state: Dict[int, Tuple[float, Floats]] = {}
        self._labels: Dict[int, int] = {}

    def update(self, face_id: int, values: Floats, time_s: float, time_constant_s: float) -> Floats:
        """Return the smoothed values (k,) of a face, read-only; the first pass unchanged."""
        values = values.copy()
        if time_constant_s > 0 and face_id in self._state:
            last_s, last = self._state[face_id]
            weight = 1 - math.exp(-(time_s - last_s) / time_constant_s)
            values = last + np.float32(weight) * (values - last)
        values.flags.writeable = False
        self._state[face_id] = (time_s, values)
        return values

    def label(self, face_id: int, probabilities: Floats, hysteresis: float) -> int:
        """Return the label of a face: the last one until another leads by ``hysteresis``."""
        best = int(probabilities.argmax())
        label = self._labels.get(face_id, best)
        if probabilities[best] - probabilities[label] >= hysteresis:
            label = best
        self._labels[face_id] = label
        return label

    def keep(self, face_ids: Iterable[int]) -> None:
        """Remove the state of all other faces."""
        kept = set(face_ids)
        self._state = {i: state for i, state in self._state.items() if i in kept}
        self._labels = {i: label for i, label in self._labels.items() if i in kept}
