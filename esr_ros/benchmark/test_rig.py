"""A camera, the node and a listener, each in a process of its own, that meet over DDS only."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any, Callable, Dict, Iterator, List, Optional, Sequence

import rclpy
from ament_index_python.packages import PackageNotFoundError, get_package_prefix
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.executors import SingleThreadedExecutor
from rclpy.signals import SignalHandlerOptions

from esr_core.errors import EsrError
from esr_ros.demo.scene import Scene, check_photograph
from esr_ros.msg import EmotionArray
from esr_ros.runtime import fast_dds
from esr_ros.runtime.entry_point import check_domain

#: How long the node may take until its first answer.
START_DEADLINE_S = 60.0
#: How long answers may still come when the camera has sent its last image.
PATIENCE_S = 2.0

#: Stamp of an image in ns, and how many faces it shows.
Sent = List[int]


class RigError(EsrError):
    """A process that ended or did not answer."""


class Listener:
    """Keeps every answer by the stamp of its image, and how long after it came.

    When it came is what DDS says, so that this process's own work does not count.
    """

    def __init__(self) -> None:
        self.node = rclpy.create_node("stage_listener")
        self.answers: Dict[int, EmotionArray] = {}
        self.latency_s: Dict[int, float] = {}
        self._diagnostics: Dict[str, str] = {}
        self.node.create_subscription(EmotionArray, "emotion", self._on_answer, 30)
        self.node.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, 10)
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self.node)

    def _on_answer(self, message: EmotionArray, info: Dict[str, int]) -> None:
        stamp_ns = message.header.stamp.sec * 10**9 + message.header.stamp.nanosec
        self.answers[stamp_ns] = message
        self.latency_s[stamp_ns] = (info["received_timestamp"] - stamp_ns) * 1e-9

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        self._diagnostics = {pair.key: pair.value for pair in message.status[0].values}

    def dropped(self) -> int:
        """Wait for the next word of the node; return how many images it says it did not answer."""
        self._diagnostics = {}
        deadline_s = time.monotonic() + PATIENCE_S
        while not self._diagnostics and time.monotonic() < deadline_s:
            self.spin_for(0.02)
        reasons = ("stale", "missed", "unpaired", "undecodable")
        return sum(int(self._diagnostics.get(reason, 0)) for reason in reasons)

    def forget(self) -> None:
        """Begin anew."""
        self.answers.clear()
        self.latency_s.clear()

    def spin_for(self, seconds: float) -> None:
        """Hear for so long."""
        end_s = time.monotonic() + seconds
        while (left_s := end_s - time.monotonic()) > 0:
            self._executor.spin_once(timeout_sec=left_s)


class NodeTestRig:
    """What is running; made by :func:`stage`."""

    def __init__(
        self,
        node: subprocess.Popen[bytes],
        camera: subprocess.Popen[str],
        listener: Listener,
        play: Scene,
        log: Path,
        began_s: float,
    ) -> None:
        self.node = node
        self.listener = listener
        self._camera = camera
        self._play = play
        self._log = log
        self._began_s = began_s

    def wait_for_first_answer(self) -> float:
        """Listen until the node has answered one image; return after how many seconds.

        Raises:
            RigError: it does not, or it has ended.
        """
        deadline_s = time.monotonic() + START_DEADLINE_S
        while not self.listener.answers:
            self._check_processes("did not answer")
            if time.monotonic() > deadline_s:
                raise RigError(f"the node did not answer; it said {self._last_words()}")
            self.listener.spin_for(0.02)
        return time.monotonic() - self._began_s

    def _check_processes(self, what: str) -> None:
        if self.node.poll() is not None:
            raise RigError(f"the node {what}; it said {self._last_words()}")
        if self._camera.poll() is not None:
            raise RigError(f"the camera ended with exit code {self._camera.poll()}")

    def _last_words(self) -> str:
        said = self._log.read_text(encoding="utf-8").strip() or "nothing"
        return said.splitlines()[-1]

    def run(self, on_tick: Callable[[], None], tick_s: float = 0.25) -> List[Sent]:
        """Let the camera play; return [stamp_ns, faces] of all images that it sent.

        on_tick: called every ``tick_s`` meanwhile.

        Raises:
            RigError: the node or the camera ended, or no image was answered.
        """
        self.listener.forget()
        _pipe(self._camera.stdin).write("go\n")
        _pipe(self._camera.stdin).flush()
        end_s = time.monotonic() + self._play.seconds
        while (left_s := end_s - time.monotonic()) > 0:
            self.listener.spin_for(min(tick_s, left_s))
            self._check_processes("ended")
            on_tick()
        sent: List[Sent] = json.loads(_line(self._camera))
        deadline_s = time.monotonic() + PATIENCE_S
        while sent[-1][0] not in self.listener.answers and time.monotonic() < deadline_s:
            self.listener.spin_for(0.05)
        if not self.listener.answers:
            raise RigError(f"none of {len(sent)} images was answered")
        return sent


@contextmanager
def node_test_rig(play: Scene, log: Path, arguments: Sequence[str] = ()) -> Iterator[NodeTestRig]:
    """Start camera and node, in a domain of their own, and end them.

    log: where the node's words go. arguments: of the node, as ROS takes them.

    Raises:
        CameraError: there is no photograph.
        RigError: the camera ended, or ROS does not start.
    """
    check_photograph()
    check_domain()
    # Nothing of another robot on this network is heard, or hears this.
    os.environ.setdefault("ROS_DOMAIN_ID", str(1 + os.getpid() % 100))
    try:
        os.environ.update(fast_dds.environment())
        executable = Path(get_package_prefix("esr_ros")) / "lib" / "esr_ros" / "emotion_node"
    except (OSError, PackageNotFoundError) as error:
        raise RigError(
            "esr_ros is not on AMENT_PREFIX_PATH; source env.sh, or the workspace's setup"
        ) from error
    # With LOCALHOST, ROS chooses the transports itself, and large images are lost again.
    os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "SUBNET"
    # Python's own handlers: a Ctrl-C ends the measurement like any other error.
    try:
        rclpy.init(args=[], signal_handler_options=SignalHandlerOptions.NO)
    except RuntimeError as error:
        raise RigError(f"ROS does not start: {str(error).splitlines()[0]}") from error
    listener = Listener()
    camera = subprocess.Popen(
        [sys.executable, "-m", "esr_ros.demo.photo_camera", json.dumps(asdict(play))],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=log.parent,  # in a clone, a folder here has the name of the package
    )
    node: Optional[subprocess.Popen[bytes]] = None
    try:
        _line(camera)
        began_s = time.monotonic()
        with open(log, "wb") as said:
            node = subprocess.Popen(
                [sys.executable, str(executable), "--ros-args", *arguments],
                stdout=said,
                stderr=subprocess.STDOUT,
            )
        yield NodeTestRig(node, camera, listener, play, log, began_s)
    finally:
        _pipe(camera.stdin).close()
        _end(camera)
        _pipe(camera.stdout).close()
        if node:
            node.send_signal(signal.SIGINT)
            _end(node)
        listener.node.destroy_node()
        rclpy.try_shutdown()


def _line(camera: subprocess.Popen[str]) -> str:
    line: str = _pipe(camera.stdout).readline()
    if not line:
        raise RigError(f"the camera ended with exit code {camera.wait()}")
    return line


def _pipe(stream: Optional[IO[Any]]) -> IO[Any]:
    assert stream is not None
    return stream


def _end(process: subprocess.Popen[Any]) -> None:
    try:
        process.wait(timeout=10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
