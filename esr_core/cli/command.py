"""What all commands have in common."""

from __future__ import annotations

import argparse
from typing import Any


def command(
    commands: Any, name: str, summary: str, examples: str, run: Any
) -> argparse.ArgumentParser:
    """Add a command; ``run`` is called with the parsed arguments."""
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=summary,
        description=summary,
        epilog=f"examples:\n  {examples}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(run=run)
    return parser
