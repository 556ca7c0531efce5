"""The camera that people try the node with."""

from __future__ import annotations

import signal
import subprocess
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
        assert "showing a face on /image_raw" in camera.communicate()[1]
    finally:
        camera.kill()
        camera.wait()
