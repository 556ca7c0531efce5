"""``esr download``."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from esr_core.catalogue import CATALOGUE, get
from esr_core.cli.command import command


def add(commands: Any) -> None:
    """Declare the command."""
    download = command(
        commands,
        "download",
        "Fetch what the published learner offers, or a face detector; goes on after a break.",
        "esr download face_detector --to models\n"
        "  esr download pretrained --url http://mirror/facial_emotion_estimation",
        run,
    )
    download.add_argument(
        "what",
        choices=list(CATALOGUE),
        metavar="WHAT",
        help="; ".join(f"{name}: {item.description}" for name, item in CATALOGUE.items()),
    )
    download.add_argument(
        "--to", type=Path, default=Path(), metavar="FOLDER", help="(default: the current folder)"
    )
    download.add_argument("--url", help="another server that has the same folders")
    download.add_argument("--json", action="store_true")


def run(arguments: argparse.Namespace) -> None:
    """Fetch it, and print where it is."""
    place = get(CATALOGUE[arguments.what], arguments.to, arguments.url)
    print(json.dumps({"path": str(place)}) if arguments.json else place)
