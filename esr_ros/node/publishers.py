"""What the node says about one camera, on which topics."""

from __future__ import annotations

from typing import Any, Dict, Sequence

import numpy as np
from numpy.typing import NDArray
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile
from rclpy.qos_overriding_options import QoSOverridingOptions
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

from esr_core.inference.metadata import ModelMetadata
from esr_core.media.visualization import draw_faces
from esr_core.perception.events import Event
from esr_core.pipeline import FrameResult
from esr_ros.conversions import messages, vision_msgs
from esr_ros.msg import EmotionArray, EmotionEvent
from esr_ros.parameters import NodeOptions

JPEG_QUALITY = 85


class Publishers:
    """Publishers of one camera; nothing is computed for a topic that nobody listens to.

    base: topic of the emotions; the others lie below it.
    """

    def __init__(self, node: Node, base: str, options: NodeOptions, model: ModelMetadata) -> None:
        self._node = node
        self._publishers: Dict[str, Any] = {
            "emotions": self._offer(EmotionArray, base),
            "events": self._offer(EmotionEvent, f"{base}/events", depth=50),
        }
        if options.annotated_image == "compressed":
            self._publishers["image"] = self._offer(CompressedImage, f"{base}/image/compressed", 1)
        else:
            self._publishers["image"] = self._offer(Image, f"{base}/image", depth=1)
        if vision_msgs.INSTALLED:
            self._offer_detections(base, model)

    def _offer_detections(self, base: str, model: ModelMetadata) -> None:
        found = self._offer(vision_msgs.Detection2DArray, f"{base}/detections")
        info = self._offer(vision_msgs.VisionInfo, f"{base}/vision_info", depth=1, latched=True)
        self._publishers.update({"detections": found, "info": info})
        header = Header(stamp=self._node.get_clock().now().to_msg())
        info.publish(vision_msgs.vision_info(header, model.name))

    def _offer(self, kind: Any, topic: str, depth: int = 10, latched: bool = False) -> Any:
        qos = QoSProfile(depth=depth)
        if latched:
            qos.durability = DurabilityPolicy.TRANSIENT_LOCAL
        return self._node.create_publisher(
            kind, topic, qos, qos_overriding_options=QoSOverridingOptions.with_default_policies()
        )

    def publish(self, header: Header, rgb: NDArray[np.uint8], answer: FrameResult) -> None:
        """Tell what an image (h, w, 3) uint8 shows, under its own header.

        Raises:
            ImageError: the annotated image cannot be compressed; all else has been told.
        """
        faces, shape = answer.faces, rgb.shape
        self._publishers["emotions"].publish(messages.emotion_array(header, faces, shape))
        self.publish_events(header, answer.events)
        if self._is_heard("detections"):
            array = vision_msgs.detection_array(header, faces, shape)
            self._publishers["detections"].publish(array)
        if self._is_heard("image"):
            self._publish_image(header, draw_faces(rgb, faces))

    def publish_events(self, header: Header, events: Sequence[Event]) -> None:
        """Tell what happened to faces."""
        for event in events:
            self._publishers["events"].publish(messages.emotion_event(header, event))

    def _publish_image(self, header: Header, picture: NDArray[np.uint8]) -> None:
        publisher = self._publishers["image"]
        if publisher.msg_type is CompressedImage:
            publisher.publish(messages.jpeg(header, picture, JPEG_QUALITY))
        else:
            publisher.publish(messages.image(header, picture))

    def _is_heard(self, name: str) -> bool:
        publisher = self._publishers.get(name)
        return publisher is not None and publisher.get_subscription_count() > 0
