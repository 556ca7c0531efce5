"""What is fitted to faces that were not trained on: how sure an ensemble is, and when it stops.

Temperature scaling (Guo, Pleiss, Sun, Weinberger, "On Calibration of Modern Neural Networks", ICML
2017, section 4.2) makes it as sure as it is right; here the branches share the temperature, and the
likelihood is that of their mean. The lead says when no more branches are asked.
"""

from __future__ import annotations

import math
from typing import Tuple

import numpy as np
from numpy.typing import NDArray

from esr_core.inference.metadata import NO_EARLY_EXIT

#: Where the temperature is looked for.
LOWEST, HIGHEST = 0.1, 10.0
#: Share of the faces that may come out wrong for branches that were not asked.
LEAD_COST = 0.001
_GOLDEN = (math.sqrt(5) - 1) / 2


def mean_probabilities(
    logits: NDArray[np.float32], temperature: float = 1.0
) -> NDArray[np.float64]:
    """Return the mean over branches of their softmax: (n, branches, 8) → (n, 8)."""
    probable: NDArray[np.float64] = np.exp(log_softmax(logits, temperature)).mean(axis=1)
    return probable


def summed_probabilities(
    logits: NDArray[np.float32], temperature: float = 1.0
) -> NDArray[np.float64]:
    """Return the sums over the first 1, 2, … branches of their softmax, (n, branches, 8)."""
    summed: NDArray[np.float64] = np.exp(log_softmax(logits, temperature)).cumsum(axis=1)
    return summed


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


def branches_asked(
    logits: NDArray[np.float32], lead: float, temperature: float = 1.0
) -> Tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return what an ensemble says that asks its first branch, then all if that leaves doubt.

    logits: (n, branches, 8). Returns probabilities (n, 8) and how many were asked (n,), as
    :mod:`esr_core.network.early_exit` has them.
    """
    first = mean_probabilities(logits[:, :1], temperature)
    undecided = _lead(first) < lead
    everyone = mean_probabilities(logits, temperature)
    asked: NDArray[np.int64] = np.where(undecided, logits.shape[1], 1)
    return np.where(undecided[:, None], everyone, first), asked


def fit_lead(
    logits: NDArray[np.float32],
    target: NDArray[np.int64],
    temperature: float = 1.0,
    cost: float = LEAD_COST,
) -> float:
    """Return the smallest lead, in hundredths, from which on no more than ``cost`` is lost.

    logits: (n, branches, 8), of faces that were not trained on. target: (n,) their labels. cost:
    of the accuracy with all branches, as a share of the faces.
    """
    least = (mean_probabilities(logits, temperature).argmax(axis=1) == target).mean() - cost
    fitted = NO_EARLY_EXIT
    for hundredths in range(100, -1, -1):
        told, _ = branches_asked(logits, hundredths / 100, temperature)
        if (told.argmax(axis=1) == target).mean() < least:
            break
        fitted = hundredths / 100
    return fitted


def _lead(probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return by how much the likeliest emotion leads the next: (n, 8) → (n,)."""
    second, first = np.sort(probabilities, axis=1)[:, -2:].T
    lead: NDArray[np.float64] = first - second
    return lead
