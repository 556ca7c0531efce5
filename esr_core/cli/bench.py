"""``esr bench``."""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import platform
import tempfile
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Dict, Iterable, List, Sequence

import numpy as np
from rich.console import Console
from rich.progress import Progress, TaskID

from esr_core.benchmark.energy import find_meters, unreadable
from esr_core.benchmark.runner import Timing, measure
from esr_core.benchmark.worker import Contestant
from esr_core.cli import bench_networks, bench_node, bench_tables, output_files
from esr_core.cli.command import command
from esr_core.cli.output_files import Output
from esr_core.errors import INSTALL_TRAINING, OptionError
from esr_core.inference.execution_providers import PROVIDERS, chosen, device
from esr_core.inference.onnx_model import ADAPTIVE, Model, default_model, load_model
from esr_core.network.complexity import METHODS, cost
from esr_core.progress import bar

#: What holds where nothing is given; given options of the node's benchmark are an error here.
DEFAULTS: Dict[str, Any] = {
    "networks": None,
    "data": None,
    "faces": [1],
    "provider": "cpu",
    "threads": 0,
    "rounds": 10,
    "calls": 10,
    "plot": None,
}


def add(commands: Any) -> None:
    """Declare the command."""
    bench = command(
        commands,
        "bench",
        "Time the published networks on this machine, beside PyTorch running the same ones and "
        "what was published; or one file; or the ROS node.",
        "esr bench\n  esr bench --networks ESR-9 --faces 1,4,16 --threads 2\n"
        "  esr bench --data valid.npz.xz --plot speed.png\n  esr bench --model esr-9.onnx --json\n"
        "  esr bench --node\n  esr bench --node --only '640x480 30 Hz 1 face' --seconds 1800",
        run,
    )
    bench.add_argument("--model", default="", help="an .onnx file, instead of these networks")
    bench.add_argument(
        "--networks",
        type=_methods,
        metavar="NAME,NAME",
        help=f"of {', '.join(METHODS)} (default: all); they are made, untrained, which makes "
        f"no difference to their time; the shipped file is timed beside {bench_networks.SHIPPED}",
    )
    bench.add_argument(
        "--data",
        type=Path,
        help="a file of FER+; with it the trained network's branches are timed in turns too (how "
        "many are asked depends on the faces)",
    )
    bench.add_argument(
        "--faces", type=_counts, metavar="N,N", help="faces in one call (default: 1)"
    )
    bench.add_argument("--provider", choices=PROVIDERS, help="default: cpu")
    bench.add_argument("--threads", type=int, help="0: as many as cores (default)")
    bench.add_argument("--rounds", type=int, help="turns of each engine (default: 10)")
    bench.add_argument("--calls", type=int, help="calls in a turn (default: 10)")
    bench.add_argument(
        "--plot", type=Path, metavar="FILE.png", help="draw it; with --data, accuracy over time too"
    )
    bench.add_argument("--json", action="store_true", help="all figures, as JSON on stdout")
    bench_node.add(bench)


def _methods(text: str) -> List[str]:
    names = text.upper().split(",")
    for name in names:
        if name not in METHODS:
            raise argparse.ArgumentTypeError(
                f"must be of {', '.join(METHODS)}, with commas between, but got {name!r}"
            )
    return list(dict.fromkeys(names))


def _counts(text: str) -> List[int]:
    try:
        counts = [int(part) for part in text.split(",")]
    except ValueError:
        counts = []
    if not counts or min(counts) < 1 or max(counts) > 4096:
        raise argparse.ArgumentTypeError(
            f"must be numbers from 1 to 4096 such as 1,4,16, but got {text!r}"
        )
    return sorted(set(counts))


def run(arguments: argparse.Namespace) -> None:
    """Time what was asked for, and print it."""
    if arguments.node:
        _refuse(arguments, set(DEFAULTS) - set(bench_node.HANDED_ON), "is not for --node")
        _fill(arguments, bench_node.DEFAULTS)
        bench_node.run(arguments)
        return
    _refuse(arguments, bench_node.DEFAULTS, "is for --node only")
    _fill(arguments, DEFAULTS)
    _check(arguments)
    with tempfile.TemporaryDirectory() as folder, bar("steps") as progress:
        told = _measured(arguments, Path(folder), progress)
    if arguments.json:
        print(json.dumps(told))
    else:
        bench_tables.show(told)
        for line in _notes(arguments, told):
            Console().print(line, highlight=False, markup=False)
    if arguments.plot:
        from esr_core.benchmark import plots

        plots.draw(arguments.plot, told)


def _refuse(arguments: argparse.Namespace, names: Iterable[str], why: str) -> None:
    for name in sorted(names):
        if getattr(arguments, name) is not None:
            raise OptionError(f"--{name.replace('_', '-')} {why}")


def _fill(arguments: argparse.Namespace, defaults: Dict[str, Any]) -> None:
    for name, default in defaults.items():
        if getattr(arguments, name) is None:
            setattr(arguments, name, default)


def _check(arguments: argparse.Namespace) -> None:
    for name, least, most in (("rounds", 1, 10_000), ("calls", 1, 10_000), ("threads", 0, 256)):
        value = getattr(arguments, name)
        if not least <= value <= most:
            raise OptionError(f"--{name} must be from {least} to {most}, but got {value}")
    if arguments.model and arguments.networks:
        raise OptionError("--networks is for the published networks, not for the one of --model")
    if arguments.plot:
        if importlib.util.find_spec("matplotlib") is None:
            raise OptionError(f"--plot needs matplotlib; {INSTALL_TRAINING}")
        folder = arguments.plot.parent
        if arguments.plot.suffix != ".png" or not folder.is_dir() or arguments.plot.is_dir():
            raise OptionError(f"--plot wants a .png in a folder that exists, not {arguments.plot}")
        if not os.access(folder, os.W_OK):
            raise OptionError(f"--plot: {folder.absolute()} cannot be written to")
        read = [Path(arguments.model or default_model()), *filter(None, [arguments.data])]
        output_files.check([Output("--plot", arguments.plot)], read, True)


def _measured(arguments: argparse.Namespace, folder: Path, progress: Progress) -> Dict[str, Any]:
    """Make the networks, time them, and return all figures as plain JSON values."""
    model = load_model(arguments.model or None, arguments.provider)
    arguments.provider = chosen(model.provider)  # the one that auto takes
    torch = bool(importlib.util.find_spec("torch"))
    taking_part = bench_networks.entrants(arguments, model, folder, progress, torch)
    lanes = [
        lane
        for entrant in taking_part
        for count in arguments.faces
        for lane in bench_networks.lanes(entrant, count, arguments, torch)
    ]
    peaks = []
    if torch and arguments.provider == "cpu":  # and onnx, with which it is installed
        peaks = [
            Contestant(f"peak {kind}", "matmul", kind, threads=arguments.threads)
            for kind in ("int8", "fp32")
        ]
    curve = bench_networks.curve(lanes) if arguments.plot else []
    contestants = [*(lane.contestant for lane in lanes), *peaks, *curve]
    task = progress.add_task("timing", total=arguments.rounds)
    timings = measure(
        contestants,
        arguments.rounds,
        arguments.calls,
        find_meters(),
        partial(_advance, progress, task),
    )
    beyond = len(lanes) + len(peaks)
    of_kind = {timing.contestant.model: timing for timing in timings[len(lanes) : beyond]}
    return {
        "machine": f"{_processor()}, {os.cpu_count()} cores, {device()}",
        "provider": arguments.provider,
        "threads": arguments.threads,
        "networks": bench_networks.networks(taking_part),
        "peak_gmac_per_s": {kind: round(peak.peak_gmac_per_s) for kind, peak in of_kind.items()},
        "rows": _rows(lanes, timings, of_kind),
        "curve": _accuracy(model, arguments.data, timings[beyond:], progress) if curve else [],
    }


def _rows(
    lanes: Sequence[bench_networks.Lane], timings: Sequence[Timing], peaks: Dict[str, Timing]
) -> List[Dict[str, Any]]:
    """The figures; each is compared with PyTorch's of the same network and number of faces."""
    baselines = {
        (lane.entrant.form, lane.contestant.batch): timing
        for lane, timing in zip(lanes, timings)
        if lane.contestant.name == "PyTorch"
    }
    rows = []
    for lane, timing in zip(lanes, timings):
        name = lane.contestant.name
        row = timing.summary(baselines.get((lane.entrant.form, lane.contestant.batch)))
        peak = peaks.get("int8" if name == "INT8" else "fp32")
        if peak and name in ("PyTorch", "fp32", "INT8"):
            shares = timing.share_of_peak(peak, cost(*lane.entrant.form).macs)
            row["share_of_peak"] = round(float(np.median(shares)), 3)
        rows.append({"network": lane.entrant.name, **row})
    return rows


def _processor() -> str:
    """What Linux calls it, or at least its architecture."""
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.machine()


def _accuracy(
    model: Model, path: Path, timings: Sequence[Timing], progress: Progress
) -> List[Dict[str, Any]]:
    """What each lead costs in accuracy, over all faces of ``--data``, and what it saves."""
    from esr_core.data import ferplus
    from esr_core.evaluation.metrics import predictions

    data = ferplus.read(path)
    target = data.emotions.argmax(axis=1)
    fitted, points = model.lead, []
    for timing in timings:
        lead = timing.contestant.lead
        assert lead is not None
        model.lead = lead
        task = progress.add_task(f"accuracy with a lead of {lead:g}", total=len(data))
        told = predictions(
            partial(model.predict, branches=ADAPTIVE),
            data,
            model.metadata.input,
            on_progress=partial(_advance, progress, task),
        )
        right, asked = told[0].argmax(axis=1) == target, (told[2] >= 0).sum(axis=1)
        points.append(
            {
                "lead": lead,
                "accuracy": round(float(right.mean()), 4),
                "branches_asked": round(float(asked.mean()), 2),
                "p50_ms": round(timing.percentile_ms(50), 2),
                "mean_ms": round(float(timing.times_s.mean() * 1e3), 2),
            }
        )
    model.lead = fitted
    return points


def _advance(progress: Progress, task: TaskID, done: int) -> None:
    progress.update(task, completed=done)


def _notes(arguments: argparse.Namespace, told: Dict[str, Any]) -> List[str]:
    notes = []
    if not importlib.util.find_spec("torch"):
        notes.append(bench_networks.NO_TORCH)
    if told["peak_gmac_per_s"]:
        peaks = [f"{value} in {kind}" for kind, value in told["peak_gmac_per_s"].items()]
        notes.append(
            f"Peak, by a product of matrices: {' and '.join(peaks)}, in thousand million "
            "multiplications a second."
        )
    if not arguments.data and not arguments.model:
        notes.append(f"--data with FER+'s validation faces adds {bench_networks.SHIPS}, adaptive.")
    if all(row["joules"] is None for row in told["rows"]):
        blocked = ", ".join(map(str, unreadable()))
        notes.append(
            f"Energy: {blocked} may not be read; as root, 'chmod a+r' them"
            if blocked
            else "Energy: this machine has no sensor that is known here."
        )
    return notes
