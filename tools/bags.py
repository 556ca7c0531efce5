"""Time ``esr annotate`` with all kinds of workers and compare it with targets: ``make bench-bags``.

The bag is a minute of 640x480 at 30 Hz with one face, raw. The kinds take turns, so that a slow
minute of the machine affects all of them.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from statistics import median
from typing import Any, Dict, List

from esr_core.cli.tables import print_table, print_targets
from esr_ros.demo.photo_bag import record
from esr_ros.demo.scene import Scene

ROUNDS = 3
SCENE = Scene(((60.0, 1),))
#: The kinds of workers, by their flags.
KINDS = ("threads", "--jobs 1", "--jobs 2", "--jobs 3", "--engine ray", "--without-originals")
COLUMNS = {
    "workers": "{workers}",
    "seconds": "{seconds:.1f}",
    f"of {ROUNDS} runs": "{range}",
    "times real time": "{speed:.1f}",
    "start, s": "{start_s:.1f}",
    "MB": "{mb:.0f}",
}


def resident_mb(parent: int) -> float:
    """Return the memory of a process and its descendants; shared pages count once."""
    parents, total_kb, family = {}, 0, [parent]
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it has just ended
            parents[int(stat.parent.name)] = int(stat.read_text().rpartition(")")[2].split()[1])
    for pid in family:
        family += [child for child, its_parent in parents.items() if its_parent == pid]
        with suppress(OSError):
            lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
            total_kb += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return total_kb / 1e3


def annotate(folder: Path, *arguments: str) -> Dict[str, Any]:
    """Annotate a bag; return the figures of the command, its duration, and peak memory."""
    command = ["esr", "annotate", "--json", *arguments]
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True)
    peak_mb, began_s = 0.0, time.monotonic()
    while process.poll() is None:
        peak_mb = max(peak_mb, resident_mb(process.pid))
        time.sleep(0.5)  # a measurement takes milliseconds
    wall_s, output = time.monotonic() - began_s, process.communicate()[0]
    if process.returncode:
        sys.exit(2)  # it has printed the reason
    return {**json.loads(output), "mb": peak_mb, "wall_s": wall_s}


def lost_s(folder: Path) -> float:
    """Kill a run in the middle; return the time of the work that the resumed run repeats, in s."""
    log = folder / "killed.part" / "journal"
    process = subprocess.Popen(["esr", "annotate", "bag", "-o", "killed", "--json"], cwd=folder)
    while not log.exists() or log.stat().st_size < 1000:
        time.sleep(0.01)
    began_s = time.monotonic()
    time.sleep(4)
    process.kill()
    worked_s = time.monotonic() - began_s
    process.wait()
    resumed = annotate(folder, "bag", "-o", "killed", "--resume")["resumed"]
    whole_s = annotate(folder, "bag", "-o", "killed", "--overwrite")["elapsed_s"]
    return max(worked_s - int(resumed) * float(whole_s) / SCENE.frames, 0.0)


def main() -> int:
    """Print the table; return 1 if a target is missed."""
    runs: Dict[str, List[Dict[str, Any]]] = {kind: [] for kind in KINDS}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        record(folder / "bag", SCENE)
        for _ in range(ROUNDS):
            for kind in KINDS:
                flags = kind.split() if kind.startswith("-") else ()
                runs[kind].append(annotate(folder, "bag", "-o", "out", "--overwrite", *flags))
        lost = lost_s(folder)
    rows: List[Dict[str, Any]] = []
    for kind, own in runs.items():
        seconds = [run["elapsed_s"] for run in own]
        start_s = median(run["wall_s"] - run["elapsed_s"] for run in own)
        row = {"workers": kind, "seconds": median(seconds), "start_s": start_s}
        row["range"] = f"{min(seconds):.1f} to {max(seconds):.1f}"
        row["speed"] = SCENE.seconds / median(seconds)
        rows.append({**row, "mb": max(run["mb"] for run in own)})
    print_table(f"A minute of one face, {SCENE.frames} raw images", COLUMNS, rows)
    return print_targets(
        [
            ("threads, times real time", rows[0]["speed"], "at least", 5),
            ("threads, MB", rows[0]["mb"], "at most", 500),
            ("s of work that a kill costs", lost, "at most", 1),
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
