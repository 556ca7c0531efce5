"""``esr download``."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from esr_core.cli.command import command
from esr_core.download import CATALOGUE, get


def add(commands: Any) -> None:
    """Declare the command."""
    flag = command(commands, "download", run).add_argument
    items = "; ".join(f"{name}: {item.description}" for name, item in CATALOGUE.items())
    flag("what", choices=list(CATALOGUE), metavar="WHAT", help=items)
    flag("--to", type=Path, default=Path(), metavar="FOLDER", help="(default: the current folder)")
    flag("--url", help="a mirror with the same folders")
    flag("--json", action="store_true")


def run(arguments: argparse.Namespace) -> None:
    """Download the files of the published learner.

    examples:
      esr download demo_image --to /tmp
      esr download pretrained --url http://mirror/facial_emotion_estimation
    """
    path = get(CATALOGUE[arguments.what], arguments.to, arguments.url)
    print(json.dumps({"path": str(path)}) if arguments.json else path)
