"""One image topic: what is heard there, what is remembered of its faces, what is said of them."""

from __future__ import annotations

import posixpath
import time
from typing import Any, Callable, Dict, Optional, Sequence, Type, Union

from rclpy.node import Node
from rclpy.qos import HistoryPolicy, QoSProfile, ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions
from sensor_msgs.msg import CompressedImage, Image

from esr_core.errors import OptionError
from esr_core.metadata import Metadata
from esr_core.stream import Stream
from esr_ros.counters import Counters
from esr_ros.outputs import Outputs
from esr_ros.parameters import NodeOptions

AnyImage = Union[Image, CompressedImage]
_COMPRESSED = "/compressed"
#: How long without an image until the node says what it listens to.
SILENCE_S = 5.0
#: What to do when images are sent and do not arrive.
LARGE_IMAGES = (
    "With Fast DDS large images need FASTDDS_BUILTIN_TRANSPORTS=LARGE_DATA in the environment of "
    "the camera and of this node (the launch file sets it here), or reliability: reliable on both"
)


class Camera:
    """Subscribes to one topic of images and publishes what they show."""

    def __init__(
        self, node: Node, number: int, name: str, base: str, options: NodeOptions, model: Metadata
    ) -> None:
        self._node = node
        self.number = number
        self.name = name
        self.topic: str = node.resolve_topic_name(name)
        self.message_type = image_type(self.topic)
        self.stream = Stream()
        self.outputs = Outputs(node, base, options, model)
        self._reliability = options.reliability
        self._subscription: Any = None
        self.start_over()

    def start_over(self) -> None:
        """Count from 0."""
        self.counters = Counters()
        self._last_sequence = 0
        self._heard_s = time.monotonic()

    def listen(self, on_image: Callable[[Camera, AnyImage], None]) -> None:
        """Hand each image that arrives to ``on_image``."""

        def received(message: AnyImage, info: Dict[str, Any]) -> None:
            self._count_missed(info.get("publication_sequence_number"))
            self._heard_s = time.monotonic()
            on_image(self, message)

        reliable = self._reliability == "reliable"
        self._subscription = self._node.create_subscription(
            self.message_type,
            self.name,
            received,
            QoSProfile(
                history=HistoryPolicy.KEEP_LAST,
                depth=1,
                reliability=(
                    ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT
                ),
            ),
            qos_overriding_options=QoSOverridingOptions.with_default_policies(),
        )
        self._heard_s = time.monotonic()

    def ignore(self) -> None:
        """Hear no more images."""
        if self._subscription is not None:
            self._node.destroy_subscription(self._subscription)
            self._subscription = None

    def close(self) -> None:
        """Take the topics back."""
        self.ignore()
        self.outputs.close()

    @property
    def is_listening(self) -> bool:
        return self._subscription is not None

    @property
    def silent_s(self) -> float:
        """How long nothing has been heard, in seconds."""
        return time.monotonic() - self._heard_s

    def __str__(self) -> str:
        """What it listens to, for the log."""
        profile = self._subscription.qos_profile if self.is_listening else None
        reliability = profile.reliability.name.lower() if profile else self._reliability
        depth = profile.depth if profile else 1
        return f"{self.message_type.__name__}, {reliability}, depth {depth}"

    def complaint(self) -> Optional[str]:
        """Return what to say about a topic on which nothing is heard; None if there is no need."""
        if not self.is_listening or self.silent_s < SILENCE_S:
            return None
        heard_before = self.counters.values()["received"]
        since = f"for {self.silent_s:.0f} s" if heard_before else "yet"
        offers = ", ".join(
            f"{p.node_name} sends {p.topic_type} {p.qos_profile.reliability.name.lower()}"
            for p in self._node.get_publishers_info_by_topic(self.topic)
        )
        there = f"there: {offers}. {LARGE_IMAGES}" if offers else "nobody publishes there"
        return f"no images {since} on {self.topic}; this node wants {self}; {there}"

    def _count_missed(self, sequence_number: Optional[int]) -> None:
        """Count the gap to the image before; only DDS of Jazzy and newer number them."""
        if not sequence_number:
            return
        last, self._last_sequence = self._last_sequence, sequence_number
        missed = sequence_number - last - 1
        # Each publisher numbers its own images, so with two of them a gap says nothing.
        if last == 0 or missed <= 0 or self._node.count_publishers(self.topic) != 1:
            return
        self.counters.add(missed=missed)
        values = self.counters.values()
        if values["missed"] > max(values["received"], 30):
            self._node.get_logger().warning(
                f"most images on {self.topic} do not arrive: {values['received']} did, "
                f"{values['missed']} did not. {LARGE_IMAGES}",
                once=True,
            )


def image_type(topic: str) -> Type[AnyImage]:
    """CompressedImage for topics that end so, as image_transport names them, else Image."""
    chosen: Type[AnyImage] = CompressedImage if topic.endswith(_COMPRESSED) else Image
    return chosen


def bases(topics: Sequence[str]) -> Dict[str, str]:
    """Return for each image topic the one on which its emotions are told.

    Raises:
        OptionError: two of them would have the same.
    """
    if len(topics) == 1:
        return {topics[0]: "emotion"}
    chosen: Dict[str, str] = {}
    for topic in topics:
        plain = topic[: -len(_COMPRESSED)] if topic.endswith(_COMPRESSED) else topic
        base = posixpath.join(posixpath.dirname(plain), "emotion")
        taken = next((other for other, its in chosen.items() if its == base), None)
        if taken is not None:
            raise OptionError(
                f"image_topics {taken} and {topic} would both be answered on {base}; each needs "
                "a namespace of its own, such as left/image_raw"
            )
        chosen[topic] = base
    return chosen
