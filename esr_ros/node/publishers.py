"""The publishers of one camera's results."""

from __future__ import annotations

from typing import Any, Sequence

import numpy as np
from numpy.typing import NDArray
from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile
from rclpy.qos_overriding_options import QoSOverridingOptions
from std_msgs.msg import Header

from esr_core.inference.metadata import ModelMetadata
from esr_core.perception.events import Event
from esr_core.pipeline import FrameResult
from esr_ros.conversions.emotion_topics import EmotionTopic, ImageResult, emotion_topics
from esr_ros.parameters import NodeOptions

#: Longest wait for subscribers when the node stops.
ACK_S = 0.5


class Publishers:
    """Publishers of one camera; lazy topics are only built for subscribers.

    base: topic of the emotions; the others lie below it.
    """

    def __init__(self, node: Node, base: str, options: NodeOptions, model: ModelMetadata) -> None:
        self._model_name = model.name
        topics = emotion_topics(options.annotated_image)
        self._publishers = [(topic, _publisher(node, base, topic)) for topic in topics]
        info = ImageResult(Header(stamp=node.get_clock().now().to_msg()), model.name)
        for topic, publisher in self._publishers:
            if topic.is_latched:
                _publish(topic, publisher, info)

    def publish(self, header: Header, rgb: NDArray[np.uint8], answer: FrameResult) -> None:
        """Publish the result of an image (h, w, 3) uint8 under its own header.

        Raises ImageError if the annotated image cannot be compressed; all else is published.
        """
        image = ImageResult(header, self._model_name, answer, rgb.shape, rgb)
        for topic, publisher in self._publishers:
            is_needed = not topic.is_lazy or publisher.get_subscription_count() > 0
            if is_needed and not topic.is_latched:
                _publish(topic, publisher, image)

    def publish_events(self, header: Header, events: Sequence[Event]) -> None:
        """Publish events alone."""
        image = ImageResult(header, self._model_name, FrameResult([], list(events)))
        for topic, publisher in self._publishers:
            if topic.suffix == "/events":
                _publish(topic, publisher, image)

    def wait_for_subscribers(self) -> None:
        """Wait until the last events have arrived, ACK_S at most: the process may end after it."""
        for topic, publisher in self._publishers:
            if topic.suffix == "/events":
                publisher.wait_for_all_acked(Duration(seconds=ACK_S))


def _publisher(node: Node, base: str, topic: EmotionTopic) -> Any:
    qos = QoSProfile(depth=topic.depth)
    if topic.is_latched:
        qos.durability = DurabilityPolicy.TRANSIENT_LOCAL
    overridable = QoSOverridingOptions.with_default_policies()
    name = base + topic.suffix
    return node.create_publisher(topic.message_type, name, qos, qos_overriding_options=overridable)


def _publish(topic: EmotionTopic, publisher: Any, image: ImageResult) -> None:
    for message in topic.build(image):
        publisher.publish(message)
