"""Untrained networks that answer as if they had learned something, and faces to show them."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from esr_core.network.esr import ESR


def lively(branches: int, diversified: bool) -> ESR:
    """An untrained network whose answers differ from face to face."""
    torch.manual_seed(2)
    esr = ESR(branches, diversified).train()
    batch = torch.from_numpy(faces(8, 56))
    for module in esr.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 1.0  # one pass sets the statistics
    with torch.no_grad():
        esr(batch)
        scores = esr.eval()(batch).emotions
        for branch, score in zip(esr.convolutional_branches, scores):
            spread = score.std(dim=0).mean()
            branch.fc.weight.div_(spread)
            branch.fc.bias.sub_(score.mean(dim=0)).div_(spread)
    return esr


def faces(count: int, size_px: int) -> NDArray[np.float32]:
    """Blots rather than noise, which all looks the same to a network."""
    blots = torch.rand(count, 3, 4, 4, generator=torch.Generator().manual_seed(4))
    return torch.nn.functional.interpolate(blots, (size_px, size_px), mode="bilinear").numpy()
