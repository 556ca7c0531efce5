"""Training on several processes, one per GPU or machine, started by ``torchrun``.

Each process takes a share of every batch. Values that depend on the whole batch (batch norm, the
similarity of branches) are averaged over the processes, so the loss is that of one process.
"""

from __future__ import annotations

import gc
import os
from dataclasses import dataclass
from importlib import import_module
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from esr_core.network.esr import widened

T = TypeVar("T")


@dataclass(frozen=True)
class Group:
    """The processes that train together."""

    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        """True in the process that evaluates, writes files and prints."""
        return self.rank == 0

    def share(self, rows: Tensor) -> Tensor:
        """Return this process's rows of a batch."""
        return rows[self.rank :: self.size]

    def mean(self, value: Tensor) -> Tensor:
        """Return the mean over the processes; gradients flow to all of them."""
        if self.size == 1:
            return value
        mean: Tensor = _Mean.apply(value, self.size)  # type: ignore[no-untyped-call]
        return mean

    def broadcast(self, value: T) -> T:
        """Return the leader's value in every process."""
        if self.size == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box, src=0)
        return box[0]


class _Mean(torch.autograd.Function):
    """The mean over processes; each one's loss depends on the values of all."""

    @staticmethod
    def forward(context: Any, value: Tensor, size: int) -> Tensor:
        context.size = size
        total = value.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total / size

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return _Mean.forward(context, gradients[0], context.size), None


def leads() -> bool:
    """Return whether this process prints; works before :func:`join`."""
    return os.environ.get("RANK", "0") == "0"


def join(device: torch.device) -> Group:
    """Join the processes that ``torchrun`` started; without it, return a group of one."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return Group()
    if not dist.is_initialized():
        # Its functions have the default group as a default argument. Imported later, which
        # DistributedDataParallel does, they would hold the group and its threads for ever.
        import_module("torch.distributed.nn")
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    return Group(dist.get_rank(), dist.get_world_size())


def leave(group: Group) -> None:
    """Leave the other processes."""
    if group.size > 1 and dist.is_initialized():
        dist.destroy_process_group()
        # Its threads end with the last reference, such as a cycle around the wrapped network.
        # Threads that still run when the interpreter ends can abort the process.
        gc.collect()


class SharedBatchNorm(nn.BatchNorm2d):
    """Batch norm over the batches of all processes; torch's SyncBatchNorm refuses CPUs."""

    group = Group()

    def forward(self, x: Tensor) -> Tensor:
        """Normalise (n, c, h, w), in training by the statistics of all processes."""
        if not self.training:
            return super().forward(x)
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.momentum is not None
        assert self.num_batches_tracked is not None
        wide = widened(x)
        mean = self.group.mean(wide.mean(dim=(0, 2, 3)))
        variance = self.group.mean((wide - mean[:, None, None]).square().mean(dim=(0, 2, 3)))
        with torch.no_grad():
            n = wide.numel() / wide.shape[1] * self.group.size
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * n / (n - 1), self.momentum)
            self.num_batches_tracked += 1
        scale = self.weight * torch.rsqrt(variance + self.eps)
        shift = self.bias - mean * scale
        return (wide * scale[:, None, None] + shift[:, None, None]).to(x.dtype)


def share_batch_norms(module: nn.Module, group: Group) -> None:
    """Replace every batch norm of a module, in place, by one over the whole group."""
    for child in module.modules():
        if type(child) is nn.BatchNorm2d:
            child.__class__ = SharedBatchNorm  # the same parameters, buffers and names
            child.group = group  # type: ignore[assignment]
