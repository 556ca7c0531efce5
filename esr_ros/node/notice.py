"""The notice for the people in front of the cameras."""

from __future__ import annotations

from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile
from rclpy.qos_overriding_options import QoSOverridingOptions

from esr_ros.msg import EmotionNotice

TOPIC = "emotion/notice"


class Notice:
    """Publishes the current notice, latched, each time that it changes."""

    def __init__(self, node: Node, model: str) -> None:
        qos = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        overridable = QoSOverridingOptions.with_default_policies()
        self._node = node
        self._publisher = node.create_publisher(
            EmotionNotice, TOPIC, qos, qos_overriding_options=overridable
        )
        self._message = EmotionNotice(model=model)

    def publish(self, active: bool, text: str) -> None:
        """Publish the notice if it has changed; ``since`` is the time of a change of ``active``."""
        message = self._message
        if (message.active, message.text) == (active, text):
            return
        if message.active != active:
            message.since = self._node.get_clock().now().to_msg()
        message.active, message.text = active, text
        self._publisher.publish(message)
