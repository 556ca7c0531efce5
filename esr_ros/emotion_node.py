"""ROS 2 lifecycle node that publishes the emotions of the faces in camera images."""

from __future__ import annotations

import argparse
import time
import traceback
from contextlib import contextmanager
from typing import Callable, Iterator, List, Optional

import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from rcl_interfaces.msg import SetParametersResult
from rclpy.clock import Clock, ClockType
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.parameter import Parameter
from std_msgs.msg import Header
from std_srvs.srv import SetBool, Trigger

from esr_core.errors import EsrError, OptionError
from esr_core.hashing import digest
from esr_core.options import options
from esr_core.pipeline import EmotionPipeline
from esr_ros import parameters
from esr_ros.conversions.emotion_topics import bases
from esr_ros.conversions.messages import foxglove, vision
from esr_ros.node.diagnostics import FrameCounters, status, temperatures_c
from esr_ros.node.frame_worker import FrameWorker
from esr_ros.node.image_subscription import ImageSubscription
from esr_ros.node.publishers import ACK_S, Notice, create_publisher
from esr_ros.node.ros4hri_publisher import Ros4HriPublisher
from esr_ros.runtime import rclpy_features
from esr_ros.runtime.entry_point import begin, call, leave_soon, note_stops, spin


class EmotionNode(LifecycleNode):  # type: ignore[misc]
    """Publishes one EmotionArray for each processed image of each camera.

    The executor receives images and handles services, timers and parameters;
    :class:`~esr_ros.node.frame_worker.FrameWorker` processes the images in a thread of its own.
    """

    def __init__(self) -> None:
        super().__init__(
            "emotion_node",
            automatically_declare_parameters_from_overrides=True,
            allow_undeclared_parameters=True,  # they are refused below, with a reason
        )
        self.options = parameters.declare(self, parameters.NodeOptions)
        self._overrides = parameters.overrides(self)
        self.add_on_set_parameters_callback(self._on_set_parameters)
        rclpy_features.guard_services(self)
        self.pipeline: Optional[EmotionPipeline] = None
        self.cameras: List[ImageSubscription] = []
        self._humans: Optional[Ros4HriPublisher] = None
        self._worker: Optional[FrameWorker] = None
        # The node's clock stops while a bag is paused; diagnostics go on.
        self.create_timer(1.0, self._on_timer, clock=Clock(clock_type=ClockType.STEADY_TIME))
        self._entities_of_ros = {*self.publishers, *self.services}

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Load and warm up the model, create publishers and services."""
        return self._attempt("configure", self._configure, self._release)

    def _configure(self) -> None:
        self.pipeline = EmotionPipeline(self.options)
        self.pipeline.warm_up()
        model, detector = self.pipeline.model, self.pipeline.detector
        self._details = {
            "model": model.metadata.name,
            "model sha256": digest(model.path)[:16],
            "provider": model.provider,
            "detector": detector.name,
        }
        if self.options.humans:
            self._humans = Ros4HriPublisher(self)
        names = self.options.image_topics
        topics = [rclpy_features.resolved_topic(self, "image_topics", name) for name in names]
        self.cameras = [
            ImageSubscription(self, number, base, self.options, model.metadata)
            for number, base in enumerate(bases(names, topics, self.resolve_topic_name))
        ]
        for messages, package, topic in (
            (vision, "vision_msgs", "detections"),
            (foxglove, "foxglove_msgs", "image_annotations"),
        ):
            if messages is None:
                self.get_logger().info(f"{package} is not installed: no emotion/{topic}")
        self._notice = Notice(self, model.metadata.name)
        self._diagnostics = create_publisher(self, DiagnosticArray, "/diagnostics")
        self.create_service(SetBool, "~/enable", self._on_enable)
        self.create_service(Trigger, "~/reset", self._on_reset)
        self.get_logger().info(
            f"loaded {model.metadata.name} on {model.provider}, detector {detector.name}"
        )

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Subscribe to the images and start the worker."""
        return self._attempt("activate", self._activate, self._stop)

    def _activate(self) -> None:
        assert self.pipeline is not None  # it is configured
        for camera in self.cameras:
            camera.counters = FrameCounters()
        self._worker = FrameWorker(self, self.pipeline, self._humans)
        self._subscribe(self._worker)
        parameters.check_overrides(self, self._overrides)

    def _attempt(
        self, transition: str, action: Callable[[], None], undo: Callable[[], None]
    ) -> TransitionCallbackReturn:
        """Run a transition; if it fails, undo it and log the reason in one line."""
        with self._reporting(transition):
            try:
                action()
            except (EsrError, *rclpy_features.ROS_ERRORS) as error:
                undo()
                if rclpy.ok():  # else ROS was shut down meanwhile
                    self.get_logger().error(f"cannot {transition}: {rclpy_features.reason(error)}")
                return TransitionCallbackReturn.FAILURE
        return TransitionCallbackReturn.SUCCESS

    @contextmanager
    def _reporting(self, transition: str) -> Iterator[None]:
        """Log an exception, which rclpy turns into an error transition without logging it."""
        try:
            yield
        except Exception:
            self.get_logger().fatal(f"cannot {transition}:\n{traceback.format_exc()}")
            raise

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Unsubscribe and finish the current image; the model stays loaded."""
        with self._reporting("deactivate"):
            self._stop()
        return TransitionCallbackReturn.SUCCESS

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop if active; release the model, the publishers and the services."""
        with self._reporting("clean up"):
            self._stop()
            self._release()
        return TransitionCallbackReturn.SUCCESS

    on_shutdown = on_error = on_cleanup

    def _subscribe(self, worker: FrameWorker) -> None:
        for camera in self.cameras:
            camera.subscribe(worker.put)
            self.get_logger().info(f"subscribed to {camera.topic} ({camera})")
        self._notice.publish(True, self.options.notice_text)

    def _unsubscribe(self, worker: FrameWorker) -> None:
        for camera in self.cameras:
            camera.unsubscribe()
        worker.discard(self.cameras)
        self._notice.publish(False, self.options.notice_text)

    def _stop(self) -> None:
        if self._worker is None:
            return
        worker, self._worker = self._worker, None
        worker.stop()
        if rclpy.ok():
            self._unsubscribe(worker)
            deadline_s = time.monotonic() + ACK_S
            self._notice.wait_for_subscribers(deadline_s)
            for camera in self.cameras:
                camera.publishers.wait_for_subscribers(deadline_s)
            for camera in self.cameras:
                totals = ", ".join(f"{n} {name}" for name, n in camera.counters.totals().items())
                self.get_logger().info(f"stopped; {totals} on {camera.topic}")

    def _release(self) -> None:
        for publisher in set(self.publishers) - self._entities_of_ros:
            self.destroy_publisher(publisher)
        for service in set(self.services) - self._entities_of_ros:
            self.destroy_service(service)
        self.cameras.clear()
        self._humans = self.pipeline = None

    def _on_enable(self, request: SetBool.Request, response: SetBool.Response) -> SetBool.Response:
        response.success = self._worker is not None
        response.message = "processing images" if request.data else "images are ignored"
        if self._worker is None:
            response.message = "the node is not active; activate it first"
        elif not request.data:
            self._unsubscribe(self._worker)
        elif not self.cameras[0].is_subscribed:
            self._subscribe(self._worker)
        return response

    def _on_reset(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        """Remove all faces; an inactive node has none."""
        if self._worker:
            self._worker.reset(self.cameras)
        response.success, response.message = True, "all faces were removed"
        return response

    def _on_set_parameters(self, changes: List[Parameter]) -> SetParametersResult:
        try:
            after = parameters.changed(self.options, changes, self.pipeline is not None)
            if self.pipeline is not None:
                self.pipeline.options = after
        except OptionError as error:
            return SetParametersResult(successful=False, reason=str(error))
        # ROS declares parameters, too, while it creates subscriptions.
        if self._worker and after.notice_text != self.options.notice_text:
            self._notice.publish(self.cameras[0].is_subscribed, after.notice_text)
        self.options = after
        return SetParametersResult(successful=True)

    def _on_timer(self) -> None:
        if self._worker is None:
            return
        if not self._worker.is_alive:
            # A defect, with its traceback in the log. A node that ends can be started again.
            raise EsrError("the worker thread has ended; no more images can be processed")
        for camera in self.cameras:
            if camera.adapt_type():
                self.get_logger().info(f"subscribed to {camera.topic} ({camera}), as is published")
        self._worker.reset_idle(self.cameras)
        self._publish_diagnostics()

    def _publish_diagnostics(self) -> None:
        temperatures = {f"{zone} C": f"{c:.1f}" for zone, c in temperatures_c().items()}
        name = f"{self.get_fully_qualified_name()}: emotions".lstrip("/")
        statuses = []
        for camera in self.cameras:
            title = f"{name} {camera.name}" if len(self.cameras) > 1 else name
            values = str(camera.value_range.current or "0 to 255")
            details = {**self._details, **temperatures, "pixel values": values}
            problem = camera.problem()
            if problem:
                camera.warn("no images", problem)
                details["problem"] = problem
            camera_is = camera.topic, camera.counters, camera.state, camera.fault
            statuses.append(status(title, *camera_is, self.options, details))
        header = Header(stamp=self.get_clock().now().to_msg())
        rclpy_features.publish(self._diagnostics, DiagnosticArray(header=header, status=statuses))


def main() -> int:
    """Run the node until it is shut down; returns the exit code."""
    return call("emotion_node", _run)


def _parser() -> argparse.ArgumentParser:
    declared = options(parameters.NodeOptions)
    return argparse.ArgumentParser(
        prog="emotion_node",
        usage="%(prog)s [-h] [--ros-args ...]",
        description="ROS 2 lifecycle node that publishes the emotions of faces in camera images.",
        epilog="examples:\n"
        "  emotion_node --ros-args -r image_raw:=/camera/image_raw\n"
        "  emotion_node --ros-args --params-file mine.yaml -p branches:=3\n\n"
        "parameters and their defaults:\n"
        + "".join(f"  {o.name:20}{parameters.yaml_value(o)}\n" for o in declared)
        + "\nshare/esr_ros/config/default.yaml of the package describes them.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def _run() -> int:
    begin(_parser(), says_goodbye=True)
    node = rclpy_features.created(EmotionNode)
    try:
        if node.options.autostart:
            for transition in (node.trigger_configure, node.trigger_activate):
                if transition() != TransitionCallbackReturn.SUCCESS:
                    return 2 if rclpy.ok() else 0
        spin(node, note_stops())
        return 0
    except KeyboardInterrupt:
        leave_soon(0)  # should the following hang
        raise
    finally:
        node._stop()
        node.destroy_node()
