"""The C library's memory, kept by a process that asks for the same large pieces again and again."""

from __future__ import annotations

import ctypes
import sys
from contextlib import suppress

# The names of malloc.h.
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX = -1, -2, -4


def keep_pages() -> None:
    """Let freed memory stay with the process; on other systems than Linux nothing happens.

    A training step on the CPU frees hundreds of megabytes and asks for them anew. glibc hands them
    back to the kernel, which clears each page again: a third of the step went into that.
    """
    if not sys.platform.startswith("linux"):
        return
    with suppress(OSError, AttributeError):  # a C library without mallopt, such as musl
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_MMAP_MAX, 0)
        mallopt(_M_TRIM_THRESHOLD, -1)
        mallopt(_M_TOP_PAD, 256 << 20)
