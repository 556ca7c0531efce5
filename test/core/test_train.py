"""Training, on a few made-up faces."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Callable

import pytest
import torch

from esr_core import OptionError, checkpoint
from esr_core.crop import InputSpec
from esr_core.data.ferplus import read
from esr_core.model import ESR
from esr_core.train import Progress, Recipe, Stage, loss_of, one_cycle, train

MakeFerPlus = Callable[[str, int], Path]

TINY = Recipe(branches=1, stages=(Stage(56, 1),), batch_size=8, seed=3)


def test_training_leaves_a_checkpoint_that_says_how_it_came_about(
    tmp_path: Path, make_ferplus: MakeFerPlus
) -> None:
    data, seen = read(make_ferplus("x.npz", 24), "soft"), list[Progress]()
    report = train(data, data.subset(8), TINY, tmp_path / "out", seen.append)
    assert [(p.step, p.steps, p.epoch, p.size_px) for p in seen[:3]] == [
        (1, 3, 1, 56),
        (2, 3, 1, 56),
        (3, 3, 1, 56),
    ]
    assert [p.report for p in seen] == [None, None, None, report]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "Net-Base-Shared_Representations.pt",
        "Net-Branch_1.pt",
        "metadata.json",
    ]
    esr, metadata = checkpoint.load(tmp_path / "out")
    assert (metadata.name, metadata.branches) == ("ESR-1-ferplus", 1)
    assert metadata.input == InputSpec(size_px=56)
    assert metadata.record["stages"] == ["56x1"]
    assert metadata.record["training_images"] == 24
    assert metadata.record["seed"] == 3
    assert metadata.record["validation"] == json.loads(json.dumps(report.summary()))
    assert report.n == 8

    torch.manual_seed(TINY.seed)
    start = ESR(1).state_dict()
    learned = esr.state_dict()
    for name, tensor in learned.items():
        assert torch.isfinite(tensor).all(), name
        assert not torch.equal(tensor, start[name]), name


def test_same_seed_gives_the_same_weights(tmp_path: Path, make_ferplus: MakeFerPlus) -> None:
    data = read(make_ferplus("x.npz", 8), "soft")
    for name in ("a", "b"):
        train(data, data, TINY, tmp_path / name)
    first, again = (checkpoint.load(tmp_path / name)[0].state_dict() for name in ("a", "b"))
    torch.testing.assert_close(first, again, rtol=1e-4, atol=1e-5)


def test_attention_trains_and_stages_grow(tmp_path: Path, make_ferplus: MakeFerPlus) -> None:
    data, sizes = read(make_ferplus("x.npz", 4), "soft"), list[int]()
    recipe = Recipe(branches=1, diversified=True, stages=(Stage(54, 1), Stage(60, 1)), batch_size=4)
    train(data, data, recipe, tmp_path, lambda p: sizes.append(p.size_px) if p.report else None)
    _, metadata = checkpoint.load(tmp_path)
    assert sizes == [54, 60]
    assert metadata.name == "ESR*-1-ferplus"
    assert metadata.diversified
    assert metadata.input.size_px == 60


def test_too_few_images_for_a_batch(tmp_path: Path, make_ferplus: MakeFerPlus) -> None:
    data = read(make_ferplus("x.npz", 7), "soft")
    with pytest.raises(OptionError, match="7 images do not fill one batch of 8"):
        train(data, data, TINY, tmp_path)


def test_loss_falls_with_gradient_steps() -> None:
    torch.manual_seed(0)
    esr = ESR(1).train()
    views, emotions = torch.rand(4, 1, 54, 54), torch.eye(8)[:4]
    affect = torch.zeros(4, 2)
    optimizer = torch.optim.SGD(esr.parameters(), lr=0.05)
    losses = []
    for _ in range(6):
        loss = loss_of(esr, views, emotions, affect)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] - 0.3


def test_affect_does_not_push_back_on_the_emotions() -> None:
    """What affect should be changes its own layer's gradient and no other."""
    torch.manual_seed(0)
    esr = ESR(1).eval()
    views, emotions = torch.rand(2, 1, 54, 54), torch.eye(8)[:2]
    gradients = []
    for target in (-1.0, 1.0):
        esr.zero_grad()
        loss_of(esr, views, emotions, torch.full((2, 2), target)).backward()
        gradients.append({n: p.grad.clone() for n, p in esr.named_parameters()})
    for name, gradient in gradients[0].items():
        own = "fc_dimensional" in name
        assert torch.allclose(gradient, gradients[1][name], atol=1e-7) is not own, name


def test_rate_rises_to_its_peak_and_falls_to_nothing() -> None:
    rates = [one_cycle(i / 100, 0.1) for i in range(100)]
    assert rates[0] == pytest.approx(0.1)
    assert rates.index(max(rates)) == 10
    assert max(rates) == pytest.approx(1)
    assert rates[:11] == sorted(rates[:11])
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[-1] < 0.001


def test_stage_is_written_as_size_and_epochs() -> None:
    assert Stage.parse("56x4") == Stage(56, 4)


@pytest.mark.parametrize("text", ["", "56", "56x", "x4", "56x4x2", "bigx4", "56x1.5"])
def test_stage_that_cannot_be_read(text: str) -> None:
    with pytest.raises(OptionError, match="SIZExEPOCHS such as 56x4"):
        Stage.parse(text)


@pytest.mark.parametrize("text", ["53x1", "56x0", "-96x2"])
def test_stage_out_of_range(text: str) -> None:
    with pytest.raises(OptionError, match="size from 54 px and an epoch or more"):
        Stage.parse(text)
