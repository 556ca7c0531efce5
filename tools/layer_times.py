"""Print the time of a network by layer, from ONNX Runtime's profiler.

python tools/layer_times.py FILE.onnx... [--runs 60]. Profiling slows every node down, small ones
the most, so the sum exceeds the time of an unprofiled run. Convolutions have the names of
esr_core/network/esr.py; GMAC/s are their multiplications per second. first is the branch that is
evaluated first, rest are all others. The layers of the shipped file have no such names; export it
again with "esr export".
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any, Dict, List, Tuple

import numpy as np
import onnxruntime

from esr_core.cli.tables import print_table
from esr_core.errors import EsrError, ModelError
from esr_core.inference.execution_providers import session_options
from esr_core.inference.onnx_model import INPUT, load_model
from esr_core.network.complexity import convolutions

#: Prefixes of the node names: the shared layers, in old and new exports, and the branches.
PARTS = ("base", "shared", "first", "rest")
COLUMNS = {"part": "{part}", "layer": "{layer}", "ms": "{ms:.3f}", "share": "{share:.0%}"}


def events(path: Path, runs: int, size_px: int) -> List[Dict[str, Any]]:
    """Return the profiler's events of ``runs`` runs with one face, all branches."""
    options = session_options()
    options.enable_profiling = True
    face = np.random.default_rng(0).random((1, 3, size_px, size_px), np.float32)
    with tempfile.TemporaryDirectory() as folder:
        options.profile_file_prefix = f"{folder}/profile"
        providers = ["CPUExecutionProvider"]
        session = onnxruntime.InferenceSession(str(path), options, providers=providers)
        for _ in range(runs):
            session.run(None, {INPUT: face})
        content: List[Dict[str, Any]] = json.loads(Path(session.end_profiling()).read_text("utf-8"))
    return content


def layer(event: Dict[str, Any]) -> Tuple[str, str]:
    """Return the part of the network that a node belongs to, and its layer."""
    name, operator = event["name"], event["args"]["op_name"]
    part = next((each for each in PARTS if name.startswith(f"/{each}/")), "other")
    if "/convs." in name and "Conv" in operator:
        return part, f"conv{int(name.split('/convs.')[1][0]) + 1}"
    return part, "gates" if "/gates." in name else "other"


def show(path: Path, runs: int) -> None:
    metadata = load_model(path).metadata
    times_ms: Counter[Tuple[str, str]] = Counter()
    for event in events(path, runs, metadata.input.size_px):
        if event.get("cat") == "Node" and event["name"].endswith("_kernel_time"):
            times_ms[layer(event)] += event["dur"] / runs / 1e3
    if not any(part == "rest" for part, _ in times_ms):
        raise ModelError(
            f"{path}: its layers have no known names; export it again, for example by "
            "'esr export models/esr-9-ferplus new.onnx --int8 train.npz.xz'"
        )
    macs, total_ms = convolutions(metadata.input.size_px), sum(times_ms.values())
    rows: List[Dict[str, Any]] = []
    for (part, name), ms in sorted(times_ms.items()):
        rows.append({"part": part, "layer": name, "ms": ms, "share": ms / total_ms})
        if name.startswith("conv"):
            count = metadata.branches - 1 if part == "rest" else 1
            layer_macs = macs["branch" if part in ("first", "rest") else "base"][int(name[-1]) - 1]
            rows[-1]["gmac_per_s"] = count * layer_macs / ms / 1e6
    rows.append({"part": "sum", "layer": "", "ms": total_ms})
    print_table(f"{metadata.name}: {path.name}", {**COLUMNS, "GMAC/s": "{gmac_per_s:.0f}"}, rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("files", type=Path, nargs="+", metavar="FILE.onnx")
    parser.add_argument("--runs", type=int, default=60)
    arguments = parser.parse_args()
    if arguments.runs < 1:
        parser.error(f"--runs must be 1 or more, but got {arguments.runs}")
    try:
        for path in arguments.files:
            show(path, arguments.runs)
    except EsrError as error:
        sys.exit(f"profile: {error}")


if __name__ == "__main__":
    main()
