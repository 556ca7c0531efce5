"""The diversity losses, against explicit sums."""

from __future__ import annotations

import math

import pytest
import torch

from esr_core import OptionError
from esr_core.training.losses import JITTER, diversity_loss, similarity


def explicit(attention: torch.Tensor, gamma: float) -> list[list[float]]:
    """The similarity of each pair of branches, one face and one number at a time."""
    flat = attention.flatten(2).tolist()
    branches, faces = len(flat), len(flat[0])
    return [
        [
            math.fsum(
                math.exp(-gamma * math.fsum((a - b) ** 2 for a, b in zip(flat[i][n], flat[j][n])))
                for n in range(faces)
            )
            / faces
            for j in range(branches)
        ]
        for i in range(branches)
    ]


def determinant(matrix: list[list[float]]) -> float:
    """Expand by the first row."""
    if len(matrix) == 1:
        return matrix[0][0]
    return math.fsum(
        (-1) ** j * matrix[0][j] * determinant([row[:j] + row[j + 1 :] for row in matrix[1:]])
        for j in range(len(matrix))
    )


def attention(branches: int = 4) -> torch.Tensor:
    generator = torch.Generator().manual_seed(5)
    return torch.rand(branches, 3, 2, 2, generator=generator)


@pytest.mark.parametrize("gamma", [1.0, 10.0])
def test_similarity_is_the_mean_of_gaussians(gamma: float) -> None:
    matrix = similarity(attention(), gamma)
    torch.testing.assert_close(matrix, torch.tensor(explicit(attention(), gamma)))
    torch.testing.assert_close(matrix.diagonal(), torch.ones(4))
    torch.testing.assert_close(matrix, matrix.T)


def test_direct_is_the_sum_over_pairs() -> None:
    matrix = explicit(attention(), 1.0)
    total = math.fsum(matrix[i][j] for i in range(4) for j in range(4) if i != j)
    loss = diversity_loss(similarity(attention(), 1.0), "direct")
    assert float(loss) == pytest.approx(total, rel=1e-5)


def test_logdet_is_minus_the_logarithm_of_the_volume() -> None:
    matrix = explicit(attention(), 1.0)
    for i in range(4):
        matrix[i][i] += JITTER
    loss = diversity_loss(similarity(attention(), 1.0), "logdet")
    assert float(loss) == pytest.approx(-math.log(determinant(matrix)), rel=1e-4)


@pytest.mark.parametrize("kind", ["direct", "logdet"])
def test_branches_that_differ_cost_nothing_and_twins_much(kind: str) -> None:
    apart = torch.eye(3).reshape(3, 1, 3) * 100
    assert float(diversity_loss(similarity(apart), kind)) == pytest.approx(0, abs=1e-4)
    twins = torch.zeros(3, 1, 3)
    assert float(diversity_loss(similarity(twins), kind)) > 5


@pytest.mark.parametrize("kind", ["direct", "logdet"])
def test_gradients_push_branches_apart_and_agree_with_differences(kind: str) -> None:
    def loss(values: torch.Tensor) -> torch.Tensor:
        # similarity() would round float64; this checks the formula.
        flat = values.flatten(2)
        squared = (flat[:, None] - flat[None, :]).square().sum(dim=3)
        return diversity_loss(torch.exp(-squared).mean(dim=2), kind)

    exact = attention().double().requires_grad_()
    assert torch.autograd.gradcheck(loss, (exact,))
    moving = attention().requires_grad_()
    before = diversity_loss(similarity(moving, 1.0), kind)
    before.backward()
    assert moving.grad is not None
    after = diversity_loss(similarity(moving.detach() - 0.01 * moving.grad, 1.0), kind)
    assert float(after) < float(before.detach())


def test_fifteen_twins_are_finite_with_their_gradient() -> None:
    twins = torch.rand(1, 4, 6, 6).expand(15, 4, 6, 6).clone().requires_grad_()
    loss = diversity_loss(similarity(twins), "logdet")
    loss.backward()
    assert math.isfinite(float(loss.detach()))
    assert twins.grad is not None
    assert bool(torch.isfinite(twins.grad).all())


def test_another_kind_is_refused() -> None:
    with pytest.raises(OptionError, match="one of direct, logdet, but got 'volume'"):
        diversity_loss(torch.eye(2), "volume")
