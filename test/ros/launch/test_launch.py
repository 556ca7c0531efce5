"""The launch files under the real ``launch``; it is not on PyPI, so elsewhere this is a skip."""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, Iterator

import numpy as np
import pytest
from ament_index_python.packages import get_package_share_directory
from numpy.typing import NDArray
from rcl_interfaces.srv import GetParameters

from esr_ros.runtime import fast_dds

# `launch` on PyPI is another project; launch_ros identifies that of ROS.
if importlib.util.find_spec("launch_ros") is None:
    pytest.skip(
        "launch_ros is not installed; test_configs.py starts the node with the same files",
        allow_module_level=True,
    )

OLDER = os.environ["ROS_DISTRO"] in fast_dds.OLDER
PROFILES = f"{'FASTRTPS' if OLDER else 'FASTDDS'}_DEFAULT_PROFILES_FILE"
LAUNCH = Path(get_package_share_directory("esr_ros")) / "launch"
#: What `ros2 launch` does, without ros2cli.
RUN = """
import sys
from launch import LaunchDescription, LaunchService
from launch.actions import ExecuteProcess, IncludeLaunchDescription
from launch.launch_description_sources import AnyLaunchDescriptionSource
arguments = [tuple(word.split(":=", 1)) for word in sys.argv[2:]]
source = AnyLaunchDescriptionSource(sys.argv[1])
service = LaunchService()
included = IncludeLaunchDescription(source, launch_arguments=arguments)
other = ExecuteProcess(cmd=["sleep", "300"])  # as a bringup starts other nodes afterwards
service.include_launch_description(LaunchDescription([included, other]))
sys.exit(service.run())
"""


@pytest.fixture
def launched(tmp_path: Path) -> Iterator[Any]:
    """Run launch files in processes of their own; returns the path of a log."""
    running = []

    def run(name: str, *arguments: str, environment: dict[str, str | None] | None = None) -> Path:
        log = tmp_path / f"launch{len(running)}.log"
        all_of_it = {**os.environ, **(environment or {})}  # None: not set
        with open(log, "wb") as output:
            running.append(
                subprocess.Popen(
                    [sys.executable, "-c", RUN, str(LAUNCH / name), *arguments],
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    env={k: v for k, v in all_of_it.items() if v is not None},
                )
            )
        return log

    yield run
    for process in running:
        process.send_signal(signal.SIGINT)
        process.wait(timeout=30)


def test_arguments_reach_the_node(
    launched: Any, robot: Any, photograph: NDArray[np.uint8], to_image: Any, tmp_path: Path
) -> None:
    mine = tmp_path / "mine.yaml"
    mine.write_text("/**/emotion_node:\n  ros__parameters:\n    reliability: reliable\n")
    log = launched(
        "emotion.launch.py",
        "image_topic:=/eyes/left",
        "namespace:=head",
        f"params_file:={mine}",
    )
    me = robot(image_topic="/eyes/left", emotion_topic="/head/emotion")
    me.meet(to_image(photograph))
    assert len(me.ask(to_image(photograph)).emotions) == 1
    assert "subscribed to /eyes/left (Image, reliable, depth 10)" in log.read_text()


@pytest.mark.parametrize("platform", ["jetson_tx2", "jetson_xavier", "jetson_orin", "jetson_thor"])
def test_thin_files_choose_their_platform(launched: Any, robot: Any, platform: str) -> None:
    log = launched(f"{platform}.launch.py")
    me = robot()
    assert me.spin_until(lambda: "subscribed to" in log.read_text())
    request = GetParameters.Request(names=["detect_every", "provider", "reliability"])
    values = me.call(GetParameters, "/emotion_node/get_parameters", request).values
    assert (values[0].integer_value, values[1].string_value, values[2].string_value) == {
        "jetson_tx2": (3, "auto", "reliable"),
        "jetson_xavier": (2, "cpu", "reliable"),
        "jetson_orin": (1, "cpu", "reliable"),
        "jetson_thor": (1, "cpu", "best_effort"),
    }[platform]


@pytest.mark.parametrize("transports", ["", "LARGE_DATA"])
def test_fast_dds_knows_how_to_take_images(
    launched: Any, robot: Any, tmp_path: Path, transports: str
) -> None:
    me, words = robot(), [f"transports:={transports}"] if transports else []
    changes = {"LAUNCHED_BY": str(tmp_path), "FASTDDS_BUILTIN_TRANSPORTS": None, PROFILES: None}
    log = launched("emotion.launch.py", *words, environment=changes)
    assert me.spin_until(lambda: "subscribed to" in log.read_text())

    def environment(program: bytes) -> list[str]:
        environments = [
            (process / "environ").read_bytes().decode().split("\0")
            for process in Path("/proc").glob("[0-9]*")
            if program in (process / "cmdline").read_bytes()
        ]
        (mine,) = [each for each in environments if f"LAUNCHED_BY={tmp_path}" in each]
        return mine

    mine = environment(b"emotion_node\0")
    assert f"FASTDDS_BUILTIN_TRANSPORTS={transports or fast_dds.SHARED_MEMORY}" in mine
    assert any(each.endswith("/config/fastdds.xml") for each in mine)
    assert not [each for each in environment(b"sleep\0") if "FASTDDS" in each or "FASTRTPS" in each]


def test_dashboard_beside_the_node(launched: Any, robot: Any) -> None:
    log = launched("emotion.launch.py", "dashboard:=true", "dashboard_port:=0")
    assert robot().spin_until(lambda: "serving http://127.0.0.1:" in log.read_text())
    assert "warning" not in log.read_text()


def test_dashboard_for_other_machines(launched: Any, robot: Any) -> None:
    words = ("dashboard_host:=0.0.0.0", "dashboard_port:=0", "dashboard_token:=12345678")
    log = launched("emotion.launch.py", "dashboard:=true", *words)
    assert robot().spin_until(lambda: "?token=12345678" in log.read_text())
    assert "warning: dashboard_host is 0.0.0.0" in log.read_text()


def test_missing_parameter_file_is_an_error(launched: Any, robot: Any, tmp_path: Path) -> None:
    log = launched("emotion.launch.py", f"params_file:={tmp_path}/none.yaml")
    assert robot().spin_until(lambda: "params_file: no such file" in log.read_text())
    assert "emotion_node-1" not in log.read_text()
