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
from esr_core.cli.tables import print_table
from esr_core.errors import OptionError
from esr_core.inference.execution_providers import PROVIDERS
from esr_core.inference.onnx_model import default_model
from esr_core.network.complexity import METHODS
from esr_core.options import require
from esr_core.progress import bar
from esr_core.training.config import LARGEST_PX, SMALLEST_PX

#: Options of one benchmark only, and their defaults; then those of both.
_NETWORKS = {
    "networks": None,
    "data": None,
    "faces": [1],
    "rounds": 10,
    "calls": 10,
    "plot": None,
    "training": False,
    "size_px": 72,
}
_TRAINING = {"rounds": 5, "calls": 2}  # a step takes seconds
_NODE: Dict[str, Any] = {
    "seconds": 10.0,
    "only": "",
    "set": [],
    "params_file": None,
    "against": None,
    "turns": 3,
}
_SHARED = {"model": "", "provider": "cpu", "threads": 0}
_RANGES = {
    "rounds": (1, 10_000),
    "calls": (1, 10_000),
    "threads": (0, 256),
    "seconds": (1, 86_400),
    "turns": (1, 100),
    "size_px": (SMALLEST_PX, LARGEST_PX),
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
_EXPLAINED = {
    "speed_up": "times PyTorch: median of the rounds, 10th to 90th percentile",
    "share_of_peak": "peak: of the machine",
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
    bench = command(commands, "bench", run)
    bench.argument_default = argparse.SUPPRESS  # so that run() finds the options that were given
    bench.set_defaults(json=False, node=False)
    flag = bench.add_argument
    flag("--model", help="an .onnx file instead of the published networks")
    networks = f"of {', '.join(METHODS)} (default: all), with random weights; the shipped file is "
    networks += f"timed beside {bench_networks.SHIPPED}"
    flag("--networks", type=_methods, metavar="NAME,NAME", help=networks)
    data = "a file of FER+, whose faces time the early exit of the trained network"
    flag("--data", type=Path, help=data)
    flag("--faces", type=_counts, metavar="N,N", help="faces per call (default: 1)")
    flag("--provider", choices=PROVIDERS, help="default: cpu")
    flag("--threads", type=int, help="0: one per usable core (default)")
    flag("--rounds", type=int, help="turns of each engine (default: 10; training: 5)")
    flag("--calls", type=int, help="calls per turn (default: 10; training: 2)")
    training = "time steps of training, in faces per second; faces per step: 64"
    flag("--training", action="store_true", help=training)
    flag("--size-px", type=int, metavar="PX", help="input size of --training (default: 72)")
    plot = "plot the times; with --data also accuracy over time"
    flag("--plot", type=Path, metavar="FILE.png", help=plot)
    flag("--json", action="store_true", help="print all figures as JSON")
    passed_on = "--model, --provider and --threads are passed on to it if they are given"
    flag = bench.add_argument_group("the node", passed_on).add_argument
    node = "start a camera and emotion_node, and measure from image stamp to answer; needs ROS"
    flag("--node", action="store_true", help=node)
    flag("--seconds", type=float, help="duration for each camera (default: 10)")
    flag("--only", metavar="TEXT", help="cameras with this text in their name")
    flag("--params-file", type=Path, metavar="YAML", help="parameters of the node")
    against = "a clone of another version, set up: both take turns, and ratios are printed"
    flag("--against", type=Path, metavar="FOLDER", help=against)
    flag("--turns", type=int, help="of each version with --against (default: 3)")
    parameter = "a parameter of the node, repeatable; overrides the file"
    flag("--set", action="append", metavar="NAME:=VALUE", help=parameter)


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
    """Time the published networks on this machine, beside PyTorch and the published figures; or
    one file; or the ROS node.

    examples:
      esr bench
      esr bench --networks ESR-9 --faces 1,4,16 --threads 2
      esr bench --data valid.npz.xz --plot speed.png
      esr bench --model esr-9.onnx --json
      esr bench --training --networks ESR-9
      esr bench --node
      esr bench --node --only '640x480 30 Hz 1 face' --seconds 1800
      esr bench --node --against ../esr_ros_before
    """
    given = vars(arguments)
    for name in sorted((_NETWORKS if arguments.node else _NODE).keys() & given):
        reason = "is not for --node" if arguments.node else "is for --node only"
        raise OptionError(f"--{name.replace('_', '-')} {reason}")
    for name, (least, most) in _RANGES.items():
        value = given.get(name, least)
        flag = f"--{name.replace('_', '-')}"
        require(least <= value <= most, flag, f"from {least} to {most}", f"{value:g}")
    if arguments.node:
        bench_node.run(argparse.Namespace(**{**_NODE, **given}))
        return
    defaults = {**_NETWORKS, **_SHARED, **(_TRAINING if "training" in given else {})}
    arguments = argparse.Namespace(**{**defaults, **given})
    unfit = [name for name in ("data", "model", "plot") if arguments.training and given.get(name)]
    if unfit:
        raise OptionError(f"--{unfit[0]} is not for --training")
    if "size_px" in given and not arguments.training:
        raise OptionError("--size-px is for --training only")
    if arguments.model and arguments.networks:
        raise OptionError("--networks is for the published networks, not for the one of --model")
    if arguments.plot:
        from esr_core.benchmark import plots  # first, since matplotlib may be missing

        folder = arguments.plot.parent
        if arguments.plot.suffix != ".png" or not folder.is_dir():
            raise OptionError(f"--plot wants a .png in a folder that exists, not {arguments.plot}")
        if not os.access(folder, os.W_OK):
            raise OptionError(f"--plot: {folder.absolute()} cannot be written to")
        read = [Path(arguments.model or default_model()), *filter(None, [arguments.data])]
        output_files.check([("--plot", arguments.plot)], read)
    with tempfile.TemporaryDirectory() as made, bar("steps") as progress:
        results = bench_networks.results(arguments, Path(made), progress)
    if arguments.json:
        print(json.dumps(results))
    else:
        show_tables(results)
        for line in _notes(arguments, results):
            StdoutConsole().print(line, highlight=False, markup=False)
    if arguments.plot:
        plots.draw(arguments.plot, results)


def show_tables(results: Dict[str, Any]) -> None:
    """Print all tables."""
    rows, before, several = [], "", any(row["faces"] > 1 for row in results["rows"])
    for row in results["rows"]:
        network = "" if row["network"] == before else row["network"]
        rows.append({**row, "network": network, "n": row["faces"] if several else None})
        before = row["network"]
    title = f"On {results['machine']}, provider {results['provider']}; ms, n faces a call"
    explained = [text for key, text in _EXPLAINED.items() if any(key in row for row in rows)]
    print_table(title, _TIMES, rows, "; ".join(explained))
    networks = [each for each in results["networks"] if each["published"]]
    if not networks:
        return
    compared = [_compared(each, results["rows"]) for each in networks]
    caption = (
        "accuracy: on FER+'s validation faces; published: on other data. MB: resident, of the "
        "fastest engine's process; published: on a GPU"
    )
    title = "Accuracy, size and memory, beside the published figures"
    print_table(title, _SIZES, compared, caption)
    engines = ", ".join(dict.fromkeys(row["name"] for row in compared))
    caption = (
        f"here: {engines}. Published: PyTorch; CPU: Xeon Gold 6230R, Xavier: AGX, 2080 Ti: RTX"
    )
    title = "Faces per second, and joules (J) per face, beside the published figures"
    print_table(title, _RATES, compared, caption)


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
