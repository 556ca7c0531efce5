"""The camera that people try the node with."""

from __future__ import annotations

import signal
import subprocess
import time
from typing import Any

import pytest
from sensor_msgs.msg import Image


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_node_answers_it_and_it_ends_with_0(start: Any, robot: Any, stop: int) -> None:
    start("-p", "reliability:=reliable")
    me = robot(image_topic="nobody_listens")
    camera = subprocess.Popen(["photo_camera"], stderr=subprocess.PIPE, text=True)
    try:
        images = me.hear(Image, "image_raw")
        assert me.spin_until(lambda: any(answer.emotions for answer in me.answers.values()))
        assert me.spin_until(lambda: len(images) > 0)
        assert (images[0].width, images[0].height, images[0].encoding) == (640, 480, "rgb8")
        camera.send_signal(stop)
        assert camera.wait(timeout=10) == 0
        assert "a face on /image_raw, rgb8 640x480" in camera.communicate()[1]
    finally:
        camera.kill()
        camera.wait()


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_told_to_stop_at_any_moment_it_ends_with_0(stop: int) -> None:
    for delay_s in (0.3, 0.5, 0.7, 0.9):
        camera = subprocess.Popen(["photo_camera"], stderr=subprocess.PIPE, text=True)
        time.sleep(delay_s)
        camera.send_signal(stop)
        assert "Traceback" not in camera.communicate(timeout=10)[1]
        assert camera.returncode == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nonsense"], "photo_camera: unknown: nonsense; ROS's arguments come after"),
        (["--ros-args", "-r", "x"], "photo_camera: cannot read remap rule: '-r x'"),
    ],
)
def test_wrong_arguments_are_refused(arguments: list[str], said: str) -> None:
    done = subprocess.run(["photo_camera", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert said in done.stderr
