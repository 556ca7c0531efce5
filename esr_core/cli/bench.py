"""``esr bench``: its options, and tables of the figures beside the published ones."""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any, Dict, List

from esr_core.benchmark.energy import unreadable
from esr_core.benchmark.reference_figures import DEVICES
from esr_core.cli import bench_networks, bench_node, output_files
from esr_core.cli.command import StdoutConsole, command
from esr_core.cli.output_files import Output
from esr_core.cli.tables import print_table
from esr_core.errors import OptionError
from esr_core.inference.execution_providers import PROVIDERS
from esr_core.inference.onnx_model import default_model
from esr_core.network.complexity import METHODS
from esr_core.progress import bar
from esr_core.training.config import LARGEST_PX, SMALLEST_PX

#: Options of one benchmark only, and their defaults; then those of both.
_NETWORKS = {
    **{"networks": None, "data": None, "faces": [1], "rounds": 10, "calls": 10, "plot": None},
    **{"training": False, "size_px": 72},
}
_NODE: Dict[str, Any] = {
    **{"seconds": 10.0, "only": "", "set": [], "params_file": None},
    **{"against": None, "turns": 3},
}
_SHARED = {"model": "", "provider": "cpu", "threads": 0}
_RANGES = {
    **{"rounds": (1, 10_000), "calls": (1, 10_000), "threads": (0, 256)},
    **{"seconds": (1, 86_400), "turns": (1, 100), "size_px": (SMALLEST_PX, LARGEST_PX)},
}
_TIMES = {
    "network": "{network}",
    "engine": "{name}",
    "n": "{n}",
    "faces/s": "{evaluations_per_s}",
    "p50": "{p50_ms}",
    "p99": "{p99_ms}",
    "MB": "{peak_mb}",
    "J a call": "{joules}",
    "times PyTorch": "{speed_up:.1f} {speed_up_spread[0]:.1f}-{speed_up_spread[1]:.1f}",
    "peak": "{share_of_peak:.0%}",
}
_SIZES = {
    "network": "{network}",
    "accuracy": "{accuracy:.2%}",
    "published %": "{published[accuracy_percent]}",
    "M weights": "{parameters_m}",
    "published M": "{published[parameters_m]}",
    "MB": "{peak_mb}",
    "published MB": "{published[memory_mb]}",
}
_RATES = {
    "network": "{network}",
    "here": "{evaluations_per_s}",
    **{device: f"{{published[evaluations_per_s][{device}]}}" for device in DEVICES},
    "here J": "{joules_per_face:.3g}",
    "TX2 J": "{published[joules][TX2]}",
    "Xavier J": "{published[joules][Xavier]}",
}


def add(commands: Any) -> None:
    """Declare the command."""
    bench = command(
        commands,
        "bench",
        "Time the published networks on this machine, beside PyTorch and the published figures; "
        "or one file; or the ROS node.",
        "esr bench\n  esr bench --networks ESR-9 --faces 1,4,16 --threads 2\n"
        "  esr bench --data valid.npz.xz --plot speed.png\n  esr bench --model esr-9.onnx --json\n"
        "  esr bench --training --networks ESR-9 --rounds 5 --calls 2\n"
        "  esr bench --node\n  esr bench --node --only '640x480 30 Hz 1 face' --seconds 1800\n"
        "  esr bench --node --against ../esr_ros_before",
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
    bench.add_argument("--threads", type=int, help="0: one per usable core (default)")
    bench.add_argument("--rounds", type=int, help="turns of each engine (default: 10)")
    bench.add_argument("--calls", type=int, help="calls per turn (default: 10)")
    training_help = "time steps of training, in faces per second; faces per step: 64"
    bench.add_argument("--training", action="store_true", help=training_help)
    size_help = "input size of --training (default: 72)"
    bench.add_argument("--size-px", type=int, metavar="PX", help=size_help)
    plot_help = "plot the times; with --data also accuracy over time"
    bench.add_argument("--plot", type=Path, metavar="FILE.png", help=plot_help)
    bench.add_argument("--json", action="store_true", help="print all figures as JSON")
    node = bench.add_argument_group(
        "the node", "--model, --provider and --threads are passed on to it if they are given"
    )
    node_help = "start a camera and emotion_node, and measure from image stamp to answer; needs ROS"
    node.add_argument("--node", action="store_true", help=node_help)
    node.add_argument("--seconds", type=float, help="duration for each camera (default: 10)")
    node.add_argument("--only", metavar="TEXT", help="cameras with this text in their name")
    node.add_argument("--params-file", type=Path, metavar="YAML", help="parameters of the node")
    against_help = "a clone of another version, set up: both take turns, and ratios are printed"
    node.add_argument("--against", type=Path, metavar="FOLDER", help=against_help)
    node.add_argument("--turns", type=int, help="of each version with --against (default: 3)")
    set_help = "a parameter of the node, repeatable; overrides the file"
    node.add_argument("--set", action="append", metavar="NAME:=VALUE", help=set_help)


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
            flag = name.replace("_", "-")
            raise OptionError(f"--{flag} must be from {least} to {most}, but got {given[name]:g}")
    if arguments.node:
        bench_node.run(argparse.Namespace(**{**_NODE, **given}))
        return
    arguments = argparse.Namespace(**{**_NETWORKS, **_SHARED, **given})
    unfit = [name for name in ("data", "model", "plot") if arguments.training and given.get(name)]
    if unfit:
        raise OptionError(f"--{unfit[0]} is not for --training")
    if "size_px" in given and not arguments.training:
        raise OptionError("--size-px is for --training only")
    if arguments.model and arguments.networks:
        raise OptionError("--networks is for the published networks, not for the one of --model")
    if arguments.plot:
        from esr_core.benchmark import plots  # first, since matplotlib may be missing

        _check_plot(arguments)
    with tempfile.TemporaryDirectory() as folder, bar("steps") as progress:
        results = bench_networks.results(arguments, Path(folder), progress)
    if arguments.json:
        print(json.dumps(results))
    else:
        show_tables(results)
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


def show_tables(results: Dict[str, Any]) -> None:
    """Print all tables."""
    rows, before, several = [], "", any(row["faces"] > 1 for row in results["rows"])
    for row in results["rows"]:
        network = "" if row["network"] == before else row["network"]
        rows.append({**row, "network": network, "n": row["faces"] if several else None})
        before = row["network"]
    print_table(
        f"On {results['machine']}, provider {results['provider']}; ms, n faces a call",
        _TIMES,
        rows,
        _caption(rows),
    )
    networks = [each for each in results["networks"] if each["published"]]
    if not networks:
        return
    compared = [_compared(each, results["rows"]) for each in networks]
    print_table(
        "Accuracy, size and memory, beside the published figures",
        _SIZES,
        compared,
        "accuracy: on FER+'s validation faces; published: on other data. MB: resident, of the "
        "fastest engine's process; published: on a GPU",
    )
    engines = ", ".join(dict.fromkeys(row["name"] for row in compared))
    print_table(
        "Faces per second, and joules (J) per face, beside the published figures",
        _RATES,
        compared,
        f"here: {engines}. Published: PyTorch; CPU: Xeon Gold 6230R, Xavier: AGX, 2080 Ti: RTX",
    )


def _caption(rows: List[Dict[str, Any]]) -> str:
    columns = {
        "speed_up": "times PyTorch: median of the rounds, 10th to 90th percentile",
        "share_of_peak": "peak: of the machine",
    }
    return "; ".join(text for key, text in columns.items() if any(key in row for row in rows))


def _compared(network: Dict[str, Any], rows: List[Dict[str, Any]]) -> Dict[str, Any]:
    """Return a network with its fastest row, of those with all branches and the smallest batch."""
    own = [r for r in rows if r["network"] == network["network"] and r["name"] != "adaptive"]
    faces = min(row["faces"] for row in own)
    best = max((r for r in own if r["faces"] == faces), key=lambda row: row["evaluations_per_s"])
    joules = None if best["joules"] is None else best["joules"] / faces
    return {**best, **network, "joules_per_face": joules}


def _notes(arguments: argparse.Namespace, results: Dict[str, Any]) -> List[str]:
    notes = [] if bench_networks.HAS_TORCH else [bench_networks.NO_TORCH]
    if results["peak_gmac_per_s"]:
        peaks = [f"{value} in {kind}" for kind, value in results["peak_gmac_per_s"].items()]
        notes.append(f"Peak, of a product of matrices, in GMAC/s: {' and '.join(peaks)}.")
    if arguments.training:
        return notes
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
