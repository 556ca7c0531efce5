"""The parts that all commands share."""

from __future__ import annotations

import argparse
import importlib.util
import inspect
import sys
import textwrap
from typing import Any, Callable, Dict, Union

from rich.console import Console

from esr_core.errors import OptionError
from esr_core.media.records import FrameRecord
from esr_core.options import Option, options


def command(
    commands: Any, name: str, run: Callable[[argparse.Namespace], None]
) -> argparse.ArgumentParser:
    """Add a command; ``run`` is called with the parsed arguments.

    The docstring of ``run`` is the help: a summary, and example command lines.
    """
    summary, _, examples = (inspect.getdoc(run) or "").partition("\n\n")
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=summary,
        description=textwrap.fill(summary, 78),
        epilog=examples,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(run=run)
    return parser


def add_option(group: Any, option: Option, metavar: str, default: str) -> None:
    """Add the flag of an option, such as ``--min-score``; it is parsed only if it is given.

    default: for the help; empty: none is shown.
    """
    kind: Any = type(option.default)
    choices = None if option.word_or_number else option.choices or None
    optional: Dict[str, Any] = {"nargs": "?", "const": True} if kind is bool else {}
    group.add_argument(
        "--" + option.name.replace("_", "-"),
        type=_word_or_number if option.word_or_number else _flag if kind is bool else kind,
        default=argparse.SUPPRESS,
        choices=choices,
        metavar=None if choices else metavar,
        help=option.description.replace("%", "%%") + (f" (default: {default})" if default else ""),
        **optional,
    )


def given(arguments: argparse.Namespace, cls: Any) -> Dict[str, Any]:
    """Return the options of a class that were given on the command line."""
    parsed = vars(arguments)
    return {each.name: parsed[each.name] for each in options(cls) if each.name in parsed}


def _word_or_number(text: str) -> Union[str, int]:
    return int(text) if text.isdecimal() else text


def _flag(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise argparse.ArgumentTypeError(f"must be true or false, but got {text!r}")
    return text.lower() == "true"


def count_of(number: int, noun: str) -> str:
    """Return a number with its noun, such as ``2 faces``."""
    return f"{number or 'no'} {noun}{'' if number == 1 else 's'}"


def faces_of(frame: FrameRecord) -> str:
    """Return the number of faces of a frame, such as ``2 faces``, or ``16 of 40 faces``."""
    faces = len(frame.faces)
    if frame.left_out:
        return f"{faces} of {faces + frame.left_out} faces"
    return count_of(faces, "face")


def note(arguments: argparse.Namespace, text: str, is_answered: bool = True) -> None:
    """Report what a command leaves out, limits or guesses: a line on stderr.

    text: begins with the name of the input. is_answered: False if it was requested; then the
    exit code is 2.
    """
    print(f"esr {arguments.command}: {text}", file=sys.stderr)
    if not is_answered:
        arguments.exit_code = 2


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
