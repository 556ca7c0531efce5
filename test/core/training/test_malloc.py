"""The memory allocator of a process that trains."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Callable

#: glibc allocates a large block by mmap, unless keep_freed_memory() has changed that.
SCRIPT = """
import ctypes
from pathlib import Path
from esr_core.cli import main
from esr_core.data.ferplus import read
from esr_core.training.config import ResizeStage, TrainingConfig
from esr_core.training.trainer import train

libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
libc.malloc.argtypes = [ctypes.c_size_t]

class MallInfo(ctypes.Structure):
    names = "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost"
    _fields_ = [(name, ctypes.c_int) for name in names.split()]

libc.mallinfo.restype = MallInfo

def is_mapped():
    before = libc.mallinfo().hblks
    libc.malloc(300 << 20)
    return libc.mallinfo().hblks > before

faces = read(Path("valid.npz.xz"))
train(faces, faces, TrainingConfig(branches=1, stages=(ResizeStage(54, 1),)), Path("library"))
print(is_mapped())
main("train --data . --out command --branches 1 --stages 54x1 --json".split())
print(is_mapped())
"""


def test_only_the_command_keeps_freed_memory(
    tmp_path: Path, make_ferplus: Callable[[str, int], Path]
) -> None:
    for name in ("train.npz.xz", "valid.npz.xz"):
        make_ferplus(name, 4)
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    after_library, _, after_command = done.stdout.splitlines()
    assert after_library == "True"
    assert after_command == "False"
