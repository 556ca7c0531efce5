"""The parts that all commands share."""

from __future__ import annotations

import argparse
import importlib.util
import sys
import textwrap
from typing import Any

from rich.console import Console

from esr_core.errors import OptionError
from esr_core.media.records import FrameRecord
from esr_core.media.video import VideoReader


def command(
    commands: Any, name: str, summary: str, examples: str, run: Any
) -> argparse.ArgumentParser:
    """Add a command; ``run`` is called with the parsed arguments.

    examples: command lines, separated by a newline and two spaces.
    """
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=summary,
        description=textwrap.fill(summary, 78),
        epilog=f"examples:\n  {examples}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(run=run)
    return parser


def count_of(number: int, noun: str) -> str:
    """Return a number with its noun, such as ``2 faces``."""
    return f"{number or 'no'} {noun}{'' if number == 1 else 's'}"


def faces_of(frame: FrameRecord) -> str:
    """Return the number of faces of a frame, such as ``2 faces``, or ``16 of 40 faces``."""
    faces = len(frame.faces)
    return (
        f"{faces} of {faces + frame.left_out} faces" if frame.left_out else count_of(faces, "face")
    )


def note(arguments: argparse.Namespace, text: str, is_answered: bool = True) -> None:
    """Report what a command leaves out, limits or guesses: a line on stderr.

    text: begins with the name of the input. is_answered: False if it was requested; then the
    exit code is 2.
    """
    print(f"esr {arguments.command}: {text}", file=sys.stderr)
    if not is_answered:
        arguments.exit_code = 2


def note_missing(arguments: argparse.Namespace, video: VideoReader) -> None:
    """Report that a video has ended before its length, if it has."""
    if video.missing():
        note(arguments, video.missing(), is_answered=not video.lacks_frames())


def ros_module(name: str) -> Any:
    """Import a module of esr_ros, by name: esr_core can be imported without ROS.

    Raises:
        OptionError: ROS is not installed, or the module lacks what it needs; with the remedy.
    """
    for needed in ("rclpy", "esr_ros"):
        if importlib.util.find_spec(needed) is None:
            raise OptionError(
                f"{needed} is not installed; run 'source env.sh' in a clone, or source ROS 2 and "
                "this package's workspace"
            )
    return importlib.import_module(f"esr_ros.{name}")


class StdoutConsole(Console):
    """A console for results, which leaves a closed stdout to ``main``."""

    def on_broken_pipe(self) -> None:
        """Raise the BrokenPipeError again, where rich exits with 1."""
        raise
