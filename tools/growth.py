"""Measure how cost grows with the work: ``make growth``.

python tools/growth.py [--only TEXT] [--plot FILE.png] [--json FILE] prints one table for each kind
of work: faces, size of the image, cameras, branches, size of the input, length of a bag, worker
processes. The exit code is 1 if a cost grows faster than its work.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from itertools import zip_longest
from pathlib import Path
from statistics import median
from typing import List, Sequence, Tuple

import numpy as np
from bags import annotate
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator
from numpy.typing import NDArray

from esr_core import EmotionPipeline, PipelineOptions
from esr_core.benchmark import random_networks
from esr_core.benchmark.cases import Case, NodeCase
from esr_core.benchmark.runner import measure
from esr_core.cli.tables import print_table, print_targets
from esr_core.errors import EsrError
from esr_core.network.complexity import cost
from esr_ros.benchmark import node_benchmark
from esr_ros.demo.photo_bag import record
from esr_ros.demo.scene import PLACES, Scene, SceneRenderer

ROUNDS, CALLS = 10, 5
#: A cost may be this many times as high as one that is proportional to the work.
TOLERANCE = 1.1
#: Images a second of the long bags: an hour has 900.
BAG_HZ = 0.25
ONE_FACE = Scene(((1.0, 1),))


@dataclass(frozen=True)
class Growth:
    """The cost of several amounts of work of one kind."""

    kind: str
    labels: Sequence[float]
    cost: str  # with its unit
    values: Sequence[float]
    unit: str  # of the work
    work: Sequence[float] = ()  # empty: the labels
    memory_mb: Sequence[float] = ()

    @property
    def amounts(self) -> NDArray[np.float64]:
        """Return the amounts of work, (n,)."""
        return np.array(self.work or self.labels, np.float64)

    @property
    def fastest(self) -> float:
        """Return the largest growth from one amount to the next, relative to that of the work."""
        work, values = self.amounts, np.array(self.values)
        return float(((values[1:] / values[:-1]) / (work[1:] / work[:-1])).max())

    @property
    def law(self) -> str:
        """Return the straight line through the values, by least squares relative to each value."""
        values = np.array(self.values)
        slope, start = np.polyfit(self.amounts, values, 1, w=1 / values)
        return f"{self.cost}: {start:.3g} + {slope:.3g} per {self.unit}"


def frames_ms(images: Sequence[NDArray[np.uint8]], max_faces: int = 16) -> List[float]:
    """Return the median time from an image to its faces, in ms, for each image; in turns."""
    pipelines = [EmotionPipeline(PipelineOptions(max_faces=max_faces)) for _ in images]
    times_s: List[List[float]] = [[] for _ in images]
    for number in range(ROUNDS + 1):
        for pipeline, rgb, row in zip(pipelines, images, times_s):
            for _ in range(CALLS):
                began_s = time.perf_counter()
                pipeline.step(rgb, time.monotonic())
                if number > 0:  # the first round is not timed
                    row.append(time.perf_counter() - began_s)
    return [round(median(row) * 1e3, 2) for row in times_s]


def faces(folder: Path) -> Growth:
    """Copies of one face in an image of 1200 x 1200."""
    x, y, _ = PLACES[1][0]
    face = SceneRenderer(ONE_FACE).draw(0)[y - 75 : y + 75, x - 75 : x + 75]
    counts = (1, 2, 4, 8, 16, 32, 64)
    images = [np.full((1200, 1200, 3), 110, np.uint8) for _ in counts]
    for count, rgb in zip(counts, images):
        for i in range(count):
            top, left = 150 * (i // 8), 150 * (i % 8)
            rgb[top : top + 150, left : left + 150] = face
    return Growth("faces in an image", counts, "ms a frame", frames_ms(images, max(counts)), "face")


def widths(folder: Path) -> Growth:
    """One face in images of 4:3."""
    widths = (320, 640, 1280, 1920, 2560, 3840)
    sizes = [(width, width * 3 // 4) for width in widths]
    images = [SceneRenderer(Scene(((1.0, 1),), 30.0, *size)).draw(0) for size in sizes]
    pixels = [w * h / 1e6 for w, h in sizes]
    return Growth("width of the image, px", widths, "ms a frame", frames_ms(images), "Mpx", pixels)


def cameras(folder: Path) -> Growth:
    """Cameras of 640x480 at 10 Hz with one face each, at one node."""
    counts, rows = (1, 2, 4, 8), []
    for count in counts:
        case = NodeCase(f"{count} cameras", rate_hz=10.0, cameras=count)
        rows.append(node_benchmark.measure(case, 10.0, [], folder / "node.log"))
        if rows[-1]["dropped"]:
            print(f"{case.name}: {rows[-1]['dropped']} of {rows[-1]['sent']} images dropped")
    cores, memory_mb = ([row[key] for row in rows] for key in ("cores", "resident_mb"))
    kind = "cameras at one node, 10 Hz"
    return Growth(kind, counts, "cores", cores, "camera", memory_mb=memory_mb)


def networks(
    kind: str, labels: Sequence[int], architectures: Sequence[Tuple[int, bool, int]], folder: Path
) -> Growth:
    """Measure the median time of each network in INT8 for one face, in ms; in turns."""
    cases = []
    for each in architectures:
        model = str(random_networks.make(each, folder, ["INT8"])["INT8"])
        cases.append(Case(str(each), "onnx", model, architecture=each))
    times = [timing.figures()["p50_ms"] for timing in measure(cases, ROUNDS, CALLS)]
    macs = [cost(*each).macs / 1e6 for each in architectures]
    return Growth(kind, labels, "ms a face", times, "million MACs", macs)


def branches(folder: Path) -> Growth:
    counts = (1, 3, 5, 9, 15)
    architectures = [(count, False, 64) for count in counts]
    return networks("branches at 64 px, INT8", counts, architectures, folder)


def sizes(folder: Path) -> Growth:
    sides = (56, 64, 72, 80, 96)
    architectures = [(9, False, side) for side in sides]
    return networks("input of an ESR-9, px, INT8", sides, architectures, folder)


def hours(folder: Path) -> Growth:
    """Bags of JPEG images."""
    lengths, runs = (1, 3, 8, 24), []
    for length in lengths:
        record(folder / f"{length}h", Scene(((3600.0 * length, 1),), BAG_HZ), compressed=True)
        runs.append(annotate(folder, f"{length}h"))
    seconds, memory_mb = ([run[key] for run in runs] for key in ("elapsed_s", "mb"))
    kind = f"hours of bag, {3600 * BAG_HZ:g} images each"
    return Growth(kind, lengths, "s of esr annotate", seconds, "hour", memory_mb=memory_mb)


def workers(folder: Path) -> Growth:
    """Worker processes for one bag of a minute: here more work per second is a gain."""
    record(folder / "bag", Scene(((60.0, 1),)))
    counts = (1, 2)
    runs = [annotate(folder, "bag", "-o", f"out{count}", "--jobs", str(count)) for count in counts]
    speeds, memory_mb = [60 / run["elapsed_s"] for run in runs], [run["mb"] for run in runs]
    kind = "worker processes of esr annotate"
    return Growth(kind, counts, "times real time", speeds, "process", memory_mb=memory_mb)


KINDS = (faces, widths, cameras, branches, sizes, hours, workers)


def draw(path: Path, growths: Sequence[Growth]) -> None:
    """Draw one panel per kind; the dashed line is proportional to the work."""
    figure = Figure(figsize=(13, 6), layout="constrained")
    panels = [*figure.subplots(2, 4, squeeze=False).flat]
    for axes, growth in zip(panels, growths):
        work = growth.amounts
        axes.plot(growth.labels, work / work[0] * growth.values[0], "--", color="0.6", lw=1)
        axes.plot(growth.labels, growth.values, "o-", color="#4c78a8")
        axes.set(xlabel=growth.kind, ylabel=growth.cost, xscale="log", yscale="log")
        axes.set_xticks(growth.labels, [f"{label:g}" for label in growth.labels], fontsize=8)
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 3, 5)))
        axes.yaxis.set_major_formatter("{x:g}")
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_minor_locator(NullLocator())
        axes.grid(color="0.9")
    for axes in panels[len(growths) :]:
        axes.set_axis_off()
    figure.suptitle("Cost over work; dashed: proportional to the work")
    figure.savefig(path, dpi=80)


def show(growth: Growth) -> None:
    """Print the table of one kind."""
    amounts = zip_longest(growth.labels, growth.values, growth.memory_mb)
    rows = [{"label": f"{label:g}", "cost": value, "mb": mb} for label, value, mb in amounts]
    columns = {growth.kind: "{label}", growth.cost: "{cost:.3g}", "MB": "{mb:.0f}"}
    print_table(growth.law, columns, rows)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", default="", help="kinds of work with this text in their name")
    parser.add_argument("--plot", type=Path, metavar="FILE.png")
    parser.add_argument("--json", type=Path, metavar="FILE")
    arguments = parser.parse_args()
    for path in filter(None, (arguments.plot, arguments.json)):  # before the work, which is long
        if path.is_dir() or not path.parent.is_dir():
            parser.error(f"{path} must be a file in a folder that exists")
    growths = []
    for kind in KINDS:
        if arguments.only in kind.__name__:
            with tempfile.TemporaryDirectory() as name:
                growths.append(kind(Path(name)))
            show(growths[-1])
    if not growths:
        names = ", ".join(kind.__name__ for kind in KINDS)
        parser.error(f"--only {arguments.only!r} is part of no name: {names}")
    if arguments.plot:
        draw(arguments.plot, growths)
    if arguments.json:
        arguments.json.write_text(json.dumps([asdict(growth) for growth in growths]))
    return print_targets(
        [(f"{g.kind}: growth beside its work", g.fastest, "at most", TOLERANCE) for g in growths]
    )


if __name__ == "__main__":
    try:
        sys.exit(main())
    except EsrError as error:
        sys.exit(f"growth: {error}")
