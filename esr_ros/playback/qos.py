"""The QoS of a publisher from the QoS that a bag noted."""

from __future__ import annotations

from typing import Sequence

from rclpy.duration import Duration
from rclpy.qos import DurabilityPolicy, LivelinessPolicy, QoSProfile, ReliabilityPolicy
from rosbags.interfaces import Qos, QosDurability, QosLiveliness, QosReliability, QosTime

#: Bounds of the depth: the number of messages that a slow reader may be behind without a loss.
LEAST_DEPTH, MOST_DEPTH = 100, 1000
#: Infinite, of rmw/time.h.
FOREVER_S = 9223372036


def offered(profiles: Sequence[Qos]) -> QoSProfile:
    """Return the QoS that matches all subscribers of publishers with these profiles.

    Without profiles: reliable, volatile.
    """
    depth = max([LEAST_DEPTH, *(each.depth for each in profiles)])
    qos = QoSProfile(depth=min(depth, MOST_DEPTH))
    if profiles and all(each.reliability == QosReliability.BEST_EFFORT for each in profiles):
        qos.reliability = ReliabilityPolicy.BEST_EFFORT
    if any(each.durability == QosDurability.TRANSIENT_LOCAL for each in profiles):
        qos.durability = DurabilityPolicy.TRANSIENT_LOCAL
    if len(profiles) == 1:  # several publishers have no common deadline
        _promise(qos, profiles[0])
    return qos


def _promise(qos: QoSProfile, noted: Qos) -> None:
    """Copy deadline, lifespan and liveliness."""
    for name in ("deadline", "lifespan", "liveliness_lease_duration"):
        time: QosTime = getattr(noted, name)
        if (time.sec or time.nsec) and time.sec < FOREVER_S:
            setattr(qos, name, Duration(seconds=time.sec, nanoseconds=time.nsec))
    if noted.liveliness == QosLiveliness.MANUAL_BY_TOPIC:
        qos.liveliness = LivelinessPolicy.MANUAL_BY_TOPIC
