"""The publication of a bag's messages with the topics, QoS and times of the recording."""

from __future__ import annotations

import time
from importlib import import_module
from typing import Any, Callable, Dict, List, Sequence, Tuple

import rclpy
from builtin_interfaces.msg import Time
from rclpy.duration import Duration
from rclpy.executors import ExternalShutdownException
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, LivelinessPolicy, QoSProfile, ReliabilityPolicy
from rosbags import interfaces
from rosbags.interfaces import Connection, ConnectionExtRosbag2
from rosgraph_msgs.msg import Clock

from esr_core.errors import EsrError
from esr_ros.bags import message_definitions
from esr_ros.bags.mcap_writer import SCHEMALESS
from esr_ros.bags.reader import BagError, BagReader
from esr_ros.runtime.rclpy_features import ROS_ERRORS, reason

CLOCK = "/clock"
CLOCK_S = 1 / 40
#: Period of the checks for a signal.
WAKE_S = 0.05
#: A subscriber that was just discovered may not have discovered the publisher yet.
SETTLE_S = 0.3
#: Longest time for repeated attempts at a message, and for acknowledgements at the end.
PATIENCE_S = 10.0
#: Bounds of the depth: the number of messages that a slow reader may be behind without a loss.
LEAST_DEPTH, MOST_DEPTH = 100, 1000
#: Infinite, of rmw/time.h.
FOREVER_S = 9223372036


class PlaybackError(EsrError):
    """A message that cannot be published."""


class Playback:
    """Publishers of a bag's topics, under ``node``.

    ``count``: number of messages. ``left_out``: topics that cannot be played, with the reason.
    """

    def __init__(self, node: Node, bag: BagReader, topics: Sequence[str], with_clock: bool) -> None:
        """topics: none: all of the bag. BagError if one is missing, or none can be played."""
        self._bag = bag
        self._node = node
        self._clock = node.create_publisher(Clock, CLOCK, 1) if with_clock else None
        self._publishers: Dict[Tuple[str, str], Any] = {}
        self.left_out: List[str] = []
        there = {each.topic for each in bag.connections}
        named = {f"/{topic.lstrip('/')}" for topic in topics} or there
        if named - there:
            missing, known = (", ".join(sorted(each)) for each in (named - there, there))
            raise BagError(f"{bag.path}: nothing on {missing}, only on {known}")
        if with_clock:  # there must be one clock
            named.discard(CLOCK)
        wanted = [each for each in bag.connections if each.topic in named]
        for key in dict.fromkeys(map(_key, wanted)):
            self._offer([each for each in wanted if _key(each) == key])
        self._connections = [each for each in wanted if _key(each) in self._publishers]
        if not self._connections:
            raise BagError(f"{bag.path}: nothing to play; {'; '.join(self.left_out)}")
        self.count = sum(each.msgcount for each in self._connections)

    def _offer(self, connections: Sequence[Connection]) -> None:
        """Create the publisher of a topic, on which several nodes may have published."""
        first = connections[0]
        profiles = [qos for each in connections for qos in _ext(each).offered_qos_profiles]
        try:
            made = self._node.create_publisher(_installed(first), first.topic, offered(profiles))
            self._publishers[_key(first)] = made
        except PlaybackError as error:
            self.left_out.append(f"{first.topic}: {error}")
        except ROS_ERRORS as error:  # the topic has another type, or a name of ROS 1
            if not rclpy.ok():
                raise ExternalShutdownException from error
            self.left_out.append(f"{first.topic}: {reason(error)}")

    @property
    def topics(self) -> List[str]:
        """Return the names of the topics, remapped."""
        return sorted({each.topic_name for each in self._publishers.values()})

    def unmatched(self) -> List[str]:
        """Return the topics without a subscriber: of those with images, or of all if none has."""
        images = [own for (topic, _), own in self._publishers.items() if topic in self._bag.cameras]
        waited_for = images or self._publishers.values()
        return sorted({p.topic_name for p in waited_for if not p.get_subscription_count()})

    def wait(self, seconds: float) -> None:
        """Wait until all have subscribers, for a number of seconds at most."""
        end_s = time.monotonic() + seconds
        while self.unmatched() and time.monotonic() < end_s:
            _sleep(WAKE_S)
        _sleep(min(SETTLE_S, seconds))

    def play(self, rate: float, on_message: Callable[[], None]) -> None:
        """Publish every message once, ``rate`` times as fast as it was recorded.

        Raises PlaybackError, BagError, and ExternalShutdownException after a signal.
        """
        begin_ns, begin_s = -1, time.monotonic()
        for connection, time_ns, data in self._bag.messages(self._connections):
            if begin_ns < 0:
                begin_ns, begin_s = time_ns, time.monotonic()
            due_s = begin_s + (time_ns - begin_ns) * 1e-9 / rate
            left_s = due_s - time.monotonic()
            while left_s > 0:
                _sleep(min(left_s, CLOCK_S if self._clock else WAKE_S))
                left_s = due_s - time.monotonic()
                if left_s > 0:
                    self._publish_clock(time_ns - round(left_s * rate * 1e9))
            self._publish_clock(time_ns)
            self._publish(self._publishers[_key(connection)], data)
            on_message()

    def _publish_clock(self, time_ns: int) -> None:
        if self._clock:
            now = Time(sec=time_ns // 10**9, nanosec=time_ns % 10**9)
            self._publish(self._clock, Clock(clock=now))

    def _publish(self, publisher: Any, message: Any) -> None:
        end_s = time.monotonic() + PATIENCE_S
        while True:
            try:
                publisher.publish(message)
                return
            except RuntimeError as error:  # rclpy's RCLError has no public name in every release
                # A reliable writer gives up after 100 ms when a busy machine reads too slowly.
                _sleep(WAKE_S)
                if time.monotonic() > end_s:
                    why = f"not published: {' '.join(str(error).split())}"
                    raise PlaybackError(f"{publisher.topic_name}: {why}") from error

    def finish(self) -> bool:
        """Wait for the acknowledgements of reliable subscribers; returns False after PATIENCE_S.

        Up to 3 s is usual, the period of Fast DDS's heartbeats.
        """
        end_s = time.monotonic() + PATIENCE_S
        for publisher in self._publishers.values():
            if publisher.qos_profile.reliability != ReliabilityPolicy.RELIABLE:
                continue
            while not publisher.wait_for_all_acked(Duration(seconds=WAKE_S)):
                _sleep(0)
                if time.monotonic() > end_s:
                    return False
        return True


def offered(profiles: Sequence[interfaces.Qos]) -> QoSProfile:
    """Return the QoS that matches all subscribers of publishers with these profiles.

    Without profiles: reliable, volatile.
    """
    depth = max([LEAST_DEPTH, *(each.depth for each in profiles)])
    qos = QoSProfile(depth=min(depth, MOST_DEPTH))
    if {each.reliability for each in profiles} == {interfaces.QosReliability.BEST_EFFORT}:
        qos.reliability = ReliabilityPolicy.BEST_EFFORT
    if any(each.durability == interfaces.QosDurability.TRANSIENT_LOCAL for each in profiles):
        qos.durability = DurabilityPolicy.TRANSIENT_LOCAL
    if len(profiles) == 1:  # several publishers have no common deadline
        (noted,) = profiles
        for name in ("deadline", "lifespan", "liveliness_lease_duration"):
            sec, nsec = getattr(noted, name)
            if (sec or nsec) and sec < FOREVER_S:
                setattr(qos, name, Duration(seconds=sec, nanoseconds=nsec))
        if noted.liveliness == interfaces.QosLiveliness.MANUAL_BY_TOPIC:
            qos.liveliness = LivelinessPolicy.MANUAL_BY_TOPIC
    return qos


def _key(connection: Connection) -> Tuple[str, str]:
    return connection.topic, connection.msgtype


def _ext(connection: Connection) -> ConnectionExtRosbag2:
    assert isinstance(connection.ext, ConnectionExtRosbag2)
    return connection.ext


def _installed(connection: Connection) -> Any:
    """Return the class of a topic's messages; it must be that of the recording."""
    name = connection.msgtype
    if name == SCHEMALESS:
        raise PlaybackError("recorded without a message type")
    serialization = _ext(connection).serialization_format
    if serialization not in ("cdr", ""):
        raise PlaybackError(f"recorded as {serialization}, not as cdr")
    package, _, kind = name.partition("/msg/")
    try:
        message_class = getattr(import_module(f"{package}.msg"), kind)
    except (ImportError, AttributeError, ValueError):
        raise PlaybackError(f"{name} is not installed") from None
    here, (_, recorded) = message_definitions.installed(name), message_definitions.of(connection)
    # Subscribers would misread messages of another definition.
    if here and message_definitions.type_hash(name, here) not in (None, recorded):
        raise PlaybackError(f"recorded with another definition of {name} than is installed")
    return message_class


def _sleep(seconds: float) -> None:
    """Sleep; raises ExternalShutdownException if a signal has arrived."""
    time.sleep(seconds)
    if not rclpy.ok():
        raise ExternalShutdownException
