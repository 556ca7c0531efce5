"""The node: camera images in, emotions out."""

from __future__ import annotations

import sys
import threading
import time
import traceback
from typing import Any, Dict, List, Optional, Type, Union

import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from rcl_interfaces.msg import SetParametersResult
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.parameter import Parameter
from rclpy.qos import HistoryPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

from esr_core.errors import EsrError, ImageError, OptionError
from esr_core.pipeline import EmotionPipeline
from esr_ros import parameters
from esr_ros.counters import Counters, diagnostic_array
from esr_ros.images import decode
from esr_ros.latest import Latest
from esr_ros.messages import emotion_array
from esr_ros.msg import EmotionArray

AnyImage = Union[Image, CompressedImage]
#: How long without an image until the node says what it listens to.
SILENCE_S = 5.0
#: How long the executor may wait without looking whether it was told to stop.
WAKE_S = 0.5
#: What is older than this was not taken now.
LONGEST_LATENCY_S = 60.0
#: What to do when images are sent and do not arrive.
LARGE_IMAGES = (
    "With Fast DDS large images need FASTDDS_BUILTIN_TRANSPORTS=LARGE_DATA in the environment of "
    "the camera and of this node (the launch file sets it here), or reliability: reliable on both"
)


class NodeError(EsrError):
    """The node cannot go on."""


class EmotionNode(LifecycleNode):  # type: ignore[misc]
    """Subscribes to images, answers each with one EmotionArray.

    The executor only receives; a worker thread does a frame's work on the newest image. Images
    that come faster than they can be answered are counted as stale, never queued.
    """

    def __init__(self) -> None:
        super().__init__("emotion_node", automatically_declare_parameters_from_overrides=True)
        self.options = parameters.declare(self)
        self.add_on_set_parameters_callback(self._on_set_parameters)
        self.counters = Counters()
        self.pipeline: Optional[EmotionPipeline] = None
        self._mailbox: Latest[AnyImage] = Latest()
        self._worker: Optional[threading.Thread] = None
        self._last_sequence = 0

    # --- lifecycle -----------------------------------------------------------------------------

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Load the model, warm it up, offer the topics."""
        try:
            pipeline = EmotionPipeline(self.options)
            pipeline.warm_up()
        except EsrError as error:
            self.get_logger().error(f"cannot configure: {error}")
            return TransitionCallbackReturn.FAILURE
        except BaseException:
            # rclpy takes what is raised here for an error transition and says nothing.
            self.get_logger().fatal(f"cannot configure:\n{traceback.format_exc()}")
            raise
        self._emotions = self.create_publisher(EmotionArray, "emotion", 10)
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", 10)
        self.pipeline = pipeline
        model = pipeline.model
        self.get_logger().info(
            f"{model.metadata.name} ready on {model.provider}, faces by {pipeline.detector.name}"
        )
        return TransitionCallbackReturn.SUCCESS

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Start to listen."""
        self.counters = Counters()
        self._last_sequence = 0
        self._heard_s = time.monotonic()
        self._mailbox = Latest()
        self._worker = threading.Thread(target=self._work, name="emotion_worker", daemon=True)
        self._worker.start()
        self.topic = self.resolve_topic_name("image_raw")
        message_type = image_type(self.topic)
        reliable = self.options.reliability == "reliable"
        qos = QoSProfile(
            history=HistoryPolicy.KEEP_LAST,
            depth=1,
            reliability=ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT,
        )
        self._subscription = self.create_subscription(
            message_type,
            "image_raw",
            self._on_image,
            qos,
        )
        self._clockwork = [
            self.create_timer(1.0, self._publish_diagnostics),
            self.create_timer(SILENCE_S, self._on_silence),
        ]
        self.get_logger().info(f"listening to {self.topic} ({self._heard_as()})")
        return super().on_activate(state)

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop to listen and finish the frame in hand; the model stays loaded."""
        self._stop()
        self.get_logger().info(f"stopped; {self._totals()}")
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Let go of the model."""
        self._release()
        return TransitionCallbackReturn.SUCCESS

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """From any state: stop and let go."""
        self._stop()
        self._release()
        return TransitionCallbackReturn.SUCCESS

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Back to unconfigured, from where it can be configured again."""
        self._stop()
        self._release()
        return TransitionCallbackReturn.SUCCESS

    def _stop(self) -> None:
        if self._worker is None:
            return
        self.destroy_subscription(self._subscription)
        for timer in self._clockwork:
            self.destroy_timer(timer)
        self._mailbox.close()
        self._worker.join()
        self._worker = None

    def _release(self) -> None:
        if self.pipeline is not None:
            self.destroy_publisher(self._emotions)
            self.destroy_publisher(self._diagnostics)
            self.pipeline = None

    # --- a frame's way -------------------------------------------------------------------------

    def _on_image(self, message: AnyImage, info: Dict[str, Any]) -> None:
        self._count_missed(info.get("publication_sequence_number"))
        self._heard_s = time.monotonic()
        displaced = self._mailbox.put(message)
        self.counters.add(received=1, stale=int(displaced))

    def _work(self) -> None:
        """The worker thread: answer the newest image until the node is deactivated."""
        while True:
            message = self._mailbox.take()
            if message is None:
                return
            try:
                self._answer(message)
            except ImageError as error:
                self.counters.add(undecodable=1, undecodable_in_a_row=1)
                self._warn(f"image on {self.topic} ignored: {error}")

    def _answer(self, message: AnyImage) -> None:
        assert self.pipeline is not None  # there is no worker without one
        rgb = decode(message)
        faces = self.pipeline.step(rgb, self._stamp_s(message.header))
        self._emotions.publish(emotion_array(message.header, faces, rgb.shape))
        self.counters.add(answered=1, faces=len(faces))
        self.counters.undecodable_in_a_row = 0
        latency_s = self._now_s() - self._stamp_s(message.header)
        # Older or from the future: a recording, or a camera whose clock is another.
        if 0 < latency_s < LONGEST_LATENCY_S:
            self.counters.add_latency(latency_s)

    def _stamp_s(self, header: Header) -> float:
        """The image's own time; the clock's where the camera sets none."""
        if header.stamp.sec or header.stamp.nanosec:
            return float(header.stamp.sec + header.stamp.nanosec * 1e-9)
        return self._now_s()

    def _now_s(self) -> float:
        return float(self.get_clock().now().nanoseconds * 1e-9)

    # --- telling people ------------------------------------------------------------------------

    def _warn(self, text: str) -> None:
        self.get_logger().warning(text, throttle_duration_sec=self.options.warning_period_s)

    def _count_missed(self, sequence_number: Optional[int]) -> None:
        """Count the gap to the image before; only DDS of Jazzy and newer number them."""
        if not sequence_number:
            return
        last, self._last_sequence = self._last_sequence, sequence_number
        missed = sequence_number - last - 1
        # Each camera numbers its own images, so with two of them a gap says nothing.
        if last == 0 or missed <= 0 or self.count_publishers(self.topic) != 1:
            return
        self.counters.add(missed=missed)
        values = self.counters.values()
        if values["missed"] > max(values["received"], 30):
            self.get_logger().warning(
                f"most images on {self.topic} do not arrive: {values['received']} did, "
                f"{values['missed']} did not. {LARGE_IMAGES}",
                once=True,
            )

    def _on_silence(self) -> None:
        silent_s = self._silent_s()
        if silent_s < SILENCE_S:
            return
        since = f"for {silent_s:.0f} s" if self.counters.values()["received"] else "yet"
        publishers = self.get_publishers_info_by_topic(self.topic)
        offers = ", ".join(
            f"{p.node_name} sends {p.topic_type} {p.qos_profile.reliability.name.lower()}"
            for p in publishers
        )
        self._warn(
            f"no images {since} on {self.topic}; this node wants {self._heard_as()}; "
            + (f"there: {offers}. {LARGE_IMAGES}" if offers else "nobody publishes there")
        )

    def _silent_s(self) -> float:
        return time.monotonic() - self._heard_s

    def _heard_as(self) -> str:
        return f"{image_type(self.topic).__name__}, {self.options.reliability}, depth 1"

    def _publish_diagnostics(self) -> None:
        if self.pipeline is None or self._worker is None:
            return
        if not self._worker.is_alive():
            # A defect, whose traceback stands above. A node that hears and never answers would
            # be worse than one that ends and is started again.
            raise NodeError("the worker thread has ended; this node cannot answer any more")
        model = self.pipeline.model
        details = {
            "topic": self.topic,
            "model": model.metadata.name,
            "provider": model.provider,
            "detector": self.pipeline.detector.name,
        }
        header = Header(stamp=self.get_clock().now().to_msg())
        name = self.get_fully_qualified_name().lstrip("/")
        self._diagnostics.publish(
            diagnostic_array(
                header,
                f"{name}: emotions",
                self.topic,
                self.counters,
                self._silent_s() >= SILENCE_S,
                details,
            )
        )

    def _totals(self) -> str:
        return ", ".join(f"{count} {name}" for name, count in self.counters.values().items())

    def _on_set_parameters(self, changes: List[Parameter]) -> SetParametersResult:
        try:
            self.options = parameters.changed(self.options, changes)
        except OptionError as error:
            return SetParametersResult(successful=False, reason=str(error))
        if self.pipeline is not None:
            self.pipeline.options = self.options
        return SetParametersResult(successful=True)


def image_type(topic: str) -> Type[AnyImage]:
    """CompressedImage for topics that end so, as image_transport names them, else Image."""
    compressed = topic.endswith("/compressed")
    chosen: Type[AnyImage] = CompressedImage if compressed else Image
    return chosen


def main(args: Optional[List[str]] = None) -> int:
    """Run the node until it is told to stop; returns the exit code."""
    try:
        return _run(_start(args))
    except EsrError as error:
        print(f"emotion_node: {error}", file=sys.stderr)
        return 2
    except (KeyboardInterrupt, ExternalShutdownException):
        return 0
    finally:
        rclpy.try_shutdown()


def _start(args: Optional[List[str]]) -> EmotionNode:
    """Make the node; what rcl says about arguments and parameter files becomes one line."""
    try:
        rclpy.init(args=args)
    except RuntimeError as error:
        raise OptionError(str(error).splitlines()[0]) from error
    try:
        return EmotionNode()
    except RuntimeError as error:
        if not rclpy.ok():  # told to stop while it started
            raise ExternalShutdownException from error
        raise OptionError(str(error).splitlines()[0]) from error


def _run(node: EmotionNode) -> int:
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    try:
        if node.options.autostart:
            for transition in (node.trigger_configure, node.trigger_activate):
                if transition() != TransitionCallbackReturn.SUCCESS:
                    return 2 if rclpy.ok() else 0
        while rclpy.ok():
            # Not spin(): started with SIGINT ignored, as shells start what runs in the background,
            # now and then the wake-up of a Ctrl-C got lost and the wait had no end.
            executor.spin_once(timeout_sec=WAKE_S)
        return 0
    except RuntimeError:
        if rclpy.ok():
            raise
        return 0  # told to stop between two looks
    finally:
        node._stop()
        executor.shutdown()
        node.destroy_node()
