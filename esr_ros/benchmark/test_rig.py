"""Test rig of the node: cameras, node and listener, processes that share only DDS."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import ExitStack, closing, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Callable, Dict, Iterator, List, Sequence

import rclpy
from ament_index_python.packages import PackageNotFoundError, get_package_prefix
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.executors import SingleThreadedExecutor
from rclpy.signals import SignalHandlerOptions
from rclpy.time import Time

from esr_core.benchmark.runner import BenchmarkError, Worker
from esr_ros.conversions.emotion_topics import bases
from esr_ros.demo.scene import Scene, check_photograph
from esr_ros.msg import EmotionArray
from esr_ros.node.diagnostics import DROPPED
from esr_ros.runtime import fast_dds
from esr_ros.runtime.entry_point import check_domain
from esr_ros.runtime.rclpy_features import with_message_info

#: Timeouts: the first answer; answers after the last image, and diagnostics; the node's exit.
START_S, PATIENCE_S, EXIT_S = 60.0, 3.0, 10.0

#: Stamp of an image in ns, number of its faces, and number of the frame in the scene.
Sent = List[int]


class NodeTestRig:
    """Cameras, node, and a subscriber that stores each answer by the stamp of its image in ns.

    The time of arrival is that of DDS, so that the load of this process has no effect; in Humble,
    which does not pass it, that of the callback.
    """

    def __init__(
        self, scene: Scene, cameras: Dict[str, Worker], log: Path, command: Sequence[str]
    ) -> None:
        """Start the node; cameras: by topic, all of them publish the scene."""
        self.scene = scene
        self.answers: Dict[int, EmotionArray] = {}
        self.latency_s: Dict[int, float] = {}
        self._cameras, self._log = [*cameras.values()], log
        self._diagnostics: List[Dict[str, str]] = []  # by camera
        self._diagnosed_ns = 0  # the time of these
        listener = rclpy.create_node("listener")
        on_answer = with_message_info(self._on_answer)
        for topic in bases([*cameras], [*cameras]):
            listener.create_subscription(EmotionArray, topic, on_answer, 30)
        listener.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, 10)
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(listener)
        self._began_s = time.monotonic()
        with open(log, "wb") as output:
            self.node = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)

    def _on_answer(self, message: EmotionArray, info: Dict[str, int]) -> None:
        stamp_ns = Time.from_msg(message.header.stamp).nanoseconds
        self.answers[stamp_ns] = message
        received_ns = info.get("received_timestamp") or time.time_ns()
        self.latency_s[stamp_ns] = (received_ns - stamp_ns) * 1e-9

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        self._diagnosed_ns = Time.from_msg(message.header.stamp).nanoseconds
        self._diagnostics = [
            {pair.key: pair.value for pair in status.values} for status in message.status
        ]

    def _spin_until(self, is_done: Callable[[], object], timeout_s: float) -> None:
        end_s = time.monotonic() + timeout_s
        while not is_done() and (left_s := end_s - time.monotonic()) > 0:
            self._executor.spin_once(timeout_sec=left_s)

    def _check(self, problem: str, has_failed: bool = False) -> None:
        for camera in self._cameras:
            camera.check()
        if has_failed or self.node.poll() is not None:
            output = self._log.read_text(encoding="utf-8").strip() or "nothing"
            raise BenchmarkError(f"the node {problem}; its last output: {output.splitlines()[-1]}")

    def stages_ms(self) -> Dict[str, float]:
        """Return the median time of each stage of a frame, and of all, of the first camera."""
        parts = [(key.partition(" p50 ms"), value) for key, value in self._diagnostics[0].items()]
        return {stage: float(value) for (stage, suffix, _), value in parts if suffix}

    def dropped(self) -> int:
        """Return the number of images without an answer, by diagnostics that are published later.

        Not by the next ones that are received: a busy listener has older ones in its queue.
        """
        now_ns = time.time_ns()
        self._spin_until(lambda: self._diagnosed_ns > now_ns, PATIENCE_S)
        return sum(int(each.get(reason, 0)) for each in self._diagnostics for reason in DROPPED)

    def wait_for_first_answer(self) -> None:
        """Set ``start_s``; BenchmarkError if there is no answer, or if a process ended."""
        while not self.answers:
            self._check("did not answer", time.monotonic() - self._began_s > START_S)
            self._spin_until(lambda: self.answers, 0.1)
        self.start_s = time.monotonic() - self._began_s

    def rest(self) -> None:
        """Let the cameras publish nothing until :meth:`run`."""
        for camera in self._cameras:
            camera.send("rest")

    def run(self, on_tick: Callable[[], None], tick_s: float = 0.25) -> List[Sent]:
        """Publish the scene; return all images that the cameras published, by their stamps.

        on_tick: called every ``tick_s`` meanwhile.

        Raises:
            BenchmarkError: a process ended, or no image was answered.
        """
        self.answers.clear()
        self.latency_s.clear()
        for camera in self._cameras:
            camera.send("go")
        end_s = time.monotonic() + self.scene.seconds
        while (left_s := end_s - time.monotonic()) > 0:
            self._spin_until(lambda: False, min(tick_s, left_s))
            self._check("ended")
            on_tick()
        sent: List[Sent] = sorted(image for camera in self._cameras for image in camera.receive())
        self._spin_until(lambda: sent[-1][0] in self.answers, PATIENCE_S)
        if not self.answers:
            raise BenchmarkError(f"none of {len(sent)} images was answered")
        return sent

    def close(self) -> None:
        """End node and subscriber."""
        self.node.send_signal(signal.SIGINT)
        try:
            self.node.wait(EXIT_S)
        except subprocess.TimeoutExpired:
            self.node.kill()
            self.node.wait()
        for listener in self._executor.get_nodes():
            listener.destroy_node()


@contextmanager
def node_test_rig(
    scene: Scene, log: Path, arguments: Sequence[str] = (), cameras: int = 1, is_bare: bool = False
) -> Iterator[NodeTestRig]:
    """Start cameras, node and listener in a ROS domain of their own; end them afterwards.

    It begins when the node has answered an image. log: file for the output of the node. arguments:
    ROS arguments of the node. cameras: all of them publish the scene. is_bare: instead of
    emotion_node, one that answers each image with an empty message.

    Raises:
        SceneError: scikit-image is not installed.
        BenchmarkError: a process ended, ROS does not start, or the node does not answer.
    """
    check_photograph()
    check_domain()
    os.environ.setdefault("ROS_DOMAIN_ID", str(1 + os.getpid() % 100))  # no other robot
    # With LOCALHOST, ROS chooses the transports, and large images are lost.
    os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "SUBNET"
    try:
        os.environ.update(fast_dds.environment())
        executable = Path(get_package_prefix("esr_ros"), "lib", "esr_ros", "emotion_node")
    except (OSError, PackageNotFoundError) as error:
        raise BenchmarkError(
            "esr_ros is not on AMENT_PREFIX_PATH; source env.sh, or the workspace's setup"
        ) from error
    try:  # without ROS's signal handlers: Ctrl-C ends the measurement like any other error
        rclpy.init(args=[], signal_handler_options=SignalHandlerOptions.NO)
    except RuntimeError as error:
        raise BenchmarkError(f"ROS does not start: {str(error).splitlines()[0]}") from error
    # By its path: "-m" would import the packages of the working directory, such as a clone's.
    program = Path(__file__).with_name("bare_node.py") if is_bare else executable
    topics = [f"camera{i}/image_raw" for i in range(cameras)] if cameras > 1 else ["image_raw"]
    images = f"image_topics:={json.dumps(topics)}"
    command = [sys.executable, str(program), "--ros-args", *arguments, "-p", images]
    module, workers = "esr_ros.demo.photo_camera", {}
    try:
        with ExitStack() as stack:
            for topic in topics:
                worker = Worker("the camera", module, json.dumps([asdict(scene), topic]))
                workers[topic] = stack.enter_context(worker)
            for worker in workers.values():
                worker.receive()  # it has drawn its images
            rig = stack.enter_context(closing(NodeTestRig(scene, workers, log, command)))
            rig.wait_for_first_answer()
            yield rig
    finally:
        rclpy.try_shutdown()
