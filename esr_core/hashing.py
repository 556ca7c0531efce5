"""SHA-256 of files."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

_BLOCK_BYTES = 1 << 20


def digest(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal digits."""
    content = hashlib.sha256()
    with open(path, "rb") as file:
        for block in iter(lambda: file.read(_BLOCK_BYTES), b""):
            content.update(block)
    return content.hexdigest()


def digest_of_ends(path: Path) -> str:
    """Return the SHA-256 of a file's first and last MiB, at a cost independent of its size."""
    with open(path, "rb") as file:
        content = hashlib.sha256(file.read(_BLOCK_BYTES))
        file.seek(max(file.seek(0, os.SEEK_END) - _BLOCK_BYTES, 0))
        content.update(file.read())
    return content.hexdigest()
