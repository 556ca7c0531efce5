"""``esr video``: faces in videos, tracked from frame to frame."""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any, Dict, Iterator, List, Tuple

from rich.markup import escape

from esr_core.cli import output_files, pipeline_flags
from esr_core.cli.command import StdoutConsole, command, count_of, note
from esr_core.cli.output_files import FrameResults, WriteFrame
from esr_core.cli.tables import table
from esr_core.errors import OptionError, VideoError
from esr_core.media.video import VideoFrame, VideoReader, open_writer
from esr_core.media.visualization import draw_faces
from esr_core.perception.face_emotion import FaceEmotion
from esr_core.pipeline import EmotionPipeline
from esr_core.progress import counter


def add(commands: Any) -> None:
    """Declare the command."""
    video = command(commands, "video", run)
    flag = video.add_argument
    flag("files", nargs="+", type=Path, metavar="FILE", help="a video, such as .mp4")
    output_files.add_flags(video, "frame")
    save_help = "write annotated videos with the sizes and times of the frames, without sound"
    flag("--save", type=Path, metavar="FOLDER|FILE.mp4", help=save_help)
    every_help = "process every N-th frame; annotated videos show its faces until the next "
    every_help += "(default: %(default)s)"
    flag("--every", type=int, default=1, metavar="N", help=every_help)
    time = partial(flag, type=float, metavar="S")
    time("--from", dest="start_s", default=0.0, help="start, in seconds")
    time("--to", dest="end_s", default=float("inf"), help="end, in seconds")
    pipeline_flags.add(video)


def run(arguments: argparse.Namespace) -> None:
    """Detect and track the faces in videos, and print their emotions.

    examples:
      esr video talk.mp4                           # a table of the faces
      esr video talk.mp4 --csv talk.csv            # then: esr report talk.csv
      esr video talks/*.mp4 --json --every 5
      esr video talk.mp4 --save annotated.mp4 --from 60 --to 90
    """
    if not 0 <= arguments.start_s < arguments.end_s:
        raise OptionError(
            f"--from must be 0 or more and less than --to, but got {arguments.start_s:g} and "
            f"{arguments.end_s:g}"
        )
    if arguments.every < 1:
        raise OptionError(f"--every must be 1 or more, but got {arguments.every}")
    files, save = arguments.files, arguments.save
    if save and save.suffix.lower() == ".mp4" and len(files) > 1:
        raise OptionError(f"--save {save} takes one video; name a folder for {len(files)}")
    outputs = [("--save", _annotated(save, path)) for path in files if save]
    output_files.check_frames(arguments, files, outputs)
    pipeline = EmotionPipeline(pipeline_flags.chosen(arguments))
    tasks = [partial(_process, pipeline, arguments, path) for path in files]
    output_files.process_all(tasks, arguments)


def _annotated(save: Path, path: Path) -> Path:
    return save if save.suffix.lower() == ".mp4" else save / f"{path.stem}.mp4"


def _process(
    pipeline: EmotionPipeline, arguments: argparse.Namespace, path: Path, write: WriteFrame
) -> None:
    """Process one video, and print or write its results."""
    video = VideoReader(path)
    target = _annotated(arguments.save, path) if arguments.save else None
    pipeline.reset()
    results = FrameResults(pipeline, arguments, path, write)
    records: Dict[int, List[Tuple[float, str]]] = {}  # the stamps and labels of each face
    faces: List[FaceEmotion] = []
    with open_writer(target, video.rate_hz) if target else nullcontext() as writer:
        for index, frame in enumerate(_frames(video, arguments)):
            evaluated = index % arguments.every == 0
            if not evaluated and not writer:
                continue
            rgb = video.rgb()
            if evaluated:
                faces, record = results.process(frame.number, frame.stamp_s, rgb)
                for face in record.faces:
                    records.setdefault(face.face_id, []).append((record.stamp_s, face.label))
            if writer:
                writer.write(draw_faces(rgb, faces), frame.stamp_s)
        if not results.frames:
            start_s, end_s = arguments.start_s, arguments.end_s
            time = f" from {start_s:g} s on" if start_s else ""
            time = f" from {start_s:g} to {end_s:g} s" if end_s < float("inf") else time
            fault = f" can be read ({video.codec})"
            if video.last_s is not None:
                fault = f"; it ends at {video.last_s:.2f} s"
            raise VideoError(f"{path}: no frame{time}{fault}")
    results.report_limits(video)
    if target and any(side % 2 for side in rgb.shape[:2]):
        lost = f"{target} lacks the last column or row, as an mp4 has even sizes only"
        note(arguments, f"{path}: {lost}")
    if not arguments.json:
        _print(path, results.frames, records)
        if target:
            print(target)


def _frames(video: VideoReader, arguments: argparse.Namespace) -> Iterator[VideoFrame]:
    """Yield the frames from --from to --to, and show the progress."""
    total = video.count and min(video.count, arguments.end_s * video.rate_hz)
    # On a terminal the bar would disturb the JSON lines.
    shown = not (arguments.json and sys.stdout.isatty())
    with counter("frames", video.path.name, total, shown) as update:
        for frame in video:
            if frame.stamp_s >= arguments.end_s:
                break
            update(frame.number + 1)
            if frame.stamp_s >= arguments.start_s:
                yield frame


def _print(path: Path, frames: int, records: Dict[int, List[Tuple[float, str]]]) -> None:
    """Print the times and labels of each face as a table."""
    title = f"{escape(str(path))}: {count_of(frames, 'frame')}, {count_of(len(records), 'face')}"
    rows = []
    for face_id, of_face in records.items():
        total = len(of_face)
        labels = Counter(label for _, label in of_face).most_common()
        shares = ", ".join(f"{label} {count / total:.0%}" for label, count in labels)
        first_s, last_s = of_face[0][0], of_face[-1][0]
        rows.append([str(face_id), f"{first_s:.2f}", f"{last_s:.2f}", str(total), shares])
    columns = ("face", "from, s", "to, s", "frames", "emotions, share of frames")
    made = table(title, columns, rows, columns[-1])
    StdoutConsole().print(made if rows else title, highlight=False)
