"""The programs with an rclpy that lacks what Humble's lacks; see test/support/humble."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rclpy
from numpy.typing import NDArray
from sensor_msgs.msg import Image

from esr_ros.demo.photo_bag import record
from esr_ros.demo.scene import Scene
from esr_ros.runtime.rclpy_features import HAS_MESSAGE_INFO, publish

HUMBLE = Path(__file__).parents[2] / "support" / "humble"


@pytest.fixture
def humble() -> dict[str, str]:
    """The environment of a process whose rclpy is as Humble's."""
    return {"PYTHONPATH": f"{HUMBLE}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}


def run(humble: dict[str, str], *command: str, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, env={**os.environ, **humble}, capture_output=True, text=True, timeout=60, **options
    )


def test_a_message_that_ros_does_not_take_is_a_warning(capfd: pytest.CaptureFixture[str]) -> None:
    """The publisher's own context is shut down, so it raises as with a slow subscriber."""
    context = rclpy.Context()
    context.init()
    node = rclpy.create_node("camera", context=context)
    publisher = node.create_publisher(Image, "image_raw", 1)
    assert publish(publisher, Image())
    context.shutdown()
    rclpy.init()
    try:
        assert not publish(publisher, Image())
    finally:
        rclpy.shutdown()
    assert "a message of type Image was not published: " in capfd.readouterr().err
    with pytest.raises(RuntimeError):
        publish(publisher, Image())


def test_the_tests_have_message_info_and_the_processes_here_have_not(
    humble: dict[str, str],
) -> None:
    program = (
        "import sys\n"
        "from esr_ros.runtime.rclpy_features import HAS_MESSAGE_INFO\n"
        "print(HAS_MESSAGE_INFO, sys.modules['rclpy.event_handler'])"
    )
    done = run(humble, sys.executable, "-c", program)
    assert (done.stdout, done.returncode) == ("False None\n", 0), done.stderr
    assert HAS_MESSAGE_INFO


def test_node_answers(
    start: Any,
    robot: Any,
    humble: dict[str, str],
    photograph: NDArray[np.uint8],
    to_image: Any,
) -> None:
    node = start("-p", "humans:=true", "-p", "reliability:=reliable", environment=humble)
    me = robot()
    me.meet(to_image(photograph))
    assert len(me.ask(to_image(photograph)).emotions) == 1
    assert me.spin_until(lambda: int(me.diagnostics.get("answered", 0)) > 0)
    assert me.diagnostics["missed"] == "0"
    assert node.stop() == 0


def test_player_plays(tmp_path: Path, robot: Any, humble: dict[str, str]) -> None:
    record(tmp_path / "walk", Scene(((1.0, 1),), 10.0, 64, 48))
    me = robot(image_topic="another")
    images = me.hear(Image, "image_raw")
    player = subprocess.Popen(
        ["bag_player", str(tmp_path / "walk"), "--clock"], env={**os.environ, **humble}
    )
    assert me.spin_until(lambda: player.poll() is not None)
    assert player.wait() == 0
    assert me.spin_until(lambda: len(images) == 10)


def test_benchmark_measures(tmp_path: Path, humble: dict[str, str]) -> None:
    command = ("esr", "bench", "--node", "--only", "640x480 30 Hz 1 face", "--seconds", "2")
    done = run(humble, *command, "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (result,) = json.loads(done.stdout)
    assert result["answered_hz"] > 0
    assert 0 < result["p50_ms"] < 10_000
