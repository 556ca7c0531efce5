"""File names for libraries and outputs that take UTF-8 only; on Linux a name is any bytes."""

from __future__ import annotations

import io
import os
import sys
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Iterator


@contextmanager
def native_path(path: Path) -> Iterator[str]:
    """Yield an absolute name by which OpenCV and ONNX Runtime can open a file.

    OpenCV ends the process for a name that is not UTF-8. A symbolic link stands for such a file
    until the ``with`` statement ends.
    """
    name = os.fsencode(path.absolute()).decode("utf-8", "surrogateescape")
    if as_utf8(name) == name:
        yield name
        return
    with TemporaryDirectory(prefix="esr_") as folder:
        link = Path(folder, f"link{path.suffix if path.suffix.isascii() else ''}")
        link.symlink_to(path.absolute())
        yield os.fsencode(link).decode("utf-8")


def as_utf8(name: object) -> str:
    r"""Return a name as text that UTF-8 can encode; other bytes become escapes, ``\udce9``."""
    return str(name).encode("utf-8", "backslashreplace").decode("utf-8")


def print_any_name() -> None:
    """Make stdout print what its encoding lacks as escapes, as stderr does."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
