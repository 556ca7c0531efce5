"""ROS4HRI (REP-155) publisher: the list of face ids, and the topics of each face.

An emotion is published as ``hri_msgs/Expression`` with the constant of the same meaning. Contempt
has none and is published as the string ``contempt``.
"""

from __future__ import annotations

from typing import Any, Dict, List, Tuple

import cv2
import numpy as np
from numpy.typing import NDArray
from rclpy.node import Node
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from esr_core.emotions import LABELS
from esr_core.errors import OptionError
from esr_core.perception.face_emotion import FaceEmotion
from esr_core.pipeline import FrameResult
from esr_ros.conversions import messages
from esr_ros.conversions.messages import hri
from esr_ros.runtime.rclpy_features import PublisherEventCallbacks, publish

#: Expressions of hri_msgs by label, where they differ.
_OTHERS = {"surprise": "surprised", "fear": "scared", "disgust": "disgusted", "anger": "angry"}
EXPRESSIONS = {label: _OTHERS.get(label, label) for label in LABELS}
#: The worker thread creates and destroys these publishers while the executor waits. Without QoS
#: events the executor waits for nothing of them.
NO_EVENTS = PublisherEventCallbacks(use_default_callbacks=False)
#: Side of a ``cropped`` image, px.
CROP_PX = 128
TRACKED = "/humans/faces/tracked"


class Ros4HriPublisher:
    """Creates publishers for each face of all cameras, and destroys them when the face is gone."""

    def __init__(self, node: Node) -> None:
        if hri is None:
            raise OptionError(
                "humans is true, but hri_msgs is not installed; install it, or set humans to false"
            )
        self._node = node
        self._tracked = node.create_publisher(hri.IdsList, TRACKED, 1)
        self._ids: Dict[int, List[str]] = {}  # by camera, of its last image
        self._faces: Dict[Tuple[int, int], List[Any]] = {}  # publishers by camera and face id

    def publish(
        self, camera: int, header: Header, rgb: NDArray[np.uint8], result: FrameResult
    ) -> None:
        """Publish the faces of an image (h, w, 3) uint8 of a camera."""
        for event in result.events:
            if event.kind == "disappeared":
                self._withdraw((camera, event.face.face_id))
        for face in result.faces:
            self._publish_face((camera, face.face_id), header, rgb, face)
        self._ids[camera] = [name(camera, face.face_id) for face in result.faces]
        self._publish_ids(header)

    def withdraw_all(self, camera: int) -> None:
        """Remove all faces of a camera."""
        # Faces that the last image did not show have publishers, too.
        for key in [key for key in self._faces if key[0] == camera]:
            self._withdraw(key)
        if self._ids.pop(camera, None):
            self._publish_ids(Header(stamp=self._node.get_clock().now().to_msg()))

    def _publish_face(
        self, key: Tuple[int, int], header: Header, rgb: NDArray[np.uint8], face: FaceEmotion
    ) -> None:
        if key not in self._faces:
            kinds = (hri.NormalizedRegionOfInterest2D, hri.Expression, Image)
            self._faces[key] = [
                self._node.create_publisher(
                    kind, f"/humans/faces/{name(*key)}/{below}", 1, event_callbacks=NO_EVENTS
                )
                for below, kind in zip(("roi", "expression", "cropped"), kinds)
            ]
        roi, expression, cropped = self._faces[key]
        left, top, right, bottom = messages.pixel_box(face, rgb.shape)
        height, width = rgb.shape[:2]
        publish(
            roi,
            hri.NormalizedRegionOfInterest2D(
                header=header,
                xmin=left / width,
                ymin=top / height,
                xmax=right / width,
                ymax=bottom / height,
                c=face.score,
            ),
        )
        publish(
            expression,
            hri.Expression(
                header=header,
                expression=EXPRESSIONS[face.label],
                valence=face.valence,
                arousal=face.arousal,
                confidence=face.confidence,
            ),
        )
        if cropped.get_subscription_count() > 0:
            publish(cropped, messages.image(header, _cropped(rgb[top:bottom, left:right])))

    def _withdraw(self, key: Tuple[int, int]) -> None:
        for publisher in self._faces.pop(key, ()):
            self._node.destroy_publisher(publisher)

    def _publish_ids(self, header: Header) -> None:
        ids = [human for camera in self._ids.values() for human in camera]
        publish(self._tracked, hri.IdsList(header=header, ids=ids))


def name(camera: int, face_id: int) -> str:
    """Return the ROS4HRI id of a face: letters for its camera, as topic names begin with one."""
    # f, g, …, z for the first cameras, then fz, gz, …
    return f"{chr(ord('f') + camera % 21)}{'z' * (camera // 21)}{face_id:04d}"


def _cropped(face: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return pixels (h, w, 3), scaled to a square of CROP_PX with black borders."""
    scale = CROP_PX / max(face.shape[:2])
    height, width = (max(round(side * scale), 1) for side in face.shape[:2])
    square = np.zeros((CROP_PX, CROP_PX, 3), np.uint8)
    top, left = (CROP_PX - height) // 2, (CROP_PX - width) // 2
    small = cv2.resize(face, (width, height), interpolation=cv2.INTER_AREA)
    square[top : top + height, left : left + width] = small
    return square
