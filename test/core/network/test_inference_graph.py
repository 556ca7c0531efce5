"""The inference graph has the outputs of the separate branches."""

from __future__ import annotations

import pytest
import torch
from networks import faces, lively

from esr_core.inference.metadata import ModelMetadata
from esr_core.network.inference_graph import EarlyExitESR


@pytest.mark.parametrize("diversified", [False, True])
@pytest.mark.parametrize("branches", [2, 4])
def test_outputs_are_those_of_the_branches(diversified: bool, branches: int) -> None:
    esr = lively(branches, diversified)
    batch = torch.from_numpy(faces(3, 56))
    with torch.inference_mode():
        exact = esr(batch)
        graph = EarlyExitESR(esr, ModelMetadata(esr.name, branches, diversified))
        shared = graph.base(batch)
        first, rest = graph.first(shared), graph.rest(shared)
    assert rest.shape == (3, branches - 1, 10)
    emotions, affect = torch.cat((first, rest), 1).split((8, 2), 2)
    torch.testing.assert_close(emotions, exact.emotions.transpose(0, 1), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(affect, exact.affect.transpose(0, 1), atol=1e-4, rtol=1e-4)
