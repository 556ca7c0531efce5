"""From the QoS that a bag noted to that of a publisher."""

from __future__ import annotations

from typing import Sequence

from rclpy.duration import Duration
from rclpy.qos import DurabilityPolicy, LivelinessPolicy, QoSProfile, ReliabilityPolicy
from rosbags.interfaces import Qos, QosDurability, QosLiveliness, QosReliability, QosTime

#: A reader that is slower for a while loses nothing as long as no more than so many are on the way.
LEAST_DEPTH, MOST_DEPTH = 100, 1000
#: Of rmw/time.h; what is longer cannot be told from it.
FOREVER_S = 9223372036


def offered(profiles: Sequence[Qos]) -> QoSProfile:
    """Return what matches everyone who listened to publishers with these profiles.

    None were noted: reliable, volatile.
    """
    depth = max([LEAST_DEPTH, *(each.depth for each in profiles)])
    qos = QoSProfile(depth=min(depth, MOST_DEPTH))
    if profiles and all(each.reliability == QosReliability.BEST_EFFORT for each in profiles):
        qos.reliability = ReliabilityPolicy.BEST_EFFORT
    if any(each.durability == QosDurability.TRANSIENT_LOCAL for each in profiles):
        qos.durability = DurabilityPolicy.TRANSIENT_LOCAL
    if len(profiles) == 1:  # what several promise is not what each of them does
        _promise(qos, profiles[0])
    return qos


def _promise(qos: QoSProfile, noted: Qos) -> None:
    """Take over how often messages come, how long they last, and how one is known to be alive."""
    for name in ("deadline", "lifespan", "liveliness_lease_duration"):
        time: QosTime = getattr(noted, name)
        if (time.sec or time.nsec) and time.sec < FOREVER_S:
            setattr(qos, name, Duration(seconds=time.sec, nanoseconds=time.nsec))
    if noted.liveliness == QosLiveliness.MANUAL_BY_TOPIC:
        qos.liveliness = LivelinessPolicy.MANUAL_BY_TOPIC
