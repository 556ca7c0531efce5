"""``esr report``."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any, List, Sequence, Tuple

from esr_core.atomic_write import replacing
from esr_core.cli import output_files, ros_modules
from esr_core.cli.command import command
from esr_core.cli.output_files import Output
from esr_core.errors import OptionError
from esr_core.media.records import read_csv
from esr_core.progress import bar
from esr_core.report.html import page
from esr_core.report.recording import Recording
from esr_core.report.summary import Summary, summarise

_BAGS = (".mcap", ".db3")
_PAGES = (".html", ".htm")
_VIDEOS = (".mp4", ".avi", ".mkv", ".mov", ".webm")


def add(commands: Any) -> None:
    """Declare the command."""
    report = command(
        commands,
        "report",
        "Make a web page of a recording: what each face showed over time, in one file that opens "
        "in any browser, without a network.",
        "esr report faces.csv\n  esr report faces.csv -o tuesday.html --title 'Tuesday, 3 pm'\n"
        "  esr report walk_emotions/ --overwrite --json            # a bag; needs ROS 2\n"
        "  esr report walk_emotions/ --topic /left/emotion --topic /right/emotion",
        run,
    )
    report.add_argument(
        "input",
        type=Path,
        metavar="FILE",
        help="a CSV file of 'esr video --csv', or a bag in which emotions are: recorded beside the "
        "node, or made by 'esr annotate'",
    )
    report.add_argument(
        "-o",
        "--output",
        type=Path,
        default=Path("report.html"),
        metavar="FILE.html",
        help="default: %(default)s",
    )
    report.add_argument(
        "--topic",
        action="append",
        default=[],
        metavar="TOPIC",
        help="of a bag's emotions, if there are several; may be given repeatedly",
    )
    report.add_argument("--title", help="what stands above it (default: the input's name)")
    report.add_argument("--overwrite", action="store_true", help="replace a page that is there")
    report.add_argument("--json", action="store_true", help="the sums, as JSON on stdout")


def run(arguments: argparse.Namespace) -> None:
    """Write the page, and print the sums."""
    _check(arguments)
    recording, damage = _recording(arguments.input, arguments)
    known = len(damage)
    _tell(arguments.input, damage)  # before what may be an error because of it
    summary = summarise(recording)
    text = page(recording, summary)  # reads a bag's images; more of them may be damaged
    _tell(arguments.input, damage[known:])
    with replacing(arguments.output) as partial:
        partial.write_text(text, encoding="ascii")
    print(json.dumps(summary.as_json()) if arguments.json else _line(arguments.output, summary))


def _tell(path: Path, damage: Sequence[str]) -> None:
    for said in damage:
        print(f"esr report: {path}: damaged: {said}", file=sys.stderr)


def _check(arguments: argparse.Namespace) -> None:
    """Refuse a place where the page cannot be, before the work is done."""
    target, source = arguments.output, arguments.input
    if target.suffix.lower() not in _PAGES or not target.parent.is_dir() or target.is_dir():
        raise OptionError(f"--output wants a .html in a folder that exists, not {target}")
    if source.is_dir():  # an earlier page may lie in it
        read = [each for each in source.iterdir() if each.suffix.lower() not in _PAGES]
    else:
        read = [source, source.with_name("metadata.yaml")]  # which a bag's file is told by, too
    output_files.check([Output("--output", target)], read, arguments.overwrite)


def _recording(path: Path, arguments: argparse.Namespace) -> Tuple[Recording, List[str]]:
    """Read what the page is made of; returns also what cannot be read of it."""
    title = path.resolve().name if arguments.title is None else arguments.title
    if path.suffix.lower() in _BAGS or path.is_dir():
        return _of_bag(path, arguments.topic, title)
    if path.suffix.lower() in _VIDEOS:
        raise OptionError(f"{path}: run 'esr video {path} --csv FILE.csv', then report that file")
    if path.suffix.lower() != ".csv":
        raise OptionError(f"{path}: must be a .csv, a bag's folder, or one of {', '.join(_BAGS)}")
    if arguments.topic:
        raise OptionError(f"--topic is of bags; {path} has none")
    return _of_csv(path, title), []


def _of_bag(path: Path, topics: List[str], title: str) -> Tuple[Recording, List[str]]:
    bag_recording = ros_modules.module("bags.emotion_recording")
    with bar("answers") as progress:
        task = progress.add_task("reading", total=None)

        def show(done: int, total: int) -> None:
            progress.update(task, completed=done, total=total)

        recording, damage = bag_recording.read(path, topics, title, show)
    return recording, damage


def _of_csv(path: Path, title: str) -> Recording:
    with bar("rows") as progress:
        task = progress.add_task("reading", total=_rows(path))
        frames = []
        for frame in read_csv(path):
            frames.append(frame)
            progress.advance(task, max(len(frame.sightings), 1))
    if len(frames) > 1 and len({frame.stamp_s for frame in frames}) == 1:
        raise OptionError(
            f"{path}: all its images are of one moment, as those of 'esr image' are; a report "
            "shows what changes in a video or a bag"
        )
    return Recording(title, frames)


def _rows(path: Path) -> int:
    """Return how many lines a file has below the first; 0 if it cannot be read."""
    if not path.is_file():
        return 0  # whoever reads it says so
    with open(path, "rb") as stream:
        return max(
            sum(block.count(b"\n") for block in iter(lambda: stream.read(1 << 20), b"")) - 1, 0
        )


def _line(path: Path, summary: Summary) -> str:
    faces, images = len(summary.faces), summary.images
    return (
        f"{path}: {faces} face{'' if faces == 1 else 's'} in {images} "
        f"image{'' if images == 1 else 's'} of {summary.duration_s:.1f} s"
    )
