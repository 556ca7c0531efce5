"""One temperature that makes an ensemble as sure as it is right."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from esr_core.calibration import fit_temperature, mean_probabilities
from esr_core.evaluate import calibration_error


def drawn(n: int, branches: int, scale: float) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Logits of branches that know the odds and overstate them, and labels drawn by the odds."""
    random = np.random.default_rng(11)
    logits = random.normal(scale=1.5, size=(n, 1, 8)).repeat(branches, axis=1)
    odds = mean_probabilities(logits.astype(np.float32))
    target = (odds.cumsum(axis=1) < random.random((n, 1))).sum(axis=1).clip(0, 7)
    return (logits * scale).astype(np.float32), target


@pytest.mark.parametrize("scale", [0.4, 1.0, 3.0])
def test_what_was_overstated_is_found(scale: float) -> None:
    logits, target = drawn(20_000, 3, scale)
    temperature = fit_temperature(logits, target)
    assert temperature == pytest.approx(scale, rel=0.05)
    told = mean_probabilities(logits, temperature)
    right = told.argmax(axis=1) == target
    assert calibration_error(told.max(axis=1).astype(np.float32), right) < 0.02


def test_no_other_temperature_makes_the_labels_likelier() -> None:
    random = np.random.default_rng(2)
    logits = random.normal(scale=4, size=(300, 4, 8)).astype(np.float32)
    target = (logits.mean(axis=1) + random.normal(scale=2, size=(300, 8))).argmax(axis=1)

    def loss(temperature: float) -> float:
        told = torch.from_numpy(logits / temperature).softmax(dim=2).mean(dim=1)
        return float(torch.nn.functional.nll_loss(told.log(), torch.from_numpy(target)))

    best = loss(fit_temperature(logits, target))
    assert best <= min(loss(t) for t in np.geomspace(0.2, 9, 200)) + 1e-5


@pytest.mark.parametrize("sign", [1, -1])
def test_labels_that_are_always_or_never_right_end_at_a_bound(sign: int) -> None:
    target = np.arange(16) % 8
    logits = sign * np.eye(8, dtype=np.float32)[target][:, None] * 0.5
    temperature = fit_temperature(logits, target)
    assert temperature == pytest.approx(0.1 if sign > 0 else 10, rel=0.01)
    assert np.isfinite(mean_probabilities(logits * 1000, temperature)).all()
