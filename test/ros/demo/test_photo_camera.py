"""The camera that people try the node with."""

from __future__ import annotations

import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from commands import esr, report, run
from geometry_msgs.msg import PoseArray
from programs import wait_until_begun
from sensor_msgs.msg import Image

from esr_ros.annotation.executors import RecordedImage
from esr_ros.bags.reader import BagReader


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_node_answers_it_and_it_ends_with_0(start: Any, robot: Any, stop: int) -> None:
    start("-p", "reliability:=reliable", "-p", "poses:=true")
    me = robot(image_topic="nobody_listens")
    camera = subprocess.Popen(["photo_camera"], stderr=subprocess.PIPE, text=True)
    try:
        images, poses = me.hear(Image, "image_raw"), me.hear(PoseArray, "emotion/poses")
        assert me.spin_until(lambda: any(answer.emotions for answer in me.answers.values()))
        assert me.spin_until(lambda: len(images) > 0)
        assert me.spin_until(lambda: any(each.poses for each in poses))
        assert 0.5 < next(each.poses[0].position.z for each in poses if each.poses) < 1.0
        assert (images[0].width, images[0].height, images[0].encoding) == (640, 480, "rgb8")
        camera.send_signal(stop)
        assert camera.wait(timeout=10) == 0
        assert "a face on /image_raw, rgb8 640x480" in camera.communicate()[1]
    finally:
        camera.kill()
        camera.wait()


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_stopped_at_any_moment_it_ends_with_0(stop: int) -> None:
    for delay_s in (0.0, 0.2, 0.4, 0.6):
        camera = subprocess.Popen(["photo_camera"], stderr=subprocess.PIPE, text=True)
        wait_until_begun(camera)
        time.sleep(delay_s)
        camera.send_signal(stop)
        assert "Traceback" not in camera.communicate(timeout=10)[1]
        assert camera.returncode == 0


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["nonsense"], "photo_camera: unknown: nonsense; ROS's arguments come after"),
        (["--ros-args", "-r", "x"], "photo_camera: cannot read remap rule: '-r x'"),
        (["--seconds", "4"], "photo_camera: --seconds and --compressed are of --bag"),
        (["--bag", "b", "--seconds", "nan"], "--seconds must be from 1 to 60, but got nan"),
        (["--bag", "gone/b"], "--bag: there is no folder "),
        (["--bag", "."], "--bag: . exists already; remove it, or name another"),
        (["--bag", "b", "--ros-args", "-r", "a:=b"], "unknown beside --bag: --ros-args -r a:=b"),
    ],
)
def test_wrong_arguments_are_refused(tmp_path: Path, arguments: list[str], error: str) -> None:
    done = run(tmp_path, "photo_camera", *arguments)
    assert done.returncode == 2
    assert error in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("flags", "topic"), [([], "/image_raw"), (["--compressed"], "/image_raw/compressed")]
)
def test_it_writes_a_bag_without_ros(tmp_path: Path, flags: list[str], topic: str) -> None:
    command = ["photo_camera", "--bag", "walk", "--seconds", "2", *flags]
    for code in (0, 2):  # what is there already stays
        done = run(tmp_path, *command)
        assert done.returncode == code
    assert "--bag: " in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["walk"]
    with BagReader(tmp_path / "walk") as bag:
        assert bag.image_topics() == [topic]
        images = list(bag.messages(bag.connections))
    assert len(images) == 30
    assert images[-1][1] - images[0][1] == pytest.approx(29 / 15 * 1e9, abs=2)
    first, later = (RecordedImage(images[i][0].msgtype, images[i][2]).pixels() for i in (0, 9))
    assert first.shape == (480, 640, 3)
    assert first.std() < 20 < later.std()  # an empty room, and one with a face


def test_of_a_bag_there_is_something_to_tell(tmp_path: Path) -> None:
    camera = ["photo_camera", "--bag", "walk"]
    subprocess.run(camera, cwd=tmp_path, capture_output=True, check=True)
    assert esr(tmp_path, "annotate", "walk").returncode == 0
    summary = report(esr(tmp_path, "report", "walk_emotions", "--json"))
    assert len(summary["faces"]) >= 3
    assert {"happy", "neutral"} <= {each["after"] for each in summary["changes"]}
