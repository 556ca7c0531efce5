"""The node: camera images in, emotions out."""

from __future__ import annotations

import argparse
import sys
import threading
import time
import traceback
from math import inf
from typing import Callable, Dict, List, Optional, Tuple

import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from rcl_interfaces.msg import SetParametersResult
from rclpy.clock import Clock, ClockType
from rclpy.exceptions import NameValidationException, ParameterException
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.parameter import Parameter
from rclpy.qos import InvalidQoSProfileException
from rclpy.qos_overriding_options import InvalidQosOverridesError, QoSOverridingOptions
from rclpy.timer import Timer
from std_msgs.msg import Header
from std_srvs.srv import SetBool, Trigger

from esr_core.errors import EsrError, ImageError, OptionError
from esr_core.hashing import digest
from esr_core.inference.metadata import ModelMetadata
from esr_core.options import options
from esr_core.pipeline import EmotionPipeline, FrameResult, View
from esr_ros import parameters
from esr_ros.conversions import vision_msgs
from esr_ros.conversions.emotion_topics import bases
from esr_ros.conversions.image_decoding import decode
from esr_ros.node.diagnostics import status
from esr_ros.node.image_subscription import SILENCE_S, ImageSubscription, ReceivedImage
from esr_ros.node.jetson_temperature import temperatures_c
from esr_ros.node.mailbox import Mailbox
from esr_ros.node.ros4hri_publisher import Ros4HriPublisher
from esr_ros.runtime.entry_point import begin, leave_soon

#: How long the executor may wait without looking whether it was told to stop.
WAKE_S = 0.5
#: What is older than this was not taken now.
LONGEST_LATENCY_S = 60.0


#: Where this node tells of its own faces, with one camera.
OWN_DETECTIONS = "emotion/detections"

#: What rclpy raises for names, types and QoS that ROS does not take.
ROS_ERRORS = (
    AssertionError,  # of the types of QoS policies
    RuntimeError,
    ValueError,
    NameValidationException,
    ParameterException,
    InvalidQoSProfileException,
    InvalidQosOverridesError,
)


class NodeError(EsrError):
    """The node cannot go on."""


class EmotionNode(LifecycleNode):  # type: ignore[misc]
    """Subscribes to images, answers each with one EmotionArray.

    The executor only receives; a worker thread does a frame's work on one image of each camera, the
    newest. Images that come faster than they can be answered are counted as stale; queued are only
    as many as the depth of the subscription allows for, which is 1 unless that is overridden.
    """

    def __init__(self) -> None:
        super().__init__("emotion_node", automatically_declare_parameters_from_overrides=True)
        self.options = parameters.declare(self)
        self.add_on_set_parameters_callback(self._on_set_parameters)
        parameters.guard_services(self)
        self.pipeline: Optional[EmotionPipeline] = None
        self.cameras: List[ImageSubscription] = []
        self._humans: Optional[Ros4HriPublisher] = None
        self._mailbox: Mailbox[ImageSubscription, ReceivedImage] = Mailbox()
        self._worker: Optional[threading.Thread] = None
        self._working = threading.Lock()  # held while a frame is answered
        self._clockwork: List[Timer] = []
        self._warned_s: Dict[Tuple[str, str], float] = {}
        self._begun_with = {*self.publishers, *self.services}  # ROS's own

    # --- lifecycle -----------------------------------------------------------------------------

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Load the model, warm it up, offer topics and services."""
        return self._attempt("configure", self._configure, self._release)

    def _configure(self) -> None:
        self.pipeline = EmotionPipeline(self.options)
        self.pipeline.warm_up()
        model = self.pipeline.model
        self._model_sha256 = digest(model.path)
        self._offer(model.metadata)
        self.get_logger().info(
            f"{model.metadata.name} ready on {model.provider}, faces by "
            f"{self.pipeline.detector.name}"
        )

    def _offer(self, model: ModelMetadata) -> None:
        """Make the publishers and services."""
        if self.options.humans:
            self._humans = Ros4HriPublisher(self)
        topics = [self.resolve_topic_name(name) for name in self.options.image_topics]
        if self.options.detections_topic and len(topics) > 1:
            raise OptionError("detections_topic is for one image topic, but image_topics has more")
        found = self.options.detections_topic
        if found and self.resolve_topic_name(found) == self.resolve_topic_name(OWN_DETECTIONS):
            raise OptionError(f"detections_topic {found} is what this node itself tells")
        for number, base in enumerate(bases(self.options.image_topics, topics)):
            name = self.options.image_topics[number]
            self.cameras.append(ImageSubscription(self, number, name, base, self.options, model))
        if not vision_msgs.INSTALLED:
            self.get_logger().info("vision_msgs is not installed: emotion/detections is not told")
        self._diagnostics = self.create_publisher(
            DiagnosticArray,
            "/diagnostics",
            10,
            qos_overriding_options=QoSOverridingOptions.with_default_policies(),
        )
        self.create_service(SetBool, "~/enable", self._on_enable)
        self.create_service(Trigger, "~/reset", self._on_reset)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Start to listen."""
        result = self._attempt("activate", self._activate, self._stop)
        return super().on_activate(state) if result == TransitionCallbackReturn.SUCCESS else result

    def _activate(self) -> None:
        for camera in self.cameras:
            camera.start_over()
        self._mailbox = Mailbox()
        self._worker = threading.Thread(target=self._work, name="emotion_worker", daemon=True)
        self._worker.start()
        self._listen()
        parameters.check_overrides(self)
        # Not the node's clock, which stands still where /clock does: a bag that pauses is worth
        # diagnostics too.
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._clockwork += [
            self.create_timer(1.0, self._publish_diagnostics, clock=steady),
            self.create_timer(SILENCE_S, self._on_silence, clock=steady),
        ]

    def _attempt(
        self, what: str, action: Callable[[], None], undo: Callable[[], None]
    ) -> TransitionCallbackReturn:
        """Do it, or say in one line why not and take back what was done of it."""
        try:
            action()
        except (EsrError, *ROS_ERRORS) as error:
            undo()
            if rclpy.ok():  # else the node was told to stop meanwhile
                self.get_logger().error(f"cannot {what}: {_reason(error)}")
            return TransitionCallbackReturn.FAILURE
        except KeyboardInterrupt:
            raise  # told to stop meanwhile
        except BaseException:
            # rclpy takes what is raised here for an error transition and says nothing.
            self.get_logger().fatal(f"cannot {what}:\n{traceback.format_exc()}")
            raise
        return TransitionCallbackReturn.SUCCESS

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop to listen and finish the frame in hand; the model stays loaded."""
        self._stop()
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

    def _listen(self) -> None:
        for camera in self.cameras:
            camera.listen(self._on_image)
            self.get_logger().info(f"listening to {camera.topic} ({camera})")

    def _ignore(self) -> None:
        """Hear nothing, and tell that nobody is followed any more."""
        for camera in self.cameras:
            camera.ignore()
            camera.counters.add(stale=self._mailbox.drop(camera))
        self._forget()

    def _forget(self) -> None:
        with self._working:
            for camera in self.cameras:
                camera.forget()
                if self._humans:
                    self._humans.forget(camera.number)

    def _stop(self) -> None:
        if self._worker is None:
            return
        while self._clockwork:
            self.destroy_timer(self._clockwork.pop())
        self._mailbox.close()
        self._worker.join()
        self._worker = None
        if rclpy.ok():
            self._ignore()
            for camera in self.cameras:
                self.get_logger().info(f"stopped; {_totals(camera)} from {camera.topic}")

    def _release(self) -> None:
        """Let go of the model, and of all that was offered since the node began."""
        for publisher in set(self.publishers) - self._begun_with:
            self.destroy_publisher(publisher)
        for service in set(self.services) - self._begun_with:
            self.destroy_service(service)
        self.cameras.clear()
        self._humans = self.pipeline = None

    # --- services ------------------------------------------------------------------------------

    def _on_enable(self, request: SetBool.Request, response: SetBool.Response) -> SetBool.Response:
        """Stop to answer images, and go on; the node stays active."""
        response.success = self._worker is not None
        if not response.success:
            response.message = "the node is not active; activate it first"
            return response
        if request.data and not self.cameras[0].is_listening:
            self._listen()
        elif not request.data:
            self._ignore()
        response.message = "answering images" if request.data else "images are ignored"
        return response

    def _on_reset(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        """Forget all faces."""
        self._forget()
        response.success, response.message = True, "all faces are forgotten"
        return response

    # --- a frame's way -------------------------------------------------------------------------

    def _on_image(self, camera: ImageSubscription, heard: ReceivedImage) -> None:
        camera.counters.add(stale=int(self._mailbox.put(camera, heard, camera.depth)))

    def _work(self) -> None:
        """The worker thread: answer images until the node is deactivated."""
        while True:
            waiting = self._mailbox.take()
            if not waiting:
                return
            try:
                with self._working:
                    self._answer(waiting)
            except RuntimeError:  # rclpy's RCLError has no public name in every release
                if rclpy.ok():
                    raise
                return  # told to stop in the middle of it

    def _answer(self, waiting: Dict[ImageSubscription, ReceivedImage]) -> None:
        """Analyze one image of each camera that sent one, all in one batch."""
        assert self.pipeline is not None  # there is no worker without one
        views = {}
        for camera, heard in waiting.items():
            try:
                rgb = decode(heard.image)
            except ImageError as error:
                camera.counters.add(undecodable=1, undecodable_in_a_row=1)
                self._warn(camera, "image", f"image on {camera.topic} ignored: {error}")
                continue
            faces = heard.found(rgb.shape) if heard.found else None
            views[camera] = View(camera.stream, rgb, self._stamp_s(heard.image.header), faces)
        answers = self.pipeline.answer(list(views.values()))
        for (camera, view), answer in zip(views.items(), answers):
            self._tell(camera, waiting[camera].image.header, view, answer)

    def _tell(
        self, camera: ImageSubscription, header: Header, view: View, answer: FrameResult
    ) -> None:
        try:
            camera.outputs.publish(header, view.rgb, answer)
        except ImageError as error:
            self._warn(camera, "outputs", f"{camera.topic}: {error}")
        if self._humans:
            self._humans.publish(camera.number, header, view.rgb, answer)
        camera.counters.add(answered=1, faces=len(answer.faces))
        camera.counters.undecodable_in_a_row = 0
        latency_s = self._now_s() - self._stamp_s(header)
        # Older or from the future: a recording, or a camera whose clock is another.
        if 0 < latency_s < LONGEST_LATENCY_S:
            camera.counters.add_latency(latency_s)

    def _stamp_s(self, header: Header) -> float:
        """The image's own time; the clock's where the camera sets none."""
        if header.stamp.sec or header.stamp.nanosec:
            return float(header.stamp.sec + header.stamp.nanosec * 1e-9)
        return self._now_s()

    def _now_s(self) -> float:
        return float(self.get_clock().now().nanoseconds * 1e-9)

    # --- telling people ------------------------------------------------------------------------

    def _warn(self, camera: ImageSubscription, what: str, text: str) -> None:
        """Warn; of each camera and what is wrong with it once in a while."""
        now_s = time.monotonic()
        if now_s - self._warned_s.get((camera.topic, what), -inf) >= self.options.warning_period_s:
            self._warned_s[camera.topic, what] = now_s
            self.get_logger().warning(text)

    def _on_silence(self) -> None:
        for camera in self.cameras:
            complaint = camera.complaint()
            if complaint:
                self._warn(camera, "silence", complaint)
            if self._humans and camera.silent_s >= SILENCE_S:
                with self._working:
                    self._humans.forget(camera.number)

    def _publish_diagnostics(self) -> None:
        if self.pipeline is None or self._worker is None:
            return
        if not self._worker.is_alive():
            # A defect, whose traceback stands above. A node that hears and never answers would
            # be worse than one that ends and is started again.
            raise NodeError("the worker thread has ended; this node cannot answer any more")
        model = self.pipeline.model
        details = {
            "model": model.metadata.name,
            "model sha256": self._model_sha256[:16],
            "provider": model.provider,
            "detector": self.pipeline.detector.name,
            **{f"{zone} C": f"{degrees:.1f}" for zone, degrees in temperatures_c().items()},
        }
        name = self.get_fully_qualified_name().lstrip("/")
        self._diagnostics.publish(
            DiagnosticArray(
                header=Header(stamp=self.get_clock().now().to_msg()),
                status=[
                    status(
                        f"{name}: emotions" + (f" {camera.name}" if len(self.cameras) > 1 else ""),
                        camera.topic,
                        camera.counters,
                        _state(camera),
                        self.options,
                        details,
                    )
                    for camera in self.cameras
                ],
            )
        )

    def _on_set_parameters(self, changes: List[Parameter]) -> SetParametersResult:
        try:
            self.options = parameters.changed(self.options, changes)
        except OptionError as error:
            return SetParametersResult(successful=False, reason=str(error))
        if self.pipeline is not None:
            self.pipeline.options = self.options
        return SetParametersResult(successful=True)


def _reason(error: Exception) -> str:
    """What ROS says, in one line, and what it means where that says little."""
    said = " ".join(str(error).split())
    if isinstance(error, AssertionError):
        return f"a QoS override has a value of the wrong type {said}".rstrip()
    if "PARAMETER_NOT_SET" in said:
        return f"a parameter was given an empty list, such as image_topics: [] ({said})"
    return said


def _totals(camera: ImageSubscription) -> str:
    return ", ".join(f"{count} {name}" for name, count in camera.counters.values().items())


def _state(camera: ImageSubscription) -> str:
    """What the counters do not tell: whether anything is heard."""
    if not camera.is_listening:
        return "disabled"
    return "silent" if camera.silent_s >= SILENCE_S else "hearing"


def main() -> int:
    """Run the node until it is told to stop; returns the exit code."""
    try:
        return _run(_start())
    except EsrError as error:
        print(f"emotion_node: {error}", file=sys.stderr)
        return 2
    except (KeyboardInterrupt, ExternalShutdownException):
        return 0
    finally:
        rclpy.try_shutdown()


def _parser() -> argparse.ArgumentParser:
    """The command line without what is ROS's: there is nothing but help."""
    return argparse.ArgumentParser(
        prog="emotion_node",
        usage="%(prog)s [-h] [--ros-args ...]",
        description="Camera images in, emotions out: a ROS 2 lifecycle node.",
        epilog="examples:\n"
        "  emotion_node --ros-args -r image_raw:=/camera/image_raw\n"
        "  emotion_node --ros-args --params-file mine.yaml -p branches:=3\n\n"
        "parameters:\n"
        + "\n".join(
            f"  {o.name:20}{parameters.yaml_value(o)}" for o in options(parameters.NodeOptions)
        )
        + "\n\nWhat they mean is in share/esr_ros/config/default.yaml of the package.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def _start() -> EmotionNode:
    """Make the node; what rcl says about arguments and parameter files becomes one line."""
    begin(_parser())
    try:
        return EmotionNode()
    except ROS_ERRORS as error:
        if isinstance(error, EsrError):
            raise
        if not rclpy.ok():  # told to stop while it started
            raise ExternalShutdownException from error
        raise OptionError(_reason(error)) from error


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
        if not rclpy.ok():  # told to stop
            leave_soon(0)
        node._stop()
        executor.shutdown()
        node.destroy_node()
