"""``esr bench --node``: a process of the ROS package measures, this shows."""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Dict, Iterator, List

from rich.console import Console

from esr_core.cli.tables import figures
from esr_core.errors import EsrError, OptionError
from esr_core.process import end_with_parent

#: What holds where nothing is given.
DEFAULTS: Dict[str, Any] = {"seconds": 10.0, "only": "", "set": [], "params_file": None}
#: Options of the learner's benchmark that the node has as parameters too.
HANDED_ON = ("model", "provider", "threads")

#: What is shown: title, columns, and what stands below.
_TABLES = (
    (
        "From image stamp to answer, ms, and what emotion_node takes",
        {
            "answered_hz": "a second",
            "p50_ms": "p50",
            "p99_ms": "p99",
            "max_ms": "max",
            "cores": "cores",
            "resident_mb": "MB",
        },
        "from start to first answer: {} s",
    ),
    (
        "Images that were not answered, since a newer one had come",
        {"sent": "sent", "dropped": "dropped", "node_says": "it says", "queued": "queued"},
        "queued: answers that waited longer than two frames' work",
    ),
    (
        "Faces in them",
        {"shown": "shown", "missed": "missed", "made_up": "made up", "off": "p95 off"},
        "off: of the usual place, in widths of the face",
    ),
)


class NodeBenchError(EsrError):
    """The node could not be measured."""


def add(bench: argparse.ArgumentParser) -> None:
    """Declare what only the node's benchmark has."""
    group = bench.add_argument_group(
        "the node", "--model, --provider and --threads are handed on to it if they are given"
    )
    group.add_argument(
        "--node",
        action="store_true",
        help="start a camera and emotion_node and measure from image stamp to answer; needs ROS",
    )
    group.add_argument("--seconds", type=float, help="how long for each camera (default: 10)")
    group.add_argument("--only", metavar="TEXT", help="cameras with this in their name")
    group.add_argument("--params-file", type=Path, metavar="YAML", help="the node's parameters")
    group.add_argument(
        "--set",
        action="append",
        metavar="NAME:=VALUE",
        help="a parameter of the node, as often as needed; stronger than the file",
    )


def run(arguments: argparse.Namespace) -> None:
    """Measure, and show; what was measured before an error is shown, too.

    Raises:
        OptionError: a time, a file or a parameter that is none.
        NodeBenchError: there is no ROS, or the node does not answer.
    """
    if not 1 <= arguments.seconds <= 86_400:
        raise OptionError(f"--seconds must be from 1 to 86400, but got {arguments.seconds:g}")
    if importlib.util.find_spec("rclpy") is None:
        raise NodeBenchError("--node needs ROS 2; run 'source env.sh' in a clone, or source ROS")
    rows: List[Dict[str, Any]] = []
    try:
        for row in _measured(arguments):
            rows.append(row)
    finally:
        if arguments.json:
            print(json.dumps(rows))
        elif rows:
            _show(rows)


def _show(rows: List[Dict[str, Any]]) -> None:
    starts = sorted({row["start_s"] for row in rows})
    range_s = " to ".join(map(str, starts[:1] + starts[1:][-1:]))
    for title, columns, told in _TABLES:
        columns = {"scenario": "camera", **columns}
        Console().print(figures(title, columns, rows, told.format(range_s)))


def _node_words(arguments: argparse.Namespace) -> List[str]:
    """What the node is started with, as ROS takes it.

    Raises:
        OptionError: a file or a parameter that is none.
    """
    words = []
    if arguments.params_file:
        if not arguments.params_file.is_file():
            raise OptionError(f"--params-file: there is no file {arguments.params_file}")
        words += ["--params-file", str(arguments.params_file)]
    given = {name: getattr(arguments, name) for name in HANDED_ON}
    parameters = [f"{name}:={value}" for name, value in given.items() if value not in (None, "")]
    for parameter in parameters + arguments.set:
        if not re.fullmatch(r"[^:=\s]+:=.+", parameter):
            raise OptionError(f"--set wants NAME:=VALUE, but got {parameter!r}")
        words += ["-p", parameter]
    return words


def _row(line: str) -> Dict[str, Any]:
    try:
        row: Dict[str, Any] = json.loads(line)
    except ValueError:  # ROS had something to say
        row = {"error": line.strip()}
    return row


def _measured(arguments: argparse.Namespace) -> Iterator[Dict[str, Any]]:
    words = _node_words(arguments)
    # Started in a folder of its own: in a clone, the source folder has the name of the package.
    with tempfile.TemporaryDirectory() as folder:
        command = [
            sys.executable,
            "-m",
            "esr_ros.benchmark.node_benchmark",
            "--seconds",
            str(arguments.seconds),
        ]
        process = subprocess.Popen(
            [*command, f"--only={arguments.only}", f"--folder={os.getcwd()}", *words],
            cwd=folder,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,  # a Ctrl-C of the terminal is for this process alone
            preexec_fn=end_with_parent,
        )
        assert process.stdout is not None
        try:
            for line in process.stdout:
                row = _row(line)
                if "error" in row:
                    process.wait()  # it has cleared the stage, and is about to end
                    raise NodeBenchError(row["error"])
                yield row
            if process.wait():
                raise NodeBenchError(f"the benchmark ended with exit code {process.returncode}")
        finally:
            # It ends the camera and the node; killed, it would leave them behind.
            process.terminate()
            process.wait()
            process.stdout.close()
