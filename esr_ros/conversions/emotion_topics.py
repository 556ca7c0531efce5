"""The topics of one camera's results, declared once for the node and for bags."""

from __future__ import annotations

import posixpath
from typing import Any, Callable, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np
from numpy.typing import NDArray
from rclpy.exceptions import InvalidTopicNameException
from rclpy.validate_full_topic_name import validate_full_topic_name
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

from esr_core.errors import OptionError
from esr_core.media.visualization import draw_faces
from esr_core.pipeline import FrameResult
from esr_ros.conversions import foxglove_msgs, vision_msgs
from esr_ros.conversions.messages import emotion_array, emotion_event, image, jpeg
from esr_ros.msg import EmotionArray, EmotionEvent

JPEG_QUALITY = 85
_COMPRESSED = "/compressed"
#: Topic of the annotated images by the value of ``annotated_image``.
_IMAGES = {"raw": "/image", "compressed": "/image/compressed"}


class ImageResult(NamedTuple):
    """The result of one image: the input of the message builders."""

    header: Header
    model_name: str
    result: FrameResult = FrameResult([], [])
    shape: Tuple[int, ...] = ()  # (h, w, ...) in px
    rgb: Optional[NDArray[np.uint8]] = None  # (h, w, 3); used by annotated images only

    def annotated(self) -> NDArray[np.uint8]:
        """Return a copy of the image with the faces drawn on it."""
        assert self.rgb is not None
        return draw_faces(self.rgb, self.result.faces)


class EmotionTopic(NamedTuple):
    """A topic below that of the emotions; ``build`` returns its messages for one image."""

    suffix: str
    message_type: Any
    build: Callable[[ImageResult], List[Any]]
    depth: int = 10
    is_latched: bool = False  # published once, with durability TRANSIENT_LOCAL
    is_lazy: bool = False  # the node builds it only for subscribers

    @property
    def type_name(self) -> str:
        """Return the full name of the type, such as ``std_msgs/msg/Header``."""
        package = self.message_type.__module__.partition(".")[0]
        return f"{package}/msg/{self.message_type.__name__}"


TOPICS = [
    EmotionTopic("", EmotionArray, lambda r: [emotion_array(r.header, r.result.faces, r.shape)]),
    EmotionTopic(
        "/events", EmotionEvent, lambda r: [emotion_event(r.header, e) for e in r.result.events], 50
    ),
    EmotionTopic(
        "/image", Image, lambda r: [image(r.header, r.annotated())], depth=1, is_lazy=True
    ),
    EmotionTopic(
        "/image/compressed",
        CompressedImage,
        lambda r: [jpeg(r.header, r.annotated(), JPEG_QUALITY)],
        depth=1,
        is_lazy=True,
    ),
]
if vision_msgs.INSTALLED:
    TOPICS[2:2] = [
        EmotionTopic(
            "/detections",
            vision_msgs.Detection2DArray,
            lambda r: [vision_msgs.detection_array(r.header, r.result.faces, r.shape)],
            is_lazy=True,
        ),
        EmotionTopic(
            "/vision_info",
            vision_msgs.VisionInfo,
            lambda r: [vision_msgs.vision_info(r.header, r.model_name)],
            depth=1,
            is_latched=True,
        ),
    ]
if foxglove_msgs.INSTALLED:
    TOPICS[2:2] = [
        EmotionTopic(
            "/image_annotations",
            foxglove_msgs.ImageAnnotations,
            lambda r: [foxglove_msgs.image_annotations(r.header, r.result.faces, r.shape)],
            is_lazy=True,
        ),
    ]


def emotion_topics(annotated_image: str = "") -> List[EmotionTopic]:
    """Return the topics with annotated images that are ``raw``, ``compressed``, or none ("")."""
    left_out = {*_IMAGES.values()} - {_IMAGES.get(annotated_image)}
    return [topic for topic in TOPICS if topic.suffix not in left_out]


def without_transport(image_topic: str) -> str:
    """Return the topic of the raw images, given that or the one of the compressed images."""
    is_compressed = image_topic.endswith(_COMPRESSED)
    return image_topic[: -len(_COMPRESSED)] if is_compressed else image_topic


def beside(image_topic: str, name: str) -> str:
    """Return the topic of a name in the namespace of an image topic."""
    return posixpath.join(posixpath.dirname(without_transport(image_topic)), name)


def bases(names: Sequence[str], topics: Sequence[str]) -> List[str]:
    """Return the topic of the emotions of each image topic.

    names: as the parameter has them. topics: the same, resolved.
    Raises OptionError if two of them are one topic, or would have one topic of emotions.
    """
    if len(names) == 1:
        return ["emotion"]
    chosen: List[str] = []
    for i, (name, topic) in enumerate(zip(names, topics)):
        base = beside(name, "emotion")
        if topic in topics[:i]:
            raise OptionError(f"image_topics has {topic} twice")
        if base in chosen:
            raise OptionError(
                f"the results of image_topics {names[chosen.index(base)]} and {name} would both be "
                f"published on {base}; each needs a namespace of its own, such as left/image_raw"
            )
        chosen.append(base)
    return chosen


def bag_bases(cameras: Sequence[str], requested: str = "") -> List[str]:
    """Return the topic of the emotions of each image topic of a bag, as the node names it.

    requested: in place of the node's name, for a single image topic.
    Raises OptionError if two would have one topic of emotions, or for an invalid name.
    """
    if not requested or len(cameras) > 1:
        return [f"/{base.lstrip('/')}" for base in bases(cameras, cameras)]
    name = requested if requested.startswith("/") else f"/{requested}"
    try:
        validate_full_topic_name(name)
    except InvalidTopicNameException as error:
        raise OptionError(f"--emotion-topic: {requested!r} is no name of a topic") from error
    return [name]
