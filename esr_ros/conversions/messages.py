"""Messages of the pipeline's results."""

from __future__ import annotations

import array
from importlib import import_module
from typing import Any, Dict, List, Tuple

import cv2
import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import CompressedImage, Image, RegionOfInterest
from std_msgs.msg import Header

from esr_core.emotions import LABELS
from esr_core.errors import ImageError
from esr_core.perception.events import KINDS, Event
from esr_core.perception.face_emotion import FaceEmotion
from esr_ros.msg import Emotion, EmotionArray, EmotionEvent

#: JPEG has 16 bits for the length of a side; OpenCV's limit is a little lower.
JPEG_LONGEST_PX = 65500


def optional(package: str) -> Any:
    """Return the messages of a package that may not be installed; None if it is not."""
    try:
        return import_module(f"{package}.msg")
    except ModuleNotFoundError:
        return None


def pixel_box(face: FaceEmotion, shape: Tuple[int, ...]) -> Tuple[int, int, int, int]:
    """Return left, top, right, bottom of a face, px, cut to an image of ``shape`` (h, w, …)."""
    x1, y1, x2, y2 = map(round, face.visible_box(shape))
    left, top = min(x1, shape[1] - 1), min(y1, shape[0] - 1)
    return left, top, max(x2, left + 1), max(y2, top + 1)


def emotion_array(header: Header, faces: List[FaceEmotion], shape: Tuple[int, ...]) -> EmotionArray:
    """Return the message of one image of ``shape`` (h, w, …), with the image's own header."""
    message = EmotionArray(header=header)
    for face in faces:
        left, top, right, bottom = pixel_box(face, shape)
        size = {"width": right - left, "height": bottom - top}
        emotion = Emotion(
            roi=RegionOfInterest(x_offset=left, y_offset=top, **size),
            detection_score=face.score,
            probabilities=face.probabilities,
            agreement=face.agreement,
            branches_evaluated=face.branches_evaluated,
            **_common(face),
        )
        message.emotions.append(emotion)
    return message


def emotion_event(header: Header, event: Event) -> EmotionEvent:
    """Return the message of an event, with the header of the image in which it was detected."""
    return EmotionEvent(
        header=header,
        type=KINDS.index(event.kind),
        previous_emotion=event.previous,
        previous_label=LABELS[event.previous],
        **_common(event.face),
    )


def _common(face: FaceEmotion) -> Dict[str, Any]:
    names = ("face_id", "emotion", "label", "confidence", "valence", "arousal")
    return {name: getattr(face, name) for name in names}


def image(header: Header, rgb: NDArray[np.uint8]) -> Image:
    """Return pixels (h, w, 3) uint8 as an ``rgb8`` image."""
    height, width = rgb.shape[:2]
    message = Image(header=header, height=height, width=width, encoding="rgb8", step=3 * width)
    message.data = array.array("B", rgb.tobytes())  # rclpy checks bytes one by one
    return message


def jpeg(header: Header, rgb: NDArray[np.uint8], quality: int) -> CompressedImage:
    """Return pixels (h, w, 3) uint8 as a JPEG of ``quality`` percent.

    Raises ImageError if a side is longer than JPEG_LONGEST_PX.
    """
    height, width = rgb.shape[:2]
    if max(height, width) > JPEG_LONGEST_PX:
        raise ImageError(
            f"no JPEG holds a picture of {width}x{height}; {JPEG_LONGEST_PX} is the longest side"
        )
    bgr = cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR)
    encoded: Tuple[bool, Any] = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])
    message = CompressedImage(header=header, format="rgb8; jpeg compressed bgr8")
    message.data = array.array("B", encoded[1].tobytes())
    return message
