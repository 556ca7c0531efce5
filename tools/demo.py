"""The main job, for people to see: a camera, the node, and this listener, over DDS alone.

Exits 1 if an image with a face went unanswered.
"""

from __future__ import annotations

import os
import sys
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import Dict, Iterable, List, Tuple

import cv2
import numpy as np
from rich.console import Console
from rich.live import Live
from rich.table import Table

from esr_core.cli.tables import face_table
from esr_core.errors import EsrError
from esr_core.media.visualization import draw_faces
from esr_core.perception.face_emotion import FaceEmotion
from esr_ros.benchmark.test_rig import NodeTestRig, Sent, node_test_rig
from esr_ros.demo.scene import Scene, SceneRenderer
from esr_ros.msg import Emotion

ROOT = Path(__file__).resolve().parent.parent
PLAY = Scene(scenes=((3.5, 1), (3.0, 2), (1.5, 0), (2.0, 1)))
#: Of the node's subscription. If the machine stands still for up to a third of a second, as while a
#: setup is written to the disk, answers come late; at the default, the newest image only, some
#: would be missing.
DEPTH = 10


def main() -> int:
    """Run the demo and report."""
    console, logs = Console(), ROOT / "demo"
    config = ROOT / "install/esr_ros/share/esr_ros/config/default.yaml"
    depth = f"qos_overrides./image_raw.subscription.depth:={DEPTH}"
    arguments = ["--params-file", str(config), "-p", depth]
    logs.mkdir(exist_ok=True)
    try:
        with ExitStack() as stack:
            with console.status("waiting for the node"):
                rig = stack.enter_context(node_test_rig(PLAY, logs / "node.log", arguments))
            with Live(console=console, refresh_per_second=4, transient=True) as live:
                sent = rig.run(lambda: live.update(_table(rig)))
    except EsrError as error:
        console.print(f"{error}\nAll that it said is in {logs / 'node.log'}", markup=False)
        return 1
    picture = logs / "annotated.png"
    _save_picture(picture, sent, rig)
    unanswered, rows = _results(sent, rig)
    table = Table(title="What happened", show_header=False, title_justify="left")
    for name, value in {**rows, "picture": os.path.relpath(picture)}.items():
        table.add_row(name, str(value))
    console.print(table)
    if unanswered:
        console.print(
            f"Images with a face without an answer: {unanswered}. The node queues {DEPTH} "
            "images here; on a machine that is too slow or too busy for 30 Hz it drops the oldest."
        )
    return int(unanswered > 0)


def _table(rig: NodeTestRig) -> Table:
    newest = rig.answers[max(rig.answers)].emotions if rig.answers else ()
    columns = ("face", "emotion", "confidence", "valence", "arousal", "agreement")
    return face_table(f"/emotion, {len(rig.answers)} answers", newest, columns, min_width=9)


def _results(sent: List[Sent], rig: NodeTestRig) -> Tuple[int, Dict[str, object]]:
    """Return the number of images with a face without an answer, and the rows of the table."""
    answers = {stamp: rig.answers[stamp].emotions for stamp, *_ in sent if stamp in rig.answers}
    shown = [faces for _, faces, _ in sent]
    unanswered = sum(faces > 0 and stamp not in answers for stamp, faces, _ in sent)
    found = [emotion for emotions in answers.values() for emotion in emotions]
    labels = Counter(emotion.label for emotion in found).most_common()
    rows: Dict[str, object] = {
        "images sent": len(sent),
        "images answered": len(answers),
        "images with a face": sum(faces > 0 for faces in shown),
        "  of them unanswered": unanswered,
        "images by faces shown": _counts(shown),
        "images by faces found": _counts(map(len, answers.values())),
        "images with another number found": sum(
            len(answers[stamp]) != faces for stamp, faces, _ in sent if stamp in answers
        ),
        "face ids": ", ".join(map(str, sorted({emotion.face_id for emotion in found}))),
        "labels": ", ".join(f"{label} {n}" for label, n in labels),
        "latency, stamp to message": _percentiles([rig.latency_s[stamp] for stamp in answers]),
    }
    for wanted in sorted({*shown}):
        some_s = [rig.latency_s[s] for s, faces, _ in sent if faces == wanted and s in answers]
        rows[f"  faces in view: {wanted}"] = _percentiles(some_s)
    return unanswered, rows


def _percentiles(values_s: List[float]) -> str:
    p50, p99 = np.percentile(values_s or [float("nan")], [50, 99]) * 1e3
    return f"p50 {p50:.1f} ms, p99 {p99:.1f} ms"


def _counts(faces: Iterable[int]) -> str:
    return ", ".join(f"{number}: {n}" for number, n in sorted(Counter(faces).items()))


def _save_picture(path: Path, sent: List[Sent], rig: NodeTestRig) -> None:
    """Draw the last answered frame with one face and the last with two, side by side."""
    painter, pictures = SceneRenderer(PLAY), []
    for wanted in (1, 2):
        shown = [s for s in sent if s[1] == wanted and s[0] in rig.answers]
        if shown:
            stamp, _, frame = shown[-1]
            faces = map(_face, rig.answers[stamp].emotions)
            pictures.append(draw_faces(painter.draw(frame), faces))
    if pictures:
        cv2.imwrite(str(path), cv2.cvtColor(np.hstack(pictures), cv2.COLOR_RGB2BGR))


def _face(emotion: Emotion) -> FaceEmotion:
    roi = emotion.roi
    corners = [roi.x_offset, roi.y_offset, roi.x_offset + roi.width, roi.y_offset + roi.height]
    names = ("face_id", "probabilities", "valence", "arousal", "emotion")
    return FaceEmotion(
        box=np.array(corners, np.float32),
        score=emotion.detection_score,
        landmarks=np.zeros((5, 2), np.float32),
        votes=np.array([emotion.emotion]),
        **{name: getattr(emotion, name) for name in names},
    )


if __name__ == "__main__":
    sys.exit(main())
