"""Temperature scaling: one number that makes an ensemble as sure as it is right.

Guo, Pleiss, Sun, Weinberger, "On Calibration of Modern Neural Networks", ICML 2017, section 4.2;
here the branches share the temperature, and the likelihood is that of their mean.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

#: Where the temperature is looked for.
LOWEST, HIGHEST = 0.1, 10.0
_GOLDEN = (math.sqrt(5) - 1) / 2


def mean_probabilities(
    logits: NDArray[np.float32], temperature: float = 1.0
) -> NDArray[np.float64]:
    """Return the mean over branches of their softmax: (n, branches, 8) → (n, 8)."""
    probable: NDArray[np.float64] = np.exp(log_softmax(logits, temperature)).mean(axis=1)
    return probable


def log_softmax(logits: NDArray[np.float32], temperature: float = 1.0) -> NDArray[np.float64]:
    """Return the logarithm of the softmax over the last axis."""
    scaled = logits.astype(np.float64) / temperature
    shifted = scaled - scaled.max(axis=-1, keepdims=True)
    probable: NDArray[np.float64] = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return probable


def fit_temperature(logits: NDArray[np.float32], target: NDArray[np.int64]) -> float:
    """Return the temperature at which the labels are the most likely.

    logits: (n, branches, 8), of faces that were not trained on. target: (n,) their labels. A golden
    section search over the logarithm, to a thousandth; the likelihood has one maximum there.
    """
    rows = np.arange(len(target))

    def loss(log_temperature: float) -> float:
        told = mean_probabilities(logits, math.exp(log_temperature))[rows, target]
        return float(-np.log(np.maximum(told, 1e-300)).mean())

    low, high = math.log(LOWEST), math.log(HIGHEST)
    inner = [high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)]
    losses = [loss(place) for place in inner]
    while high - low > 1e-3:
        if losses[0] < losses[1]:
            high = inner[1]
            inner = [high - _GOLDEN * (high - low), inner[0]]
            losses = [loss(inner[0]), losses[0]]
        else:
            low = inner[0]
            inner = [inner[1], low + _GOLDEN * (high - low)]
            losses = [losses[1], loss(inner[1])]
    return round(math.exp((low + high) / 2), 3)
