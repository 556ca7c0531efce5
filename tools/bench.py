"""Run the benchmark and compare its ratios with what this project wants of them.

python tools/bench.py [--data valid.npz.xz]: all networks once, then ESR-9 with eight faces. Ends
with 1 where a ratio is missed. Machines differ: the marks are for two cores with 8-bit dot products
(AVX-VNNI or AVX-512 VNNI).
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Tuple

from rich.console import Console
from rich.table import Table

Row = Dict[str, Any]


class Mark(NamedTuple):
    """A ratio, and what it must be."""

    name: str
    wanted: float
    measured: float
    at_least: bool = True

    @property
    def is_met(self) -> bool:
        return self.measured >= self.wanted if self.at_least else self.measured <= self.wanted


def measured(*words: str) -> List[Row]:
    """Return the rows of ``esr bench --json``."""
    done = subprocess.run(["esr", "bench", "--json", *words], stdout=subprocess.PIPE, check=False)
    if done.returncode:  # it has said why
        sys.exit(done.returncode)
    rows: List[Row] = json.loads(done.stdout)["rows"]
    return rows


def named(rows: List[Row]) -> Dict[Tuple[str, str, int], Row]:
    """Return the rows by network, engine and number of faces."""
    return {(row["network"], row["name"], row["faces"]): row for row in rows}


def marks(all_networks: List[Row], several_faces: List[Row]) -> List[Mark]:
    """Return what is wanted beside what was measured."""
    of, of_several = named(all_networks), named(several_faces)
    int8 = of["ESR-9", "INT8", 1]
    has_faces = any(
        row["network"] == "ESR-9 ships" and row["name"] == "adaptive" for row in all_networks
    )
    asked = "ESR-9 ships" if has_faces else "ESR-9"
    adaptive, everyone = of[asked, "adaptive", 1], of[asked, "INT8", 1]
    alone, eight = of_several["ESR-9", "INT8", 1], of_several["ESR-9", "INT8", 8]
    return [
        Mark("ESR-9 fp32, times PyTorch", 2, of["ESR-9", "fp32", 1]["speed_up"]),
        Mark("ESR-9 INT8, times PyTorch", 6.5, int8["speed_up"]),
        Mark("ESR-15 INT8, times PyTorch", 6.5, of["ESR-15", "INT8", 1]["speed_up"]),
        Mark("ESR*-9 INT8, times PyTorch", 6, of["ESR*-9", "INT8", 1]["speed_up"]),
        Mark(
            "ESR*-9 INT8, times the time of ESR-9 INT8",
            1.6,
            of["ESR*-9", "INT8", 1]["p50_ms"] / int8["p50_ms"],
            at_least=False,
        ),
        Mark(
            f"{asked} adaptive, times INT8",
            1.3,
            adaptive["evaluations_per_s"] / everyone["evaluations_per_s"],
        ),
        Mark(
            "ESR-9 INT8, a face of 8 in a batch, share of the time of one",
            0.85,
            eight["p50_ms"] / 8 / alone["p50_ms"],
            at_least=False,
        ),
        Mark("ESR-9 INT8, share of the machine's peak", 0.6, int8["share_of_peak"]),
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, help="FER+'s validation faces, for adaptive")
    data = parser.parse_args().data
    told = marks(
        measured(*(["--data", str(data)] if data else [])),
        measured("--networks", "ESR-9", "--faces", "1,8"),
    )
    table = Table("ratio", "wanted", "measured", "", title="What is wanted of this machine")
    for mark in told:
        sign = "at least" if mark.at_least else "at most"
        answer = "met" if mark.is_met else "MISSED"
        table.add_row(mark.name, f"{sign} {mark.wanted:g}", f"{mark.measured:.2f}", answer)
    Console().print(table)
    return 0 if all(mark.is_met for mark in told) else 1


if __name__ == "__main__":
    sys.exit(main())
