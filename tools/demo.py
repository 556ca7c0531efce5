"""The main job, for people to see: a camera, the node, and this listener, over DDS alone.

Exits 1 if an image with a face went unanswered.
"""

from __future__ import annotations

import os
import sys
from collections import Counter
from pathlib import Path
from typing import Iterable, List

import cv2
import numpy as np
from rich.console import Console
from rich.live import Live
from rich.table import Table

from esr_core.errors import EsrError
from esr_core.media.visualization import draw_faces
from esr_core.perception.face_emotion import FaceEmotion
from esr_ros.benchmark.test_rig import Listener, node_test_rig
from esr_ros.demo.scene import Scene, SceneRenderer
from esr_ros.msg import Emotion

ROOT = Path(__file__).resolve().parent.parent
PLAY = Scene(scenes=((3.5, 1), (3.0, 2), (1.5, 0), (2.0, 1)))


def main() -> int:
    """Run the demo and report."""
    console = Console()
    config = ROOT / "install" / "esr_ros" / "share" / "esr_ros" / "config" / "default.yaml"
    logs = ROOT / "demo"
    logs.mkdir(exist_ok=True)
    try:
        with node_test_rig(PLAY, logs / "node.log", ["--params-file", str(config)]) as on_stage:
            listener = on_stage.listener
            with console.status("waiting for the node"):
                on_stage.wait_for_first_answer()
            with Live(console=console, refresh_per_second=4, transient=True) as live:
                sent = on_stage.run(lambda: live.update(_table(listener)))
    except EsrError as error:
        console.print(f"{error}\nAll that it said is in {logs / 'node.log'}", markup=False)
        return 1
    picture = logs / "annotated.png"
    _save_picture(picture, sent, listener)
    return _report(console, sent, listener, picture)


def _table(listener: Listener) -> Table:
    table = Table(title=f"/emotion, {len(listener.answers)} answers")
    for column in ("face", "emotion", "confidence", "valence", "arousal", "agreement"):
        table.add_column(column, min_width=9)
    if listener.answers:
        for emotion in listener.answers[max(listener.answers)].emotions:
            table.add_row(
                str(emotion.face_id),
                emotion.label,
                f"{emotion.confidence:.0%}",
                f"{emotion.valence:+.2f}",
                f"{emotion.arousal:+.2f}",
                f"{emotion.agreement:.0%}",
            )
    return table


def _report(console: Console, sent: List[List[int]], listener: Listener, picture: Path) -> int:
    answers = {stamp: listener.answers[stamp] for stamp, _ in sent if stamp in listener.answers}
    latency_ms = [listener.latency_s[stamp] * 1e3 for stamp in answers]
    unanswered = [stamp for stamp, faces in sent if faces and stamp not in answers]
    wrong = sum(len(answers[s].emotions) != faces for s, faces in sent if s in answers)
    labels = Counter(e.label for message in answers.values() for e in message.emotions)
    ids = sorted({e.face_id for message in answers.values() for e in message.emotions})
    table = Table(title="What happened", show_header=False, title_justify="left")
    rows = {
        "images sent": len(sent),
        "images answered": len(answers),
        "images with a face": sum(faces > 0 for _, faces in sent),
        "  of them unanswered": len(unanswered),
        "images by faces shown": _counts(faces for _, faces in sent),
        "images by faces found": _counts(len(message.emotions) for message in answers.values()),
        "images with another number found": wrong,
        "face ids": ", ".join(map(str, ids)),
        "labels": ", ".join(f"{label} {n}" for label, n in labels.most_common()),
        "latency, stamp to message": _percentiles(latency_ms),
    }
    for wanted in sorted({faces for _, faces in sent}):
        some_ms = [
            listener.latency_s[s] * 1e3 for s, faces in sent if faces == wanted and s in answers
        ]
        rows[f"  faces in view: {wanted}"] = _percentiles(some_ms)
    for name, value in {**rows, "picture": os.path.relpath(picture)}.items():
        table.add_row(name, str(value))
    console.print(table)
    if unanswered:
        console.print(f"{len(unanswered)} images with a face went unanswered; is the machine busy?")
        return 1
    return 0


def _percentiles(values_ms: List[float]) -> str:
    p50, p99 = np.percentile(values_ms or [float("nan")], [50, 99])
    return f"p50 {p50:.1f} ms, p99 {p99:.1f} ms"


def _counts(faces: Iterable[int]) -> str:
    return ", ".join(f"{number}: {n}" for number, n in sorted(Counter(faces).items()))


def _save_picture(path: Path, sent: List[List[int]], listener: Listener) -> None:
    """Draw the last answered frame with one face and the last with two, side by side."""
    painter, pictures, answers = SceneRenderer(PLAY), [], listener.answers
    for wanted in (1, 2):
        frames = [i for i, (s, faces) in enumerate(sent) if faces == wanted and s in answers]
        if frames:
            emotions = answers[sent[frames[-1]][0]].emotions
            faces = [_face(emotion) for emotion in emotions]
            pictures.append(draw_faces(painter.draw(frames[-1]), faces))
    if pictures:
        cv2.imwrite(str(path), cv2.cvtColor(np.hstack(pictures), cv2.COLOR_RGB2BGR))


def _face(emotion: Emotion) -> FaceEmotion:
    roi = emotion.roi
    corners = [roi.x_offset, roi.y_offset, roi.x_offset + roi.width, roi.y_offset + roi.height]
    return FaceEmotion(
        face_id=emotion.face_id,
        box=np.array(corners, np.float32),
        score=emotion.detection_score,
        landmarks=np.zeros((5, 2), np.float32),
        probabilities=emotion.probabilities,
        valence=emotion.valence,
        arousal=emotion.arousal,
        votes=np.array([emotion.emotion]),
        emotion=emotion.emotion,
    )


if __name__ == "__main__":
    sys.exit(main())
