"""Where the answers of a command go: lines of JSON, a CSV file, files beside each other."""

from __future__ import annotations

import json
from contextlib import contextmanager
from pathlib import Path
from typing import Callable, Iterator, List, Optional, Sequence

from esr_core.atomic import replacing
from esr_core.errors import OptionError
from esr_core.timeline import CsvWriter, Frame


def line(kind: str, frame: Frame) -> str:
    """Return a frame as a line of JSON; ``kind`` names what it is from, such as ``video``."""
    faces = [{"face_id": each.face_id, **each.as_json()} for each in frame.sightings]
    stamp_s = round(frame.stamp_s, 6)
    return json.dumps(
        {kind: frame.source, "frame": frame.number, "stamp_s": stamp_s, "faces": faces}
    )


@contextmanager
def csv_file(path: Optional[Path]) -> Iterator[Callable[[Frame], None]]:
    """Yield what takes frames for a CSV file, which is there when all went well; None: no file."""
    if path is None:
        yield lambda frame: None
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as partial, open(partial, "w", newline="", encoding="utf-8") as stream:
        yield CsvWriter(stream).write


def targets(flag: str, paths: Sequence[Path], folder: Path, ending: str, kind: str) -> List[Path]:
    """Return the files in a folder that are made of these paths, one of each ``kind``.

    Raises:
        OptionError: one of them is one of the paths, or two are the same.
    """
    made = [folder / (path.stem + ending) for path in paths]
    places = [target.resolve() for target in made]
    sources = {path.resolve() for path in paths}
    for path, place in zip(paths, places):
        if place in sources:
            raise OptionError(f"{flag} {folder} would overwrite {place}; name another folder")
        if places.count(place) > 1:
            raise OptionError(f"{path}: another {kind} would be saved as {place} too")
    return made


def check_free(flag: str, target: Path, paths: Sequence[Path], overwrite: bool) -> None:
    """Raise OptionError if a file to be written is one of the paths, or there without leave."""
    if target.resolve() in {path.resolve() for path in paths}:
        raise OptionError(f"{flag} would overwrite {target}; name another file")
    if target.is_file() and not overwrite:
        raise OptionError(f"{flag}: {target} is there already; add --overwrite, or name another")
