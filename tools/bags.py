"""Time ``esr annotate`` by all kinds of workers and check what is wanted: ``make bench-bags``.

The bag is a minute of 640x480 at 30 Hz with one face, raw. The ways take turns, so that a slow
minute of the machine hits all of them.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any, Dict, List

from rich.console import Console

from esr_core.cli.tables import figures
from esr_ros.demo.photo_bag import record
from esr_ros.demo.scene import Scene

ROUNDS = 3
PLAY = Scene(((60.0, 1),))
WAYS = {
    "threads": [],
    "--jobs 1": ["--jobs", "1"],
    "--jobs 2": ["--jobs", "2"],
    "--jobs 3": ["--jobs", "3"],
    "--engine ray": ["--engine", "ray"],
    "threads, answers alone": ["--without-originals"],
}
#: What is wanted: times real time, MB, and seconds of work that a kill may cost.
FASTEST, MOST_MB, MOST_LOST_S = 5.0, 500.0, 1.0


def resident_mb(parent: int) -> float:
    """Memory of a process and all below it; pages that they share count once."""
    parents = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(stat.parent.name)] = int(stat.read_text().rpartition(")")[2].split()[1])
        except OSError:  # it has just ended
            continue
    family = [parent]
    for each in family:
        family += [child for child, its in parents.items() if its == each]
    total_kb = 0
    for each in family:
        try:
            lines = Path(f"/proc/{each}/smaps_rollup").read_text().splitlines()
        except OSError:
            continue
        total_kb += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return total_kb / 1e3


def run(folder: Path, words: List[str]) -> Dict[str, Any]:
    """Annotate the bag once; return what the command says, with the peak of its memory."""
    command = ["esr", "annotate", "bag", "-o", "out", "--overwrite", "--json", *words]
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True)
    peak_mb, begin_s = 0.0, time.monotonic()
    while process.poll() is None:
        peak_mb = max(peak_mb, resident_mb(process.pid))
        time.sleep(0.5)  # a look costs milliseconds
    assert process.stdout is not None
    said = process.stdout.read()
    if process.returncode:
        sys.exit(2)  # it has said why
    told: Dict[str, Any] = json.loads(said)
    return {**told, "mb": peak_mb, "wall_s": time.monotonic() - begin_s}


def lost_s(folder: Path) -> float:
    """Kill a run in the middle; return how much of its work the next one does again, in seconds."""
    command = ["esr", "annotate", "bag", "-o", "killed", "--json"]
    journal = folder / "killed.part" / "journal"
    process = subprocess.Popen(command, cwd=folder)
    while not journal.exists() or journal.stat().st_size < 1000:
        time.sleep(0.01)
    began_s = time.monotonic()
    time.sleep(4)
    process.send_signal(signal.SIGKILL)
    worked_s = time.monotonic() - began_s
    process.wait()
    done = subprocess.run([*command, "--resume"], cwd=folder, capture_output=True, check=True)
    resumed = json.loads(done.stdout)["resumed"]
    # By the time that an image took until then, the kill included.
    whole = subprocess.run(
        [*command, "--overwrite"], cwd=folder, capture_output=True, check=True
    ).stdout
    image_s = float(json.loads(whole)["elapsed_s"]) / PLAY.frames
    return max(worked_s - int(resumed) * image_s, 0.0)


def main() -> int:
    """Print the table; returns 1 if something that is wanted is missed."""
    console = Console()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        record(folder / "bag", PLAY)
        rounds: Dict[str, List[Dict[str, Any]]] = {way: [] for way in WAYS}
        for _ in range(ROUNDS):
            for way, words in WAYS.items():
                rounds[way].append(run(folder, words))
        lost = lost_s(folder)
    rows = []
    for way, runs in rounds.items():
        seconds = [each["elapsed_s"] for each in runs]
        rows.append(
            {
                "way": way,
                "s": f"{median(seconds):.1f}",
                "range": f"{min(seconds):.1f} to {max(seconds):.1f}",
                "rate": f"{PLAY.seconds / median(seconds):.1f}",
                "start": f"{median(each['wall_s'] - each['elapsed_s'] for each in runs):.1f}",
                "mb": f"{max(each['mb'] for each in runs):.0f}",
            }
        )
    columns = {
        "way": "workers",
        "s": "seconds",
        "range": "of 3 runs",
        "rate": "times real time",
        "start": "start, s",
        "mb": "MB",
    }
    console.print(figures(f"A minute of one face, {PLAY.frames} raw images", columns, rows))
    console.print(f"a run that is killed loses {lost:.1f} s of work")
    wanted = {
        f"threads at least {FASTEST:g} times real time": float(rows[0]["rate"]) >= FASTEST,
        f"threads at most {MOST_MB:g} MB": float(rows[0]["mb"]) <= MOST_MB,
        f"a kill loses at most {MOST_LOST_S:g} s": lost <= MOST_LOST_S,
    }
    for what, is_met in wanted.items():
        console.print(f"{'met' if is_met else 'MISSED'}: {what}")
    return 0 if all(wanted.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
