"""Child processes that end with their parent."""

from __future__ import annotations

import ctypes
import signal


def end_with_parent() -> None:
    """Make Linux send SIGTERM to this process when its parent ends, for any reason."""
    libc = ctypes.CDLL(None)
    libc.prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG, of linux/prctl.h
