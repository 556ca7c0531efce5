"""The memory allocator of the C library."""

from __future__ import annotations

import ctypes
from contextlib import suppress

# The names of malloc.h.
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX = -1, -2, -4


def keep_pages() -> None:
    """Keep freed memory in the process until it ends; only glibc can.

    A training step on the CPU frees hundreds of megabytes and allocates them again. glibc returns
    them to the kernel, which clears each page again: a third of the step was spent on that.
    """
    with suppress(OSError, AttributeError, TypeError):  # another C library, such as musl
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_MMAP_MAX, 0)
        mallopt(_M_TRIM_THRESHOLD, -1)
        mallopt(_M_TOP_PAD, 256 << 20)
