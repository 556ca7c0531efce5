"""The batches of an epoch, and mixup in them."""

from __future__ import annotations

from dataclasses import fields, replace
from itertools import product

import numpy as np
import pytest
import torch

from esr_core.data.ferplus import FerPlus
from esr_core.training.config import Augmentation, TrainingConfig
from esr_core.training.data_loader import Batch, Batches, seeded, times_shown
from esr_core.training.distributed import Group

NONE = Augmentation(**{field.name: 0.0 for field in fields(Augmentation)})


@pytest.fixture
def faces() -> FerPlus:
    """Faces whose grey, in steps of 30, is the number of their emotion."""
    labels = np.arange(40) % 8
    images = np.broadcast_to((labels * 30).astype(np.uint8)[:, None, None], (40, 48, 48)).copy()
    return FerPlus(images, np.eye(8, dtype=np.float32)[labels], labels)


def batches(faces: FerPlus, views: Augmentation, group: Group | None = None) -> list[Batch]:
    config = TrainingConfig(batch_size=20, augmentation=views, seed=5)
    return list(Batches(faces, config, group or Group()).epoch(0, 0))


def grey(batch: Batch) -> torch.Tensor:
    """Return the grey of a face that follows from its targets."""
    return (batch.emotions * torch.arange(8) * 30).sum(dim=1)


def test_without_mixup_faces_are_whole(faces: FerPlus) -> None:
    for batch in batches(faces, NONE):
        assert set(batch.emotions.flatten().tolist()) == {0.0, 1.0}
        torch.testing.assert_close(batch.images.float().mean(dim=(1, 2, 3)), grey(batch))


def test_faces_and_targets_are_mixed_alike(faces: FerPlus) -> None:
    shares = []
    for batch in batches(faces, replace(NONE, mixup=1.0)):
        torch.testing.assert_close(batch.emotions.sum(dim=1), torch.ones(20))
        mean = batch.images.float().mean(dim=(1, 2, 3))
        torch.testing.assert_close(mean, grey(batch), atol=0.51, rtol=0)
        assert ((batch.emotions > 0).sum(dim=1) <= 2).all()
        shares += batch.emotions.max(dim=1).values.tolist()
        expected = torch.from_numpy(faces.affect[:8])  # one of each emotion, in order
        torch.testing.assert_close(batch.affect, batch.emotions @ expected)
    assert sum(share < 0.95 for share in shares) > 20
    assert len(set(shares)) > 20


def test_small_parameter_mixes_little(faces: FerPlus) -> None:
    def purity(mixup: float) -> float:
        views = replace(NONE, mixup=mixup)
        return float(
            torch.cat([b.emotions.max(dim=1).values for b in batches(faces, views)]).mean()
        )

    assert purity(0.05) > purity(10.0) + 0.2


def test_mixed_batches_are_shared_among_processes(faces: FerPlus) -> None:
    views = replace(Augmentation(), mixup=0.4)
    alone = batches(faces, views)
    shares = [batches(faces, views, Group(rank, 2)) for rank in (0, 1)]
    for whole, *parts in zip(alone, *shares):
        for rank, part in enumerate(parts):
            torch.testing.assert_close(part.images, whole.images[rank::2], atol=0, rtol=0)
            torch.testing.assert_close(part.emotions, whole.emotions[rank::2], atol=0, rtol=0)
            torch.testing.assert_close(part.affect, whole.affect[rank::2], atol=0, rtol=0)


def rare(counts: list[int]) -> FerPlus:
    """Return faces with these numbers of each emotion."""
    labels = np.repeat(np.arange(8), counts)
    images = np.zeros((len(labels), 48, 48), np.uint8)
    return FerPlus(images, np.eye(8, dtype=np.float32)[labels], labels)


def test_rare_emotions_are_shown_more_often() -> None:
    data = rare([500, 300, 100, 60, 20, 10, 10, 0])
    shown = times_shown(data.emotions, 0.04)
    expected = [1, 1, 1, 1, 2**0.5, 2, 2]
    for label, times in enumerate(expected):
        np.testing.assert_allclose(shown[data.target == label], times)
    assert times_shown(data.emotions, 0.0).sum() == len(data)


def test_epochs_with_repeats_have_one_length_and_every_face() -> None:
    data = rare([500, 300, 100, 60, 20, 10, 10, 0])
    config = TrainingConfig(batch_size=50, augmentation=NONE, seed=5, repeat_rare=0.04)
    with_repeats = Batches(data, config, Group())
    assert len(with_repeats) == (1000 + 20 * (2**0.5 - 1) + 20) // 50
    counts = []
    for epoch in range(20):
        order = with_repeats._order(torch.Generator().manual_seed(epoch))
        assert len(order) - 1028 in (0, 1)
        assert set(order.tolist()) == set(range(len(data)))
        counts.append(np.bincount(data.target[order], minlength=8))
    np.testing.assert_allclose(np.mean(counts, axis=0)[:7], [500, 300, 100, 60, 28.3, 20, 20], 0.02)
    assert sum(len(batch.emotions) for batch in with_repeats.epoch(0, 0)) == 1000


def test_distinct_positions_have_distinct_random_numbers() -> None:
    """Trailing zeros count: NumPy pads a seed with them, so (1, 2) and (1, 2, 0) would be one."""
    positions = [p for count in range(1, 5) for p in product((0, 1, 2, 7), repeat=count)]
    numbers = {int(torch.randint(2**62, (1,), generator=seeded(*p))) for p in positions}
    assert len(numbers) == len(positions) == 340


def test_steps_and_epochs_have_random_numbers_of_their_own(faces: FerPlus) -> None:
    config = TrainingConfig(batch_size=20, seed=5)
    loader = Batches(faces, config, Group())
    views = [b.views.transform for epoch in range(2) for b in loader.epoch(0, epoch)]
    assert len({tuple(view.flatten().tolist()) for view in views}) == 4


def test_branches_have_bags_labels_and_dropout_of_their_own() -> None:
    """Each learns from a fixed share of the faces, and the places of a resume do not matter."""
    images = np.zeros((400, 48, 48), np.uint8)
    halves = np.tile(np.float32([0.5, 0.5, 0, 0, 0, 0, 0, 0]), (400, 1))
    faces = FerPlus(images, halves, np.zeros(400, np.int64), "probability")
    options = {"labels": "probability", "own_labels": True, "bag": 0.75, "dropout": 0.25}
    config = TrainingConfig(
        branches=3,
        batch_size=100,
        augmentation=NONE,
        seed=5,
        **options,  # type: ignore[arg-type]
    )
    loader = Batches(faces, config, Group())
    first, second = (list(loader.epoch(0, epoch)) for epoch in (0, 1))
    for batch in first:
        assert batch.emotions.shape == (3, 100, 8)
        assert set(batch.emotions.flatten().tolist()) == {0.0, np.float32(1 / 0.75)}
        assert batch.kept is not None
        assert batch.kept.shape == (3, 100, 128)
        assert set(batch.kept.flatten().tolist()) == {0.0, np.float32(1 / 0.75)}
    drawn = torch.cat([batch.emotions for batch in first], dim=1)
    used = drawn.sum(dim=2) > 0
    assert 0.7 < used.float().mean() < 0.8
    assert 0.4 < (drawn[..., 0] > 0).float().mean() / used.float().mean() < 0.6
    assert 0.3 < (used[0] != used[1]).float().mean() < 0.45  # 2 * 0.75 * 0.25
    both = used[0] & used[1]
    assert 0.4 < (drawn[0] != drawn[1]).any(dim=1)[both].float().mean() < 0.6
    again = next(iter(loader.epoch(0, 1, first_step=2)))
    torch.testing.assert_close(again.emotions, second[2].emotions, atol=0, rtol=0)
    torch.testing.assert_close(again.kept, second[2].kept, atol=0, rtol=0)
    alone = Batches(faces, config, Group(1, 2)).epoch(0, 0)
    part = next(iter(alone))
    torch.testing.assert_close(part.emotions, first[0].emotions[:, 1::2], atol=0, rtol=0)
    assert part.kept is not None
    assert first[0].kept is not None
    torch.testing.assert_close(part.kept, first[0].kept[:, 1::2], atol=0, rtol=0)
    bags = Batches(faces, config, Group())._bags
    assert torch.equal(bags, loader._bags)  # a face stays in its bag
    assert (bags[0] != bags[1]).any()
