"""Calibration on faces that were not trained on: the temperature, and the early exit's margin.

Temperature scaling (Guo, Pleiss, Sun, Weinberger, "On Calibration of Modern Neural Networks", ICML
2017, section 4.2) matches confidence to accuracy; here the branches share the temperature, and the
likelihood is that of their mean.
"""

from __future__ import annotations

import math
from typing import Tuple

import numpy as np
from numpy.typing import NDArray

from esr_core.inference.metadata import NO_EARLY_EXIT

Logits = NDArray[np.float32]  # (n, branches, 8)
Labels = NDArray[np.int64]  # (n,)
#: Bounds of the temperature.
LOWEST, HIGHEST = 0.1, 10.0
#: Share of the faces that the early exit may get wrong in addition.
EXIT_COST = 0.001
_GOLDEN = (math.sqrt(5) - 1) / 2


def mean_probabilities(logits: Logits, temperature: float = 1.0) -> NDArray[np.float64]:
    """Return the mean over branches of their softmax: (n, branches, 8) → (n, 8)."""
    mean: NDArray[np.float64] = np.exp(log_softmax(logits, temperature)).mean(axis=1)
    return mean


def log_softmax(logits: NDArray[np.float32], temperature: float = 1.0) -> NDArray[np.float64]:
    """Return the logarithm of the softmax over the last axis."""
    scaled = logits.astype(np.float64) / temperature
    shifted = scaled - scaled.max(axis=-1, keepdims=True)
    result: NDArray[np.float64] = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return result


def fit_temperature(logits: Logits, target: Labels) -> float:
    """Return the temperature that maximizes the likelihood of the labels.

    A golden section search over the logarithm, to a thousandth; the likelihood has one maximum.
    """
    rows = np.arange(len(target))

    def loss(log_temperature: float) -> float:
        probabilities = mean_probabilities(logits, math.exp(log_temperature))[rows, target]
        return float(-np.log(np.maximum(probabilities, 1e-300)).mean())

    low, high = math.log(LOWEST), math.log(HIGHEST)
    while high - low > 1e-3:
        step = _GOLDEN * (high - low)
        if loss(high - step) < loss(low + step):
            high = low + step
        else:
            low = high - step
    return round(math.exp((low + high) / 2), 3)


def exit_early(
    logits: Logits, margin: float, temperature: float = 1.0
) -> Tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return the outputs of an ensemble that evaluates all branches only if the first is unsure.

    margin: by which the first branch's likeliest emotion must exceed the next one. Returns
    probabilities (n, 8) and the number of evaluated branches (n,), as
    :mod:`esr_core.network.onnx_export`.
    """
    first = mean_probabilities(logits[:, :1], temperature)
    second, likeliest = np.sort(first, axis=1)[:, -2:].T
    unsure = likeliest - second < margin
    evaluated: NDArray[np.int64] = np.where(unsure, logits.shape[1], 1)
    mean = mean_probabilities(logits, temperature)
    return np.where(unsure[:, None], mean, first), evaluated


def fit_exit_margin(
    logits: Logits, target: Labels, temperature: float = 1.0, cost: float = EXIT_COST
) -> float:
    """Return the smallest margin, in hundredths, above which at most ``cost`` is lost.

    cost: loss of accuracy compared with all branches, as a share of the faces.
    """
    least = (mean_probabilities(logits, temperature).argmax(axis=1) == target).mean() - cost
    fitted = NO_EARLY_EXIT
    for hundredths in range(100, -1, -1):
        probabilities, _ = exit_early(logits, hundredths / 100, temperature)
        if (probabilities.argmax(axis=1) == target).mean() < least:
            break
        fitted = hundredths / 100
    return fitted
