"""Subscriptions of one camera's emotions and annotated images, for the live page."""

from __future__ import annotations

import math
import posixpath
import statistics
import time
from collections import deque
from functools import partial
from typing import Any, Callable, Deque, Dict, List, Optional, Set

import cv2
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.serialization import deserialize_message
from sensor_msgs.msg import CompressedImage, Image

from esr_core.emotions import LABELS
from esr_core.errors import ImageError
from esr_core.perception.stream_clock import LONGEST_LATENCY_S
from esr_ros.conversions.emotion_topics import JPEG_QUALITY, beside
from esr_ros.conversions.image_decoding import decode
from esr_ros.conversions.messages import jpeg
from esr_ros.dashboard.options import HISTORY_S, DashboardOptions
from esr_ros.msg import EmotionArray

OnPicture = Callable[[str, bytes], None]
#: Time over which the rate is measured.
RATE_S = 3.0
#: Topics of annotated images below that of the emotions, in the order of preference.
_PICTURES = {"/image": Image, "/image/compressed": CompressedImage}


def best_effort(depth: int) -> QoSProfile:
    """Return a QoS that every publisher matches and that delays none."""
    return QoSProfile(depth=depth, reliability=ReliabilityPolicy.BEST_EFFORT)


def publisher_names(node: Node, topic: str) -> Set[str]:
    """Return the nodes that publish a topic, as in the names of diagnostic statuses."""
    infos = node.get_publishers_info_by_topic(topic)
    return {posixpath.join(each.node_namespace, each.node_name).lstrip("/") for each in infos}


class CameraFeed:
    """The newest results and pictures of one emotion topic, from its creation until ``close``."""

    def __init__(
        self, node: Node, topic: str, options: DashboardOptions, on_picture: OnPicture
    ) -> None:
        self.topic = topic
        self._node, self._options, self._on_picture = node, options, on_picture
        self._sample: Optional[Dict[str, Any]] = None
        self._began_s, self._faces = time.monotonic(), 0
        self._status_name: Optional[str] = None
        self._arrivals_s: Deque[float] = deque(maxlen=400)
        self._latencies_s: Deque[float] = deque(maxlen=60)
        self._picture: Any = None
        self._picture_topic, self._picture_due_s = "", 0.0
        qos, on_emotions = best_effort(10), self._on_emotions
        self._emotions = node.create_subscription(EmotionArray, topic, on_emotions, qos)
        self.find_picture()

    def close(self) -> None:
        """Destroy the subscriptions."""
        for subscription in (self._emotions, self._picture):
            if subscription is not None:
                self._node.destroy_subscription(subscription)

    def find_picture(self) -> None:
        """Subscribe to the annotated image of the type that is published."""
        topics = {self.topic + suffix: kind for suffix, kind in _PICTURES.items()}
        published = [topic for topic in topics if self._node.count_publishers(topic)]
        if not published or self._picture_topic in published:
            return
        if self._picture:
            self._node.destroy_subscription(self._picture)
        self._picture_topic = published[0]
        kind = topics[published[0]]
        on_image = partial(self._on_image, kind)
        # Serialized, as most of the images are dropped here.
        self._picture = self._node.create_subscription(
            kind, self._picture_topic, on_image, best_effort(1), raw=True
        )

    @property
    def has_ended(self) -> bool:
        """Return whether there is no publisher, and the page has nothing left of the camera."""
        last_s = self._arrivals_s[-1] if self._arrivals_s else self._began_s
        is_old = time.monotonic() - last_s > HISTORY_S
        return is_old and self._node.count_publishers(self.topic) == 0

    def take_sample(self) -> Optional[Dict[str, Any]]:
        """Return the newest faces, with their time of arrival in ms; None if there is no newer."""
        sample, self._sample = self._sample, None
        return sample

    def summary(self, statuses: List[Dict[str, Any]]) -> Dict[str, Any]:
        """Return the figures of the camera; statuses: of all nodes, for the page."""
        now_s = time.monotonic()
        recent_s = [each for each in self._arrivals_s if each > now_s - RATE_S]
        last_s = self._arrivals_s[-1] if self._arrivals_s else None
        span_s = max(now_s - recent_s[0], 0.1) if recent_s else 1.0
        latencies_s = [*self._latencies_s] if recent_s else []
        return {
            "topic": self.topic,
            "silent_s": None if last_s is None else round(now_s - last_s, 1),
            "faces": self._faces if recent_s else 0,
            "rate_hz": round(len(recent_s) / span_s, 1),
            "latency_ms": round(statistics.median(latencies_s) * 1e3, 1) if latencies_s else None,
            "picture": self._picture is not None,
            "status": self._status(statuses),
        }

    def _status(self, statuses: List[Dict[str, Any]]) -> Optional[str]:
        """Return the name of this camera's diagnostic status."""
        publishers = publisher_names(self._node, self.topic)
        own = [each for each in statuses if each["name"].partition(":")[0] in publishers]
        if len(own) > 1:  # a node of several cameras: each has the namespace of its images
            space = beside(self.topic, "")
            own = [each for each in own if beside(each["topic"], "") == space]
        if own:  # also after its node has ended
            self._status_name = own[0]["name"]
        return self._status_name

    def _on_emotions(self, message: EmotionArray) -> None:
        now_s = time.monotonic()
        self._arrivals_s.append(now_s)
        self._faces = len(message.emotions)
        stamp = message.header.stamp
        latency_s = self._node.get_clock().now().nanoseconds * 1e-9
        latency_s -= stamp.sec + stamp.nanosec * 1e-9
        if (stamp.sec or stamp.nanosec) and 0 <= latency_s < LONGEST_LATENCY_S:
            self._latencies_s.append(latency_s)
        else:
            self._latencies_s.clear()
        faces = [face_json(face) for face in message.emotions if face.emotion < len(LABELS)]
        self._sample = {"topic": self.topic, "t": round(now_s * 1e3), "faces": faces}

    def _on_image(self, kind: Any, data: bytes) -> None:
        now_s = time.monotonic()
        period_s = 1 / self._options.rate_hz
        if now_s < self._picture_due_s - 0.1 * period_s:  # a camera's rate is never quite even
            return
        self._picture_due_s = max(self._picture_due_s + period_s, now_s)
        message = deserialize_message(data, kind)
        try:
            compressed = message if kind is CompressedImage else self._compressed(message)
        except ImageError as error:
            log = self._node.get_logger()
            log.warning(f"no picture of {self.topic}: {error}", throttle_duration_sec=5.0)
            return
        self._on_picture(self.topic, bytes(compressed.data))

    def _compressed(self, message: Image) -> CompressedImage:
        rgb: Any = decode(message)
        height, width = rgb.shape[:2]
        scale = min(self._options.picture_width_px / max(width, height), 1.0)
        size_px = max(round(width * scale), 1), max(round(height * scale), 1)
        if scale < 1:
            rgb = cv2.resize(rgb, size_px, interpolation=cv2.INTER_AREA)
        return jpeg(message.header, rgb, JPEG_QUALITY)


def face_json(face: Any) -> List[int]:
    """Return id, label, eight probabilities, valence and arousal; these in thousandths."""
    values = (*face.probabilities, face.valence, face.arousal)
    thousandths = (round(float(each) * 1000) if math.isfinite(each) else 0 for each in values)
    return [int(face.face_id), int(face.emotion), *thousandths]
