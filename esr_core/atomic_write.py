"""Atomic writes: a file is complete, or remains as it was."""

from __future__ import annotations

import errno
import os
import secrets
from contextlib import contextmanager
from pathlib import Path
from typing import Iterator, Optional

_STANDARD = ("stdin", "stdout", "stderr")


@contextmanager
def replacing(path: Path, ending: str = ".part") -> Iterator[Path]:
    """Yield a hidden temporary file beside ``path`` that replaces it if no error occurs.

    After an error, such as a full disk, the temporary file is removed and ``path`` is unchanged.
    Devices and pipes, such as /dev/stdout, are yielded themselves.

    ending: of the temporary file's name, for writers that choose a format by it.

    Raises:
        OSError: the file cannot be written; has its name.
    """
    if descriptor(path) is not None or (path.exists() and not path.is_file() and not path.is_dir()):
        with _errors_name(path, path):
            yield path
        return
    target = Path(os.path.realpath(path)) if path.is_symlink() else path  # keep a symbolic link
    # Only the start of the name: file names are limited to 255 bytes.
    partial = target.with_name(f".{target.name[:40]}.{secrets.token_hex(8)}{ending}")
    with _errors_name(path, partial):
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        partial.touch(exist_ok=False)  # never another program's file
        try:
            yield partial
            if target.exists():
                os.chmod(partial, target.stat().st_mode)  # keep the permissions
            os.replace(partial, target)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise


def descriptor(path: Path) -> Optional[int]:
    """Return the file descriptor that a path such as /dev/stdout names, or None."""
    folder, _, name = str(path).rpartition("/")
    if folder == "/dev" and name in _STANDARD:
        return _STANDARD.index(name)
    return int(name) if folder in ("/dev/fd", "/proc/self/fd") and name.isdecimal() else None


@contextmanager
def _errors_name(path: Path, written: Path) -> Iterator[None]:
    """Make errors of writing ``written`` name ``path``."""
    try:
        yield
    except (OSError, RuntimeError) as error:
        # An error of write() has no file name, and torch wraps it in a RuntimeError.
        cause = error.__context__ if isinstance(error, RuntimeError) else error
        if isinstance(cause, OSError) and cause.filename in (None, str(written)):
            raise OSError(cause.errno, cause.strerror, str(path)) from error
        raise
