"""How different the branches of an ensemble look at a face, as a loss.

Heidari, Iosifidis, "Learning Diversified Feature Representations for Facial Expression
Recognition in the Wild", arXiv:2210.09381, after the determinantal point processes of Kulesza and
Taskar, "Determinantal Point Processes for Machine Learning", 2012: branches whose attention spans
a larger volume are more diverse.

Where this differs from the code that was published with the paper: there the similarity matrix
has zeros on its diagonal, so its determinant is not a volume (for two branches it is the negative
square of their similarity) and its logarithm often does not exist. Here a branch is as similar to
itself as can be, 1, so the matrix is a Gaussian kernel matrix, positive semi-definite.
"""

from __future__ import annotations

import torch
from torch import Tensor

from esr_core.errors import OptionError
from esr_core.network.esr import widened
from esr_core.training.config import DIVERSITY

#: Added to the diagonal, or two branches that see the same would cost infinitely much.
JITTER = 1e-6


def similarity(attention: Tensor, gamma: float = 10.0) -> Tensor:
    """Return how alike each pair of branches sees: (branches, branches), 1 on the diagonal.

    attention: (branches, n, ...), for example (branches, n, h, w) or (branches, n, channels). The
    similarity of two branches is exp(-gamma * squared distance), averaged over the n faces.
    """
    seen = widened(attention).flatten(start_dim=2)  # (branches, n, d)
    squared = (seen[:, None] - seen[None, :]).square().sum(dim=3)  # (branches, branches, n)
    alike: Tensor = torch.exp(-gamma * squared).mean(dim=2)
    return alike


def diversity_loss(alike: Tensor, kind: str) -> Tensor:
    """Return what is small when branches differ, from a matrix of :func:`similarity`.

    ``direct`` sums the similarity of all ordered pairs of branches. ``logdet`` is minus the
    logarithm of the volume that they span: it pushes hardest on pairs that are almost alike.

    Raises:
        OptionError: another kind.
    """
    branches = len(alike)
    if kind == "direct":
        return alike.sum() - alike.diagonal().sum()
    if kind == "logdet":
        # Cholesky, and in float64, because 15 branches that are much alike span next to nothing.
        identity = torch.eye(branches, dtype=torch.float64, device=alike.device)
        factor = torch.linalg.cholesky(alike.double() + JITTER * identity)
        volume: Tensor = 2 * factor.diagonal().log().sum()
        return -volume.to(alike.dtype)
    raise OptionError(f"diversity must be one of {', '.join(DIVERSITY[1:])}, but got {kind!r}")
