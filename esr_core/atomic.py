"""Files that are there whole, or as they were before."""

from __future__ import annotations

import os
from contextlib import contextmanager
from pathlib import Path
from typing import Iterator


@contextmanager
def replacing(path: Path, ending: str = ".part") -> Iterator[Path]:
    """Yield a path beside ``path`` to write to; it takes that place when all went well.

    After an error, such as a full disk, it is removed and ``path`` is as it was. What is no file,
    such as /dev/stdout or a pipe, is written to as it is.

    ending: of the path beside, for those who go by that.

    Raises:
        OSError: it cannot be written; names the file.
    """
    special = path.exists() and not path.is_file() and not path.is_dir()
    place = path.resolve() if path.is_symlink() else path  # a link goes on to be one
    partial = path if special else place.with_name(place.name + ending)
    try:
        yield partial
        if not special:
            os.replace(partial, place)
    except BaseException as error:
        if not special and not partial.is_dir():
            partial.unlink(missing_ok=True)
        # Errors of write() do not know the file, and torch hides them behind one of its own.
        cause = error.__context__ if isinstance(error, RuntimeError) else error
        if isinstance(cause, OSError) and cause.filename is None:
            raise OSError(cause.errno, cause.strerror, str(path)) from error
        raise
