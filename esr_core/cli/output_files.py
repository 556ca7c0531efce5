"""Where the answers of a command go: lines of JSON, a CSV file, files beside each other."""

from __future__ import annotations

import argparse
import json
import os
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Callable, Dict, Iterable, Iterator, NamedTuple, Optional, Sequence

from esr_core.atomic_write import descriptor, replacing
from esr_core.errors import OptionError
from esr_core.media.records import CsvWriter, FrameRecord


class Output(NamedTuple):
    """A file that is to be written, and the flag that asks for it."""

    flag: str
    path: Path


def line(kind: str, frame: FrameRecord) -> str:
    """Return a frame as a line of JSON; ``kind`` names what it is from, such as ``video``."""
    faces = [{"face_id": each.face_id, **each.as_json()} for each in frame.sightings]
    stamp_s = round(frame.stamp_s, 6)
    return json.dumps(
        {kind: frame.source, "frame": frame.number, "stamp_s": stamp_s, "faces": faces}
    )


def name(path: Path, arguments: argparse.Namespace) -> None:
    """Say that a file was written: to people, not between lines of JSON."""
    if not arguments.json:
        print(path)


@contextmanager
def csv_file(path: Optional[Path]) -> Iterator[Callable[[FrameRecord], None]]:
    """Yield what takes frames for a CSV file, which is there when all went well; None: no file."""
    if path is None:
        yield lambda frame: None
        return
    number = descriptor(path)
    if number is not None:  # opened anew by its path, a file would be cut
        with open(os.dup(number), "w", newline="", encoding="utf-8") as stream:
            yield CsvWriter(stream).write
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as partial, open(partial, "w", newline="", encoding="utf-8") as stream:
        yield CsvWriter(stream).write


def check(outputs: Sequence[Output], inputs: Iterable[Path], overwrite: bool) -> None:
    """Refuse, before any work is done, to write over what is not to be lost.

    inputs: all files that the command reads.

    Raises:
        OptionError: an output is one of these, or is in the way of another output, or is there
            already and nobody said ``overwrite``.
    """
    read = {_identity(path) for path in inputs}
    parents = {Path(os.path.realpath(path.parent)) for _, path in outputs}
    folders = {_identity(each) for parent in parents for each in (parent, *parent.parents)}
    taken: Dict[Any, str] = {}
    for flag, path in outputs:
        identity = _identity(path)
        if identity in read:
            raise OptionError(f"{flag} would overwrite {path}, which is read; name another")
        if identity in folders:
            raise OptionError(f"{flag}: {path} would be a file and a folder; name another")
        if path.is_dir():
            raise OptionError(f"{flag}: {path} is a folder; name another")
        other = taken.get(identity)
        if other == flag:
            raise OptionError(f"{flag} would write {path} twice; give one file of that name")
        if other:
            raise OptionError(f"{other} and {flag} would both write {path}; name another")
        if path.is_file() and not overwrite and descriptor(path) is None:
            raise OptionError(f"{flag}: {path} is there already; add --overwrite, or name another")
        taken[identity] = flag


def _identity(path: Path) -> Any:
    """Return what all names of a file have in common, also of one that is not there yet."""
    try:
        there = path.stat()
    except OSError:
        return os.path.realpath(path)
    return there.st_dev, there.st_ino
