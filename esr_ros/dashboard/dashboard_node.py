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

import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.clock import Clock, ClockType
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile

from esr_core.options import options
from esr_ros import parameters
from esr_ros.dashboard.camera_feed import (
    CameraFeed,
    best_effort,
    notice_json,
    publisher_names,
    status_json,
)
from esr_ros.dashboard.options import DashboardError, DashboardOptions
from esr_ros.msg import EmotionNotice
from esr_ros.runtime.entry_point import begin, call, leave_soon, note_stops
from esr_ros.runtime.rclpy_features import created, guard_services

if TYPE_CHECKING:  # it needs aiohttp
    from esr_ros.dashboard.server import DashboardServer

#: Longest time until the first viewer has subscriptions, and until a signal is heeded.
WAKE_S = 0.2
#: Period of the search for cameras.
SEARCH_S = 1.0
#: Age of a diagnostic status from which on it counts as stale; the node publishes one a second.
STALE_S = 3.5
_STALE = 3  # DiagnosticStatus.STALE
_TYPE = "esr_ros/msg/EmotionArray"
_NOTICE_TYPE = "esr_ros/msg/EmotionNotice"
_LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)


class DashboardNode(Node):  # type: ignore[misc]
    """Subscribes to emotions, annotated images and diagnostics, while there are viewers."""

    def __init__(self) -> None:
        super().__init__("emotion_dashboard", automatically_declare_parameters_from_overrides=True)
        self.options = parameters.declare(self, DashboardOptions)
        guard_services(self)
        self._cameras: Dict[str, CameraFeed] = {}
        self._statuses: Dict[str, Dict[str, Any]] = {}
        self._notices: Dict[str, Dict[str, Any]] = {}
        self._notice_subscriptions: Dict[str, Any] = {}
        self._entities: List[Any] = []

    def serve(self, server: DashboardServer) -> None:
        """Send what arrives to the viewers of a server."""
        self._server = server

    def update(self) -> None:
        """Subscribe when the first viewer has come, unsubscribe when the last one has left."""
        is_watched = self._server.viewers > 0
        if is_watched and not self._entities:
            self._subscribe()
        elif not is_watched and self._entities:
            self._unsubscribe()

    def _subscribe(self) -> None:
        # The node's clock stops while a bag is paused.
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        period_s = 1 / self.options.rate_hz
        self._entities = [
            self.create_subscription(
                DiagnosticArray, "/diagnostics", self._on_diagnostics, best_effort(10)
            ),
            self.create_timer(SEARCH_S, self._search, clock=steady),
            self.create_timer(period_s, self._publish, clock=steady),
        ]
        self._search()

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
                on_picture = self._server.put_picture
                self._cameras[topic] = CameraFeed(self, topic, self.options, on_picture)
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
        self._notices[topic] = notice_json(topic, message)

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        now_s = time.monotonic()
        for status in message.status:
            if status.name.partition(": ")[2].startswith("emotions"):
                self._statuses[status.name] = status_json(status, now_s)

    def _publish(self) -> None:
        """Send the state of all cameras to the viewers."""
        now_s = time.monotonic()
        statuses = [self._statuses[name] for name in sorted(self._statuses)]
        for status in statuses:
            if now_s - status["arrival_s"] > STALE_S:
                status["level"] = _STALE
        cameras = [self._cameras[topic] for topic in sorted(self._cameras)]
        samples = [sample for each in cameras for sample in [each.take_sample()] if sample]
        state = {
            "now": round(now_s * 1e3),
            "cameras": [camera.summary(statuses) for camera in cameras],
            "statuses": statuses,
            "notices": [self._notices[topic] for topic in sorted(self._notices)],
            "samples": samples,
        }
        self._server.put_state(state)


def main() -> int:
    """Serve the page until a signal arrives; returns the exit code."""
    return call("emotion_dashboard", _run)


def _parser() -> argparse.ArgumentParser:
    defaults = "\n".join(
        textwrap.fill(
            f"{o.name:18}{parameters.yaml_value(o):13}{o.description}",
            width=98,
            initial_indent="  ",
            subsequent_indent=" " * 33,
        )
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
        "parameters and their defaults:\n" + defaults,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def _start() -> DashboardNode:
    """Create the node; an error in arguments or parameter files becomes one line."""
    begin(_parser(), says_goodbye=True)
    if find_spec("aiohttp") is None:
        raise DashboardError(
            "aiohttp is not installed; run 'pip install aiohttp' or 'apt install python3-aiohttp'"
        )
    return created(DashboardNode)


def _with_token(given: DashboardOptions) -> DashboardOptions:
    """Return the options with a token, if other machines can reach the page."""
    if given.is_local or given.token:
        return given
    return replace(given, token=secrets.token_urlsafe(16))


def _run() -> int:
    node = _start()
    from esr_ros.dashboard.server import DashboardServer

    stopped = note_stops()
    given = _with_token(node.options)
    server = DashboardServer(given)
    server.start()
    log = node.get_logger()
    if not given.is_local:
        log.warning(
            f"host {given.host}: other machines can reach this page, unencrypted; whoever has its "
            "address with the token sees the camera"
        )
    log.info(f"serving {server.url}")
    node.serve(server)
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    try:
        while rclpy.ok() and not stopped.is_set():
            executor.spin_once(timeout_sec=WAKE_S)
            node.update()
        leave_soon(0)  # should the following hang
        return 0
    finally:
        server.stop()
        executor.shutdown()
        node.destroy_node()
