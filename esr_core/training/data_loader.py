"""The batches of an epoch: the same ones each time that a training comes to this place.

Every random number comes from the seed and the place (phase, epoch, step), not from what was drawn
before. So a training that goes on in the middle of an epoch, or on several processes, sees the
very images, targets and views that it would have seen otherwise.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Iterator, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from esr_core.data.dataset import FaceDataset
from esr_core.training.augmentation import Views, augment, degrade, draw
from esr_core.training.config import Augmentation
from esr_core.training.distributed import Group


class Batch(NamedTuple):
    """One process's share of a batch, on the CPU."""

    images: Tensor  # (n, c, h, w) uint8
    emotions: Tensor  # (n, 8) targets, rows sum to 1
    affect: Tensor  # (n, 2)
    views: Views

    def to(self, device: torch.device, size_px: int) -> tuple[Tensor, Tensor, Tensor]:
        """Return augmented views (n, c, size, size) in [0, 1], emotions and affect, there."""
        images = self.images.to(device, non_blocking=True).float() / 255
        views = augment(images, size_px, self.views.to(device))
        return views, self.emotions.to(device), self.affect.to(device)


class Batches:
    """Cuts a split of faces into batches; the next one is read while the last is learned."""

    def __init__(
        self,
        faces: FaceDataset,
        batch_size: int,
        augmentation: Augmentation,
        seed: int,
        group: Group,
        repeat_rare: float = 0.0,
    ) -> None:
        self._faces = faces
        self._shown = times_shown(faces.emotions, repeat_rare).cumsum(0)
        self._affect = torch.from_numpy(faces.affect)
        # A set smaller than a batch is one batch.
        self._batch_size = min(batch_size, len(faces) // group.size * group.size)
        self._augmentation = augmentation
        self._seed = seed
        self._group = group

    def __len__(self) -> int:
        return int(self._shown[-1]) // self._batch_size

    def epoch(self, phase: int, epoch: int, first_step: int = 0) -> Iterator[Batch]:
        """Iterate over an epoch's batches, from ``first_step`` on."""
        order = self._order(seeded(self._seed, phase, epoch))
        with ThreadPoolExecutor(1, thread_name_prefix="batch") as ahead:
            waiting = None
            for step in range(first_step, len(self)):
                rows = order[step * self._batch_size : (step + 1) * self._batch_size]
                coming = ahead.submit(self._read, rows, seeded(self._seed, phase, epoch, step))
                if waiting:
                    yield waiting.result()
                waiting = coming
            if waiting:
                yield waiting.result()

    def _order(self, generator: torch.Generator) -> Tensor:
        """Return the rows of an epoch: each as often as it is to be shown on the average."""
        if self._shown[-1] == len(self._faces):
            return torch.randperm(len(self._faces), generator=generator)
        # Rounding the running sum from a random start shows 2.6 times as 2 or 3 times, and keeps
        # the length of all epochs alike.
        start = torch.rand((), dtype=torch.float64, generator=generator)
        ends = (self._shown + start).floor().long()
        times = torch.diff(ends, prepend=ends.new_zeros(1))
        rows = torch.repeat_interleave(torch.arange(len(times)), times)
        return rows[torch.randperm(len(rows), generator=generator)]

    def _read(self, rows: Tensor, generator: torch.Generator) -> Batch:
        # Drawn for the whole batch, then shared, so that it does not matter among how many.
        targets, affect = self._faces.targets(rows, generator), self._affect[rows]
        views = draw(len(rows), self._augmentation, generator)
        mine = self._group.share(torch.arange(len(rows)))
        faces = self._faces.load(rows[mine].tolist())
        if self._augmentation.mixup:
            partner, share = _pairs(len(rows), self._augmentation.mixup, generator)
            others = self._faces.load(rows[partner[mine]].tolist())
            faces = _mixed(faces, others, share[mine])
            targets = torch.lerp(targets[partner], targets, share[:, None])
            affect = torch.lerp(affect[partner], affect, share[:, None])
        images = torch.from_numpy(degrade(faces, views.of(mine)))
        images = images[:, None] if images.ndim == 3 else images.permute(0, 3, 1, 2)
        return Batch(images, targets[mine], affect[mine], views.of(mine))


def times_shown(emotions: NDArray[np.float32], repeat_rare: float) -> Tensor:
    """Return how often each face is shown in an epoch, (n,) float64, 1 or more.

    A label with a share below ``repeat_rare`` comes sqrt(repeat_rare / share) times: repeat-factor
    sampling (Gupta, Dollár, Girshick, "LVIS", CVPR 2019, section 4.2). emotions: (n, 8).
    """
    labels = torch.from_numpy(emotions.argmax(axis=1))
    share = torch.bincount(labels, minlength=emotions.shape[1]).double() / len(labels)
    return (repeat_rare / share).sqrt().clamp(min=1.0)[labels]


def _pairs(n: int, mixup: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Draw with which other each of n faces is mixed, and its own share in [0, 1]."""
    partner = torch.randperm(n, generator=generator)
    seed = int(torch.randint(2**31, (1,), generator=generator))
    share = np.random.default_rng(seed).beta(mixup, mixup, n)  # torch's own takes no generator
    return partner, torch.from_numpy(share).float()


def _mixed(faces: NDArray[np.uint8], others: NDArray[np.uint8], share: Tensor) -> NDArray[np.uint8]:
    weight = share.numpy().reshape(-1, *[1] * (faces.ndim - 1))
    mixed: NDArray[np.uint8] = np.rint(faces * weight + others * (1 - weight)).astype(np.uint8)
    return mixed


def seeded(*place: int) -> torch.Generator:
    """Return a generator that depends on these numbers and nothing else."""
    state = np.random.SeedSequence(place).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(state[0]))
