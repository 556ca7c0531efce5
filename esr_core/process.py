"""The cores of this process, and child processes that end with their parent."""

from __future__ import annotations

import ctypes
import math
import os
import signal
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import Dict, Iterator, List


def usable_cores(root: Path = Path("/")) -> int:
    """Return the number of cores that this process may use, 1 or more.

    Those of its CPU mask (``taskset``, cpuset), or fewer if the CPU quota of its cgroups, version 1
    or 2, gives it less time than that; part of a core counts as one. The hardware threads of a core
    count as one, since they share what computes a network.

    root: mount point of the kernel's file systems.
    """
    cores = len(cores_of_mask(root)) or os.cpu_count() or 1
    return max(math.ceil(min([cores, *_quotas(root)])), 1)


def cores_of_mask(root: Path = Path("/")) -> List[List[int]]:
    """Return the hardware threads in the CPU mask of this process, a list for each core.

    Empty where systems have no masks.
    """
    cores: Dict[str, List[int]] = {}  # by the list of all its hardware threads
    if not hasattr(os, "sched_getaffinity"):
        return []
    for number in sorted(os.sched_getaffinity(0)):
        topology, core = root / f"sys/devices/system/cpu/cpu{number}/topology", str(number)
        with suppress(OSError):
            core = (topology / "thread_siblings_list").read_text(encoding="ascii").strip()
        cores.setdefault(core, []).append(number)
    return list(cores.values())


def _quotas(root: Path) -> Iterator[float]:
    """Yield the CPU quotas of the cgroups of this process and those above, in processors."""
    try:
        lines = (root / "proc/self/cgroup").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return  # not Linux
    for line in lines.splitlines():
        _, controllers, own = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        mount = root / "sys/fs/cgroup" / ("cpu" if controllers else "")
        # In a container the own path may be that of the host, and only the root be there.
        for group in (PurePosixPath(own), *PurePosixPath(own).parents):
            folder = mount / str(group).lstrip("/")
            names = ("cpu.cfs_quota_us", "cpu.cfs_period_us") if controllers else ("cpu.max",)
            with suppress(OSError, ValueError):
                quota, period = " ".join((folder / n).read_text("ascii") for n in names).split()
                if int(quota) > 0:  # version 1 writes -1 for no quota, version 2 "max"
                    yield int(quota) / int(period)


def end_with_parent() -> None:
    """Make Linux send SIGTERM to this process when its parent ends, for any reason."""
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG, of linux/prctl.h


def keep_freed_memory(reserve_mb: int = 0) -> None:
    """Keep freed memory in the process until it ends, or until it is returned; only glibc can.

    glibc returns large blocks to the kernel, which clears each page when it is used again. An image
    message is allocated three times on its way to Python, a training step allocates hundreds of
    megabytes: a third of the step, and more than half of the way of a large image, went into that.

    reserve_mb: how much more than is needed is taken each time.
    """
    trim_threshold, top_pad, mmap_max = -1, -2, -4  # as in malloc.h
    with suppress(OSError, AttributeError, TypeError):  # another C library, such as musl
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(mmap_max, 0)
        mallopt(trim_threshold, -1)
        if reserve_mb:
            mallopt(top_pad, reserve_mb << 20)


def return_freed_memory() -> None:
    """Return memory that is freed, and kept by glibc, to the system; elsewhere nothing happens."""
    with suppress(OSError, AttributeError, TypeError):  # another C library
        ctypes.CDLL(None).malloc_trim(0)
