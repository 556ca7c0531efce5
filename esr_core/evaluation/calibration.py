"""Calibration on faces that were not trained on: temperature, bias, and the early exit's margin.

Temperature scaling (Guo, Pleiss, Sun, Weinberger, "On Calibration of Modern Neural Networks", ICML
2017, section 4.2) matches confidence to accuracy; here the branches share the temperature, and the
likelihood is that of their mean. Logit adjustment (Menon et al., "Long-tail learning via logit
adjustment", ICLR 2021, equation 9) raises rare emotions, which are predicted too seldom.
"""

from __future__ import annotations

import math
from typing import List, NamedTuple, Tuple

import numpy as np
from numpy.typing import NDArray

from esr_core.emotions import LABELS
from esr_core.inference.metadata import NO_EARLY_EXIT

Floats = NDArray[np.float32]
Logits = Floats  # (n, branches, 8)
Labels = NDArray[np.int64]  # indices into LABELS, (n,) unless stated otherwise
#: Bounds of the temperature.
LOWEST, HIGHEST = 0.1, 10.0
#: Share of the faces that the early exit may get wrong in addition.
EXIT_COST = 0.001
#: Candidates for tau, the strength of the logit adjustment.
TAUS = tuple(i / 20 for i in range(21))
_GOLDEN = (math.sqrt(5) - 1) / 2


def mean_probabilities(logits: Logits, temperature: float = 1.0) -> NDArray[np.float64]:
    """Return the mean over branches of their softmax: (n, branches, 8) → (n, 8)."""
    mean: NDArray[np.float64] = np.exp(log_softmax(logits, temperature)).mean(axis=1)
    return mean


def log_softmax(logits: Floats, temperature: float = 1.0) -> NDArray[np.float64]:
    """Return the logarithm of the softmax over the last axis."""
    scaled = logits.astype(np.float64) / temperature
    shifted = scaled - scaled.max(axis=-1, keepdims=True)
    result: NDArray[np.float64] = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return result


def fit_temperature(logits: Logits, target: Labels) -> float:
    """Return the temperature that maximizes the likelihood of the labels.

    By golden section search over its logarithm, to a thousandth; there is one maximum.
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


class Balance(NamedTuple):
    """The effect of one tau on the mean of the branches."""

    tau: float
    accuracy: float
    macro_f1: float


def adjustment(target: Labels, tau: float) -> Floats:
    """Return the bias (8,) of the logits: -tau times the logarithm of each label's share.

    A label without a face has the bias of the most frequent one, the lowest.
    """
    shares = np.bincount(target, minlength=len(LABELS)) / len(target)
    shares[shares == 0] = shares.max()
    return np.asarray(-tau * np.log(shares), np.float32)


def fit_balance(logits: Logits, target: Labels) -> Tuple[Balance, List[Balance]]:
    """Return the tau with the highest macro F1 that costs no accuracy, and all of TAUS."""
    curve = []
    for tau in TAUS:
        predicted = mean_probabilities(logits + adjustment(target, tau)).argmax(axis=1)
        accuracy = float((predicted == target).mean())
        curve.append(Balance(tau, accuracy, macro_f1(confusion_matrix(target, predicted))))
    free = [each for each in curve if each.accuracy >= curve[0].accuracy]
    return max(free, key=lambda each: each.macro_f1), curve


def confusion_matrix(target: Labels, predicted: Labels) -> NDArray[np.int64]:
    """Return the number of faces of each label (rows) that have each prediction (columns)."""
    confusion = np.zeros((len(LABELS), len(LABELS)), np.int64)
    np.add.at(confusion, (target, predicted), 1)
    return confusion


def macro_f1(confusion: NDArray[np.int64]) -> float:
    """Return the mean F1 score of the labels that occur."""
    actual = confusion.sum(axis=1)
    f1 = 2 * np.diag(confusion) / np.maximum(actual + confusion.sum(axis=0), 1)
    return float(f1[actual > 0].mean())


def exit_early(logits: Logits, margin: float) -> Tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return the outputs of an ensemble that evaluates all branches only if the first is unsure.

    margin: by which the first branch's likeliest emotion must exceed the next one. Returns
    probabilities (n, 8) and the number of evaluated branches (n,), as
    :mod:`esr_core.network.onnx_export`.
    """
    first = mean_probabilities(logits[:, :1])
    second, likeliest = np.sort(first, axis=1)[:, -2:].T
    unsure = likeliest - second < margin
    probabilities = np.where(unsure[:, None], mean_probabilities(logits), first)
    return probabilities, np.where(unsure, logits.shape[1], 1)


def fit_exit_margin(logits: Logits, target: Labels, cost: float = EXIT_COST) -> float:
    """Return the smallest margin, in hundredths, above which at most ``cost`` is lost.

    cost: loss of accuracy compared with all branches, as a share of the faces.
    """
    least = (mean_probabilities(logits).argmax(axis=1) == target).mean() - cost
    fitted = NO_EARLY_EXIT
    for hundredths in range(100, -1, -1):
        probabilities, _ = exit_early(logits, hundredths / 100)
        if (probabilities.argmax(axis=1) == target).mean() < least:
            break
        fitted = hundredths / 100
    return fitted
