"""The diversity losses of ESR*, which keep the attention of the branches different.

Heidari, Iosifidis, "Learning Diversified Feature Representations for Facial Expression
Recognition in the Wild", arXiv:2210.09381, after the determinantal point processes of Kulesza and
Taskar, "Determinantal Point Processes for Machine Learning", 2012: branches whose attention spans
a larger volume are more diverse.

In the code published with the paper the similarity matrix has zeros on its diagonal, so its
determinant is not a volume (for two branches it is the negative square of their similarity) and
its logarithm often does not exist. Here a branch has a similarity of 1 to itself, so the matrix
is a Gaussian kernel matrix, positive semi-definite.
"""

from __future__ import annotations

import torch
from torch import Tensor

from esr_core.errors import OptionError
from esr_core.network.esr import widened
from esr_core.training.config import DIVERSITY

#: Added to the diagonal, or two branches with equal attention would have an infinite loss.
JITTER = 1e-6


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
