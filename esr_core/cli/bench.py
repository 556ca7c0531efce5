"""``esr bench``."""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import platform
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any, Dict, Iterable, List, Optional, Sequence

import numpy as np
from rich.console import Console

from esr_core.benchmark import Contestant, Timing, measure
from esr_core.cli import node_bench
from esr_core.cli.command import command
from esr_core.cli.table import figures
from esr_core.crop import whole
from esr_core.energy import find_meters, unreadable
from esr_core.errors import OptionError
from esr_core.infer import ADAPTIVE, Model, load_model
from esr_core.progress import bar
from esr_core.provider import PROVIDERS

#: Validation faces by which branches that take turns are timed.
FACES = 200
#: What holds where nothing is given; given options of the node's benchmark are an error here.
DEFAULTS: Dict[str, Any] = {
    "data": None,
    "faces": [1],
    "provider": "cpu",
    "threads": 0,
    "rounds": 10,
    "calls": 10,
}


def add(commands: Any) -> None:
    """Declare the command."""
    bench = command(
        commands,
        "bench",
        "Time a network on this machine, beside PyTorch running the same one; or the ROS node.",
        "esr bench\n  esr bench --faces 1,4,16 --threads 2\n  esr bench --data valid.npz.xz --json"
        "\n  esr bench --node\n  esr bench --node --only '640x480 30 Hz 1 face' --seconds 1800",
        run,
    )
    bench.add_argument("--model", default="", help=".onnx file; default: the one that ships")
    bench.add_argument(
        "--data",
        type=Path,
        help="a file of FER+; with it, branches that take turns are timed too (how many are asked "
        "depends on the faces)",
    )
    bench.add_argument(
        "--faces", type=_counts, metavar="N,N", help="faces in one call (default: 1)"
    )
    bench.add_argument("--provider", choices=PROVIDERS, help="default: cpu")
    bench.add_argument("--threads", type=int, help="0: as many as cores (default)")
    bench.add_argument("--rounds", type=int, help="turns of each engine (default: 10)")
    bench.add_argument("--calls", type=int, help="calls in a turn (default: 10)")
    bench.add_argument("--json", action="store_true", help="all figures, as JSON on stdout")
    node_bench.add(bench)


def _counts(text: str) -> List[int]:
    try:
        counts = [int(part) for part in text.split(",")]
    except ValueError:
        counts = []
    if not counts or min(counts) < 1 or max(counts) > 4096:
        raise argparse.ArgumentTypeError(
            f"must be numbers from 1 to 4096 such as 1,4,16, but got {text!r}"
        )
    return counts


def run(arguments: argparse.Namespace) -> None:
    if arguments.node:
        _refuse(arguments, set(DEFAULTS) - set(node_bench.HANDED_ON), "is not for --node")
        _fill(arguments, node_bench.DEFAULTS)
        node_bench.run(arguments)
        return
    _refuse(arguments, node_bench.DEFAULTS, "is for --node only")
    _fill(arguments, DEFAULTS)
    for name in ("rounds", "calls"):
        if getattr(arguments, name) < 1:
            raise OptionError(f"--{name} must be 1 or more, but got {getattr(arguments, name)}")
    if arguments.threads < 0:
        raise OptionError(f"--threads must be 0 or more, but got {arguments.threads}")
    model = load_model(arguments.model or None, arguments.provider)
    meters = find_meters()
    with tempfile.TemporaryDirectory() as folder, bar("rounds") as progress:
        contestants = _contestants(model, arguments, Path(folder))
        task = progress.add_task("timing", total=arguments.rounds)
        timings = measure(
            contestants,
            arguments.rounds,
            arguments.calls,
            meters,
            lambda done: progress.update(task, completed=done),
        )
    rows = _rows(timings)
    machine = f"{platform.machine()}, {os.cpu_count()} cores"
    if arguments.json:
        print(json.dumps({"network": model.metadata.name, "machine": machine, "rows": rows}))
        return
    _show(rows, f"{model.metadata.name} on {machine}")
    if not meters:
        blocked = ", ".join(map(str, unreadable()))
        Console().print(
            f"Energy: {blocked} may not be read; as root, 'chmod a+r' them"
            if blocked
            else "Energy: this machine has no sensor that is known here"
        )


def _refuse(arguments: argparse.Namespace, names: Iterable[str], why: str) -> None:
    for name in sorted(names):
        if getattr(arguments, name) is not None:
            raise OptionError(f"--{name.replace('_', '-')} {why}")


def _fill(arguments: argparse.Namespace, defaults: Dict[str, Any]) -> None:
    for name, default in defaults.items():
        if getattr(arguments, name) is None:
            setattr(arguments, name, default)


def _contestants(model: Model, arguments: argparse.Namespace, folder: Path) -> List[Contestant]:
    about, size = model.metadata, model.metadata.input.size_px
    faces = ""
    if arguments.data:
        from esr_core.data import ferplus

        faces = str(folder / "faces.npy")
        np.save(faces, whole(ferplus.read(arguments.data).subset(FACES).images, about.input))
    fixed: Dict[str, Any] = {"size_px": size, "threads": arguments.threads, "faces": faces}
    chosen = []
    for count in arguments.faces:
        if importlib.util.find_spec("torch"):
            chosen.append(
                Contestant(
                    "PyTorch, eager",
                    "torch",
                    branches=about.branches,
                    diversified=about.diversified,
                    batch=count,
                    **fixed,
                )
            )
        here = Contestant(
            "ONNX Runtime",
            "onnx",
            str(model.path),
            provider=arguments.provider,
            batch=count,
            **fixed,
        )
        chosen.append(here)
        if faces and model.takes_turns:
            chosen.append(replace(here, name="ONNX, adaptive", branches=ADAPTIVE))
    return chosen


def _rows(timings: Sequence[Timing]) -> List[Dict[str, Any]]:
    """The figures; each is compared with PyTorch's at the same number of faces."""
    baselines = {t.contestant.batch: t for t in timings if t.contestant.engine == "torch"}
    return [timing.summary(baselines.get(timing.contestant.batch)) for timing in timings]


def _show(rows: Sequence[Dict[str, Any]], title: str) -> None:
    columns = {
        "name": "engine",
        "faces": "faces",
        "evaluations_per_s": "faces/s",
        "p50_ms": "p50 ms",
        "p99_ms": "p99 ms",
        "peak_mb": "peak MB",
        "joules": "J a call",
        "speed_up": "times PyTorch",
    }
    if all(row["joules"] is None for row in rows):
        del columns["joules"]
    Console().print(figures(title, columns, [{**row, "speed_up": _spread(row)} for row in rows]))


def _spread(row: Dict[str, Any]) -> Optional[str]:
    """The speed-up and its spread, in words."""
    if "speed_up" not in row:
        return None
    return "{} ({} to {})".format(row["speed_up"], *row["speed_up_spread"])
