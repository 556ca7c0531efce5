"""Show where the time of a network goes, layer by layer, as ONNX Runtime's profiler sees it.

python tools/profile.py FILE.onnx... [--runs 60]. Profiling makes each node slower, small ones the
most, so the sum is more than an unprofiled run takes. Convolutions are named after the layers of
esr_core/model.py; beside their time stands how many multiplications they did in it. first is the
branch that is asked first, rest are all others. Files need names for their layers, as "esr export"
gives them now; the one that ships is older.
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
from rich.console import Console
from rich.table import Table

from esr_core.errors import EsrError, ModelError
from esr_core.inference.onnx_model import INPUT, load_model
from esr_core.network.complexity import convolutions


def events(path: Path, runs: int, size_px: int) -> List[Dict[str, Any]]:
    """Return what the profiler notes of ``runs`` runs with one face, all branches."""
    options = onnxruntime.SessionOptions()
    options.enable_profiling = True
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    face = np.random.default_rng(0).random((1, 3, size_px, size_px), np.float32)
    with tempfile.TemporaryDirectory() as folder:
        options.profile_file_prefix = f"{folder}/profile"
        session = onnxruntime.InferenceSession(
            str(path), options, providers=["CPUExecutionProvider"]
        )
        for _ in range(runs):
            session.run(None, {INPUT: face})
        noted: List[Dict[str, Any]] = json.loads(Path(session.end_profiling()).read_text("utf-8"))
    return noted


def place(event: Dict[str, Any]) -> Tuple[str, str]:
    """Return the part of the network that a node belongs to, and what it does there."""
    name, operator = event["name"], event["args"]["op_name"]
    part = next((p for p in ("base", "first", "rest") if name.startswith(f"/{p}/")), "other")
    if "/convs." in name and "Conv" in operator:
        return part, f"conv{int(name.split('/convs.')[1][0]) + 1}"
    return part, "gates" if "/gates." in name else "other"


def show(path: Path, runs: int) -> None:
    about = load_model(path).metadata
    spent: Counter[Tuple[str, str]] = Counter()
    for event in events(path, runs, about.input.size_px):
        is_run = event.get("cat") == "Node" and event["name"].endswith("_kernel_time")
        if is_run and event["args"]["op_name"] != "If":  # whose nodes are counted themselves
            spent[place(event)] += event["dur"] / runs / 1e3
    if not any(part == "rest" for part, _ in spent):
        raise ModelError(
            f"{path}: its layers have no names that are known here; export it anew, for example by "
            "'esr export models/esr-9-ferplus new.onnx --int8 train.npz.xz'"
        )
    layers, branches = convolutions(about.input.size_px), about.branches
    table = Table("part", "what", "ms", "share", "GMAC/s", title=f"{about.name}: {path.name}")
    for (part, what), ms in sorted(spent.items()):
        per_s = ""
        if what.startswith("conv"):
            count = {"base": 1, "first": 1}.get(part, branches - 1)
            macs = count * layers["base" if part == "base" else "branch"][int(what[-1]) - 1]
            per_s = f"{macs / ms / 1e6:.0f}"
        table.add_row(part, what, f"{ms:.3f}", f"{ms / sum(spent.values()):.0%}", per_s)
    table.add_row("sum", "", f"{sum(spent.values()):.3f}", "", "")
    Console().print(table)


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
