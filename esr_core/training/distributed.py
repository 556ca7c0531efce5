"""Training on several processes at once, one per GPU or machine, started by ``torchrun``.

Each process takes its share of every batch. What depends on the whole batch (batch norm, the
similarity of branches) is averaged over the processes, so the loss is that of one process.
"""

from __future__ import annotations

import gc
import os
import re
from dataclasses import dataclass
from importlib import import_module
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from esr_core.errors import OptionError
from esr_core.network.esr import widened

T = TypeVar("T")


@dataclass(frozen=True)
class Group:
    """The processes that train together; alone it is one of one."""

    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        """Whether this is the process that evaluates, writes files and talks."""
        return self.rank == 0

    def share(self, rows: Tensor) -> Tensor:
        """The rows of a batch that are this process's."""
        return rows[self.rank :: self.size]

    def mean(self, value: Tensor) -> Tensor:
        """Average over the processes; gradients flow to all of them."""
        if self.size == 1:
            return value
        mean: Tensor = _Mean.apply(value, self.size)  # type: ignore[no-untyped-call]
        return mean

    def tell(self, value: T) -> T:
        """Return the leader's value in every process, once all have come here."""
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
        total = gradients[0].clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total / context.size, None


def own_device(name: str) -> torch.device:
    """The device of this process: of several GPUs each process of a machine takes its own.

    Raises:
        OptionError: there is no such device here.
    """
    if not re.fullmatch(r"cpu|cuda(:\d+)?", name):
        raise OptionError(f"device must be cpu, cuda or such as cuda:1, but got {name!r}")
    if name == "cpu":
        return torch.device(name)
    if not torch.cuda.is_available():
        raise OptionError(
            f"device must be cpu here, but got {name!r}: no CUDA device is available "
            f"(torch {torch.__version__})"
        )
    if name == "cuda":
        name = f"cuda:{os.environ.get('LOCAL_RANK', '0')}"
    device, count = torch.device(name), torch.cuda.device_count()
    if device.index >= count:
        raise OptionError(f"device must be below cuda:{count} here, but got {name!r}")
    torch.cuda.set_device(device)
    return device


def device_name(device: torch.device) -> str:
    """What a device is called, for those who want to know what a training took."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{torch.get_num_threads()} CPU threads"


def leads() -> bool:
    """Whether this process is the one that talks to people."""
    return os.environ.get("RANK", "0") == "0"


def join(device: torch.device) -> Group:
    """Join the processes that ``torchrun`` started; without it, stay alone."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return Group()
    if not dist.is_initialized():
        # Its functions have the default group as a default argument. Imported later, which
        # DistributedDataParallel does, they would hold the group, and keep its threads, for ever.
        import_module("torch.distributed.nn")
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    return Group(dist.get_rank(), dist.get_world_size())


def leave(group: Group) -> None:
    """Let go of the others."""
    if group.size > 1 and dist.is_initialized():
        dist.destroy_process_group()
        # Its threads end with the last who holds it, such as a cycle around the wrapped network.
        # Threads that are still there when the interpreter ends can abort the process.
        gc.collect()


class SharedBatchNorm(nn.BatchNorm2d):
    """Batch norm over the batches of all processes together, on CPUs too.

    torch's SyncBatchNorm does this on GPUs only. Same parameters, same names.
    """

    group = Group()

    def forward(self, x: Tensor) -> Tensor:
        """Normalise (n, c, h, w), in training by the means of all processes."""
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
        # The same formula as outside of training, with the batch's own statistics.
        scale = self.weight * torch.rsqrt(variance + self.eps)
        shift = self.bias - mean * scale
        return (wide * scale[:, None, None] + shift[:, None, None]).to(x.dtype)


def share_batch_norms(module: nn.Module, group: Group) -> None:
    """Make every batch norm in a module one of the whole group."""
    for name, child in module.named_children():
        if type(child) is nn.BatchNorm2d:
            shared = SharedBatchNorm(child.num_features, child.eps, child.momentum)
            shared.to(child.weight)
            shared.load_state_dict(child.state_dict())
            shared.group = group
            setattr(module, name, shared)
        else:
            share_batch_norms(child, group)
