"""One camera: its image topic, its stream state, and the publishers of its results."""

from __future__ import annotations

import os
import time
from math import inf
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Tuple, Type, Union

from rclpy.node import Node
from rclpy.qos import QoSPolicyKind, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from std_msgs.msg import Header

from esr_core.errors import OptionError
from esr_core.inference.metadata import ModelMetadata
from esr_core.media.bit_depth import RunningRange
from esr_core.perception.stream_clock import SILENCE_S
from esr_core.perception.stream_state import StreamState
from esr_ros.conversions.messages import vision
from esr_ros.node.diagnostics import FrameCounters
from esr_ros.node.external_detections import (
    SUFFIX,
    Found,
    Ros4HriSubscriber,
    Stamp,
    StampSync,
    faces,
    stamp_of,
)
from esr_ros.node.pose_publisher import PosePublisher
from esr_ros.node.publishers import Publishers, overridden
from esr_ros.parameters import NodeOptions
from esr_ros.runtime.rclpy_features import resolved_topic, with_message_info

AnyImage = Union[Image, CompressedImage]
OnImage = Callable[["ImageSubscription", "ReceivedImage"], None]


class ReceivedImage(NamedTuple):
    """An image, with its external detections if the node is configured for them."""

    image: AnyImage
    arrival_s: float  # of the monotonic clock
    detections: Optional[Found] = None


_TYPES = {f"sensor_msgs/msg/{kind.__name__}": kind for kind in (Image, CompressedImage)}
#: Depth of the subscription. A reliable one of depth 1 loses a fifth of 1920x1080 images from a
#: camera with Fast DDS's own settings: a new image replaces one whose parts are still sent again.
#: With 10 on both sides all arrive.
DEPTHS = {"best_effort": 1, "reliable": 10}
#: Advice if images are published and do not arrive.
LARGE_IMAGES = (
    "With Fast DDS large images need FASTDDS_BUILTIN_TRANSPORTS='DEFAULT?sockets_size=8MB' in the "
    "environment of the camera, or reliability: reliable on both and a depth of 10 at the camera"
)
#: Advice if images are published and none has arrived.
OTHER_USER = (
    "If the camera runs as another user, root for example, Fast DDS's shared memory carries "
    "nothing between them: set FASTDDS_BUILTIN_TRANSPORTS='UDPv4?sockets_size=8MB' for this node, "
    "or run both as one user"
)
#: Addition to "no publishers" with FASTDDS_BUILTIN_TRANSPORTS=LARGE_DATA.
LARGE_DATA = (
    "; FASTDDS_BUILTIN_TRANSPORTS=LARGE_DATA is set here, and discovers only participants that "
    "have it set too"
)


class ImageSubscription:
    """Receives the images of one topic, with external detections if there is a topic of them."""

    def __init__(
        self, node: Node, number: int, base: str, options: NodeOptions, model: ModelMetadata
    ) -> None:
        self._node = node
        self.number = number
        self.name = options.image_topics[number]
        self.topic = resolved_topic(node, "image_topics", self.name)
        # As image_transport names them; as long as nothing is published.
        is_compressed = self.topic.endswith("/compressed")
        self.message_type: Type[AnyImage] = CompressedImage if is_compressed else Image
        self.stream = StreamState(SILENCE_S)
        self.publishers = Publishers(node, base, options, model)
        self.poses = PosePublisher(node, base, number, self.topic) if options.poses else None
        self.counters = FrameCounters()
        self._reliability = options.reliability
        self._detections_topic = _detections_topic(node, base, options)
        self._detections_have_ids = self._detections_topic.endswith(SUFFIX)
        self._images: Any = None  # the subscription, which is also the first of these
        self._subscriptions: List[Any] = []
        self._frame_id = ""
        self._warned_s: Dict[str, float] = {}

    def subscribe(self, on_image: OnImage) -> None:
        """Call ``on_image`` with each image, once its external detections have arrived if any."""
        self._on_image = on_image
        self.value_range = RunningRange()
        self._pairs: StampSync[AnyImage, Found] = StampSync()
        self._received_s = self._paired_s = self.analyzed_s = time.monotonic()
        self._subscribe_to_images()
        topic = self._detections_topic
        if self._detections_have_ids:
            Ros4HriSubscriber(topic, self._subscribe, self._destroy, self._on_detections)
        elif topic:
            self._subscribe(vision.Detection2DArray, topic, self._on_detection_array)
        if self.poses:
            self._subscribe(CameraInfo, self.poses.topic, self.poses.on_camera_info)

    def adapt_type(self) -> bool:
        """Subscribe again if all images are published as the other type; return whether it was."""
        offered = self._published_types()
        if not self.is_subscribed or not offered or self.message_type in offered:
            return False
        self.message_type = offered[0]
        self._destroy(self._images)
        self._subscribe_to_images()
        return True

    def unsubscribe(self) -> None:
        """Receive no more images."""
        self._images = None
        for subscription in [*self._subscriptions]:
            self._destroy(subscription)

    def _subscribe_to_images(self) -> None:
        on_message = with_message_info(self._on_message)
        depth, self._last_sequence = DEPTHS[self._reliability], 0
        self._images = self._subscribe(
            self.message_type, self.name, on_message, depth, self._reliability
        )
        given = overridden(self._node, self.name, "subscription").policy_kinds
        depth = self._images.qos_profile.depth if QoSPolicyKind.DEPTH in given else 1
        #: Number of images that may wait for the worker: 1, or the depth of a QoS override.
        self.depth = max(int(depth), 1)

    def _subscribe(
        self,
        kind: Any,
        topic: str,
        callback: Callable[..., None],
        depth: int = 10,
        reliability: str = "best_effort",
    ) -> Any:
        qos = QoSProfile(depth=depth, reliability=ReliabilityPolicy[reliability.upper()])
        given = overridden(self._node, topic, "subscription")
        subscription = self._node.create_subscription(
            kind, topic, callback, qos, qos_overriding_options=given
        )
        self._subscriptions.append(subscription)
        return subscription

    def _destroy(self, subscription: Any) -> None:
        self._subscriptions.remove(subscription)
        self._node.destroy_subscription(subscription)

    def reset(self) -> None:
        """Remove all faces and publish their events."""
        header = Header(stamp=self._node.get_clock().now().to_msg(), frame_id=self._frame_id)
        self.publishers.publish_events(header, self.stream.reset())

    def _on_message(self, message: AnyImage, info: Dict[str, Any]) -> None:
        self._count_missed(info.get("publication_sequence_number"))
        self._received_s = time.monotonic()
        self._frame_id = message.header.frame_id
        self.counters.add(received=1)
        stamp = stamp_of(message)
        if not self._detections_topic:
            self._on_image(self, ReceivedImage(message, self._received_s))
        elif stamp == (0, 0):
            self.counters.add(unpaired=1)  # no detections can be assigned to it
        else:
            dropped = self._pairs.dropped
            self._on_pair(self._pairs.add_first(stamp, message))
            self.counters.add(unpaired=self._pairs.dropped - dropped)

    def _on_detection_array(self, message: Any) -> None:
        found = faces(message)
        self._on_detections(stamp_of(message), lambda shape: found)

    def _on_detections(self, stamp: Stamp, detections: Found) -> None:
        self._on_pair(self._pairs.add_second(stamp, detections))

    def _on_pair(self, pair: Optional[Tuple[AnyImage, Found]]) -> None:
        if pair:
            (image, detections), self._paired_s = pair, time.monotonic()
            self._on_image(self, ReceivedImage(image, self._paired_s, detections))

    @property
    def is_subscribed(self) -> bool:
        """True between :meth:`subscribe` and :meth:`unsubscribe`."""
        return self._images is not None

    @property
    def state(self) -> str:
        """``receiving`` images, ``silent``, or ``disabled``."""
        if not self.is_subscribed:
            return "disabled"
        return "silent" if time.monotonic() - self._received_s >= SILENCE_S else "receiving"

    @property
    def is_idle(self) -> bool:
        """True if no image was analyzed for SILENCE_S, whether or not images arrive."""
        return self.is_subscribed and time.monotonic() - self.analyzed_s >= SILENCE_S

    def __str__(self) -> str:
        """Return the type and the QoS to which it is subscribed."""
        qos = self._images.qos_profile
        return f"{self.message_type.__name__}, {qos.reliability.name.lower()}, depth {qos.depth}"

    def warn(self, kind: str, text: str) -> None:
        """Log a warning, at most one of a kind per ``warning_period_s``."""
        now_s, period_s = time.monotonic(), self._node.get_parameter("warning_period_s").value
        if now_s - self._warned_s.get(kind, -inf) >= period_s:
            self._warned_s[kind] = now_s
            self._node.get_logger().warning(text)

    @property
    def fault(self) -> str:
        """Problem with the stamps of the images, or with the poses of faces; empty if none."""
        return self.stream.clock.problem or (self.poses.problem if self.poses else "")

    def problem(self) -> str:
        """Return a warning: images or detections that do not arrive, or a fault; empty if none."""
        state, now_s = self.state, time.monotonic()
        if state == "silent":
            return self._silence(now_s)
        if state == "disabled":
            return ""
        if self._detections_topic and now_s - self._paired_s >= SILENCE_S:
            return (
                f"no detections on {self._detections_topic} have the stamps of the images on "
                f"{self.topic}; they must be published with the header of their image; this node "
                f"subscribes to {'IdsList' if self._detections_have_ids else 'Detection2DArray'}, "
                f"{self._publishers_of(self._detections_topic) or 'no publishers'}"
            )
        instead = "; tracks, smoothing and events use the times of arrival instead"
        advice = instead if self.stream.clock.problem else ""
        return f"{self.topic}: {self.fault}{advice}" if self.fault else ""

    def _silence(self, now_s: float) -> str:
        received = self.counters.received > 0
        since = f"for {now_s - self._received_s:.0f} s" if received else "yet"
        publishers = self._publishers_of(self.name)
        if not publishers:
            large_data = os.environ.get("FASTDDS_BUILTIN_TRANSPORTS", "").startswith("LARGE_DATA")
            publishers = "no publishers" + (LARGE_DATA if large_data else "")
        elif {*self._published_types()} != {self.message_type}:
            publishers += f". The types differ; those of images are {' and '.join(_TYPES)}"
        elif not received:
            publishers += f". {OTHER_USER}. {LARGE_IMAGES}"
        return f"no images {since} on {self.topic}; this node subscribes to {self}; {publishers}"

    def _published_types(self) -> List[Type[AnyImage]]:
        # By the given name, since rclpy remaps it.
        found = self._node.get_publishers_info_by_topic(self.name)
        return [_TYPES[each.topic_type] for each in found if each.topic_type in _TYPES]

    def _publishers_of(self, topic: str) -> str:
        return ", ".join(
            f"{p.node_name} publishes {p.topic_type} {p.qos_profile.reliability.name.lower()}"
            for p in self._node.get_publishers_info_by_topic(topic)
        )

    def _count_missed(self, sequence_number: Optional[int]) -> None:
        if not sequence_number:
            return  # only DDS in Jazzy and newer numbers them
        last, self._last_sequence = self._last_sequence, sequence_number
        missed = sequence_number - last - 1
        # Each publisher numbers its own images, so gaps mean nothing if there are two.
        if last == 0 or missed <= 0 or self._node.count_publishers(self.topic) != 1:
            return
        self.counters.add(missed=missed)
        received, missed = self.counters.received, self.counters.missed
        if missed > max(received, 30):
            self.warn(
                "missed",
                f"most images on {self.topic} do not arrive: {received} did, {missed} did not. "
                f"{LARGE_IMAGES}",
            )


def _detections_topic(node: Node, base: str, options: NodeOptions) -> str:
    """Return the full name of ``detections_topic``, empty without; OptionError if it cannot be."""
    given = options.detections_topic
    if not given:
        return ""
    topic = resolved_topic(node, "detections_topic", given)
    if topic == node.resolve_topic_name(f"{base}/detections"):
        raise OptionError(f"detections_topic {given} is published by this node itself")
    if topic.endswith(SUFFIX) and options.humans:
        raise OptionError(
            f"detections_topic {topic} has the faces that another node tracks, but humans is true: "
            "this node would track them too"
        )
    if not topic.endswith(SUFFIX) and not vision:
        raise OptionError("detections_topic needs vision_msgs, which is not installed")
    return topic
