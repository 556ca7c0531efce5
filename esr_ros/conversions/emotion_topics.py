"""The topics of one camera's results, declared once for the node and for bags."""

from __future__ import annotations

import posixpath
import re
from typing import Any, Callable, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np
from numpy.typing import NDArray
from rclpy.exceptions import InvalidTopicNameException
from rclpy.validate_full_topic_name import validate_full_topic_name
from std_msgs.msg import Header

from esr_core.errors import OptionError
from esr_core.media.visualization import draw_faces
from esr_core.pipeline import FrameResult
from esr_ros.conversions import messages

JPEG_QUALITY = 85


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
    type_name: str  # such as std_msgs/msg/Header
    build: Callable[[ImageResult], List[Any]]
    depth: int = 10
    is_latched: bool = False  # published once, with durability TRANSIENT_LOCAL
    is_lazy: bool = False  # the node builds it only for subscribers
    only_if: str = ""  # value of ``annotated_image`` with which there is this topic

    @property
    def message_type(self) -> Any:
        """Return the type; None if its package is not installed."""
        package, _, name = self.type_name.split("/")
        return getattr(messages.optional(package), name, None)


def _faces(build: Callable[..., Any]) -> Callable[[ImageResult], List[Any]]:
    """Return the builder of one message with all faces of an image."""
    return lambda r: [build(r.header, r.result.faces, r.shape)]


_IMAGE = EmotionTopic(
    "/image",
    "sensor_msgs/msg/Image",
    lambda r: [messages.image(r.header, r.annotated())],
    depth=1,
    is_lazy=True,
    only_if="raw",
)
_ALL = (
    EmotionTopic("", "esr_ros/msg/EmotionArray", _faces(messages.emotion_array)),
    EmotionTopic(
        "/events",
        "esr_ros/msg/EmotionEvent",
        lambda r: [messages.emotion_event(r.header, event) for event in r.result.events],
        depth=50,
    ),
    EmotionTopic(
        "/image_annotations",
        "foxglove_msgs/msg/ImageAnnotations",
        _faces(messages.image_annotations),
        is_lazy=True,
    ),
    EmotionTopic(
        "/detections",
        "vision_msgs/msg/Detection2DArray",
        _faces(messages.detection_array),
        is_lazy=True,
    ),
    EmotionTopic(
        "/vision_info",
        "vision_msgs/msg/VisionInfo",
        lambda r: [messages.vision_info(r.header, r.model_name)],
        depth=1,
        is_latched=True,
    ),
    _IMAGE,
    _IMAGE._replace(
        suffix="/image/compressed",
        type_name="sensor_msgs/msg/CompressedImage",
        build=lambda r: [messages.jpeg(r.header, r.annotated(), JPEG_QUALITY)],
        only_if="compressed",
    ),
)
#: Those whose types are installed.
TOPICS = [topic for topic in _ALL if topic.message_type]


def emotion_topics(annotated_image: str = "") -> List[EmotionTopic]:
    """Return the topics with annotated images that are ``raw``, ``compressed``, or none ("")."""
    return [topic for topic in TOPICS if topic.only_if in ("", annotated_image)]


def without_transport(image_topic: str) -> str:
    """Return the topic of the raw images, given that or the one of the compressed images."""
    return re.sub("/compressed$", "", image_topic)


def beside(image_topic: str, name: str) -> str:
    """Return the topic of a name in the namespace of an image topic."""
    return posixpath.join(posixpath.dirname(without_transport(image_topic)), name)


def bases(
    names: Sequence[str], topics: Sequence[str], resolve: Callable[[str], str] = str
) -> List[str]:
    """Return the topic of the emotions of each image topic.

    names: as the parameter has them. topics: the same, resolved by ``resolve``.
    Raises OptionError if two of them are one topic, or would have one topic of emotions.
    """
    if len(names) == 1:
        return ["emotion"]
    chosen: List[str] = []
    resolved: List[str] = []
    for i, (name, topic) in enumerate(zip(names, topics)):
        base = beside(name, "emotion")
        if topic in topics[:i]:
            raise OptionError(f"image_topics has {topic} twice")
        if resolve(base) in resolved:
            first = names[resolved.index(resolve(base))]
            raise OptionError(
                f"the results of image_topics {first} and {name} would both be "
                f"published on {base}; each needs a namespace of its own, such as left/image_raw"
            )
        chosen.append(base)
        resolved.append(resolve(base))
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
