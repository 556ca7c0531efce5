"""``esr video``: faces in videos, from frame to frame."""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from contextlib import nullcontext
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Optional, Tuple

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from esr_core.cli import output_files, pipeline_flags
from esr_core.cli.command import command
from esr_core.cli.output_files import Output
from esr_core.errors import OptionError, VideoError
from esr_core.media.records import FaceRecord, FrameRecord
from esr_core.media.video import VideoFrame, VideoReader, recording
from esr_core.media.visualization import draw_faces
from esr_core.perception.face_emotion import FaceEmotion
from esr_core.pipeline import EmotionPipeline
from esr_core.progress import bar


def add(commands: Any) -> None:
    """Declare the command."""
    video = command(
        commands,
        "video",
        "Find faces in videos, follow them, and say what they show.",
        "esr video talk.mp4\n"
        "  esr video talk.mp4 --csv talk.csv\n"
        "  esr video talks/*.mp4 --json --every 5\n"
        "  esr video talk.mp4 --save annotated.mp4 --from 60 --to 90",
        run,
    )
    video.add_argument("files", nargs="+", type=Path, metavar="FILE")
    video.add_argument("--json", action="store_true", help="one JSON object per frame and line")
    video.add_argument("--csv", type=Path, metavar="FILE", help="one row per face and frame")
    video.add_argument(
        "--save",
        type=Path,
        metavar="FOLDER|FILE.mp4",
        help="write annotated videos there, of the same size and rate, without sound",
    )
    video.add_argument("--overwrite", action="store_true", help="write over files that are there")
    video.add_argument(
        "--every",
        type=_whole_number,
        default=1,
        metavar="N",
        help="answer every N-th frame; in an annotated video an answer stays until the next",
    )
    video.add_argument(
        "--from", dest="start_s", type=float, default=0.0, metavar="S", help="begin there, seconds"
    )
    video.add_argument(
        "--to", dest="end_s", type=float, default=float("inf"), metavar="S", help="end before that"
    )
    pipeline_flags.add(video)


def run(arguments: argparse.Namespace) -> None:
    """Answer the videos one after the other; of those that cannot be read the error tells then."""
    if not 0 <= arguments.start_s < arguments.end_s:
        raise OptionError(
            f"--from must be 0 or more and less than --to, but got {arguments.start_s:g} and "
            f"{arguments.end_s:g}"
        )
    saved = _saved(arguments)
    pipeline = EmotionPipeline(pipeline_flags.chosen(arguments))
    failed: List[str] = []
    with output_files.csv_file(arguments.csv) as write:
        for path, target in zip(arguments.files, saved):
            try:
                _answer(pipeline, path, target, arguments, write)
            except VideoError as error:
                failed.append(str(error))
        if len(failed) == len(arguments.files):
            raise VideoError("; ".join(failed))  # within, so that no empty file is left
    if arguments.csv:
        output_files.name(arguments.csv, arguments)
    if failed:
        raise VideoError("; ".join(failed))


def _whole_number(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number from 1 on, but got {text!r}")
    return int(text)


def _saved(arguments: argparse.Namespace) -> List[Optional[Path]]:
    """Return where each video is saved; refuse to write over what is not to be lost."""
    files, save = arguments.files, arguments.save
    saved: List[Path] = []
    if save and save.suffix.lower() != ".mp4":
        saved = [save / f"{path.stem}.mp4" for path in files]
    elif save and len(files) > 1:
        raise OptionError(f"--save {save} takes one video; name a folder for {len(files)}")
    elif save:
        saved = [save]
    outputs = [Output("--csv", arguments.csv)] if arguments.csv else []
    outputs += [Output("--save", target) for target in saved]
    output_files.check(outputs, [*files, *pipeline_flags.files(arguments)], arguments.overwrite)
    return [*saved] or [None] * len(files)


def _answer(
    pipeline: EmotionPipeline,
    path: Path,
    target: Optional[Path],
    arguments: argparse.Namespace,
    write: Callable[[FrameRecord], None],
) -> None:
    """Answer one video, and tell of it in all forms that are asked for.

    Raises:
        VideoError: none of its frames can be read, or the annotated ones cannot be written.
    """
    film = VideoReader(path)
    pipeline.reset()
    summary = _Summary()
    faces: List[FaceEmotion] = []
    with recording(target, film.rate_hz) if target else nullcontext() as recorder:
        for number, shot in enumerate(_shots(film, arguments)):
            asked = number % arguments.every == 0
            if not asked and not recorder:
                continue
            rgb = film.rgb()
            if asked:
                faces = pipeline.step(rgb, shot.stamp_s)
                sightings = tuple(FaceRecord.of(face) for face in faces)
                frame = FrameRecord(str(path), shot.number, shot.stamp_s, sightings)
                write(frame)
                summary.add(frame)
                if arguments.json:
                    print(output_files.line("video", frame), flush=True)
            if recorder:
                recorder.write(draw_faces(rgb, faces))
        if not summary.frames:
            raise VideoError(f"{path}: no frame {_where(arguments)}can be read")
    if film.missing():
        print(f"esr video: {film.missing()}", file=sys.stderr)
    if not arguments.json:
        summary.show(path)
    if target:
        output_files.name(target, arguments)


def _shots(film: VideoReader, arguments: argparse.Namespace) -> Iterator[VideoFrame]:
    """Go through the frames that are asked about, and show on a bar how far that has come."""
    total = None if film.count is None else min(film.count, arguments.end_s * film.rate_hz)
    # On a terminal that shows JSON a bar would be in its way.
    with bar("frames", shown=not (arguments.json and sys.stdout.isatty())) as progress:
        task = progress.add_task(escape(film.path.name), total=total)
        for shot in film:
            if shot.stamp_s >= arguments.end_s:
                break
            progress.update(task, completed=shot.number + 1)
            if shot.stamp_s >= arguments.start_s:
                yield shot


def _where(arguments: argparse.Namespace) -> str:
    """Return what was asked for, for an error."""
    start_s, end_s = arguments.start_s, arguments.end_s
    if end_s < float("inf"):
        return f"from {start_s:g} to {end_s:g} s "
    return f"from {start_s:g} s on " if start_s else ""


class _Summary:
    """What a video showed, face by face."""

    def __init__(self) -> None:
        self.frames = 0
        self._labels: Dict[int, Counter[str]] = {}  # by face_id
        self._seen_s: Dict[int, Tuple[float, float]] = {}  # first, last

    def add(self, frame: FrameRecord) -> None:
        self.frames += 1
        for face in frame.sightings:
            self._labels.setdefault(face.face_id, Counter())[face.label] += 1
            first_s, _ = self._seen_s.get(face.face_id, (frame.stamp_s, 0))
            self._seen_s[face.face_id] = (first_s, frame.stamp_s)

    def show(self, path: Path) -> None:
        count = len(self._labels)
        faces = "no face found" if not count else f"{count} face{'' if count == 1 else 's'}"
        title = f"{escape(str(path))}: {self.frames} frames, {faces}"
        table = Table(title=title, title_justify="left")
        for column in ("face", "from, s", "to, s", "frames"):
            table.add_column(column, justify="right")
        table.add_column("what it showed in them")
        for face_id, labels in self._labels.items():
            total = sum(labels.values())
            shares = (f"{label} {count / total:.0%}" for label, count in labels.most_common())
            times = (f"{seen_s:.2f}" for seen_s in self._seen_s[face_id])
            table.add_row(str(face_id), *times, str(total), ", ".join(shares))
        Console().print(table if count else title, highlight=False)
