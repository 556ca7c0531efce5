"""``esr bench --node``: figures of the node, measured by a worker process of ``esr_ros``."""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import re
import subprocess
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Any, Dict, List, Tuple

from esr_core.benchmark.cases import NODE_CASES
from esr_core.benchmark.runner import BenchmarkError, Worker
from esr_core.cli.tables import print_table
from esr_core.errors import OptionError
from esr_core.process import end_with_parent

#: The figures that are compared with those of another version, and their names.
_COMPARED = {
    "p50_ms": "p50, ms",
    "p99_ms": "p99, ms",
    "cores": "cores",
    "answered_hz": "answers a second",
    "resident_mb": "MB",
    "start_s": "start, s",
}
#: What is measured of a frame, in its order, and the figure of a row.
_STAGES = {
    "stamp to node": "{stages_ms[transport]:.2f}",
    "wait for the worker": "{stages_ms[wait]:.2f}",
    "decode": "{stages_ms[decode]:.2f}",
    "detect": "{stages_ms[detect]:.2f}",
    "crop": "{stages_ms[crop]:.2f}",
    "infer": "{stages_ms[infer]:.2f}",
    "track, smooth": "{stages_ms[track]:.2f}",
    "build, publish": "{stages_ms[publish]:.2f}",
    "node to listener": "{stages_ms[delivery]:.2f}",
    "all": "{p50_ms:.2f}",
    "no work: bare node": "{floor_ms:.2f}",
}
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
    if arguments.against and not Path(arguments.against, "install", "esr_ros").is_dir():
        raise OptionError(f"--against: {arguments.against} is no clone after 'make setup'")
    setup = json.dumps([arguments.seconds, _node_arguments(arguments), os.getcwd()])
    words, rows = ("the benchmark", "esr_ros.benchmark.node_benchmark", setup), []
    try:
        # A session of its own: Ctrl-C reaches only this process, which then ends the worker.
        with Worker(*words, start_new_session=True, preexec_fn=end_with_parent) as worker:
            for case in cases:
                turns = []
                for _ in range(arguments.turns if arguments.against else 1):
                    worker.send(asdict(case))
                    turns.append((worker.receive(), _other(arguments, case.name)))
                rows.append(_compared(turns) if arguments.against else turns[0][0])
    finally:
        if arguments.json:
            print(json.dumps(rows))
        elif rows and arguments.against:
            _print_compared(arguments, rows)
        elif rows:
            for title, (headers, keys) in _TABLES.items():
                columns = {header: f"{{{key}}}" for header, key in zip(headers, keys)}
                print_table(title, {"camera": "{scenario}", **columns}, rows)
            _print_stages(rows)
            print("queued: answers that waited longer than two frames' work")
            print("off: from the usual place, in widths of the face")


def _other(arguments: argparse.Namespace, case: str) -> Dict[str, Any]:
    """Return the figures that the other version has by its own benchmark; empty without one.

    Raises:
        BenchmarkError: it has no such benchmark, or an error.
    """
    if not arguments.against:
        return {}
    words = ["--node", "--json", "--only", case, "--seconds", str(arguments.seconds)]
    for name in ("model", "provider", "threads"):
        if hasattr(arguments, name):
            words += [f"--{name}", str(getattr(arguments, name))]
    if arguments.params_file:
        words += ["--params-file", str(arguments.params_file.absolute())]
    for parameter in arguments.set:
        words += ["--set", parameter]
    script = 'source "$0/env.sh" && exec esr bench "$@"'
    # Nothing of this version's environment.
    kept = {name: os.environ[name] for name in ("HOME", "PATH", "LANG") if name in os.environ}
    done = subprocess.run(
        ["bash", "-c", script, str(arguments.against.absolute()), *words],
        env=kept,
        capture_output=True,
        text=True,
        check=False,
    )
    try:
        (row,) = json.loads(done.stdout)
    except ValueError:
        error = (done.stderr.strip().splitlines() or ["no figures"])[-1]
        raise BenchmarkError(f"--against {arguments.against}: {error}") from None
    return row  # type: ignore[no-any-return]


def _compared(turns: List[Tuple[Dict[str, Any], Dict[str, Any]]]) -> Dict[str, Any]:
    """Return the medians of each figure: here, there, and of the ratios within a turn."""
    own = turns[0][0]
    compared: Dict[str, Any] = {"scenario": own["scenario"]}
    for key in _COMPARED:
        pairs = [(here[key], there[key]) for here, there in turns if there.get(key)]
        if pairs:
            here, there = map(median, zip(*pairs))
            ratio = median(a / b for a, b in pairs)
            compared[key] = {"here": here, "there": there, "ratio": round(ratio, 3)}
    return compared


def _print_compared(arguments: argparse.Namespace, rows: List[Dict[str, Any]]) -> None:
    figures = [
        {"scenario": row["scenario"] if i == 0 else "", "figure": name, **row[key]}
        for row in rows
        for i, (key, name) in enumerate((k, n) for k, n in _COMPARED.items() if k in row)
    ]
    keys = ("here", "there", "ratio")
    print_table(
        f"Beside {arguments.against}, medians of {arguments.turns} turns",
        {"camera": "{scenario}", "": "{figure}", **{key: f"{{{key}:.2f}}" for key in keys}},
        figures,
    )


def _print_stages(rows: List[Dict[str, Any]]) -> None:
    """Print a column for each camera."""
    # Three lines: size, rate, faces.
    names = ["\n".join(re.split(r" (?=\d)", row["scenario"])) for row in rows]
    columns = {name: f"{{camera{i}}}" for i, name in enumerate(names)}
    figures = [
        {"stage": stage, **{f"camera{i}": form.format_map(row) for i, row in enumerate(rows)}}
        for stage, form in _STAGES.items()
    ]
    print_table(
        "Where the time goes, median ms",
        {"stage": "{stage}", **columns},
        figures,
        "bare node: it answers each image with an empty message",
    )


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
