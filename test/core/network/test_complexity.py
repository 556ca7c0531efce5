"""The complexity of networks equals that counted by PyTorch."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from esr_core.benchmark.reference_figures import PUBLISHED
from esr_core.network.complexity import METHODS, convolutions, cost
from esr_core.network.esr import ESR


@pytest.mark.parametrize(("branches", "diversified"), [(1, False), (3, True)])
@pytest.mark.parametrize("size_px", [54, 96])
def test_cost_is_that_of_the_layers(branches: int, diversified: bool, size_px: int) -> None:
    esr, macs = ESR(branches, diversified).eval(), 0

    def count(layer: nn.Module, inputs: object, output: torch.Tensor) -> None:
        nonlocal macs
        assert isinstance(layer, (nn.Conv2d, nn.Linear))
        macs += layer.weight[0].numel() * output[0].numel()

    for layer in esr.modules():
        if isinstance(layer, (nn.Conv2d, nn.Linear)):
            layer.register_forward_hook(count)
    with torch.inference_mode():
        esr(torch.zeros(1, 3, size_px, size_px))
    complexity = cost(branches, diversified, size_px)
    assert complexity.macs == macs
    # The published spatial attention has no bias and one batch norm, as this one.
    assert complexity.parameters == sum(each.numel() for each in esr.parameters())


def test_nearly_all_of_it_is_convolutions() -> None:
    layers = convolutions()
    together = sum(layers["base"]) + 9 * sum(layers["branch"])
    assert 0.999 < together / cost(9, False).macs < 1
    assert layers["base"][0] == 3 * 64 * 5**2 * 92**2
    assert layers["branch"][3] == 256 * 512 * 3**2 * 6**2


def test_esr_9_takes_2_84_billion_multiplications() -> None:
    assert cost(9, False).macs / 1e9 == pytest.approx(2.84, abs=0.01)


@pytest.mark.parametrize("method", METHODS)
def test_published_networks_are_of_this_size(method: str) -> None:
    assert cost(*METHODS[method]).parameters / 1e6 == pytest.approx(
        PUBLISHED[method]["parameters_m"], rel=0.03
    )
