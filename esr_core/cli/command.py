"""The parts that all commands share."""

from __future__ import annotations

import argparse
import importlib.util
import textwrap
from typing import Any

from rich.console import Console

from esr_core.errors import OptionError


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
