"""``esr report``: a recording as a web page."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any, List, Sequence, Tuple

from esr_core.atomic_write import replacing
from esr_core.cli import output_files
from esr_core.cli.command import command, count_of, note, ros_module
from esr_core.errors import OptionError
from esr_core.media.records import read_csv
from esr_core.progress import counter
from esr_core.report.html import page
from esr_core.report.summary import Recording, summarise

_BAGS = (".mcap", ".db3")
_PAGES = (".html", ".htm")
_VIDEOS = (".mp4", ".avi", ".mkv", ".mov", ".webm")


def add(commands: Any) -> None:
    """Declare the command."""
    flag = command(commands, "report", run).add_argument
    input_help = "a CSV file of 'esr video' or 'esr camera', or a bag with emotions: recorded from "
    input_help += "the node, or made by 'esr annotate'"
    flag("input", type=Path, metavar="FILE", help=input_help)
    page_help, default = "the page (default: %(default)s)", Path("report.html")
    flag("-o", "--output", type=Path, default=default, metavar="FILE.html", help=page_help)
    topic_help = "topic of the emotions, for bags with several; may be repeated"
    flag("--topic", action="append", default=[], metavar="TOPIC", help=topic_help)
    flag("--title", help="heading of the page (default: the input's name)")
    flag("--overwrite", action="store_true", help="replace an existing page")
    flag("--json", action="store_true", help="print the figures of the page as a JSON object")


def run(arguments: argparse.Namespace) -> None:
    """Make a web page of a recording: the emotions of each face over time, in one HTML file that
    any browser opens offline.

    examples:
      esr report talk.csv                          # writes report.html
      esr report talk.csv -o tuesday.html --title 'Tuesday, 3 pm'
      esr report walk_emotions/ --overwrite --json # a bag; needs ROS 2
      esr report walk_emotions/ --topic /left/emotion --topic /right/emotion
    """
    source, target = arguments.input, arguments.output
    if target.suffix.lower() not in _PAGES or not target.parent.is_dir() or target.is_dir():
        raise OptionError(f"--output must be a .html in an existing folder, but got {target}")
    if not source.exists():
        raise OptionError(f"{source}: there is no such file or folder")
    if source.is_dir():  # which may hold an earlier page
        inputs = [each for each in source.iterdir() if each.suffix.lower() not in _PAGES]
    else:
        inputs = [source, source.with_name("metadata.yaml")]  # part of a bag
    output_files.check([("--output", target)], inputs, arguments.overwrite)
    recording, damage = _read(arguments)
    reported = len(damage)
    _warn(arguments, damage)  # before an error that the damage may cause
    summary = summarise(recording)
    text = page(recording, summary)  # reads a bag's images, and may find more damage
    _warn(arguments, damage[reported:])
    with replacing(target) as partial:
        partial.write_text(text, encoding="ascii")
    faces, images = count_of(len(summary.faces), "face"), count_of(summary.images, "image")
    line = f"{target}: {faces} in {images} of {summary.duration_s:.1f} s"
    print(json.dumps(summary.as_json()) if arguments.json else line)


def _warn(arguments: argparse.Namespace, damage: Sequence[str]) -> None:
    for fault in damage:
        note(arguments, f"{arguments.input}: damaged: {fault}", is_answered=False)


def _read(arguments: argparse.Namespace) -> Tuple[Recording, List[str]]:
    """Read the recording; return also descriptions of its unreadable parts."""
    path, suffix = arguments.input, arguments.input.suffix.lower()
    title = path.resolve().name if arguments.title is None else arguments.title
    if suffix in _BAGS or path.is_dir():
        emotion_recording = ros_module("bags.emotion_recording")
        with counter("messages", "reading") as update:
            recording, damage = emotion_recording.read(path, arguments.topic, title, update)
        return recording, damage
    if suffix in _VIDEOS:
        raise OptionError(f"{path}: run 'esr video {path} --csv FILE.csv', then report that file")
    if suffix != ".csv":
        raise OptionError(f"{path}: must be a .csv, a bag's folder, or one of {', '.join(_BAGS)}")
    if arguments.topic:
        raise OptionError(f"--topic is for bags; {path} has no topics")
    lines = path.read_bytes().count(b"\n") if path.is_file() else 1
    frames, rows = [], 0
    with counter("rows", "reading", lines - 1) as update:
        for frame in read_csv(path):
            frames.append(frame)
            rows += max(len(frame.faces), 1)
            update(rows)
    if len(frames) > 1 and len({frame.stamp_s for frame in frames}) == 1:
        raise OptionError(
            f"{path}: all its frames have the same stamp, as those of 'esr image' do; a report "
            "shows changes in a video or a bag"
        )
    return Recording(title, frames), []
