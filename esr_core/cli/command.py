"""The parts that all commands share."""

from __future__ import annotations

import argparse
import textwrap
from typing import Any

from rich.console import Console


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


class StdoutConsole(Console):
    """A console for results, which leaves a closed stdout to ``main``."""

    def on_broken_pipe(self) -> None:
        """Raise the BrokenPipeError again, where rich exits with 1."""
        raise
