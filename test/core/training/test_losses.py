"""The losses of the branches, against explicit sums."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from esr_core.network.esr import ESR
from esr_core.training.config import Phase, TrainingConfig
from esr_core.training.distributed import Group
from esr_core.training.losses import (
    Objective,
    affect_loss,
    diversity_loss,
    emotion_loss,
    similarity,
)

EXACT = TrainingConfig(branches=2, precision="fp32")


def objective(esr: ESR, config: TrainingConfig = EXACT, learns: str = "both") -> Objective:
    phase = Phase("test", esr.get_ensemble_size(), (54,), learns)
    return Objective(esr, config, phase, Group())


def batch(count: int = 3) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    views = torch.rand(count, 1, 54, 54, generator=generator)
    emotions = torch.rand(count, 8, generator=generator)
    affect = torch.rand(count, 2, generator=generator) * 2 - 1
    return views, emotions / emotions.sum(dim=1, keepdim=True), affect


def cross_entropy(logits: list[float], target: list[float]) -> float:
    total = math.log(math.fsum(math.exp(v) for v in logits))
    return -math.fsum(p * (v - total) for p, v in zip(target, logits))


def test_emotion_loss_is_the_cross_entropy_to_the_distribution() -> None:
    logits, emotions = torch.randn(2, 3, 8), batch()[1]
    expected = [
        math.fsum(map(cross_entropy, rows, emotions.tolist())) / 3 for rows in logits.tolist()
    ]
    assert emotion_loss(logits, emotions).tolist() == pytest.approx(expected, rel=1e-5)


def test_affect_loss_is_one_root_for_valence_and_one_for_arousal() -> None:
    estimates, affect = torch.randn(2, 3, 2), batch()[2]
    expected = [
        math.fsum(
            math.sqrt(math.fsum((rows[n][d] - affect.tolist()[n][d]) ** 2 for n in range(3)) / 3)
            for d in range(2)
        )
        for rows in estimates.tolist()
    ]
    assert affect_loss(estimates, affect, Group()).tolist() == pytest.approx(expected, rel=1e-5)


def test_exact_affect_has_a_finite_gradient() -> None:
    estimates = torch.zeros(1, 2, 2, requires_grad=True)
    affect_loss(estimates, torch.zeros(2, 2), Group()).sum().backward()
    assert estimates.grad is not None
    assert bool(torch.isfinite(estimates.grad).all())


@pytest.mark.parametrize(("reduction", "share"), [("mean", 0.5), ("sum", 1.0)])
def test_total_is_emotions_and_derived_affect_of_all_branches(reduction: str, share: float) -> None:
    torch.manual_seed(0)
    esr = ESR(2).eval()
    views, emotions, affect = batch()
    losses = objective(esr, replace(EXACT, reduction=reduction))(views, emotions, affect)
    with torch.no_grad():
        scores = esr(views.expand(3, 3, 54, 54))
    each = [
        float(emotion_loss(scores.emotions, emotions)[k])
        + float((scores.affect[k] - affect).square().mean())
        for k in range(2)
    ]
    assert losses.branches.tolist() == pytest.approx(each, rel=1e-5)
    assert float(losses.total.detach()) == pytest.approx(share * sum(each), rel=1e-5)
    right = (scores.emotions.argmax(2) == emotions.argmax(1)).float().mean(1)
    assert losses.correct.tolist() == pytest.approx(right.tolist())


def test_balanced_branches_learn_from_their_own_loss_and_the_base_from_the_mean() -> None:
    gradients = {}
    for reduction in ("balanced", "sum", "mean"):
        torch.manual_seed(0)
        esr = ESR(2)
        losses = objective(esr, replace(EXACT, reduction=reduction), "emotions")(*batch())
        losses.total.backward()
        gradients[reduction] = {
            name: parameter.grad
            for name, parameter in esr.named_parameters()
            if "fc_dimensional" not in name
        }
    for name, gradient in gradients["balanced"].items():
        wanted = gradients["mean" if name.startswith("base") else "sum"][name]
        torch.testing.assert_close(gradient, wanted, rtol=1e-4, atol=1e-6)


def test_targets_of_unlike_branches() -> None:
    """A branch learns from its own targets, and not at all from faces outside of its bag."""
    logits, targets = torch.randn(2, 3, 8), torch.eye(8)[torch.tensor([[0, 1, 2], [3, 4, 5]])]
    targets[1, 2] = 0
    expected = -torch.stack([logits.log_softmax(2)[0, [0, 1, 2], [0, 1, 2]].sum() / 3])
    losses = emotion_loss(logits, targets)
    assert float(losses[0]) == pytest.approx(float(expected), rel=1e-5)
    assert float(losses[1]) == pytest.approx(
        -float(logits.log_softmax(2)[1, [0, 1], [3, 4]].sum()) / 3, rel=1e-5
    )


def test_adjusted_loss_of_the_last_branch() -> None:
    """Menon et al., 2021, equation 10: tau times the logarithm of the shares is added."""
    shares = torch.tensor([0.4, 0.3, 0.1, 0.1, 0.04, 0.03, 0.02, 0.01])
    torch.manual_seed(0)
    esr, config = ESR(3).eval(), replace(EXACT, branches=3, balance=0.8)
    phase = Phase("test", 3, (54,), "emotions")
    views, emotions, affect = batch()
    losses = Objective(esr, config, phase, Group(), shares)(views, emotions, affect)
    with torch.no_grad():
        logits = esr(views.expand(3, 3, 54, 54)).emotions
    for k, tau in enumerate((0.0, 0.4, 0.8)):
        wanted = emotion_loss(logits[k : k + 1] + tau * shares.log(), emotions)
        assert float(losses.branches[k]) == pytest.approx(float(wanted), rel=1e-5)


def test_dropped_channels_are_those_of_each_branch() -> None:
    torch.manual_seed(0)
    esr = ESR(2).eval()
    views, kept = torch.rand(3, 3, 54, 54), torch.ones(2, 3, 128)
    kept[1, :, :64] = 0
    with torch.no_grad():
        shared = esr.base(views)
        plain, dropped = esr(views).emotions, esr(views, kept).emotions
        shared[:, :64] = 0
        wanted = esr.convolutional_branches[1](shared)[0]
    torch.testing.assert_close(dropped[0], plain[0])
    torch.testing.assert_close(dropped[1], wanted)


@pytest.mark.parametrize("kind", ["direct", "logdet", "none"])
def test_diversity_is_added_for_spatial_and_channel_attention(kind: str) -> None:
    torch.manual_seed(0)
    esr = ESR(3, diversified=True).eval()
    views, emotions, affect = batch()
    config = replace(EXACT, diversity=kind, diversity_weight=0.3, gamma=2.0)
    losses = objective(esr, config, "emotions")(views, emotions, affect)
    with torch.no_grad():
        scores = esr(views.expand(3, 3, 54, 54))
    assert scores.attention is not None
    expected = float(emotion_loss(scores.emotions, emotions).mean())
    if kind != "none":
        for attention in scores.attention:
            expected += 0.3 * float(diversity_loss(similarity(attention, 2.0), kind))
    assert float(losses.total.detach()) == pytest.approx(expected, rel=1e-5)


def test_loss_falls_with_gradient_steps() -> None:
    torch.manual_seed(0)
    esr = ESR(1).train()
    views, affect = torch.rand(4, 1, 54, 54), torch.zeros(4, 2)
    minimised = objective(esr, TrainingConfig(branches=1))
    optimizer = torch.optim.SGD(esr.parameters(), lr=0.05)
    totals = []
    for _ in range(6):
        loss = minimised(views, torch.eye(8)[:4], affect).total
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        totals.append(loss.item())
    assert totals[-1] < totals[0] - 0.3


def test_derived_affect_does_not_push_back_on_the_emotions() -> None:
    """The targets of affect change the gradient of its own layer and of no other."""
    torch.manual_seed(0)
    esr = ESR(1).eval()
    views, emotions, _ = batch(2)
    gradients = []
    for target in (-1.0, 1.0):
        esr.zero_grad()
        objective(esr)(views, emotions, torch.full((2, 2), target)).total.backward()
        gradients.append({n: p.grad.clone() for n, p in esr.named_parameters()})
    for name, gradient in gradients[0].items():
        own = "fc_dimensional" in name
        assert torch.allclose(gradient, gradients[1][name], atol=1e-7) is not own, name


def test_bf16_costs_about_the_same_as_fp32() -> None:
    torch.manual_seed(0)
    esr = ESR(2).train()
    exact, rounded = (
        float(objective(esr, replace(EXACT, precision=p))(*batch()).total.detach())
        for p in ("fp32", "bf16")
    )
    assert rounded == pytest.approx(exact, rel=0.05)
    assert rounded != exact
