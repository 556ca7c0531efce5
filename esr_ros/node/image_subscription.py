"""One image topic: what is heard there, what is remembered of its faces, what is said of them."""

from __future__ import annotations

import os
import time
from typing import (
    Any,
    Callable,
    Dict,
    List,
    NamedTuple,
    Optional,
    Tuple,
    Type,
    Union,
)

from rclpy.node import Node
from rclpy.qos import HistoryPolicy, QoSProfile, ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

from esr_core.errors import OptionError
from esr_core.inference.metadata import ModelMetadata
from esr_core.perception.stream_state import StreamState
from esr_ros.conversions import vision_msgs
from esr_ros.conversions.vision_msgs import Found
from esr_ros.node.diagnostics import FrameCounters
from esr_ros.node.publishers import Publishers
from esr_ros.node.ros4hri_subscriber import SUFFIX, Ros4HriSubscriber
from esr_ros.node.stamp_sync import Stamp, StampSync, stamp_of
from esr_ros.parameters import NodeOptions

AnyImage = Union[Image, CompressedImage]


class ReceivedImage(NamedTuple):
    """An image, and the faces in it if another detector has found them."""

    image: AnyImage
    found: Optional[Found] = None


_COMPRESSED = "/compressed"
#: Detections of an image that come so much later than those of a newer one are out of order; what
#: lies further back, in whole seconds, is a recording that starts over.
LATE_S = 1
#: How long without an image until the node says what it listens to.
SILENCE_S = 5.0
#: What to do when images are sent and do not arrive.
LARGE_IMAGES = (
    "With Fast DDS large images need FASTDDS_BUILTIN_TRANSPORTS='DEFAULT?sockets_size=8MB' in the "
    "environment of the camera, or reliability: reliable on both"
)
#: What to do when nobody seems to be there.
ALONE = (
    "nobody publishes there; FASTDDS_BUILTIN_TRANSPORTS=LARGE_DATA is set here, and who has it "
    "meets only those who have it too"
)


class ImageSubscription:
    """Subscribes to one topic of images and publishes what they show."""

    def __init__(
        self,
        node: Node,
        number: int,
        name: str,
        base: str,
        options: NodeOptions,
        model: ModelMetadata,
    ) -> None:
        self._node = node
        self.number = number
        self.name = name
        self.topic: str = node.resolve_topic_name(name)
        self.message_type = image_type(self.topic)
        self.stream = StreamState()
        self.outputs = Publishers(node, base, options, model)
        self._reliability = options.reliability
        topic = options.detections_topic
        self._detections_topic: str = node.resolve_topic_name(topic) if topic else ""
        if self._detections_topic.endswith(SUFFIX):
            if options.humans:
                raise OptionError(
                    f"detections_topic {self._detections_topic} takes faces that others track, but "
                    "humans is true: this node would track them too"
                )
        elif self._detections_topic and not vision_msgs.INSTALLED:
            raise OptionError("detections_topic needs vision_msgs, which is not installed")
        self._subscriptions: List[Any] = []
        self._frame_id = ""
        self._heard_s = time.monotonic()
        self.start_over()

    def start_over(self) -> None:
        """Count from 0."""
        self.counters = FrameCounters()

    def listen(self, on_image: Callable[[ImageSubscription, ReceivedImage], None]) -> None:
        """Hand each image that arrives, and the faces in it where others find them, to
        ``on_image``."""
        self._on_image = on_image
        self._pairs: StampSync[AnyImage, Found] = StampSync()
        self._last_sequence = 0
        self._last_pair: Stamp = (0, 0)
        self._heard_s = self._paired_s = time.monotonic()
        reliable = self._reliability == "reliable"
        self._subscribe(self.message_type, self.name, self._on_message, 1, reliable)
        topic = self._detections_topic
        if topic.endswith(SUFFIX):
            Ros4HriSubscriber(topic, self._subscribe_to_faces, self._on_found)
        elif topic:
            self._subscribe(vision_msgs.Detection2DArray, topic, self._on_detections)

    def _subscribe_to_faces(
        self, kind: Any, topic: str, callback: Callable[[Any], None]
    ) -> Callable[[], None]:
        # For a topic that comes and goes with a face, ROS would keep parameters for each.
        lasts = topic == self._detections_topic
        subscription = self._subscribe(kind, topic, callback, overridable=lasts)

        def end() -> None:
            self._subscriptions.remove(subscription)
            self._node.destroy_subscription(subscription)

        return end

    def _subscribe(
        self,
        kind: Any,
        topic: str,
        callback: Callable[..., None],
        depth: int = 10,
        reliable: bool = False,
        overridable: bool = True,
    ) -> Any:
        qos = QoSProfile(history=HistoryPolicy.KEEP_LAST, depth=depth)
        qos.reliability = ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT
        overriding = QoSOverridingOptions.with_default_policies() if overridable else None
        subscription = self._node.create_subscription(
            kind, topic, callback, qos, qos_overriding_options=overriding
        )
        self._subscriptions.append(subscription)
        return subscription

    def _on_message(self, message: AnyImage, info: Dict[str, Any]) -> None:
        self._count_missed(info.get("publication_sequence_number"))
        self._heard_s = time.monotonic()
        self._frame_id = message.header.frame_id
        self.counters.add(received=1)
        if not self._detections_topic:
            self._on_image(self, ReceivedImage(message))
        elif stamp_of(message) == (0, 0):
            self.counters.add(unpaired=1)  # it says nothing about what belongs to it
        else:
            forgotten = self._pairs.forgotten
            self._together(self._pairs.add_first(stamp_of(message), message))
            self.counters.add(unpaired=self._pairs.forgotten - forgotten)

    def _on_detections(self, message: Any) -> None:
        faces = vision_msgs.faces(message)
        self._on_found(stamp_of(message), lambda shape: faces)

    def _on_found(self, stamp: Stamp, found: Found) -> None:
        self._together(self._pairs.add_second(stamp, found))

    def _together(self, pair: Optional[Tuple[AnyImage, Found]]) -> None:
        if not pair:
            return
        self._paired_s = time.monotonic()
        stamp, last = stamp_of(pair[0]), self._last_pair
        if stamp < last and last[0] - stamp[0] <= LATE_S:
            self.counters.add(stale=1)  # detections that overtook each other; a newer one is told
            return
        self._last_pair = stamp
        self._on_image(self, ReceivedImage(*pair))

    def ignore(self) -> None:
        """Hear no more images."""
        while self._subscriptions:
            self._node.destroy_subscription(self._subscriptions.pop())

    def forget(self) -> None:
        """Follow no face any more, and tell so."""
        header = Header(stamp=self._node.get_clock().now().to_msg(), frame_id=self._frame_id)
        self.outputs.publish_events(header, self.stream.reset())

    @property
    def is_listening(self) -> bool:
        """Whether it is subscribed to its images."""
        return bool(self._subscriptions)

    @property
    def depth(self) -> int:
        """How many images may wait for their answer; 1 unless the QoS is overridden."""
        return max(int(self._subscriptions[0].qos_profile.depth), 1) if self.is_listening else 1

    @property
    def silent_s(self) -> float:
        """How long nothing has been heard, in seconds."""
        return time.monotonic() - self._heard_s

    def __str__(self) -> str:
        """What it listens to, for the log."""
        profile = self._subscriptions[0].qos_profile if self.is_listening else None
        reliability = profile.reliability.name.lower() if profile else self._reliability
        return f"{self.message_type.__name__}, {reliability}, depth {self.depth}"

    def complaint(self) -> Optional[str]:
        """Return what to say about a topic on which nothing is heard; None if there is no need."""
        if not self.is_listening:
            return None
        if self.silent_s < SILENCE_S:
            return self._lone_images()
        heard_before = self.counters.values()["received"]
        since = f"for {self.silent_s:.0f} s" if heard_before else "yet"
        offers = ", ".join(
            f"{p.node_name} sends {p.topic_type} {p.qos_profile.reliability.name.lower()}"
            for p in self._node.get_publishers_info_by_topic(self.topic)
        )
        large_data = os.environ.get("FASTDDS_BUILTIN_TRANSPORTS", "").startswith("LARGE_DATA")
        nobody = ALONE if large_data else "nobody publishes there"
        there = f"there: {offers}" if offers else nobody
        if offers and not heard_before:
            there += f". {LARGE_IMAGES}"
        return f"no images {since} on {self.topic}; this node wants {self}; {there}"

    def _lone_images(self) -> Optional[str]:
        if not self._detections_topic or time.monotonic() - self._paired_s < SILENCE_S:
            return None
        return (
            f"no detections on {self._detections_topic} have the stamps of the images on "
            f"{self.topic}; they must be published with the header of their image"
        )

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
