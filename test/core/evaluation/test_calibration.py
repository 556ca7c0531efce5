"""Temperature scaling, logit adjustment, and the margin of the early exit."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from esr_core.evaluation.calibration import (
    adjustment,
    exit_early,
    fit_balance,
    fit_exit_margin,
    fit_temperature,
    mean_probabilities,
)
from esr_core.evaluation.metrics import calibration_error


def drawn(n: int, branches: int, scale: float) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Logits of branches that overstate the true odds, and labels drawn by the odds."""
    random = np.random.default_rng(11)
    logits = random.normal(scale=1.5, size=(n, 1, 8)).repeat(branches, axis=1)
    odds = mean_probabilities(logits.astype(np.float32))
    target = (odds.cumsum(axis=1) < random.random((n, 1))).sum(axis=1).clip(0, 7)
    return (logits * scale).astype(np.float32), target


@pytest.mark.parametrize("scale", [0.4, 1.0, 3.0])
def test_overstated_logits_are_rescaled(scale: float) -> None:
    logits, target = drawn(20_000, 3, scale)
    temperature = fit_temperature(logits, target)
    assert temperature == pytest.approx(scale, rel=0.05)
    probabilities = mean_probabilities(logits, temperature)
    right = probabilities.argmax(axis=1) == target
    assert calibration_error(probabilities.max(axis=1).astype(np.float32), right) < 0.02


def test_no_other_temperature_makes_the_labels_likelier() -> None:
    random = np.random.default_rng(2)
    logits = random.normal(scale=4, size=(300, 4, 8)).astype(np.float32)
    target = (logits.mean(axis=1) + random.normal(scale=2, size=(300, 8))).argmax(axis=1)

    def loss(temperature: float) -> float:
        probabilities = torch.from_numpy(logits / temperature).softmax(dim=2).mean(dim=1)
        return float(torch.nn.functional.nll_loss(probabilities.log(), torch.from_numpy(target)))

    best = loss(fit_temperature(logits, target))
    assert best <= min(loss(t) for t in np.geomspace(0.2, 9, 200)) + 1e-5


@pytest.mark.parametrize("sign", [1, -1])
def test_labels_that_are_always_or_never_right_end_at_a_bound(sign: int) -> None:
    target = np.arange(16) % 8
    logits = sign * np.eye(8, dtype=np.float32)[target][:, None] * 0.5
    temperature = fit_temperature(logits, target)
    assert temperature == pytest.approx(0.1 if sign > 0 else 10, rel=0.01)
    assert np.isfinite(mean_probabilities(logits * 1000, temperature)).all()


def nested(n: int = 4000) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Logits of five branches that are right more often than not, and the labels."""
    random = np.random.default_rng(6)
    target = random.integers(0, 8, n)
    logits = random.normal(size=(n, 5, 8)) + random.normal(size=(n, 1, 8))
    logits[np.arange(n), :, target] += random.exponential(3.0, (n, 1))
    return logits.astype(np.float32), target


def test_larger_margins_evaluate_more_branches() -> None:
    logits, _ = nested()
    counts = [exit_early(logits, margin)[1].mean() for margin in (0.0, 0.2, 0.5, 0.8, 2.0)]
    assert counts[0] == 1
    assert counts[-1] == 5
    assert counts == sorted(counts)
    mean, _ = exit_early(logits, 2.0)
    np.testing.assert_allclose(mean, mean_probabilities(logits))


@pytest.mark.parametrize("cost", [0.0, 0.001, 0.02])
def test_fitted_margin_costs_no_more_than_allowed(cost: float) -> None:
    logits, target = nested()

    def accuracy(margin: float) -> float:
        return float((exit_early(logits, margin)[0].argmax(axis=1) == target).mean())

    margin = fit_exit_margin(logits, target, cost=cost)
    allowed = accuracy(2.0) - cost
    assert all(accuracy(wider) >= allowed for wider in np.arange(margin, 1.0, 0.01))
    assert accuracy(margin - 0.01) < allowed
    assert exit_early(logits, margin)[1].mean() < 4.5


def test_identical_branches_need_no_margin() -> None:
    logits, target = nested()
    assert fit_exit_margin(logits[:, :1].repeat(5, axis=1), target) == 0.0


def test_adjustment_is_that_of_the_paper() -> None:
    """Menon et al., 2021, equation 9: tau times the logarithm of the shares is subtracted."""
    target = np.repeat(np.arange(8), [50, 20, 10, 8, 6, 4, 2, 0])
    bias = adjustment(target, 0.5)
    expected = [-0.5 * math.log(n / 100) for n in (50, 20, 10, 8, 6, 4, 2)]
    np.testing.assert_allclose(bias[:7], expected, rtol=1e-5)
    assert bias[7] == bias[0]  # a label without faces is not raised
    assert not adjustment(target, 0.0).any()


def unbalanced() -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Logits of branches that take a rare label for the frequent one, and the labels."""
    random = np.random.default_rng(3)
    shares = [0.6, 0.2, 0.08, 0.06, 0.03, 0.01, 0.01, 0.01]
    target = random.choice(8, 6000, p=shares)
    logits = random.normal(scale=1.2, size=(6000, 3, 8)).astype(np.float32)
    logits[np.arange(6000), :, target] += 3.0
    return logits + 1.5 * np.log(shares).astype(np.float32), target


def test_fitted_tau_raises_macro_f1_at_no_loss_of_accuracy() -> None:
    logits, target = unbalanced()
    best, curve = fit_balance(logits, target)
    assert [each.tau for each in curve] == [round(0.05 * i, 2) for i in range(21)]
    assert best in curve
    assert best.tau > 0
    assert best.accuracy >= curve[0].accuracy
    assert best.macro_f1 > curve[0].macro_f1 + 0.02
    for each in curve:
        assert each.accuracy < curve[0].accuracy or each.macro_f1 <= best.macro_f1
        biased = mean_probabilities(logits + adjustment(target, each.tau)).argmax(axis=1)
        assert each.accuracy == (biased == target).mean()
        f1 = [
            2 * ((biased == k) & (target == k)).sum() / ((biased == k).sum() + (target == k).sum())
            for k in range(8)
        ]
        assert each.macro_f1 == pytest.approx(np.mean(f1))
