"""``esr bench --node``: a process of the ROS package measures, this shows."""

from __future__ import annotations

import argparse
import importlib.util
import json
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Dict, List

from rich.console import Console

from esr_core.cli.table import figures
from esr_core.errors import EsrError, OptionError

_ANSWERS = {
    "scenario": "camera",
    "answered_hz": "per s",
    "dropped": "dropped",
    "p50_ms": "p50",
    "p99_ms": "p99",
    "max_ms": "max",
    "cores": "cores",
    "resident_mb": "MB",
}
_FACES = {
    "scenario": "camera",
    "shown": "shown",
    "missed": "missed",
    "made_up": "made up",
    "off": "p95 off",
}


class NodeBenchError(EsrError):
    """The node could not be measured."""


def add(bench: argparse.ArgumentParser) -> None:
    """Declare what only the node's benchmark has."""
    group = bench.add_argument_group(
        "the node", "--model, --provider and --threads are handed on to it; the rest is not for it"
    )
    group.add_argument(
        "--node",
        action="store_true",
        help="start a camera and emotion_node and measure from image stamp to answer; needs ROS",
    )
    group.add_argument(
        "--seconds", type=float, default=10.0, help="how long for each camera (default: 10)"
    )
    group.add_argument("--only", default="", metavar="TEXT", help="cameras with this in their name")
    group.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME:=VALUE",
        help="a parameter of the node, as often as needed",
    )


def run(arguments: argparse.Namespace) -> None:
    """Measure, and show.

    Raises:
        OptionError: a time that is none.
        NodeBenchError: there is no ROS, or the node does not answer.
    """
    if not 1 <= arguments.seconds <= 86_400:
        raise OptionError(f"--seconds must be from 1 to 86400, but got {arguments.seconds:g}")
    if importlib.util.find_spec("rclpy") is None:
        raise NodeBenchError("--node needs ROS 2; run 'source env.sh' in a clone, or source ROS")
    rows = _measured(arguments)
    if arguments.json:
        print(json.dumps(rows))
        return
    starts = [row["start_s"] for row in rows]
    told = f"from start to first answer: {min(starts)} to {max(starts)} s"
    answers = "Answers of emotion_node; from image stamp to answer, ms"
    Console().print(figures(answers, _ANSWERS, rows, told))
    told = "off: of the usual place, in widths of the face"
    Console().print(figures("Faces in them", _FACES, rows, told))


def _measured(arguments: argparse.Namespace) -> List[Dict[str, Any]]:
    parameters = [f"provider:={arguments.provider}", f"threads:={arguments.threads}"]
    if arguments.model:
        parameters.append(f"model:={Path(arguments.model).absolute()}")
    words = [word for each in parameters + arguments.set for word in ("-p", each)]
    # In a folder of its own: in a clone, the source folder has the name of the package.
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "esr_ros.benchmark", "--seconds", str(arguments.seconds)]
        process = subprocess.Popen(
            [*command, "--only", arguments.only, *words],
            cwd=folder,
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            said, _ = process.communicate()
        except KeyboardInterrupt:
            # It ends the camera and the node; killed, it would leave them behind.
            process.send_signal(signal.SIGINT)
            process.wait()
            raise
    if process.returncode == 130:
        raise KeyboardInterrupt
    lines = [json.loads(line) for line in said.splitlines()]
    if process.returncode:
        raise NodeBenchError(lines[-1]["error"] if lines else f"ended with {process.returncode}")
    return lines
