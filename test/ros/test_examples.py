"""The examples, as programs beside a node that processes photographs."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Iterator

import numpy as np
from geometry_msgs.msg import PoseArray, Twist
from numpy.typing import NDArray
from rendered_faces import CAMERAS, place, render
from sensor_msgs.msg import CameraInfo

ROOT = Path(__file__).resolve().parents[2]
Photo = NDArray[np.uint8]
RELIABLE = ("-p", "reliability:=reliable", "-p", "smoothing_s:=0.0")


@contextmanager
def running(name: str, folder: Path) -> Iterator[Path]:
    """Run an example, its output in the file; it ends with 0 on SIGINT."""
    log = folder / "output.txt"
    with open(log, "w") as output:
        command = [sys.executable, str(ROOT / "examples" / name)]
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, cwd=folder)
        try:
            yield log
            process.send_signal(signal.SIGINT)
            assert process.wait(timeout=30) == 0, log.read_text()
        finally:
            process.kill()
            process.wait()


def test_subscriber_is_short_and_equal_to_the_readme() -> None:
    text = (ROOT / "examples" / "subscriber.py").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 20
    listings = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.S)
    assert text in listings


def test_subscriber_prints_a_face(
    start: Any, robot: Any, photograph: Photo, to_image: Any, tmp_path: Path
) -> None:
    start(*RELIABLE)
    me = robot()
    with running("subscriber.py", tmp_path) as log:
        me.show_until(lambda: bool(log.read_text()), to_image(photograph))
        assert re.fullmatch(
            r"face 1: happy \d+%, valence \+\d\.\d\d, arousal [+-]\d\.\d\d",
            log.read_text().splitlines()[0],
        )


def test_robot_turns_to_the_happiest_face(
    start: Any, robot: Any, photograph: Photo, to_image: Any, tmp_path: Path
) -> None:
    start(*RELIABLE)
    me = robot()
    turns = me.hear(Twist, "cmd_vel")

    def turns_at(expected_rad_s: float, rgb: Photo) -> bool:
        turns.clear()
        me.ask(to_image(rgb))
        return bool(
            me.spin_until(lambda: any(abs(t.angular.z - expected_rad_s) < 0.06 for t in turns))
        )

    # The face is in the middle of 136 of 640 px: 0.575 of the half to the left.
    face_left = np.roll(photograph, -150, axis=1)
    face_right = np.ascontiguousarray(face_left[:, ::-1])
    with running("happiest_face.py", tmp_path):
        me.show_until(lambda: any(turn.angular.z for turn in turns), to_image(face_left))
        assert turns_at(0.8 * 0.575, face_left)
        assert turns_at(-0.8 * 0.575, face_right)
        assert turns_at(0.0, np.full_like(photograph, 90))
        assert turns_at(-0.8 * 0.575, face_right)
        # No more messages: the robot stops.
        turns.clear()
        assert me.spin_until(lambda: bool(turns) and turns[-1].angular.z == 0.0)


def test_robot_turns_by_the_angle_of_the_face(
    start: Any, robot: Any, to_image: Any, tmp_path: Path
) -> None:
    start(*RELIABLE, "-p", "poses:=true")
    me, camera = robot(), CAMERAS["640x480"]
    turns, poses = me.hear(Twist, "cmd_vel"), me.hear(PoseArray, "emotion/poses")
    infos = me.node.create_publisher(CameraInfo, "camera_info", 10)
    info = CameraInfo(width=640, height=480, k=camera.k)
    image = to_image(render(camera, [place(1.0, 18, 0)]))
    with running("happiest_face.py", tmp_path):
        me.meet(image)
        me.show_until(lambda: infos.publish(info) or bool(poses), image)

        def turns_by(degrees: float) -> bool:
            me.ask(image)
            return any(abs(t.angular.z - np.radians(degrees)) < np.radians(1.5) for t in turns)

        # By its place in the image it would be 0.8 * 550 * tan(18 degrees) / 320 = 0.45 rad/s.
        assert me.spin_until(lambda: turns_by(18))
        turns.clear()
        image = to_image(render(camera, [place(2.0, -6, 3)]))
        assert me.spin_until(lambda: turns_by(-6))
