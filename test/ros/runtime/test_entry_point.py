"""The ends of programs that use ROS."""

from __future__ import annotations

import subprocess
import sys

import pytest

CODE = """
import sys
import rclpy
from esr_core.errors import EsrError
from esr_ros.runtime.entry_point import call

def main():
    rclpy.init()
    {body}

sys.exit(call("program", main))
"""
#: A signal invalidates the context in a thread of rclpy, at any moment.
STOPPED = """
import sys, threading, time
import rclpy
from esr_ros.demo import photo_camera

def stop():
    while not rclpy.ok():
        time.sleep(0.001)
    rclpy.shutdown()

threading.Thread(target=stop, daemon=True).start()
sys.argv = ["photo_camera"]
sys.exit(photo_camera.show())
"""


def run(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd="/")


@pytest.mark.parametrize(
    ("body", "code", "error"),
    [
        ("pass", 0, ""),
        ("raise KeyboardInterrupt", 0, ""),
        ("raise EsrError('no camera')", 2, "program: no camera\n"),
        ("rclpy.shutdown(); rclpy.create_node('late')", 0, ""),
        ("raise RuntimeError('a defect')", 1, "RuntimeError: a defect\n"),
    ],
)
def test_exit_codes(body: str, code: int, error: str) -> None:
    done = run(CODE.format(body=body))
    assert done.returncode == code, done.stderr
    assert done.stderr.endswith(error)
    assert ("Traceback" in done.stderr) == (code == 1)


def test_a_clean_up_that_hangs_ends_with_the_code() -> None:
    done = run(
        "import time; from esr_ros.runtime.entry_point import leave_soon, note_stops\n"
        "note_stops(); leave_soon(3); print('hangs'); time.sleep(60)"
    )
    assert (done.returncode, done.stdout, done.stderr) == (3, "hangs\n", "")


def test_camera_whose_context_becomes_invalid_ends_with_0() -> None:
    done = run(STOPPED)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    "arguments",
    [
        ("emotion_node", "--ros-args", "-p", "model:=caf\udce9.onnx"),
        ("emotion_node", "--ros-args", "--params-file", "caf\udce9.yaml"),
        ("bag_player", "caf\udce9"),
        ("photo_camera", "--ros-args", "-r", "__node:=caf\udce9"),
    ],
)
def test_arguments_that_are_not_utf8_are_refused(arguments: tuple[str, ...]) -> None:
    done = subprocess.run(arguments, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"{arguments[0]}: arguments must be UTF-8, but got ")
    assert "caf\\udce9" in line


@pytest.mark.parametrize("stop", ["SIGINT", "SIGTERM"])
def test_signal_in_a_destructor_is_not_lost(stop: str) -> None:
    code = (
        "import os, signal, sys\n"
        "from esr_ros.runtime.entry_point import note_stops\n"
        "class Waitable:\n"
        "    def __del__(self):\n"
        f"        os.kill(os.getpid(), signal.{stop})\n"
        "stopped = note_stops()\n"
        "Waitable()\n"
        "sys.exit(0 if stopped.wait(10) else 1)\n"
    )
    done = run(code)
    assert (done.returncode, done.stderr) == (0, "")
