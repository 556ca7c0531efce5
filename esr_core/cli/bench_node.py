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
#: The stages of a frame in their order, and their names.
_STAGES = {
    "transport": "stamp to node",
    "wait": "wait for the worker",
    "decode": "decode",
    "detect": "detect",
    "crop": "crop",
    "infer": "infer",
    "track": "track, smooth",
    "publish": "build, publish",
    "delivery": "node to listener",
}
#: Title of each table, and its columns: headers and keys of a row.
_TABLES = {
    "From image stamp to answer, ms, and resources of emotion_node": {
        "a second": "answered_hz",
        "p50": "p50_ms",
        "p99": "p99_ms",
        "max": "max_ms",
        "cores": "cores",
        "MB": "resident_mb",
        "start, s": "start_s",
    },
    "Images that newer ones superseded": {
        "sent": "sent",
        "dropped": "dropped",
        "reported": "node_says",
        "queued": "queued",
    },
    "Faces in the images": {
        "shown": "shown",
        "missed": "missed",
        "made up": "made_up",
        "p95 off": "off",
    },
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
                    other = _other(arguments, case.name)  # first, as it may not work
                    worker.send(asdict(case))
                    turns.append((worker.receive(), other))
                rows.append(_compared(turns) if arguments.against else turns[0][0])
    finally:
        if arguments.json:
            print(json.dumps(rows))
        elif rows and arguments.against:
            _print_compared(arguments, rows)
        elif rows:
            for title, keys in _TABLES.items():
                columns = {header: f"{{{key}}}" for header, key in keys.items()}
                print_table(title, {"camera": "{scenario}", **columns}, rows)
            _print_stages(rows)
            print("queued: answers that waited longer than two frames' work")
            print("off: from the usual place, in widths of the face")


def _passed_on(arguments: argparse.Namespace) -> Dict[str, Any]:
    """Return the options of the node that have flags of their own, if they were given."""
    names = ("model", "provider", "threads")
    return {name: getattr(arguments, name) for name in names if hasattr(arguments, name)}


def _node_arguments(arguments: argparse.Namespace) -> List[str]:
    """Return the ROS arguments of the node."""
    file = arguments.params_file
    if file and not file.is_file():
        raise OptionError(f"--params-file: there is no file {file}")
    words = ["--params-file", str(file)] if file else []
    given = [f"{name}:={value}" for name, value in _passed_on(arguments).items() if value != ""]
    for parameter in given + arguments.set:
        if not re.fullmatch(r"[^:=\s]+:=.+", parameter):
            raise OptionError(f"--set wants NAME:=VALUE, but got {parameter!r}")
        words += ["-p", parameter]
    return words


def _other(arguments: argparse.Namespace, case: str) -> Dict[str, Any]:
    """Return the figures that the other version has by its own benchmark; empty without one."""
    if not arguments.against:
        return {}
    words = ["--node", "--json", "--only", case, "--seconds", str(arguments.seconds)]
    for name, value in _passed_on(arguments).items():
        words += [f"--{name}", str(value)]
    if arguments.params_file:
        words += ["--params-file", str(arguments.params_file.absolute())]
    for parameter in arguments.set:
        words += ["--set", parameter]
    own = '[ ! -e "$0/.venv/.ros_distro" ] || . "/opt/ros/$(cat "$0/.venv/.ros_distro")/setup.bash"'
    script = f'{own}; source "$0/env.sh" && exec esr bench "$@"'
    command = ["bash", "-c", script, str(arguments.against.absolute()), *words]
    # Nothing of this version's environment.
    kept = {name: os.environ[name] for name in ("HOME", "PATH", "LANG") if name in os.environ}
    done = subprocess.run(command, env=kept, capture_output=True, text=True, check=False)
    try:
        (row,) = json.loads(done.stdout)
    except ValueError:
        error = (done.stderr.strip().splitlines() or ["no figures"])[-1]
        raise BenchmarkError(f"--against {arguments.against}: {error}") from None
    return row  # type: ignore[no-any-return]


def _compared(turns: List[Tuple[Dict[str, Any], Dict[str, Any]]]) -> Dict[str, Any]:
    """Return the medians of each figure: here, there, and of the ratios within a turn."""
    compared: Dict[str, Any] = {"scenario": turns[0][0]["scenario"]}
    for key in _COMPARED:
        pairs = [(here[key], there[key]) for here, there in turns if there.get(key)]
        if pairs:
            here, there = map(median, zip(*pairs))
            ratio = median(a / b for a, b in pairs)
            compared[key] = {"here": here, "there": there, "ratio": round(ratio, 3)}
    return compared


def _print_compared(arguments: argparse.Namespace, rows: List[Dict[str, Any]]) -> None:
    figures = []
    for row in rows:
        name = row["scenario"]
        for key in filter(row.get, _COMPARED):
            figures.append({"scenario": name, "figure": _COMPARED[key], **row[key]})
            name = ""
    columns = {name: f"{{{name}:.2f}}" for name in ("here", "there", "ratio")}
    title = f"Beside {arguments.against}, medians of {arguments.turns} turns"
    print_table(title, {"camera": "{scenario}", "": "{figure}", **columns}, figures)


def _print_stages(rows: List[Dict[str, Any]]) -> None:
    """Print a column for each camera."""
    # Three lines: size, rate, faces.
    names = ["\n".join(re.split(r" (?=\d)", row["scenario"])) for row in rows]
    columns = {name: f"{{ms[{i}]:.2f}}" for i, name in enumerate(names)}
    medians_ms = {name: [row["stages_ms"][key] for row in rows] for key, name in _STAGES.items()}
    medians_ms["all"] = [row["p50_ms"] for row in rows]
    medians_ms["no work: bare node"] = [row["floor_ms"] for row in rows]
    print_table(
        "Where the time goes, median ms",
        {"stage": "{stage}", **columns},
        [{"stage": stage, "ms": each} for stage, each in medians_ms.items()],
        "bare node: it answers each image with an empty message",
    )
