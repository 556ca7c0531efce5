"""The batches of an epoch, equal each time that a training reaches it.

All random numbers are drawn from the seed and the position (phase, epoch, step), not from earlier
draws. A training that resumes within an epoch, or runs on several processes, has the same images,
targets and views as one that does not.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Iterator, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from esr_core.data.faces import FaceDataset
from esr_core.network.complexity import BASE
from esr_core.training.augmentation import Views, augment, degrade, draw
from esr_core.training.config import TrainingConfig
from esr_core.training.distributed import Group

#: Number of channels of the shared features.
FEATURES = BASE[-1][1]


class Batch(NamedTuple):
    """One process's share of a batch, on the CPU."""

    images: Tensor  # (n, c, h, w) uint8
    emotions: Tensor  # (n, 8) targets, rows sum to 1; of unlike branches (branches, n, 8)
    affect: Tensor  # (n, 2)
    views: Views
    kept: Tensor | None  # (branches, n, channels) factors of the shared features, for dropout

    def to(
        self, device: torch.device, size_px: int
    ) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
        """Return augmented views (n, c, size, size) in [0, 1] and the other parts, on a device."""
        images = self.images.to(device, non_blocking=True).float() / 255
        views = augment(images, size_px, self.views.to(device))
        kept = None if self.kept is None else self.kept.to(device)
        return views, self.emotions.to(device), self.affect.to(device), kept


class Batches:
    """The batches of a data set; one is loaded while the network learns from the one before."""

    def __init__(self, faces: FaceDataset, config: TrainingConfig, group: Group) -> None:
        self._faces, self._config, self._group = faces, config, group
        times = times_shown(faces.emotions, config.repeat_rare)
        self._shown = times.cumsum(0)
        shown = torch.from_numpy(faces.emotions) * times[:, None]
        #: (8,) the share of each emotion in an epoch.
        self.shares = (shown.sum(dim=0) / shown.sum()).float()
        self._affect = torch.from_numpy(faces.affect)
        draws = (
            torch.rand(len(faces), generator=seeded(config.seed, k)) for k in range(config.branches)
        )
        self._bags = torch.stack([draw < config.bag for draw in draws])  # (branches, faces)
        # A set smaller than a batch is one batch.
        self._batch_size = min(config.batch_size, len(faces) // group.size * group.size)

    def __len__(self) -> int:
        return int(self._shown[-1]) // self._batch_size

    def epoch(self, phase: int, epoch: int, first_step: int = 0) -> Iterator[Batch]:
        """Iterate over the batches of an epoch from ``first_step`` on."""
        place, branches = (self._config.seed, phase, epoch), self._config.phases()[phase].branches
        order, size = self._order(seeded(*place)), self._batch_size
        with ThreadPoolExecutor(1, thread_name_prefix="batch") as loader:
            waiting = None
            for step in range(first_step, len(self)):
                rows = order[step * size : (step + 1) * size]
                coming = loader.submit(self._load, rows, branches, (*place, step))
                if waiting:
                    yield waiting.result()
                waiting = coming
            if waiting:
                yield waiting.result()

    def _order(self, generator: torch.Generator) -> Tensor:
        """Return the rows of an epoch, each as often as it is shown on average."""
        if self._shown[-1] == len(self._faces):
            return torch.randperm(len(self._faces), generator=generator)
        # Rounding the running sum from a random start shows 2.6 times as 2 or 3 times, and gives
        # all epochs the same length.
        start = torch.rand((), dtype=torch.float64, generator=generator)
        ends = (self._shown + start).floor().long()
        times = torch.diff(ends, prepend=ends.new_zeros(1))
        rows = torch.repeat_interleave(torch.arange(len(times)), times)
        return rows[torch.randperm(len(rows), generator=generator)]

    def _load(self, rows: Tensor, branches: int, place: tuple[int, ...]) -> Batch:
        # Drawn for the whole batch, so that the number of processes does not matter.
        generator, mixup = seeded(*place), self._config.augmentation.mixup
        targets, affect = self._faces.targets(rows, generator), self._affect[rows]
        targets = self._targets_of_branches(targets, rows, branches, place)
        views = draw(len(rows), self._config.augmentation, generator)
        mine = self._group.share(torch.arange(len(rows)))
        faces = self._faces.load(rows[mine].tolist())
        if mixup:
            partner = torch.randperm(len(rows), generator=generator)
            seed = int(torch.randint(2**31, (1,), generator=generator))
            beta = np.random.default_rng(seed).beta(mixup, mixup, len(rows))  # torch's has no seed
            share = torch.from_numpy(beta).float()[:, None]
            others = self._faces.load(rows[partner[mine]].tolist())
            weight = share[mine].numpy().reshape(-1, *[1] * (faces.ndim - 1))
            faces = np.rint(faces * weight + others * (1 - weight)).astype(np.uint8)
            targets = torch.lerp(targets[..., partner, :], targets, share)
            affect = torch.lerp(affect[partner], affect, share)
        views = views.select(mine)
        images = torch.from_numpy(degrade(faces, views))
        images = images[:, None] if images.ndim == 3 else images.permute(0, 3, 1, 2)
        kept, dropout = None, self._config.dropout
        if dropout:
            drawn = torch.rand(branches, len(rows), FEATURES, generator=seeded(*place, branches))
            kept = ((drawn >= dropout) / (1 - dropout))[:, mine]
        return Batch(images, targets[..., mine, :], affect[mine], views, kept)

    def _targets_of_branches(
        self, targets: Tensor, rows: Tensor, branches: int, place: tuple[int, ...]
    ) -> Tensor:
        """Return the targets (n, 8), or (branches, n, 8) if they differ; 0 outside of a bag."""
        if self._config.own_labels:
            drawn = (self._faces.targets(rows, seeded(*place, k)) for k in range(branches))
            targets = torch.stack(list(drawn))
        if self._config.bag < 1:
            targets = targets * self._bags[:branches, rows, None] / self._config.bag
        return targets


def times_shown(emotions: NDArray[np.float32], repeat_rare: float) -> Tensor:
    """Return how often each face is shown in an epoch, (n,) float64, 1 or more.

    A label with a share below ``repeat_rare`` comes sqrt(repeat_rare / share) times: repeat-factor
    sampling (Gupta, Dollár, Girshick, "LVIS", CVPR 2019, section 4.2). emotions: (n, 8).
    """
    labels = torch.from_numpy(emotions.argmax(axis=1))
    share = torch.bincount(labels, minlength=emotions.shape[1]).double() / len(labels)
    return (repeat_rare / share).sqrt().clamp(min=1.0)[labels]


def seeded(seed: int, *place: int) -> torch.Generator:
    """Return a generator that depends on these numbers, their count included, and nothing else.

    NumPy pads the seed with zeros, but not the spawn key: (1, 2) and (1, 2, 0) differ.
    """
    state = np.random.SeedSequence(seed, spawn_key=place).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(state[0]))
