"""``esr bench --node``: figures of the node, measured by a worker process of ``esr_ros``."""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import re
from dataclasses import asdict
from typing import Dict, List, Tuple

from esr_core.benchmark.cases import NODE_CASES
from esr_core.benchmark.runner import BenchmarkError, Worker
from esr_core.cli.tables import print_table
from esr_core.errors import OptionError
from esr_core.process import end_with_parent

#: Title of each table, and its columns: headers and keys of a row.
_TABLES: Dict[str, Tuple[Tuple[str, ...], Tuple[str, ...]]] = {
    "From image stamp to answer, ms, and resources of emotion_node": (
        ("a second", "p50", "p99", "max", "cores", "MB", "start, s"),
        ("answered_hz", "p50_ms", "p99_ms", "max_ms", "cores", "resident_mb", "start_s"),
    ),
    "Images that newer ones superseded": (
        ("sent", "dropped", "reported", "queued"),
        ("sent", "dropped", "node_says", "queued"),
    ),
    "Faces in the images": (
        ("shown", "missed", "made up", "p95 off"),
        ("shown", "missed", "made_up", "off"),
    ),
}


def run(arguments: argparse.Namespace) -> None:
    """Measure and print the figures, also those that precede an error.

    Raises:
        OptionError: no camera has such a name, or a file or a parameter is malformed.
        BenchmarkError: ROS is not installed, or the node does not answer.
    """
    if importlib.util.find_spec("rclpy") is None:
        raise BenchmarkError("--node needs ROS 2; run 'source env.sh' in a clone, or source ROS")
    cases = [case for case in NODE_CASES if arguments.only in case.name]
    if not cases:
        names = "; ".join(case.name for case in NODE_CASES)
        raise OptionError(f"--only {arguments.only!r} is part of no camera's name: {names}")
    setup = json.dumps([arguments.seconds, _node_arguments(arguments), os.getcwd()])
    words, rows = ("the benchmark", "esr_ros.benchmark.node_benchmark", setup), []
    try:
        # A session of its own: Ctrl-C reaches only this process, which then ends the worker.
        with Worker(*words, start_new_session=True, preexec_fn=end_with_parent) as worker:
            for case in cases:
                worker.send(asdict(case))
                rows.append(worker.receive())
    finally:
        if arguments.json:
            print(json.dumps(rows))
        elif rows:
            for title, (headers, keys) in _TABLES.items():
                columns = {header: f"{{{key}}}" for header, key in zip(headers, keys)}
                print_table(title, {"camera": "{scenario}", **columns}, rows)
            print("queued: answers that waited longer than two frames' work")
            print("off: from the usual place, in widths of the face")


def _node_arguments(arguments: argparse.Namespace) -> List[str]:
    """Return the ROS arguments of the node."""
    file = arguments.params_file
    if file and not file.is_file():
        raise OptionError(f"--params-file: there is no file {file}")
    words = ["--params-file", str(file)] if file else []
    given = {name: getattr(arguments, name, "") for name in ("model", "provider", "threads")}
    parameters = [f"{name}:={value}" for name, value in given.items() if value != ""]
    for parameter in parameters + arguments.set:
        if not re.fullmatch(r"[^:=\s]+:=.+", parameter):
            raise OptionError(f"--set wants NAME:=VALUE, but got {parameter!r}")
        words += ["-p", parameter]
    return words
