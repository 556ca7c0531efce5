"""Messages of the pipeline's results."""

from __future__ import annotations

import array
from importlib import import_module
from typing import Any, Dict, List, Sequence, Tuple

import cv2
import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import CompressedImage, Image, RegionOfInterest
from std_msgs.msg import Header

from esr_core.emotions import COLOURS_RGB, LABELS
from esr_core.errors import ImageError
from esr_core.media.visualization import BOX_PX, LINE_PX, TITLE_PX, TITLE_RGB, title, unit_px
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


foxglove = optional("foxglove_msgs")  # without it there is no `emotion/image_annotations`
hri = optional("hri_msgs")  # without it `humans`, and ROS4HRI's `detections_topic`, are refused
vision = optional("vision_msgs")  # without it there is no `emotion/detections`


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


def vision_info(header: Header, method: str) -> Any:
    """Return the description of the detector; the labels are words and need no database."""
    return vision.VisionInfo(
        header=header,
        method=method,
        database_location="package://esr_ros/msg/Emotion.msg",
        database_version=1,
    )


def detection_array(header: Header, faces: List[FaceEmotion], shape: Tuple[int, ...]) -> Any:
    """Return the Detection2DArray of an image, with a hypothesis for each emotion."""
    detections = []
    for face in faces:
        left, top, right, bottom = pixel_box(face, shape)
        detection = vision.Detection2D(header=header, id=str(face.face_id))
        detection.bbox.size_x, detection.bbox.size_y = float(right - left), float(bottom - top)
        centre = detection.bbox.center.position
        centre.x, centre.y = (left + right) / 2, (top + bottom) / 2
        # The label of the face first, then the other emotions by probability.
        scores = face.probabilities
        for i in sorted(range(len(LABELS)), key=lambda i: (i != face.emotion, -scores[i])):
            hypothesis = vision.ObjectHypothesis(class_id=LABELS[i], score=float(scores[i]))
            detection.results.append(vision.ObjectHypothesisWithPose(hypothesis=hypothesis))
        detections.append(detection)
    return vision.Detection2DArray(header=header, detections=detections)


def image_annotations(header: Header, faces: List[FaceEmotion], shape: Tuple[int, ...]) -> Any:
    """Return the ImageAnnotations of an image: a box per face, and its label above it.

    Sizes and colours are those of :func:`~esr_core.media.visualization.draw_faces`.
    """
    message = foxglove.ImageAnnotations()
    if hasattr(message, "timestamp"):  # from 3.2.5 on
        message.timestamp = header.stamp
    unit = unit_px(shape)
    for face in faces:
        left, top, right, bottom = map(float, pixel_box(face, shape))
        colour = _colour(COLOURS_RGB[face.emotion])
        corners = [(left, top), (right, top), (right, bottom), (left, bottom)]
        message.points.append(
            foxglove.PointsAnnotation(
                timestamp=header.stamp,
                type=foxglove.PointsAnnotation.LINE_LOOP,
                points=[foxglove.Point2(x=x, y=y) for x, y in corners],
                outline_color=colour,
                thickness=BOX_PX * unit,
            )
        )
        message.texts.append(
            foxglove.TextAnnotation(
                timestamp=header.stamp,
                # Of its lower left corner: above the box, or at the top of the image.
                position=foxglove.Point2(x=left, y=max(top, LINE_PX * unit)),
                text=title(face),
                font_size=TITLE_PX * unit,
                text_color=_colour(TITLE_RGB),
                background_color=colour,
            )
        )
    return message


def _colour(rgb: Sequence[int]) -> Any:
    red, green, blue = (each / 255 for each in rgb)
    return foxglove.Color(r=red, g=green, b=blue, a=1.0)


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
