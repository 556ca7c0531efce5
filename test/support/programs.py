"""Programs of the package, started by tests."""

from __future__ import annotations

import signal
import subprocess
import time
from pathlib import Path
from typing import Any


def wait_until_begun(program: subprocess.Popen[Any]) -> None:
    """Wait for its handlers of signals; Python itself has none for SIGTERM."""
    while program.poll() is None:
        lines = Path(f"/proc/{program.pid}/status").read_text(encoding="ascii").splitlines()
        (mask,) = (line.split()[1] for line in lines if line.startswith("SigCgt"))
        if int(mask, 16) >> (signal.SIGTERM - 1) & 1:
            return
        time.sleep(0.005)
