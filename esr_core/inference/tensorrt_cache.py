"""The engine cache of TensorRT: a folder per network, version of ONNX Runtime and device.

Building an engine takes minutes. ONNX Runtime puts the versions of TensorRT and CUDA, the names of
the nodes and the compute capability into an engine's file name, and builds another one when they
change. It does not put the weights there; the folder's name has their SHA-256.
"""

from __future__ import annotations

import fcntl
import logging
import os
import re
import shutil
from contextlib import contextmanager
from pathlib import Path
from typing import Iterator

import onnxruntime

from esr_core.hashing import digest

#: Marks a folder in which engines are being built, or were when the process ended.
UNFINISHED = "unfinished"
_log = logging.getLogger(__name__)


def engine_folder(model: Path, device: str) -> Path:
    """Return the folder for a network's engines, in ``$XDG_CACHE_HOME`` or ``~/.cache``."""
    root = Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"))
    parts = (f"tensorrt-{onnxruntime.__version__}", device, digest(model)[:16])
    return root.joinpath("esr_ros", *(re.sub(r"[^\w.-]+", "_", part) for part in parts))


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Create an engine folder and lock it while ONNX Runtime loads or builds engines there.

    Other processes wait. If one was killed while it held the lock, or failed, its engines may be
    incomplete; they are removed and built again.

    Raises:
        OSError: the folder cannot be created or written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with open(f"{folder}.lock", "w", encoding="ascii") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            _log.warning("%s: waiting for another process that builds an engine there", folder)
            fcntl.flock(lock, fcntl.LOCK_EX)
        if (folder / UNFINISHED).exists():
            shutil.rmtree(folder)
        folder.mkdir(exist_ok=True)
        (folder / UNFINISHED).touch()
        yield
        (folder / UNFINISHED).unlink()
