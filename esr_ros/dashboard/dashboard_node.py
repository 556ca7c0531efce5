"""The program ``emotion_dashboard``: serve a live page of what emotion nodes publish."""

from __future__ import annotations

import argparse
import secrets
import textwrap
import time
from dataclasses import replace
from fnmatch import fnmatchcase
from functools import partial
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Dict, List

from diagnostic_msgs.msg import DiagnosticArray
from rcl_interfaces.msg import SetParametersResult
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, QoSProfile

from esr_core.errors import OptionError
from esr_core.options import options
from esr_ros import parameters
from esr_ros.dashboard.camera_feed import CameraFeed, best_effort, publisher_names
from esr_ros.dashboard.options import DashboardError, DashboardOptions
from esr_ros.msg import EmotionNotice
from esr_ros.runtime.entry_point import begin, call, note_stops, spin
from esr_ros.runtime.rclpy_features import created, guard_services

if TYPE_CHECKING:  # it needs aiohttp
    from esr_ros.dashboard.server import DashboardServer

#: Period of the search for cameras.
SEARCH_S = 1.0
#: Age of a diagnostic status from which on it counts as stale; the node publishes one a second.
STALE_S = 3.5
_STALE = 3  # DiagnosticStatus.STALE
_TYPE = "esr_ros/msg/EmotionArray"
_NOTICE_TYPE = "esr_ros/msg/EmotionNotice"
_LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)


class DashboardNode(Node):  # type: ignore[misc]
    """Subscribes to emotions, annotated images and diagnostics, while its server has viewers."""

    server: DashboardServer

    def __init__(self) -> None:
        super().__init__("emotion_dashboard", automatically_declare_parameters_from_overrides=True)
        self.options = parameters.declare(self, DashboardOptions)
        self.add_on_set_parameters_callback(self._on_set_parameters)
        guard_services(self)
        self._cameras: Dict[str, CameraFeed] = {}
        self._statuses: Dict[str, Dict[str, Any]] = {}
        self._notices: Dict[str, Dict[str, Any]] = {}
        self._notice_subscriptions: Dict[str, Any] = {}
        self._entities: List[Any] = []  # a subscription and two timers

    def _on_set_parameters(self, changes: List[Parameter]) -> SetParametersResult:
        try:
            parameters.changed(self.options, changes)
        except OptionError as error:
            return SetParametersResult(successful=False, reason=str(error))
        return SetParametersResult(successful=True)

    def update(self) -> None:
        """Subscribe when the first viewer has come, unsubscribe when the last one has left."""
        if self.server.viewers and not self._entities:
            # The node's clock stops while a bag is paused.
            steady = Clock(clock_type=ClockType.STEADY_TIME)
            qos, on_diagnostics = best_effort(10), self._on_diagnostics
            self._entities = [
                self.create_subscription(DiagnosticArray, "/diagnostics", on_diagnostics, qos),
                self.create_timer(SEARCH_S, self._search, clock=steady),
                self.create_timer(1 / self.options.rate_hz, self._publish, clock=steady),
            ]
            self._search()
        elif not self.server.viewers and self._entities:
            self._unsubscribe()

    def _unsubscribe(self) -> None:
        subscription, *timers = self._entities
        self.destroy_subscription(subscription)
        for timer in timers:
            self.destroy_timer(timer)
        for camera in self._cameras.values():
            camera.close()
        self._entities = []
        self._cameras.clear()
        self._find_notices()  # removes all
        self._statuses.clear()

    def _search(self) -> None:
        """Add the cameras that have appeared; those that disappear stay for a minute."""
        for topic, camera in [*self._cameras.items()]:
            camera.find_picture()
            if camera.has_ended:
                camera.close()
                del self._cameras[topic]
        for topic, types in sorted(self.get_topic_names_and_types()):
            is_wanted = any(fnmatchcase(topic, each) for each in self.options.emotion_topics)
            is_new = topic not in self._cameras and self.count_publishers(topic) > 0
            if _TYPE in types and is_wanted and is_new:
                feed = CameraFeed(self, topic, self.options, self.server.put_picture)
                self._cameras[topic] = feed
        self._find_notices()

    def _find_notices(self) -> None:
        """Subscribe to the notices of the cameras' nodes; remove those of nodes that have ended."""
        nodes = {name for topic in self._cameras for name in publisher_names(self, topic)}
        topics = {
            topic
            for topic, types in self.get_topic_names_and_types()
            if _NOTICE_TYPE in types and nodes & publisher_names(self, topic)
        }
        for topic in {*self._notice_subscriptions} - topics:
            self.destroy_subscription(self._notice_subscriptions.pop(topic))
            self._notices.pop(topic, None)
        for topic in topics - {*self._notice_subscriptions}:
            self._notice_subscriptions[topic] = self.create_subscription(
                EmotionNotice, topic, partial(self._on_notice, topic), _LATCHED
            )

    def _on_notice(self, topic: str, message: EmotionNotice) -> None:
        since_s = message.since.sec + message.since.nanosec * 1e-9
        fields = {"active": message.active, "text": message.text, "model": message.model}
        self._notices[topic] = {"topic": topic, **fields, "since": since_s}

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            if status.name.partition(": ")[2].startswith("emotions"):
                self._statuses[status.name] = {
                    "name": status.name,
                    "topic": status.hardware_id,
                    "level": status.level if isinstance(status.level, int) else status.level[0],
                    "message": status.message,
                    "values": {pair.key: pair.value for pair in status.values},
                    "arrival_s": time.monotonic(),
                }

    def _publish(self) -> None:
        """Send the state of all cameras to the viewers."""
        now_s = time.monotonic()
        statuses = [self._statuses[name] for name in sorted(self._statuses)]
        for status in statuses:
            if now_s - status["arrival_s"] > STALE_S:
                status["level"] = _STALE
        cameras = [self._cameras[topic] for topic in sorted(self._cameras)]
        state = {
            "now": round(now_s * 1e3),
            "cameras": [camera.summary(statuses) for camera in cameras],
            "statuses": statuses,
            "notices": [self._notices[topic] for topic in sorted(self._notices)],
            "samples": [*filter(None, (camera.take_sample() for camera in cameras))],
        }
        self.server.put_state(state)


def main() -> int:
    """Serve the page until a signal arrives; returns the exit code."""
    return call("emotion_dashboard", _run)


def _parser() -> argparse.ArgumentParser:
    column = textwrap.TextWrapper(98, initial_indent="  ", subsequent_indent=" " * 33)
    lines = (
        column.fill(f"{o.name:18}{parameters.yaml_value(o):13}{o.description}")
        for o in options(DashboardOptions)
    )
    return argparse.ArgumentParser(
        prog="emotion_dashboard",
        usage="%(prog)s [-h] [--ros-args ...]",
        description="Serve a live page of the emotions that emotion nodes, or a bag, publish.",
        epilog="examples:\n"
        "  emotion_dashboard                      # http://127.0.0.1:8080\n"
        "  emotion_dashboard --ros-args -p port:=0 -p rate_hz:=5.0\n"
        "  emotion_dashboard --ros-args -p 'emotion_topics:=[/left/*]'\n"
        "  emotion_dashboard --ros-args -p host:=0.0.0.0    # for other machines, with a token\n\n"
        "parameters and their defaults:\n" + "\n".join(lines),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def _run() -> int:
    begin(_parser(), says_goodbye=True)
    if find_spec("aiohttp") is None:
        raise DashboardError(
            "aiohttp is not installed; run 'pip install aiohttp' or 'apt install python3-aiohttp'"
        )
    node = created(DashboardNode)
    from esr_ros.dashboard.server import DashboardServer

    stopped = note_stops()
    given = node.options
    if not given.is_local and not given.token:  # other machines can reach the page
        given = replace(given, token=secrets.token_urlsafe(16))
    node.server = server = DashboardServer(given)
    server.start()
    log = node.get_logger()
    if not given.is_local:
        log.warning(
            f"host {given.host}: other machines can reach this page, unencrypted; whoever has its "
            "address with the token sees the camera"
        )
    log.info(f"serving {server.url}")
    try:
        spin(node, stopped, node.update)
        return 0
    finally:
        server.stop()
        node.destroy_node()
