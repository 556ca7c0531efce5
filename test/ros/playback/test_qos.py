"""The QoS of what is played."""

from __future__ import annotations

from typing import Any

import pytest
from rclpy.duration import Duration
from rclpy.qos import DurabilityPolicy, LivelinessPolicy, ReliabilityPolicy
from rosbags.interfaces import (
    Qos,
    QosDurability,
    QosHistory,
    QosLiveliness,
    QosReliability,
    QosTime,
)

from esr_ros.playback.playback import offered

FOREVER = QosTime(9223372036, 854775807)
NOTED = Qos(
    QosHistory.KEEP_LAST,
    10,
    QosReliability.RELIABLE,
    QosDurability.VOLATILE,
    FOREVER,
    QosTime(0, 0),
    QosLiveliness.AUTOMATIC,
    FOREVER,
    False,
)
BEST_EFFORT = NOTED._replace(reliability=QosReliability.BEST_EFFORT)
LATCHED = NOTED._replace(durability=QosDurability.TRANSIENT_LOCAL)


@pytest.mark.parametrize(
    ("profiles", "expected"),
    [
        ([], (ReliabilityPolicy.RELIABLE, DurabilityPolicy.VOLATILE)),
        ([BEST_EFFORT], (ReliabilityPolicy.BEST_EFFORT, DurabilityPolicy.VOLATILE)),
        ([BEST_EFFORT, NOTED], (ReliabilityPolicy.RELIABLE, DurabilityPolicy.VOLATILE)),
        ([NOTED, LATCHED], (ReliabilityPolicy.RELIABLE, DurabilityPolicy.TRANSIENT_LOCAL)),
    ],
)
def test_everyone_who_listened_then_is_served(profiles: list[Qos], expected: Any) -> None:
    qos = offered(profiles)
    assert (qos.reliability, qos.durability) == expected
    assert qos.deadline == offered([]).deadline


@pytest.mark.parametrize(("noted", "depth"), [(0, 100), (10, 100), (200, 200), (2**31 - 1, 1000)])
def test_depth_is_enough_for_slow_readers_and_fits_into_memory(noted: int, depth: int) -> None:
    assert offered([NOTED._replace(depth=noted)]).depth == depth


def test_what_one_publisher_promised_is_promised_again() -> None:
    second = QosTime(1, 500_000_000)
    noted = NOTED._replace(deadline=second, liveliness=QosLiveliness.MANUAL_BY_TOPIC)
    qos = offered([noted])
    assert qos.deadline == Duration(seconds=1.5)
    assert qos.liveliness == LivelinessPolicy.MANUAL_BY_TOPIC
    assert offered([noted, NOTED]).deadline == offered([]).deadline
