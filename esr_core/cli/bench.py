"""``esr bench``."""

from __future__ import annotations

import argparse
import json
import os
import platform
import tempfile
from contextlib import suppress
from functools import partial
from operator import attrgetter
from pathlib import Path
from typing import Any, Dict, List, Sequence

import numpy as np
from rich.progress import Progress

from esr_core.benchmark.cases import Case
from esr_core.benchmark.energy import find_meters, unreadable
from esr_core.benchmark.runner import Timing, measure
from esr_core.cli import bench_networks, bench_node, bench_tables, output_files
from esr_core.cli.command import StdoutConsole, command
from esr_core.cli.output_files import Output
from esr_core.errors import OptionError
from esr_core.inference.execution_providers import PROVIDERS, chosen, device
from esr_core.inference.onnx_model import default_model, load_model
from esr_core.network.complexity import METHODS
from esr_core.progress import bar

#: Options of one benchmark only, and their defaults; then those of both.
_NETWORKS = {"networks": None, "data": None, "faces": [1], "rounds": 10, "calls": 10, "plot": None}
_NODE = {"seconds": 10.0, "only": "", "set": [], "params_file": None}
_SHARED = {"model": "", "provider": "cpu", "threads": 0}
_RANGES = {"rounds": (1, 10_000), "calls": (1, 10_000), "threads": (0, 256), "seconds": (1, 86_400)}


def add(commands: Any) -> None:
    """Declare the command."""
    bench = command(
        commands,
        "bench",
        "Time the published networks on this machine, beside PyTorch and the published figures; "
        "or one file; or the ROS node.",
        "esr bench\n  esr bench --networks ESR-9 --faces 1,4,16 --threads 2\n"
        "  esr bench --data valid.npz.xz --plot speed.png\n  esr bench --model esr-9.onnx --json\n"
        "  esr bench --node\n  esr bench --node --only '640x480 30 Hz 1 face' --seconds 1800",
        run,
    )
    bench.argument_default = argparse.SUPPRESS  # so that run() finds the options that were given
    bench.set_defaults(json=False, node=False)
    bench.add_argument("--model", help="an .onnx file instead of the published networks")
    bench.add_argument(
        "--networks",
        type=_methods,
        metavar="NAME,NAME",
        help=f"of {', '.join(METHODS)} (default: all), with random weights; the shipped file is "
        f"timed beside {bench_networks.SHIPPED}",
    )
    faces_help = "a file of FER+, whose faces time the early exit of the trained network"
    bench.add_argument("--data", type=Path, help=faces_help)
    bench.add_argument("--faces", type=_counts, metavar="N,N", help="faces per call (default: 1)")
    bench.add_argument("--provider", choices=PROVIDERS, help="default: cpu")
    bench.add_argument("--threads", type=int, help="0: one per core (default)")
    bench.add_argument("--rounds", type=int, help="turns of each engine (default: 10)")
    bench.add_argument("--calls", type=int, help="calls per turn (default: 10)")
    plot_help = "plot the times; with --data also accuracy over time"
    bench.add_argument("--plot", type=Path, metavar="FILE.png", help=plot_help)
    bench.add_argument("--json", action="store_true", help="print all figures as JSON")
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
    with suppress(ValueError):
        counts = {int(part) for part in text.split(",")}
        if min(counts) >= 1 and max(counts) <= 4096:
            return sorted(counts)
    raise argparse.ArgumentTypeError(
        f"must be numbers from 1 to 4096 such as 1,4,16, but got {text!r}"
    )


def run(arguments: argparse.Namespace) -> None:
    """Measure networks or the node, and print the figures.

    Raises:
        OptionError: an option is out of range, or not one of this benchmark.
    """
    given = vars(arguments)
    for name in sorted((_NETWORKS if arguments.node else _NODE).keys() & given):
        reason = "is not for --node" if arguments.node else "is for --node only"
        raise OptionError(f"--{name.replace('_', '-')} {reason}")
    for name, (least, most) in _RANGES.items():
        if name in given and not least <= given[name] <= most:
            raise OptionError(f"--{name} must be from {least} to {most}, but got {given[name]:g}")
    if arguments.node:
        bench_node.run(argparse.Namespace(**{**_NODE, **given}))
        return
    arguments = argparse.Namespace(**{**_NETWORKS, **_SHARED, **given})
    if arguments.model and arguments.networks:
        raise OptionError("--networks is for the published networks, not for the one of --model")
    if arguments.plot:
        from esr_core.benchmark import plots  # first, since matplotlib may be missing

        _check_plot(arguments)
    with tempfile.TemporaryDirectory() as folder, bar("steps") as progress:
        results = _measure(arguments, Path(folder), progress)
    if arguments.json:
        print(json.dumps(results))
    else:
        bench_tables.show(results)
        for line in _notes(arguments, results):
            StdoutConsole().print(line, highlight=False, markup=False)
    if arguments.plot:
        plots.draw(arguments.plot, results)


def _check_plot(arguments: argparse.Namespace) -> None:
    folder = arguments.plot.parent
    if arguments.plot.suffix != ".png" or not folder.is_dir():
        raise OptionError(f"--plot wants a .png in a folder that exists, not {arguments.plot}")
    if not os.access(folder, os.W_OK):
        raise OptionError(f"--plot: {folder.absolute()} cannot be written to")
    read = [Path(arguments.model or default_model()), *filter(None, [arguments.data])]
    output_files.check([Output("--plot", arguments.plot)], read, True)


def _measure(arguments: argparse.Namespace, folder: Path, progress: Progress) -> Dict[str, Any]:
    """Return all figures as JSON values; the networks are written to ``folder``."""
    model = load_model(arguments.model or None, arguments.provider)
    arguments.provider = chosen(model.provider)  # the one that auto takes
    cases = bench_networks.cases(arguments, model, folder, progress)
    curve = bench_networks.curve_cases(cases, model.path) if arguments.plot else []
    # PyTorch and onnx are installed together.
    has_peak = bench_networks.HAS_TORCH and arguments.provider == "cpu"
    kinds = ("int8", "fp32") if has_peak else ()
    matmuls = [Case(f"peak {kind}", "matmul", kind, threads=arguments.threads) for kind in kinds]
    task = progress.add_task("timing", total=arguments.rounds)
    turns, on_round = (arguments.rounds, arguments.calls), partial(progress.advance, task)
    timings = iter(measure([*matmuls, *cases, *curve], *turns, find_meters(), on_round))
    peaks = {kind: next(timings) for kind in kinds}
    rows = [next(timings) for _ in cases]
    return {
        "machine": f"{_processor()}, {os.cpu_count()} cores, {device()}",
        "provider": arguments.provider,
        "threads": arguments.threads,
        "networks": bench_networks.describe(cases, model),
        "peak_gmac_per_s": {k: round(np.median(v.macs_per_s) / 1e9) for k, v in peaks.items()},
        "rows": _rows(rows, peaks),
        "curve": curve and bench_networks.curve([*timings], model, arguments.data, progress),
    }


def _rows(timings: Sequence[Timing], peaks: Dict[str, Timing]) -> List[Dict[str, Any]]:
    """Return the figures; the baseline is PyTorch with the same architecture and batch size."""
    key = attrgetter("case.architecture", "case.batch")
    baselines = {key(timing): timing for timing in timings if timing.case.name == "PyTorch"}
    kinds = {"PyTorch": "fp32", "fp32": "fp32", "INT8": "int8"}
    return [
        timing.figures(baselines.get(key(timing)), peaks.get(kinds.get(timing.case.name, "")))
        for timing in timings
    ]


def _processor() -> str:
    """Return the name of the processor in Linux, or else its architecture."""
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.machine()


def _notes(arguments: argparse.Namespace, results: Dict[str, Any]) -> List[str]:
    notes = [] if bench_networks.HAS_TORCH else [bench_networks.NO_TORCH]
    if results["peak_gmac_per_s"]:
        peaks = [f"{value} in {kind}" for kind, value in results["peak_gmac_per_s"].items()]
        notes.append(f"Peak, of a product of matrices, in GMAC/s: {' and '.join(peaks)}.")
    if not arguments.data and not arguments.model:
        notes.append(f"--data with FER+'s validation faces adds {bench_networks.SHIPS}, adaptive.")
    if all(row["joules"] is None for row in results["rows"]):
        blocked = " ".join(map(str, unreadable()))
        notes.append(
            f"Energy: no permission to read; as root, 'chmod a+r {blocked}'"
            if blocked
            else "Energy: this machine has no known sensor."
        )
    return notes
