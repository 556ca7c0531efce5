"""The player of bags, as people start it."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from commands import run
from programs import wait_until_begun
from rclpy.qos import QoSProfile
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import Image

from esr_ros.demo.photo_bag import BEGIN_S, record
from esr_ros.demo.scene import Scene

SCENE = Scene(((1.0, 1),), 10.0, 64, 48)


@pytest.fixture(scope="module")
def bag(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("player") / "walk"
    record(path, SCENE)
    return path


def play(*arguments: Any) -> subprocess.CompletedProcess[str]:
    return run(Path.cwd(), "bag_player", *arguments, timeout_s=60.0)


def stamps_s(messages: list[Any]) -> list[float]:
    stamps = [each.clock if isinstance(each, Clock) else each.header.stamp for each in messages]
    return [round(each.sec - BEGIN_S + each.nanosec * 1e-9, 3) for each in stamps]


def test_all_images_come_in_order_on_the_remapped_topic_and_time_goes_on(
    bag: Path, robot: Any
) -> None:
    me = robot(image_topic="nobody_listens")
    images = me.hear(Image, "left/image_raw")
    clocks = me.hear(Clock, "/clock")
    command = ["bag_player", str(bag), "--clock", "--rate", "2", "--loop", "2"]
    player = subprocess.Popen([*command, "--ros-args", "-r", "/image_raw:=/left/image_raw"])
    assert me.spin_until(lambda: player.poll() is not None)
    assert player.wait() == 0
    assert stamps_s(images) == [number / 10 for number in range(10)] * 2
    times = stamps_s(clocks)
    assert set(stamps_s(images)) <= set(times)
    assert len(times) > 30  # between the images too
    assert (min(times), max(times)) == (0, 0.9)
    rounds = times.index(0.9) + 1
    assert times[:rounds] == sorted(times[:rounds])
    assert times[rounds:] == sorted(times[rounds:])


def test_who_reads_late_has_all_of_it(bag: Path, robot: Any) -> None:
    me = robot(image_topic="nobody_listens")
    images: list[Image] = []
    me.node.create_subscription(Image, "image_raw", images.append, QoSProfile(depth=100))
    assert play(bag, "--rate", "100").returncode == 0
    assert not images  # nothing was taken while it played
    me.spin_until(lambda: len(images) == SCENE.frames)
    assert stamps_s(images) == [number / 10 for number in range(10)]


def test_without_listeners_it_plays_all_the_same_and_says_so(bag: Path) -> None:
    done = play(bag, "--wait", "0", "--rate", "10", "--topics", "image_raw")
    assert done.returncode == 0
    assert "10 messages for /image_raw" in done.stderr
    assert "no subscribers on /image_raw; playing nevertheless" in done.stderr
    assert "━" not in done.stderr  # no bars where there is no terminal


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("wait_s", ["0", "60"])  # it plays, or it waits
def test_stopped_at_any_moment_it_ends_with_0(bag: Path, stop: int, wait_s: str) -> None:
    for delay_s in (0.0, 0.2, 0.4, 1.0):
        command = ["bag_player", str(bag), "--clock", "--loop", "--wait", wait_s]
        player = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        wait_until_begun(player)
        time.sleep(delay_s)
        player.send_signal(stop)
        error = player.communicate(timeout=10)[1]
        assert "Traceback" not in error
        assert player.returncode == 0, error


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ([], "the following arguments are required: BAG"),
        (["--topics", "/a", "walk"], "are required: BAG; it stands before --topics"),
        (["nowhere"], "nowhere: there is no such bag"),
        (["BAG", "nonsense"], "unknown: nonsense; ROS's arguments come after --ros-args"),
        (["BAG", "--rate", "0"], "--rate must be from 0.001 to 1000, but got 0.0"),
        (["BAG", "--rate", "nan"], "--rate must be from 0.001 to 1000, but got nan"),
        (["BAG", "--wait", "-1"], "--wait must be from 0 to 86400 seconds, but got -1.0"),
        (["--loop", "BAG"], "--loop: N must be a whole number from 1, but got"),
        (["BAG", "--topics", "/other"], "nothing on /other, only on /image_raw"),
        (["BAG", "--ros-args", "-r", "x"], "cannot read remap rule: '-r x'"),
    ],
)
def test_wrong_arguments_are_refused_in_one_line(
    bag: Path, arguments: list[str], error: str
) -> None:
    done = play(*(bag if each == "BAG" else each for each in arguments))
    assert done.returncode == 2
    lines = [line for line in done.stderr.splitlines() if "[rcl]" not in line]
    assert len(lines) == 1
    assert lines[0].startswith("bag_player: ")
    assert error in lines[0]


@pytest.mark.parametrize(
    ("program", "words"),
    [
        ("esr_ros.playback.player import main", ["bag_player", "bag"]),
        ("esr_core.cli import main", ["esr", "annotate", "bag"]),
        ("esr_core.cli import main", ["esr", "report", "."]),
        ("esr_ros.demo.photo_camera import show as main", ["photo_camera", "--bag", "bag"]),
    ],
)
@pytest.mark.parametrize("lacking", ["rosbags", "mcap"])
def test_libraries_for_bags_that_are_not_installed(
    tmp_path: Path, program: str, words: list[str], lacking: str
) -> None:
    code = (
        f"import sys; sys.modules['{lacking}'] = None; sys.argv = {words}\n"
        f"from {program}\n"
        "sys.exit(main())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2, done.stderr
    assert f"{lacking} is not installed; run 'pip install rosbags mcap'\n" in done.stderr
    assert "Traceback" not in done.stderr
