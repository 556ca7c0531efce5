"""The loss of a training: of all branches, and for ESR* of the similarity of their attention.

The diversity losses keep the attention of the branches different: Heidari, Iosifidis, "Learning
Diversified Feature Representations for Facial Expression Recognition in the Wild",
arXiv:2210.09381, after the determinantal point processes of Kulesza and Taskar, "Determinantal
Point Processes for Machine Learning", 2012: branches whose attention spans a larger volume are
more diverse.

In the code published with the paper the similarity matrix has zeros on its diagonal, so its
determinant is not a volume (for two branches it is the negative square of their similarity) and
its logarithm often does not exist. Here a branch has a similarity of 1 to itself, so the matrix
is a Gaussian kernel matrix, positive semi-definite.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from esr_core.emotions import LABELS
from esr_core.errors import OptionError
from esr_core.network.esr import ESR, Scores, widened
from esr_core.training.config import DIVERSITY, Phase, TrainingConfig
from esr_core.training.distributed import Group

#: Added to the diagonal, or two branches with equal attention would have an infinite loss.
JITTER = 1e-6
EQUAL = torch.full((len(LABELS),), 1 / len(LABELS))


class Losses(NamedTuple):
    """The losses of one batch."""

    total: Tensor  # () minimised
    branches: Tensor  # (branches,) the loss of each; no gradient
    correct: Tensor  # (branches,) share of the faces with the right emotion


class Objective(nn.Module):
    """A network and the loss of one phase; torch's DistributedDataParallel wraps both as one."""

    def __init__(
        self,
        esr: ESR,
        config: TrainingConfig,
        phase: Phase,
        group: Group,
        shares: Tensor = EQUAL,
    ) -> None:
        """shares: (8,) of the emotions in the data, for the option ``balance``."""
        super().__init__()
        self.esr, self.config, self.phase, self.group = esr, config, phase, group
        tau = torch.linspace(0, config.balance, phase.branches, device=shares.device)
        #: (branches, 1, 8) added to the logits in the loss.
        self.adjustment: Tensor
        self.register_buffer("adjustment", tau[:, None, None] * shares.clamp(min=1e-6).log())

    def forward(
        self, views: Tensor, emotions: Tensor, affect: Tensor, kept: Tensor | None = None
    ) -> Losses:
        """Return the losses of this process's share of a batch.

        views: (n, 1 or 3, s, s) in [0, 1]. The others as in
        :class:`esr_core.training.data_loader.Batch`.
        """
        config = self.config
        balanced = config.reduction == "balanced"
        with torch.autocast(views.device.type, torch.bfloat16, config.precision == "bf16"):
            scores = self.esr(views.expand(-1, 3, -1, -1), kept, balanced)
        logits = widened(scores.emotions)
        if self.phase.learns == "affect":
            branches = affect_loss(widened(scores.affect), affect, self.group)
        else:
            branches = emotion_loss(logits + self.adjustment, emotions)
        if self.phase.learns == "both":
            branches = branches + self._derived_affect_loss(logits, affect)
        total = branches.mean() if config.reduction == "mean" else branches.sum()
        total = total + config.diversity_weight * self._diversity_loss(scores)
        label = (emotions if emotions.ndim == 2 else emotions.sum(dim=0)).argmax(dim=1)
        correct = logits.argmax(dim=2) == label
        return Losses(total, branches.detach(), correct.float().mean(dim=1))

    def _derived_affect_loss(self, logits: Tensor, affect: Tensor) -> Tensor:
        """Return the squared error of affect, without a gradient to the emotions.

        Its targets are derived from the same votes, so it could only disturb.
        """
        estimates = [
            branch.fc_dimensional(F.relu(score.detach()))  # type: ignore[operator]
            for branch, score in zip(self.esr.convolutional_branches, logits)
        ]
        return (torch.stack(estimates) - affect).square().mean(dim=(1, 2))

    def _diversity_loss(self, scores: Scores) -> Tensor:
        kind = self.config.diversity
        if scores.attention is None or kind == "none" or self.phase.learns == "affect":
            return scores.emotions.new_zeros(())
        matrices = (self.group.mean(similarity(a, self.config.gamma)) for a in scores.attention)
        return torch.stack([diversity_loss(matrix, kind) for matrix in matrices]).sum()


def emotion_loss(logits: Tensor, emotions: Tensor) -> Tensor:
    """Cross entropy of each branch: logits (branches, n, 8) → (branches,).

    emotions: targets, (n, 8) or (branches, n, 8); a row of zeros does not count.
    """
    return -(emotions * logits.log_softmax(dim=2)).sum(dim=2).mean(dim=1)


def affect_loss(estimates: Tensor, affect: Tensor, group: Group) -> Tensor:
    """Root mean square error of valence plus that of arousal, over the faces of all processes.

    estimates: (branches, n, 2). affect: (n, 2). Returns (branches,).
    """
    squared = group.mean((estimates - affect).square().mean(dim=1))  # (branches, 2)
    return (squared + 1e-12).sqrt().sum(dim=1)  # the root has no slope at 0


def similarity(attention: Tensor, gamma: float = 10.0) -> Tensor:
    """Return the similarity of each pair of branches: (branches, branches), 1 on the diagonal.

    attention: (branches, n, ...), for example (branches, n, h, w) or (branches, n, channels). The
    similarity of two branches is exp(-gamma * squared distance), averaged over the n faces.
    """
    flat = widened(attention).flatten(start_dim=2)  # (branches, n, d)
    squared = (flat[:, None] - flat[None, :]).square().sum(dim=3)  # (branches, branches, n)
    mean: Tensor = torch.exp(-gamma * squared).mean(dim=2)
    return mean


def diversity_loss(matrix: Tensor, kind: str) -> Tensor:
    """Return the diversity loss for a matrix of :func:`similarity`.

    ``direct`` sums the similarity of all ordered pairs of branches. ``logdet`` is minus the
    logarithm of the volume that they span: its gradient is largest for the most similar pairs.

    Raises:
        OptionError: another kind.
    """
    if kind == "direct":
        return matrix.sum() - matrix.diagonal().sum()
    if kind == "logdet":
        # Cholesky, and in float64, because 15 similar branches span next to nothing.
        identity = torch.eye(len(matrix), dtype=torch.float64, device=matrix.device)
        factor = torch.linalg.cholesky(matrix.double() + JITTER * identity)
        volume: Tensor = 2 * factor.diagonal().log().sum()
        return -volume.to(matrix.dtype)
    raise OptionError(f"diversity must be one of {', '.join(DIVERSITY[1:])}, but got {kind!r}")
