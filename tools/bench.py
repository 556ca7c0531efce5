"""Run ``esr bench`` and compare its ratios with the targets of this project: ``make bench``.

python tools/bench.py [--data valid.npz.xz] times all networks once, then ESR-9 with eight faces.
The exit code is 1 if a target is missed. The targets are for two cores with 8-bit dot products
(AVX-VNNI or AVX-512 VNNI).
"""

from __future__ import annotations

import argparse
import json
import operator
import subprocess
import sys
from pathlib import Path
from typing import Any, Dict, List, NamedTuple

from esr_core.cli.tables import print_table

Rows = Dict[str, Dict[str, Any]]
#: Least speed-up over PyTorch.
SPEED_UPS = {"ESR-9 fp32": 2.0, "ESR-9 INT8": 6.5, "ESR-15 INT8": 6.5, "ESR*-9 INT8": 6.0}


class Target(NamedTuple):
    """A ratio, and its bound."""

    name: str
    measured: float
    wanted: float
    sign: str = "at least"

    @property
    def is_met(self) -> bool:
        compare = operator.ge if self.sign == "at least" else operator.le
        return bool(compare(self.measured, self.wanted))


def bench(*arguments: str) -> Rows:
    """Return the rows of ``esr bench --json`` by network, engine and batch size."""
    command = ["esr", "bench", "--json", *arguments]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=False)
    if done.returncode:
        sys.exit(done.returncode)  # it has printed the reason
    rows = json.loads(done.stdout)["rows"]
    return {f"{row['network']} {row['name']} {row['faces']}": row for row in rows}


def targets(rows: Rows, batches: Rows) -> List[Target]:
    """Compare the rows of all networks, and those of ESR-9 with 1 and 8 faces per call."""
    int8, attention = rows["ESR-9 INT8 1"], rows["ESR*-9 INT8 1"]
    network = "ESR-9 ships" if "ESR-9 ships adaptive 1" in rows else "ESR-9"
    rates = [rows[f"{network} {name} 1"]["evaluations_per_s"] for name in ("adaptive", "INT8")]
    one, eight = (batches[f"ESR-9 INT8 {faces}"]["p50_ms"] for faces in (1, 8))
    share = "ESR-9 INT8, a face of 8 in a batch, share of the time of one"
    slower = attention["p50_ms"] / int8["p50_ms"]
    return [
        *(
            Target(f"{name}, times PyTorch", rows[f"{name} 1"]["speed_up"], wanted)
            for name, wanted in SPEED_UPS.items()
        ),
        Target("ESR*-9 INT8, times the time of ESR-9 INT8", slower, 1.6, "at most"),
        Target(f"{network} adaptive, times INT8", rates[0] / rates[1], 1.3),
        Target(share, eight / 8 / one, 0.85, "at most"),
        Target("ESR-9 INT8, share of the machine's peak", int8["share_of_peak"], 0.6),
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, help="FER+'s validation faces, for adaptive")
    data = parser.parse_args().data
    rows = bench(*(["--data", str(data)] if data else []))
    results = targets(rows, bench("--networks", "ESR-9", "--faces", "1,8"))
    columns = {"ratio": "{name}", "wanted": "{sign} {wanted:g}", "measured": "{measured:.2f}"}
    marks = [{**each._asdict(), "mark": "met" if each.is_met else "MISSED"} for each in results]
    print_table("Targets for this machine", {**columns, "": "{mark}"}, marks)
    return 0 if all(each.is_met for each in results) else 1


if __name__ == "__main__":
    sys.exit(main())
