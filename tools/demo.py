"""The main job, for people to see: a camera, the node, and this listener, over DDS alone.

Exits 1 if an image with a face went unanswered.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import IO, Dict, List

import cv2
import numpy as np
import rclpy
from camera import FRAMES, RATE_HZ, Scene
from rclpy.executors import SingleThreadedExecutor
from rich.console import Console
from rich.live import Live
from rich.table import Table

from esr_core.draw import annotate
from esr_core.face import FaceEmotion
from esr_ros.msg import Emotion, EmotionArray

ROOT = Path(__file__).resolve().parent.parent
START_DEADLINE_S = 60.0


class Listener:
    """Keeps every answer by the stamp of its image, and when it came."""

    def __init__(self) -> None:
        self.node = rclpy.create_node("demo_listener")
        self.answers: Dict[int, EmotionArray] = {}
        self.latency_s: Dict[int, float] = {}
        self.node.create_subscription(EmotionArray, "emotion", self._on_answer, 30)
        self.executor = SingleThreadedExecutor()
        self.executor.add_node(self.node)

    def _on_answer(self, message: EmotionArray) -> None:
        now_ns = self.node.get_clock().now().nanoseconds
        stamp_ns = message.header.stamp.sec * 10**9 + message.header.stamp.nanosec
        self.answers[stamp_ns] = message
        self.latency_s[stamp_ns] = (now_ns - stamp_ns) * 1e-9

    def spin_for(self, seconds: float) -> None:
        end_s = time.monotonic() + seconds
        while (left_s := end_s - time.monotonic()) > 0:
            self.executor.spin_once(timeout_sec=left_s)


def main() -> int:
    """Run the demo and report."""
    console = Console()
    # A domain of its own: nothing of another robot on this network is heard, or hears this.
    os.environ.setdefault("ROS_DOMAIN_ID", str(1 + os.getpid() % 100))
    config = ROOT / "install" / "esr_ros" / "share" / "esr_ros" / "config" / "default.yaml"
    logs = ROOT / "demo"
    logs.mkdir(exist_ok=True)
    with open(logs / "node.log", "w", encoding="utf-8") as log:
        node = subprocess.Popen(
            ["emotion_node", "--ros-args", "--params-file", str(config)],
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        camera = subprocess.Popen(
            [sys.executable, str(ROOT / "tools" / "camera.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        rclpy.init()
        listener = Listener()
        try:
            with console.status("waiting for the node"):
                if not _wait_for_first_answer(listener, node, camera):
                    console.print(f"the node did not answer; see {logs / 'node.log'}")
                    return 1
            sent = _play(listener, camera, console)
        finally:
            _pipe(camera.stdin).close()
            _end(camera)
            node.send_signal(signal.SIGINT)
            _end(node)
            listener.node.destroy_node()
            rclpy.shutdown()
    picture = logs / "annotated.png"
    _save_picture(picture, sent, listener.answers)
    return _report(console, sent, listener, picture)


def _wait_for_first_answer(
    listener: Listener, node: subprocess.Popen[bytes], camera: subprocess.Popen[str]
) -> bool:
    deadline_s = time.monotonic() + START_DEADLINE_S
    while not listener.answers:
        if node.poll() is not None or camera.poll() is not None or time.monotonic() > deadline_s:
            return False
        listener.spin_for(0.1)
    return True


def _play(listener: Listener, camera: subprocess.Popen[str], console: Console) -> List[List[int]]:
    """Let the camera play its scenes; returns [stamp_ns, faces] of all that it sent."""
    stdin, stdout = _pipe(camera.stdin), _pipe(camera.stdout)
    listener.answers.clear()
    stdin.write("go\n")
    stdin.flush()
    end_s = time.monotonic() + FRAMES / RATE_HZ
    with Live(console=console, refresh_per_second=4, transient=True) as live:
        while time.monotonic() < end_s:
            listener.spin_for(0.25)
            live.update(_table(listener))
    sent: List[List[int]] = json.loads(stdout.readline())
    with_face = {stamp for stamp, faces in sent if faces}
    deadline_s = time.monotonic() + 2.0
    while not with_face <= set(listener.answers) and time.monotonic() < deadline_s:
        listener.spin_for(0.05)
    return sent


def _pipe(stream: IO[str] | None) -> IO[str]:
    assert stream is not None
    return stream


def _end(process: subprocess.Popen[bytes] | subprocess.Popen[str]) -> None:
    try:
        process.wait(timeout=10)
    except subprocess.TimeoutExpired:
        process.kill()


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
    table.add_row("images sent", str(len(sent)))
    table.add_row("images answered", str(len(answers)))
    table.add_row("images with a face", str(sum(faces > 0 for _, faces in sent)))
    table.add_row("  of them unanswered", str(len(unanswered)))
    shown, found = (
        Counter(faces for _, faces in sent),
        Counter(len(message.emotions) for message in answers.values()),
    )
    table.add_row("images by faces shown", _counts(shown))
    table.add_row("images by faces found", _counts(found))
    table.add_row("images with another number found", str(wrong))
    table.add_row("face ids", ", ".join(map(str, ids)))
    table.add_row("labels", ", ".join(f"{label} {n}" for label, n in labels.most_common()))
    table.add_row("latency, stamp to message", _percentiles(latency_ms))
    for wanted in sorted({faces for _, faces in sent}):
        some_ms = [
            listener.latency_s[s] * 1e3 for s, faces in sent if faces == wanted and s in answers
        ]
        table.add_row(f"  images with {wanted} faces", _percentiles(some_ms))
    table.add_row("picture", os.path.relpath(picture))
    console.print(table)
    if unanswered:
        console.print(f"{len(unanswered)} images with a face went unanswered; is the machine busy?")
        return 1
    return 0


def _percentiles(values_ms: List[float]) -> str:
    p50, p99 = np.percentile(values_ms or [float("nan")], [50, 99])
    return f"p50 {p50:.1f} ms, p99 {p99:.1f} ms"


def _counts(counter: Counter[int]) -> str:
    return ", ".join(f"{faces}: {n}" for faces, n in sorted(counter.items()))


def _save_picture(path: Path, sent: List[List[int]], answers: Dict[int, EmotionArray]) -> None:
    """Draw the last answered frame with one face and the last with two, side by side."""
    scene, pictures = Scene(), []
    for wanted in (1, 2):
        frames = [i for i, (s, faces) in enumerate(sent) if faces == wanted and s in answers]
        if frames:
            message = answers[sent[frames[-1]][0]]
            rgb, _ = scene.draw(frames[-1])
            pictures.append(annotate(rgb, [_face(emotion) for emotion in message.emotions]))
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
