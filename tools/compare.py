"""Compare this package with other tools on the same faces; print Markdown.

python tools/compare.py valid.npz.xz [--faces 800] [--fer PYTHON] [--face-api FOLDER]. A face of
FER+ is enlarged and placed in a grey picture, in which every tool detects and crops it itself. A
face that a tool does not find counts as wrong. Each tool is a process of its own; they take turns
with every picture, on one and the same processor core. Results: docs/comparison.md.
"""

from __future__ import annotations

import argparse
import math
import os
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Dict, Iterable, List, Sequence, Tuple

import cv2
import numpy as np
from numpy.typing import NDArray

from esr_core.benchmark.runner import Program
from esr_core.data import ferplus
from esr_core.emotions import LABELS
from esr_core.errors import EsrError
from esr_core.evaluation.calibration import macro_f1
from esr_core.progress import counter

COMPARED = Path(__file__).resolve().parent / "compared"
#: Width and height of a picture.
SIZE = (640, 480)
#: The other tools' names of the emotions; none of them has contempt.
NAMES = {"angry": "anger", "surprised": "surprise", "disgusted": "disgust", "fearful": "fear"}
NOT_FOUND, CONTEMPT = len(LABELS), LABELS.index("contempt")
#: Columns of the two tables; the second has the facts that are not measured, by tool.
MEASURED = (
    *("tool", "found", "accuracy (95 %)", "of the found", "without contempt", "macro F1"),
    *("without contempt", "CPU ms", "times esr"),
)
KNOWN = ("tool", "licence of the code", "weights, trained on", "publishes to ROS")
FACTS = {
    "esr": ("Apache-2.0", "20.7 MB, FER+", "`esr_ros/EmotionArray` and others"),
    "fer": ("MIT", "0.1 MB, FER2013", "nothing"),
    "face-api": ("MIT", "0.3 MB, not named", "nothing"),
}
INSTALL = {
    "fer": "python -m venv fer && fer/bin/pip install --no-deps fer==25.10.3 && fer/bin/pip "
    "install 'setuptools<81' tensorflow-cpu==2.19.1 opencv-contrib-python-headless==4.11.0.86 "
    "requests Pillow; then add --fer fer/bin/python",
    "face-api": "npm install --prefix face-api --ignore-scripts @vladmandic/face-api@1.7.15 "
    "@tensorflow/tfjs@4.22.0 @tensorflow/tfjs-backend-wasm@4.22.0; then add --face-api face-api",
}


class Tool(Program):
    """The process of one tool: pictures in, labels and milliseconds out."""

    def __init__(self, name: str, command: Sequence[object]) -> None:
        super().__init__(name, [*map(str, command)], has_log=True)
        self.labels: List[int] = []
        self.times_ms: List[float] = []
        self.title = self.receive()["name"]

    def end_message(self, code: int, last: str) -> str:
        return f"{self.name}: it ended early ({last or 'no message'})"

    def evaluate(self, path: Path) -> None:
        """Add the label and the time of one picture, a file of RGB values, to the results."""
        self.send([str(path), *SIZE])
        values = self.receive()
        name = values["label"]
        self.labels.append(NOT_FOUND if name is None else LABELS.index(NAMES.get(name, name)))
        self.times_ms.append(values["ms"])


def picture(face: NDArray[np.uint8], number: int, side: int) -> NDArray[np.uint8]:
    """Return a grey RGB picture with a face in it, ``side`` pixels wide, at one of many places."""
    rgb = np.full((*SIZE[::-1], 3), 128, np.uint8)
    left, top = (number * step % (room - side + 1) for room, step in zip(SIZE, (89, 131)))
    large = cv2.resize(face, (side, side), interpolation=cv2.INTER_CUBIC)
    rgb[top : top + side, left : left + side] = large[..., None]
    return rgb


def interval(correct: int, count: int) -> Tuple[float, float]:
    """Return the 95 % interval of a share (Wilson, "Probable inference", 1927)."""
    z2 = 1.96**2
    centre, scale = (correct + z2 / 2) / (count + z2), 1.96 / (count + z2)
    half = scale * math.sqrt(correct * (count - correct) / count + z2 / 4)
    return max(centre - half, 0.0), min(centre + half, 1.0)


def figures(labels: NDArray[np.int64], target: NDArray[np.int64]) -> List[str]:
    """Return the cells of one tool, given its labels (n,) and the targets (n,)."""

    def share(values: NDArray[np.bool_]) -> str:
        return f"{100 * values.mean():.1f} %" if len(values) else "-"

    def f1(rows: Any) -> str:
        confusion = np.zeros((NOT_FOUND + 1,) * 2, np.int64)
        np.add.at(confusion, (target[rows], labels[rows]), 1)
        return f"{macro_f1(confusion):.2f}" if confusion.any() else "-"

    correct, found, seven = labels == target, labels != NOT_FOUND, target != CONTEMPT
    low, high = (100 * bound for bound in interval(int(correct.sum()), len(target)))
    accuracy = f"{share(correct)} ({low:.1f} to {high:.1f})"
    shares = [share(found), accuracy, share(correct[found]), share(correct[seven])]
    return [*shares, f1(slice(None)), f1(seven)]


def print_markdown(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    for cells in (columns, ["---"] * len(columns), *rows):
        print(f"| {' | '.join(cells)} |")


def show(tools: Sequence[Tool], target: NDArray[np.int64]) -> None:
    """Print the measured figures and the facts, one row per tool."""
    contempt = int((target == CONTEMPT).sum())
    print(f"{len(target)} faces, {contempt} of them contempt; one core.\n")
    times_ms = np.array([tool.times_ms[1:] for tool in tools])  # the first call takes longer
    rows = []
    for tool, ms in zip(tools, times_ms):
        times = [f"{np.median(ms):.1f}", f"{np.median(ms / times_ms[0]):.1f}"]
        rows.append([tool.title, *figures(np.array(tool.labels[1:]), target), *times])
    print_markdown(MEASURED, rows)
    print()
    print_markdown(KNOWN, [[tool.title, *FACTS[tool.name]] for tool in tools])


def compare(options: argparse.Namespace, commands: Dict[str, List[Any]]) -> None:
    """Run all tools on the faces of a file and print the tables."""
    data = ferplus.read(options.data)
    data = data.subset(options.faces or len(data))
    with ExitStack() as stack:
        path = Path(stack.enter_context(tempfile.TemporaryDirectory()), "picture")
        tools = [stack.enter_context(Tool(*each)) for each in commands.items()]
        update = stack.enter_context(counter("faces", "comparing", len(data)))
        for number, image in enumerate([data.images[0], *data.images], -1):
            picture(image, number, options.face_px).tofile(path)
            for tool in tools:
                tool.evaluate(path)
            update(number + 1)
    show(tools, data.target)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("data", type=Path, help="FER+'s validation faces, valid.npz.xz")
    parser.add_argument("--faces", type=int, help="number of faces, drawn at random; default: all")
    parser.add_argument("--face-px", type=int, default=144, help="width of a face (%(default)s)")
    parser.add_argument("--detection-size-px", type=int, default=256, help="of esr (%(default)s)")
    parser.add_argument("--fer", metavar="PYTHON", help="interpreter of an environment with fer")
    parser.add_argument("--face-api", metavar="FOLDER", type=Path, help="parent of node_modules")
    arguments = parser.parse_args()
    if arguments.faces is not None and arguments.faces < 1:
        parser.error(f"--faces must be 1 or more, but got {arguments.faces}")
    if not 1 <= arguments.face_px <= SIZE[1]:
        parser.error(f"--face-px must be 1 to {SIZE[1]}, but got {arguments.face_px}")
    script = COMPARED / "python_tool.py"
    esr = [sys.executable, script, f"esr={arguments.detection_size_px}"]
    commands: Dict[str, List[Any]] = {"esr": esr}
    if arguments.fer:
        commands["fer"] = [arguments.fer, script, "fer"]
    if arguments.face_api:
        commands["face-api"] = ["node", COMPARED / "face_api.js", arguments.face_api]
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})  # inherited by the tools
    try:
        compare(arguments, commands)
    except EsrError as error:
        print(f"compare: {error}", file=sys.stderr)
        sys.exit(2)
    for name, line in INSTALL.items():
        if name not in commands:
            print(f"compare: {name} was not measured. To install it: {line}", file=sys.stderr)


if __name__ == "__main__":
    main()
