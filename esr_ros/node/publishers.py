"""The publishers of one camera's results, and that of the notice."""

from __future__ import annotations

import time
from typing import Any, Sequence

import numpy as np
from numpy.typing import NDArray
from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSPolicyKind, QoSProfile
from rclpy.qos_overriding_options import QoSOverridingOptions
from std_msgs.msg import Header

from esr_core.inference.metadata import ModelMetadata
from esr_core.perception.events import Event
from esr_core.pipeline import FrameResult
from esr_ros.conversions.emotion_topics import EmotionTopic, ImageResult, emotion_topics
from esr_ros.msg import EmotionNotice
from esr_ros.parameters import POLICIES, NodeOptions
from esr_ros.runtime.rclpy_features import publish

#: Longest wait for all subscribers together when the node stops.
ACK_S = 0.5


def create_publisher(
    node: Node, kind: Any, topic: str, depth: int = 10, is_latched: bool = False
) -> Any:
    """Create a publisher whose QoS can be overridden by parameters."""
    qos = QoSProfile(depth=depth)
    if is_latched:
        qos.durability = DurabilityPolicy.TRANSIENT_LOCAL
    given = overridden(node, topic, "publisher")
    return node.create_publisher(kind, topic, qos, qos_overriding_options=given)


def overridden(node: Node, topic: str, kind: str) -> QoSOverridingOptions:
    """Return the QoS policies of a ``publisher`` or ``subscription`` that parameters override.

    Not all that can be: ROS would declare them with the values of this configuration, keep these
    parameters, and apply them to the next one.
    """
    prefix = f"qos_overrides.{node.resolve_topic_name(topic)}.{kind}"
    given = node.get_parameters_by_prefix(prefix)
    return QoSOverridingOptions([QoSPolicyKind[each.upper()] for each in POLICIES if each in given])


class Publishers:
    """Publishers of one camera; lazy topics are only built for subscribers.

    base: topic of the emotions; the others lie below it.
    """

    def __init__(self, node: Node, base: str, options: NodeOptions, model: ModelMetadata) -> None:
        self._model_name = model.name
        info = ImageResult(Header(stamp=node.get_clock().now().to_msg()), model.name)
        self._publishers = {}
        for topic in emotion_topics(options.annotated_image):
            kind, name = topic.message_type, base + topic.suffix
            publisher = create_publisher(node, kind, name, topic.depth, topic.is_latched)
            self._publishers[topic] = publisher
            if topic.is_latched:
                self._publish(topic, info)
            if topic.suffix == "/events":
                self._events = topic

    def _publish(self, topic: EmotionTopic, image: ImageResult) -> bool:
        done = [publish(self._publishers[topic], each) for each in topic.build(image)]
        return all(done)

    def publish(self, header: Header, rgb: NDArray[np.uint8], answer: FrameResult) -> bool:
        """Publish the result of an image (h, w, 3) uint8 under its own header.

        Returns False if ROS did not take the emotions. Raises ImageError if the annotated image
        cannot be compressed; all else is published.
        """
        image, is_published = ImageResult(header, self._model_name, answer, rgb.shape, rgb), True
        for topic, publisher in self._publishers.items():
            is_needed = not topic.is_lazy or publisher.get_subscription_count() > 0
            if is_needed and not topic.is_latched:
                is_published &= self._publish(topic, image) or topic.suffix != ""
        return is_published

    def publish_events(self, header: Header, events: Sequence[Event]) -> None:
        """Publish events alone."""
        result = FrameResult([], list(events))
        self._publish(self._events, ImageResult(header, self._model_name, result))

    def wait_for_subscribers(self, deadline_s: float) -> None:
        """Wait until the last events have arrived: the process may end after it."""
        _wait_for_subscribers(self._publishers[self._events], deadline_s)


class Notice:
    """Publishes the notice for the people in front of the cameras each time that it changes."""

    def __init__(self, node: Node, model: str) -> None:
        self._node = node
        self._publisher = create_publisher(node, EmotionNotice, "emotion/notice", 1, True)
        self._message = EmotionNotice(model=model)

    def publish(self, active: bool, text: str) -> None:
        """Publish the notice if it has changed; ``since`` is the time of a change of ``active``."""
        message = self._message
        if (message.active, message.text) == (active, text):
            return
        if message.active != active:
            message.since = self._node.get_clock().now().to_msg()
        message.active, message.text = active, text
        publish(self._publisher, message)

    def wait_for_subscribers(self, deadline_s: float) -> None:
        """Wait until the last notice has arrived."""
        _wait_for_subscribers(self._publisher, deadline_s)


def _wait_for_subscribers(publisher: Any, deadline_s: float) -> None:
    publisher.wait_for_all_acked(Duration(seconds=max(deadline_s - time.monotonic(), 0)))
