"""The device of a training, and its precision."""

from __future__ import annotations

import os
import re
from pathlib import Path

import torch

from esr_core.errors import OptionError
from esr_core.process import usable_cores
from esr_core.training.config import AUTO


def select_device(name: str) -> torch.device:
    """Return the device of this process; each process of a machine takes its own GPU.

    Raises:
        OptionError: this machine has no such device.
    """
    if not re.fullmatch(r"cpu|cuda(:\d+)?", name):
        raise OptionError(f"device must be cpu, cuda or such as cuda:1, but got {name!r}")
    if name == "cpu":
        # PyTorch knows the mask of the process, but not the quota of a container.
        torch.set_num_threads(min(torch.get_num_threads(), usable_cores()))
        return torch.device(name)
    require_cuda(name)
    if name == "cuda":
        name = f"cuda:{os.environ.get('LOCAL_RANK', '0')}"
    device, count = torch.device(name), torch.cuda.device_count()
    if device.index >= count:
        raise OptionError(f"device must be below cuda:{count} here, but got {name!r}")
    torch.cuda.set_device(device)
    return device


def require_cuda(name: str) -> None:
    """Raise OptionError if no CUDA device is available for the device ``name``."""
    if not torch.cuda.is_available():
        raise OptionError(
            f"device must be 'cpu' here, but got {name!r}: no CUDA device is available "
            f"(torch {torch.__version__})"
        )


def device_name(device: torch.device) -> str:
    """Return the name of a device for the record of a training."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{torch.get_num_threads()} CPU threads"


def resolve_precision(precision: str, device: torch.device) -> str:
    """Return ``bf16`` or ``fp32``; ``auto`` is bf16 where the device has instructions for it.

    PyTorch emulates it elsewhere: a training on such a CPU takes ten times as long as in fp32.
    """
    if precision != AUTO:
        return precision
    if device.type == "cuda":
        has_bf16 = torch.cuda.get_device_capability(device) >= (8, 0)  # Ampere
    else:
        has_bf16 = cpu_has_bf16()
    return "bf16" if has_bf16 else "fp32"


def cpu_has_bf16(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Return whether an x86 CPU computes in bf16, by Linux's names; False on other systems."""
    try:
        flags = cpuinfo.read_text(encoding="utf-8").split()
    except OSError:
        return False
    return "avx512_bf16" in flags or "amx_bf16" in flags
