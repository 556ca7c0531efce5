"""Run ``esr bench`` and compare its ratios with the targets of this project: ``make bench``.

python tools/bench.py [--data valid.npz.xz] times all networks once, then ESR-9 with eight faces.
The exit code is 1 if a target is missed. The targets are for two cores with 8-bit dot products
(AVX-VNNI or AVX-512 VNNI).
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from typing import Any, Dict

from esr_core.cli.tables import print_targets

#: Least speed-up over PyTorch.
SPEED_UPS = {
    "ESR-9 fp32": 2.0,
    "ESR-9 INT8": 7.5,
    "ESR-15 INT8": 7.0,
    "ESR*-9 INT8": 6.5,
    "ESR*-15 INT8": 6.5,
}
#: The plain network that a diversified one is compared with.
PLAIN = {"ESR*-9 INT8": "ESR-9 INT8", "ESR*-15 INT8": "ESR-15 INT8"}


def bench(*arguments: str) -> Dict[str, Dict[str, Any]]:
    """Return the rows of ``esr bench --json`` by network, engine and batch size."""
    command = ["esr", "bench", "--json", *arguments]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=False)
    if done.returncode:
        sys.exit(done.returncode)  # it has printed the reason
    rows = json.loads(done.stdout)["rows"]
    return {f"{row['network']} {row['name']} {row['faces']}": row for row in rows}


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", help="FER+'s validation faces, for adaptive")
    data = parser.parse_args().data
    rows = bench(*(["--data", data] if data else []))
    batches = bench("--networks", "ESR-9", "--faces", "1,8")
    int8 = rows["ESR-9 INT8 1"]
    trained = "ESR-9 ships" if data else "ESR-9"
    rates = [rows[f"{trained} {name} 1"]["evaluations_per_s"] for name in ("adaptive", "INT8")]
    one, eight = (batches[f"ESR-9 INT8 {faces}"]["p50_ms"] for faces in (1, 8))
    in_batch = eight / 8 / one
    speed_ups = [
        (f"{name}, times PyTorch", rows[f"{name} 1"]["speed_up"], "at least", wanted)
        for name, wanted in SPEED_UPS.items()
    ]
    slower = [
        (
            f"{name}, times the time of {plain}",
            rows[f"{name} 1"]["p50_ms"] / rows[f"{plain} 1"]["p50_ms"],
            "at most",
            1.4,
        )
        for name, plain in PLAIN.items()
    ]
    return print_targets(
        [
            *speed_ups,
            *slower,
            (f"{trained} adaptive, times INT8", rates[0] / rates[1], "at least", 1.3),
            ("ESR-9 INT8, a face of 8, share of the time of one", in_batch, "at most", 0.85),
            ("ESR-9 INT8, share of the machine's peak", int8["share_of_peak"], "at least", 0.6),
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
