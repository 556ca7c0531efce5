"""Faces as ROS4HRI tells them (REP-155): a list of ids, and topics for each face.

An emotion is published as ``hri_msgs/Expression`` under the constant that stands for it there.
Contempt has none and is published as the word ``contempt``.
"""

from __future__ import annotations

import re
from typing import Any, Dict, List, Tuple

import cv2
import numpy as np
from numpy.typing import NDArray
from rclpy.node import Node
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from esr_core.errors import OptionError
from esr_core.perception.face_emotion import FaceEmotion
from esr_core.pipeline import FrameResult
from esr_ros.conversions import messages

try:
    from rclpy.event_handler import PublisherEventCallbacks
except ModuleNotFoundError:  # Humble
    from rclpy.qos_event import PublisherEventCallbacks

try:
    from hri_msgs import msg as hri
except ModuleNotFoundError:  # optional: the parameter `humans` is refused then
    hri = None

#: The project's labels in the words of hri_msgs.
EXPRESSIONS = {
    "neutral": "neutral",
    "happy": "happy",
    "sad": "sad",
    "surprise": "surprised",
    "fear": "scared",
    "disgust": "disgusted",
    "anger": "angry",
    "contempt": "contempt",
}
#: The worker thread makes and ends these publishers while the executor waits. Without QoS events
#: there is nothing of them that the executor waits for.
NO_EVENTS = PublisherEventCallbacks(use_default_callbacks=False)
#: Side of a ``cropped`` image, px.
CROP_PX = 128
TRACKED = "/humans/faces/tracked"


class Ros4HriPublisher:
    """Publishers that come and go with the faces of all cameras."""

    def __init__(self, node: Node) -> None:
        if hri is None:
            raise OptionError(
                "humans is true, but hri_msgs is not installed; install it, or say false"
            )
        self._node = node
        self._tracked = node.create_publisher(hri.IdsList, TRACKED, 1)
        self._seen: Dict[int, List[str]] = {}  # by each camera, in its last image
        self._faces: Dict[str, Dict[str, Any]] = {}

    def publish(
        self, camera: int, header: Header, rgb: NDArray[np.uint8], answer: FrameResult
    ) -> None:
        """Tell of the faces that an image (h, w, 3) uint8 of a camera shows."""
        for event in answer.events:
            if event.kind == "disappeared":
                self._withdraw(name(camera, event.face.face_id))
        for face in answer.faces:
            self._publish_face(name(camera, face.face_id), header, rgb, face)
        self._seen[camera] = [name(camera, face.face_id) for face in answer.faces]
        self._tell_tracked(header)

    def _publish_face(
        self, human: str, header: Header, rgb: NDArray[np.uint8], face: FaceEmotion
    ) -> None:
        publishers = self._faces.get(human) or self._offer(human)
        place = messages.region(face, rgb.shape)
        publishers["roi"].publish(_normalised(header, place, rgb.shape, face.score))
        publishers["expression"].publish(
            hri.Expression(
                header=header,
                expression=EXPRESSIONS[face.label],
                valence=face.valence,
                arousal=face.arousal,
                confidence=face.confidence,
            )
        )
        if publishers["cropped"].get_subscription_count() > 0:
            publishers["cropped"].publish(messages.image(header, _cropped(rgb, place)))

    def _offer(self, human: str) -> Dict[str, Any]:
        kinds = {
            "roi": hri.NormalizedRegionOfInterest2D,
            "expression": hri.Expression,
            "cropped": Image,
        }
        self._faces[human] = {
            what: self._node.create_publisher(
                kind, f"/humans/faces/{human}/{what}", 1, event_callbacks=NO_EVENTS
            )
            for what, kind in kinds.items()
        }
        return self._faces[human]

    def _withdraw(self, human: str) -> None:
        for publisher in self._faces.pop(human, {}).values():
            self._node.destroy_publisher(publisher)

    def forget(self, camera: int) -> None:
        """Follow no face of a camera any more, and tell so."""
        if not self._seen.pop(camera, None):
            return
        own = re.compile(_letters(camera) + r"\d+")
        for human in [each for each in self._faces if own.fullmatch(each)]:
            self._withdraw(human)
        self._tell_tracked(Header(stamp=self._node.get_clock().now().to_msg()))

    def _tell_tracked(self, header: Header) -> None:
        ids = [each for seen in self._seen.values() for each in seen]
        self._tracked.publish(hri.IdsList(header=header, ids=ids))


def name(camera: int, face_id: int) -> str:
    """Return the id of a face for others: letters for its camera, and digits.

    A part of a topic's name must not begin with a digit.
    """
    return f"{_letters(camera)}{face_id:04d}"


def _letters(camera: int) -> str:
    """f, g, …, z for the first cameras, then fz, gz, …"""
    return chr(ord("f") + camera % 21) + "z" * (camera // 21)


def _normalised(
    header: Header, place: messages.Region, shape: Tuple[int, ...], score: float
) -> Any:
    height, width = shape[:2]
    return hri.NormalizedRegionOfInterest2D(
        header=header,
        xmin=place.left / width,
        ymin=place.top / height,
        xmax=(place.left + place.width) / width,
        ymax=(place.top + place.height) / height,
        c=score,
    )


def _cropped(rgb: NDArray[np.uint8], place: messages.Region) -> NDArray[np.uint8]:
    """Return the face with its longer side filling a square of CROP_PX, black beside it."""
    face = rgb[place.top : place.top + place.height, place.left : place.left + place.width]
    scale = CROP_PX / max(face.shape[:2])
    width, height = (max(round(side * scale), 1) for side in (face.shape[1], face.shape[0]))
    square = np.zeros((CROP_PX, CROP_PX, 3), np.uint8)
    top, left = (CROP_PX - height) // 2, (CROP_PX - width) // 2
    small = cv2.resize(face, (width, height), interpolation=cv2.INTER_AREA)
    square[top : top + height, left : left + width] = small
    return square
