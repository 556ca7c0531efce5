"""The outputs of a command: JSON lines, a CSV file, and files that must not be lost."""

from __future__ import annotations

import argparse
import json
import os
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Callable, Dict, Iterable, Iterator, List, Optional, Sequence, Tuple

import numpy as np
from numpy.typing import NDArray

from esr_core.atomic_write import descriptor, replacing
from esr_core.cli import pipeline_flags
from esr_core.cli.command import note
from esr_core.errors import EsrError, ImageError, OptionError, VideoError
from esr_core.media.records import CsvWriter, FrameRecord
from esr_core.media.video import VideoReader
from esr_core.perception.face_emotion import FaceEmotion
from esr_core.pipeline import EmotionPipeline, View, limit_reached

#: Writes one frame to the CSV file, if there is one.
WriteFrame = Callable[[FrameRecord], None]
#: An output file, and before it the flag that requests it.
Output = Tuple[str, Path]


def add_flags(parser: argparse.ArgumentParser, item: str) -> None:
    """Add --json, --csv and --overwrite; ``item`` is the noun of one image of the input."""
    flag = parser.add_argument
    flag("--json", action="store_true", help=f"print one JSON object per {item}, one per line")
    csv_help = f"write a CSV file, one row per face and {item}"
    flag("--csv", type=Path, metavar="FILE", help=csv_help)
    flag("--overwrite", action="store_true", help="replace existing output files")


class FrameResults:
    """The results for the frames of one video or camera, written to --csv and, as JSON, stdout."""

    def __init__(
        self,
        pipeline: EmotionPipeline,
        arguments: argparse.Namespace,
        source: object,
        write: WriteFrame,
    ) -> None:
        self._pipeline, self._arguments = pipeline, arguments
        self._source, self._write = source, write
        self._left_out: List[int] = []  # faces beyond max_faces, in each frame with such
        self.frames = 0

    def process(
        self, number: int, stamp_s: float, rgb: NDArray[np.uint8]
    ) -> Tuple[List[FaceEmotion], FrameRecord]:
        """Process the next frame (h, w, 3), and write its record."""
        (result,) = self._pipeline.answer([View(self._pipeline.stream, rgb, stamp_s)])
        record = FrameRecord.of(self._source, number, stamp_s, result, rgb.shape)
        self.frames += 1
        self._left_out += [record.left_out] if record.left_out else []
        self._write(record)
        if self._arguments.json:
            faces = record.json_of_faces([face.as_json() for face in record.faces])
            source = {self._arguments.command: record.source}
            frame = {"frame": number, "stamp_s": round(stamp_s, 6)}
            print(json.dumps({**source, **frame, **faces}), flush=True)
        return result.faces, record

    def report_limits(self, video: Optional[VideoReader]) -> None:
        """Report faces beyond ``max_faces``, and a video that has ended before its length."""
        if self._left_out:
            limit = limit_reached(self._left_out, self._pipeline.options, "frame")
            note(self._arguments, f"{self._source}: {limit}")
        if video and video.missing():
            note(self._arguments, video.missing(), is_answered=not video.lacks_frames())


@contextmanager
def csv_file(arguments: argparse.Namespace) -> Iterator[WriteFrame]:
    """Yield a function that writes a frame to --csv; the file appears when all went well."""
    path = arguments.csv
    if path is None:
        yield lambda frame: None
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    number = descriptor(path)  # opening a redirected stdout again by its path would truncate it
    with replacing(path) as partial:
        file = partial if number is None else os.dup(number)
        with open(file, "w", newline="", encoding="utf-8", errors="backslashreplace") as stream:
            yield CsvWriter(stream).write
    if not arguments.json:
        print(path)


def process_all(
    tasks: Sequence[Callable[[WriteFrame], None]],
    arguments: argparse.Namespace,
    failed: Sequence[str] = (),
) -> None:
    """Run the task of each input, and write the CSV file.

    failed: errors of further inputs.

    Raises:
        EsrError: inputs could not be read, a line for each; the others have been processed.
    """
    errors = [*failed]
    with csv_file(arguments) as write:
        for task in tasks:
            try:
                task(write)
            except (ImageError, VideoError) as error:
                errors.append(str(error))
        if len(errors) == len(failed) + len(tasks):
            raise EsrError("\n".join(errors))  # in the with block: no empty file remains
    if errors:
        raise EsrError("\n".join(errors))


def check_frames(
    arguments: argparse.Namespace, inputs: Iterable[Path], outputs: Iterable[Output] = ()
) -> None:
    """Check --csv and further outputs of a command that runs the pipeline; see :func:`check`."""
    csv = [("--csv", arguments.csv)] if arguments.csv else []
    check([*csv, *outputs], [*inputs, *pipeline_flags.files(arguments)], arguments.overwrite)


def check(outputs: Sequence[Output], inputs: Iterable[Path], overwrite: bool = True) -> None:
    """Check, before any work is done, that no file would be lost.

    inputs: all files that the command reads.

    Raises:
        OptionError: an output is an input, conflicts with another output, or exists and
            ``overwrite`` is not set.
    """
    read = {_identity(path) for path in inputs}
    parents = {Path(os.path.realpath(path.parent)) for _, path in outputs}
    folders = {_identity(each) for parent in parents for each in (parent, *parent.parents)}
    flags: Dict[Any, str] = {}
    for flag, path in outputs:
        identity = _identity(path)
        other = flags.get(identity)
        if identity in read:
            raise OptionError(f"{flag} would overwrite {path}, which is read; name another")
        if identity in folders:
            raise OptionError(f"{flag}: {path} would be a file and a folder; name another")
        if path.is_dir():
            raise OptionError(f"{flag}: {path} is a folder; name another")
        if other == flag:
            raise OptionError(f"{flag} would write {path} twice; give one file of that name")
        if other:
            raise OptionError(f"{other} and {flag} would both write {path}; name another")
        if path.is_file() and not overwrite and descriptor(path) is None:
            raise OptionError(f"{flag}: {path} already exists; add --overwrite, or name another")
        flags[identity] = flag


def _identity(path: Path) -> Any:
    """Return a value that all names of a file share, also of a file that does not exist yet."""
    try:
        status = path.stat()
    except OSError:
        return os.path.realpath(path)
    return status.st_dev, status.st_ino
