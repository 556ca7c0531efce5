"""Files that are there whole, or as they were before."""

from __future__ import annotations

import os
from contextlib import contextmanager
from pathlib import Path
from typing import Iterator


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a path beside ``path`` to write to; it takes that place when all went well.

    After an error, such as a full disk, it is removed and ``path`` is as it was.

    Raises:
        OSError: it cannot be written; names the file.
    """
    partial = path.with_name(path.name + ".part")
    try:
        yield partial
        os.replace(partial, path)
    except BaseException as error:
        if not partial.is_dir():
            partial.unlink(missing_ok=True)
        # Errors of write() do not know the file, and torch hides them behind one of its own.
        cause = error.__context__ if isinstance(error, RuntimeError) else error
        if isinstance(cause, OSError) and cause.filename is None:
            raise OSError(cause.errno, cause.strerror, str(path)) from error
        raise
