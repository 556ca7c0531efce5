"""The network: names of the published checkpoints, shapes, and the mean over branches."""

from __future__ import annotations

import pytest
import torch

from esr_core.errors import ModelError
from esr_core.network.esr import CBAM, ESR, Base, Branch, Ensemble

NORM = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
LAYERS = range(1, 5)


def stack_names(diversified: bool) -> set[str]:
    """Return the names that are common to base and branch."""
    names = {f"conv{i}.{part}" for i in LAYERS for part in ("weight", "bias")}
    names |= {f"bn{i}.{part}" for i in LAYERS for part in NORM}
    if diversified:
        for i in LAYERS:
            mlp = f"cbam{i}.ChannelGate.mlp"
            names |= {f"{mlp}.{j}.{part}" for j in (1, 3) for part in ("weight", "bias")}
            names.add(f"cbam{i}.SpatialGate.spatial.conv.weight")
            names |= {f"cbam{i}.SpatialGate.spatial.bn.{part}" for part in NORM}
    return names


@pytest.mark.parametrize("diversified", [False, True])
def test_base_has_the_names_of_the_published_checkpoints(diversified: bool) -> None:
    assert set(Base(diversified).state_dict()) == stack_names(diversified)


@pytest.mark.parametrize("diversified", [False, True])
def test_branch_has_the_names_of_the_published_checkpoints(diversified: bool) -> None:
    heads = {f"{h}.{p}" for h in ("fc", "fc_dimensional") for p in ("weight", "bias")}
    assert set(Branch(diversified).state_dict()) == stack_names(diversified) | heads


def test_base_has_the_published_sizes() -> None:
    weights = Base().state_dict()
    assert [tuple(weights[f"conv{i}.weight"].shape) for i in LAYERS] == [
        (64, 3, 5, 5),
        (128, 64, 3, 3),
        (128, 128, 3, 3),
        (128, 128, 3, 3),
    ]


def test_branch_has_the_published_sizes() -> None:
    weights = Branch().state_dict()
    assert [tuple(weights[f"conv{i}.weight"].shape) for i in LAYERS] == [
        (128, 128, 3, 3),
        (256, 128, 3, 3),
        (256, 256, 3, 3),
        (512, 256, 3, 3),
    ]
    assert weights["fc.weight"].shape == (8, 512)
    assert weights["fc_dimensional.weight"].shape == (2, 8)


def test_attention_reduces_channels_by_sixteen_with_kernels_of_seven_by_seven() -> None:
    weights = CBAM(128).state_dict()
    assert weights["ChannelGate.mlp.1.weight"].shape == (8, 128)
    assert weights["ChannelGate.mlp.3.weight"].shape == (128, 8)
    assert weights["SpatialGate.spatial.conv.weight"].shape == (1, 2, 7, 7)


def test_attention_only_ever_weakens() -> None:
    torch.manual_seed(0)
    x = torch.rand(2, 32, 9, 9) + 0.1  # what is 0 can get no weaker
    with torch.inference_mode():
        out, attention = CBAM(32).eval()(x)
    assert out.shape == x.shape
    assert (attention.channel.shape, attention.spatial.shape) == ((2, 32), (2, 9, 9))
    gates = attention.channel[:, :, None, None] * attention.spatial[:, None]
    torch.testing.assert_close(out, x * gates)
    assert bool((out < x).all())
    assert bool((out > 0).all())


@pytest.mark.parametrize(
    ("branches", "diversified", "name"),
    [(1, False, "ESR-1"), (3, False, "ESR-3"), (1, True, "ESR*-1"), (3, True, "ESR*-3")],
)
def test_esr_scores_for_each_branch(branches: int, diversified: bool, name: str) -> None:
    esr = ESR(branches, diversified).eval()
    with torch.inference_mode():
        scores = esr(torch.rand(2, 3, 96, 96))
    assert esr.name == name
    assert scores.emotions.shape == (branches, 2, 8)
    assert scores.affect.shape == (branches, 2, 2)


def test_shared_representation_is_128_maps_of_20_by_20() -> None:
    with torch.inference_mode():
        assert Base().eval()(torch.rand(1, 3, 96, 96)).shape == (1, 128, 20, 20)


def test_smallest_size_is_54_px() -> None:
    esr = ESR(1).eval()
    with torch.inference_mode():
        assert esr(torch.rand(1, 3, 54, 54)).emotions.shape == (1, 1, 8)
        with pytest.raises(RuntimeError):
            esr(torch.rand(1, 3, 40, 40))


@pytest.mark.parametrize("diversified", [False, True])
def test_added_branch_does_not_change_the_others(diversified: bool) -> None:
    esr, x = ESR(1, diversified).eval(), torch.rand(1, 3, 56, 56)
    with torch.inference_mode():
        before = esr(x).emotions
        esr.add_branch()
        after = esr.eval()(x).emotions
    assert esr.convolutional_branches[1].diversified is diversified
    assert after.shape == (2, 1, 8)
    torch.testing.assert_close(after[0], before[0])
    assert not torch.allclose(after[1], before[0])


@pytest.mark.parametrize("count", [0, 1, 2, 4])
def test_reload_of_another_number_of_parts_is_refused(count: int) -> None:
    esr, before = ESR(2), ESR(2).to_state_dict()
    esr.reload(before)
    other = ESR(3).to_state_dict()[:count]
    with pytest.raises(ModelError, match=rf"ESR-2 has 3 state dicts .* but got {count}$"):
        esr.reload(other)
    for loaded, unchanged in zip(esr.to_state_dict(), before):
        torch.testing.assert_close(loaded, unchanged, rtol=0, atol=0)


def test_ensemble_is_the_mean_of_its_branches() -> None:
    esr, x = ESR(3).eval(), torch.rand(4, 3, 56, 56)
    with torch.inference_mode():
        scores = esr(x)
        probabilities, affect, votes, logits, each = Ensemble(esr)(x)
    assert (probabilities.shape, affect.shape, votes.shape) == ((4, 8), (4, 2), (4, 3))
    assert votes.dtype == torch.int64
    torch.testing.assert_close(probabilities, scores.emotions.softmax(2).mean(0))
    torch.testing.assert_close(probabilities.sum(1), torch.ones(4))
    torch.testing.assert_close(logits.transpose(0, 1), scores.emotions)
    torch.testing.assert_close(each.transpose(0, 1), scores.affect)
    for branch in range(3):
        assert votes[:, branch].tolist() == scores.emotions[branch].argmax(1).tolist()


def test_affect_is_clipped() -> None:
    esr = ESR(2).eval()
    with torch.inference_mode():
        for branch in esr.convolutional_branches:
            branch.fc_dimensional.bias.copy_(torch.tensor([50.0, -50.0]))
        x = torch.rand(2, 3, 56, 56)
        assert float(esr(x).affect.abs().max()) > 1
        assert Ensemble(esr)(x)[1].tolist() == [[1.0, -1.0]] * 2
