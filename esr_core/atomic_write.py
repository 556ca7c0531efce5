"""Files that are there whole, or as they were before."""

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
    """Yield a new, hidden file beside ``path`` to write to; it takes that place if all goes well.

    After an error, such as a full disk, it is removed and ``path`` is as it was. What is no file,
    such as /dev/stdout or a pipe, is written to as it is.

    ending: of the file beside, for those who go by that.

    Raises:
        OSError: it cannot be written; names the file.
    """
    if descriptor(path) is not None or (path.exists() and not path.is_file() and not path.is_dir()):
        with _naming(path, path):
            yield path
        return
    place = Path(os.path.realpath(path)) if path.is_symlink() else path  # a link goes on to be one
    # No more than the start of the name, as names may be no longer than 255 bytes.
    partial = place.with_name(f".{place.name[:40]}.{secrets.token_hex(8)}{ending}")
    with _naming(path, partial):
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        partial.touch(exist_ok=False)  # a file of somebody else stays
        try:
            yield partial
            if place.exists():
                os.chmod(partial, place.stat().st_mode)  # who may read it stays as it was
            os.replace(partial, place)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise


def descriptor(path: Path) -> Optional[int]:
    """Return the number of what this process has open, if a path such as /dev/stdout names that."""
    folder, _, name = str(path).rpartition("/")
    if folder == "/dev" and name in _STANDARD:
        return _STANDARD.index(name)
    return int(name) if folder in ("/dev/fd", "/proc/self/fd") and name.isdecimal() else None


@contextmanager
def _naming(path: Path, written: Path) -> Iterator[None]:
    """Let errors of what is written name the file that it is for."""
    try:
        yield
    except (OSError, RuntimeError) as error:
        # Errors of write() do not know the file, and torch hides them behind one of its own.
        cause = error.__context__ if isinstance(error, RuntimeError) else error
        if isinstance(cause, OSError) and cause.filename in (None, str(written)):
            raise OSError(cause.errno, cause.strerror, str(path)) from error
        raise
