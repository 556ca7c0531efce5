"""What a training minimises: the losses of all branches, and how alike they look at a face."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from esr_core.network.esr import ESR, Scores, widened
from esr_core.training.config import Phase, TrainingConfig
from esr_core.training.distributed import Group
from esr_core.training.diversity_loss import diversity_loss, similarity


class Losses(NamedTuple):
    """What one batch cost."""

    total: Tensor  # () what is minimised
    branches: Tensor  # (branches,) what each costs by itself; no gradient
    correct: Tensor  # (branches,) share of the faces whose likeliest emotion it told


class Objective(nn.Module):
    """A network and the loss of one phase; torch's DistributedDataParallel wraps both as one."""

    def __init__(self, esr: ESR, recipe: TrainingConfig, phase: Phase, group: Group) -> None:
        super().__init__()
        self.esr = esr
        self.recipe = recipe
        self.phase = phase
        self.group = group

    def forward(self, views: Tensor, emotions: Tensor, affect: Tensor) -> Losses:
        """Return the losses of this process's share of a batch.

        views: (n, 1 or 3, s, s) in [0, 1]. emotions: (n, 8), rows sum to 1. affect: (n, 2).
        """
        n, _, height, width = views.shape
        rgb = views.expand(n, 3, height, width).contiguous(memory_format=torch.channels_last)
        with torch.autocast(rgb.device.type, torch.bfloat16, self.recipe.precision == "bf16"):
            scores = self.esr(rgb)
        logits = widened(scores.emotions)
        if self.phase.learns == "affect":
            branches = affect_loss(widened(scores.affect), affect, self.group)
        else:
            branches = emotion_loss(logits, emotions)
        if self.phase.learns == "both":
            branches = branches + self._derived_affect_loss(logits, affect)
        reduce = torch.mean if self.recipe.reduction == "mean" else torch.sum
        total = reduce(branches) + self.recipe.diversity_weight * self._alike(scores)
        right = logits.argmax(dim=2) == emotions.argmax(dim=1)
        return Losses(total, branches.detach(), right.float().mean(dim=1))

    def _derived_affect_loss(self, logits: Tensor, affect: Tensor) -> Tensor:
        """Squared error of affect, read off the emotions without pushing back on them.

        Its targets are derived from the same votes as the emotions, so it could only disturb.
        """
        estimates = [
            branch.fc_dimensional(F.relu(score.detach()))  # type: ignore[operator]
            for branch, score in zip(self.esr.convolutional_branches, logits)
        ]
        return (torch.stack(estimates) - affect).square().mean(dim=(1, 2))

    def _alike(self, scores: Scores) -> Tensor:
        kind = self.recipe.diversity
        if scores.attention is None or kind == "none" or self.phase.learns == "affect":
            return scores.emotions.new_zeros(())
        alike = [self.group.mean(similarity(seen, self.recipe.gamma)) for seen in scores.attention]
        return torch.stack([diversity_loss(matrix, kind) for matrix in alike]).sum()


def emotion_loss(logits: Tensor, emotions: Tensor) -> Tensor:
    """Cross entropy of each branch: logits (branches, n, 8), targets (n, 8) → (branches,)."""
    return -(emotions * logits.log_softmax(dim=2)).sum(dim=2).mean(dim=1)


def affect_loss(told: Tensor, affect: Tensor, group: Group) -> Tensor:
    """Root mean square error of valence plus that of arousal: told (branches, n, 2), affect (n, 2).

    The root is drawn over the faces of all processes. Returns (branches,).
    """
    squared = group.mean((told - affect).square().mean(dim=1))  # (branches, 2)
    return (squared + 1e-12).sqrt().sum(dim=1)  # the root has no slope at 0
