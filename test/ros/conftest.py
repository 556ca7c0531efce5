"""Real nodes in separate processes, met over DDS only."""

from __future__ import annotations

import array
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Optional, Tuple, Union

import cv2
import numpy as np
import pytest
import rclpy
from commands import ForkedProgram
from diagnostic_msgs.msg import DiagnosticArray
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from numpy.typing import NDArray
from rclpy.executors import SingleThreadedExecutor
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CompressedImage, Image
from skimage import data

from esr_ros.msg import EmotionArray

DEADLINE_S = 60.0


def image_message(rgb: NDArray[np.uint8], encoding: str = "rgb8") -> Image:
    """An Image of RGB pixels; only encodings with three 8-bit channels."""
    pixels = rgb if encoding == "rgb8" else rgb[:, :, ::-1]
    message = Image(height=rgb.shape[0], width=rgb.shape[1], encoding=encoding)
    message.step = rgb.shape[1] * 3
    message.data = array.array("B", pixels.tobytes())
    return message


@pytest.fixture(scope="session")
def photograph() -> NDArray[np.uint8]:
    """640x480 with one face."""
    rgb = np.full((480, 640, 3), 110, np.uint8)
    rgb[:, 64:576] = data.astronaut()[:480]
    return rgb


@pytest.fixture
def context() -> Iterator[rclpy.Context]:
    own = rclpy.Context()
    rclpy.init(context=own)
    yield own
    rclpy.try_shutdown(context=own)


class NodeProcess:
    """An ``emotion_node``, and what it says.

    is_fresh: start it as users do. Otherwise, unless it is given an environment, it is a fork of a
    process that has imported its modules already.
    """

    def __init__(
        self, log: Path, arguments: List[str], environment: Dict[str, str], is_fresh: bool
    ) -> None:
        self._log = log
        words = ["emotion_node", "--ros-args", *arguments]
        self.process: Union[ForkedProgram, subprocess.Popen[bytes]]
        with open(log, "wb") as output:
            if environment or is_fresh:
                env = {**os.environ, **environment}
                self.process = subprocess.Popen(
                    words, stdout=output, stderr=subprocess.STDOUT, env=env
                )
            else:
                self.process = ForkedProgram(words, Path.cwd(), log, log)

    @property
    def said(self) -> str:
        return self._log.read_text(encoding="utf-8")

    def wait_until(self, condition: Callable[[], bool], what: str) -> None:
        deadline_s = time.monotonic() + DEADLINE_S
        while not condition():
            assert time.monotonic() < deadline_s, f"not in time: {what}; the node said\n{self.said}"
            time.sleep(0.02)

    def exit_code(self) -> int:
        """Wait until it ends by itself."""
        return self.process.wait(timeout=DEADLINE_S)

    def stop(self) -> int:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        return self.process.wait(timeout=DEADLINE_S)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., NodeProcess]]:
    """Start emotion_node processes; whatever still runs at the end is stopped."""
    started: List[NodeProcess] = []

    def start_node(
        *arguments: str,
        log: Optional[Path] = None,
        environment: Optional[Dict[str, str]] = None,
        is_fresh: bool = False,
    ) -> NodeProcess:
        log = log or tmp_path / f"node{len(started)}.log"
        node = NodeProcess(log, list(arguments), environment or {}, is_fresh)
        started.append(node)
        return node

    yield start_node
    for node in started:
        if node.process.poll() is None:
            node.process.kill()
            node.process.wait()


class Robot:
    """The other side: publishes images, hears emotions and diagnostics."""

    def __init__(
        self,
        context: rclpy.Context,
        image_topic: str = "image_raw",
        emotion_topic: str = "emotion",
        message_type: Any = Image,
    ) -> None:
        self.node = rclpy.create_node("robot", context=context)
        self._executor = SingleThreadedExecutor(context=context)
        self._executor.add_node(self.node)
        reliable = QoSProfile(depth=10, reliability=ReliabilityPolicy.RELIABLE)
        self._images = self.node.create_publisher(message_type, image_topic, reliable)
        self.answers: Dict[int, EmotionArray] = {}
        self.diagnostics: Dict[str, str] = {}
        self.node.create_subscription(EmotionArray, emotion_topic, self._on_emotion, 30)
        self.node.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, 10)
        self._number = 0
        self._clients: Dict[str, Any] = {}

    def _on_emotion(self, message: EmotionArray) -> None:
        stamp = message.header.stamp
        self.answers[stamp.sec * 10 + stamp.nanosec // 100_000_000] = message

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        self.diagnostics = {pair.key: pair.value for pair in message.status[0].values}
        self.diagnostics["message"] = message.status[0].message

    def hear(self, kind: Any, topic: str, latched: bool = False) -> List[Any]:
        """Return a list to which what arrives on a topic is added from now on."""
        heard: List[Any] = []
        qos = QoSProfile(depth=100)
        if latched:
            qos.durability = DurabilityPolicy.TRANSIENT_LOCAL
        self.node.create_subscription(kind, topic, heard.append, qos)
        return heard

    def call(self, kind: Any, name: str, request: Any, repeat: bool = False) -> Any:
        """Call a service of the node and return its response.

        repeat: it changes nothing, so it is called again if a response gets lost.
        """
        deadline_s = time.monotonic() + DEADLINE_S
        while True:
            future = self._client(kind, name).call_async(request)
            if self.spin_until(future.done, 2.0 if repeat else DEADLINE_S):
                return future.result()
            assert repeat, f"no response of {name}"
            assert time.monotonic() < deadline_s, f"no response of {name}"

    def _client(self, kind: Any, name: str) -> Any:
        """Return the client of a service; it is kept, because a response to a new one may get lost.

        Fast DDS drops a response 100 ms after the request if the server has not yet discovered the
        client's reader, and ``wait_for_service`` only waits for the other direction.
        """
        if name not in self._clients:
            self._clients[name] = self.node.create_client(kind, name)
        assert self._clients[name].wait_for_service(DEADLINE_S)
        return self._clients[name]

    def spin_until(self, condition: Callable[[], bool], seconds: float = DEADLINE_S) -> bool:
        deadline_s = time.monotonic() + seconds
        while not condition() and time.monotonic() < deadline_s:
            self._executor.spin_once(timeout_sec=0.05)
        return condition()

    @staticmethod
    def stamped(message: Any, number: int) -> Any:
        """Return a message after setting its stamp, in tenths of a second."""
        message.header.stamp.sec = number // 10
        message.header.stamp.nanosec = number % 10 * 100_000_000
        return message

    def send(self, message: Any) -> int:
        """Publish an image; its stamp in tenths of a second is a running number, returned."""
        self._number += 1
        self.stamped(message, self._number)
        message.header.frame_id = f"camera_{self._number}"
        deadline_s = time.monotonic() + DEADLINE_S
        while True:
            try:
                self._images.publish(message)
                return self._number
            except RuntimeError:  # rclpy's RCLError has no public name in every release.
                # A reliable writer gives up after 100 ms when a busy machine reads too slowly.
                if time.monotonic() > deadline_s:
                    raise

    def meet(self, message: Any) -> None:
        """Publish until the first answer: discovery has no end that one could wait for."""
        deadline_s = time.monotonic() + DEADLINE_S
        while not self.answers:
            assert time.monotonic() < deadline_s, "the node does not answer"
            self.send(message)
            self.spin_until(lambda: bool(self.answers), 0.3)
        # What was sent meanwhile must not be taken for an answer to what comes next.
        self.spin_until(lambda: self._number in self.answers, 2.0)

    def change_state(self, number: int) -> bool:
        """Request a lifecycle transition of the node; returns whether it was made."""
        name = "/emotion_node/change_state"
        if name not in self._clients:
            # Refused in every state, so it can be repeated until there is a response.
            nothing = ChangeState.Request(transition=Transition(id=Transition.TRANSITION_CREATE))
            self.call(ChangeState, name, nothing, repeat=True)
        request = ChangeState.Request(transition=Transition(id=number))
        return bool(self.call(ChangeState, name, request).success)

    def show_until(self, condition: Callable[[], bool], message: Any) -> Optional[EmotionArray]:
        """Publish an image until others have met too, then once more; return that answer."""
        deadline_s = time.monotonic() + DEADLINE_S
        while not condition():
            assert time.monotonic() < deadline_s, "they do not meet"
            self.send(message)
            self.spin_until(condition, 0.3)
        return self.ask(message)

    def ask(self, message: Any) -> Optional[EmotionArray]:
        """Publish one image and return its answer."""
        number = self.send(message)
        self.spin_until(lambda: number in self.answers)
        return self.answers.get(number)


@pytest.fixture
def robot(context: rclpy.Context) -> Iterator[Callable[..., Robot]]:
    made: List[Robot] = []

    def make(**topics: Any) -> Robot:
        made.append(Robot(context, **topics))
        return made[-1]

    yield make
    for each in made:
        each.node.destroy_node()


def compressed_message(rgb: NDArray[np.uint8], suffix: str) -> CompressedImage:
    content = cv2.imencode(suffix, cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR))[1]
    message = CompressedImage(format=suffix.lstrip("."))
    message.data = array.array("B", content.tobytes())
    return message


@pytest.fixture
def to_image() -> Callable[..., Image]:
    return image_message


@pytest.fixture
def met(
    start: Callable[..., NodeProcess],
    robot: Callable[..., Robot],
    photograph: NDArray[np.uint8],
    to_image: Callable[..., Image],
) -> Callable[..., Tuple[NodeProcess, Robot]]:
    """Start a node that loses no images, and let a robot meet it."""

    def meet(*arguments: str, **settings: Any) -> Tuple[NodeProcess, Robot]:
        node, me = start("-p", "reliability:=reliable", *arguments, **settings), robot()
        me.meet(to_image(photograph))
        return node, me

    return meet


@pytest.fixture
def to_compressed() -> Callable[..., CompressedImage]:
    return compressed_message
