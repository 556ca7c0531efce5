"""What the node would say about one camera's images, as messages of a bag."""

from __future__ import annotations

from typing import Any, List, Sequence

from builtin_interfaces.msg import Time
from rclpy.exceptions import InvalidTopicNameException
from rclpy.validate_full_topic_name import validate_full_topic_name
from rosbags.interfaces import Connection
from std_msgs.msg import Header

from esr_core.errors import OptionError
from esr_core.media.visualization import draw_faces
from esr_core.perception.stream_state import StreamState
from esr_core.pipeline import EmotionPipeline
from esr_ros.annotation.worker import COMPRESSED, IMAGE, AnalysisRecord
from esr_ros.bags import cdr
from esr_ros.bags.writer import BagWriter
from esr_ros.conversions import messages, vision_msgs
from esr_ros.node.image_subscription import bases
from esr_ros.node.publishers import JPEG_QUALITY

#: The topics of one camera: that of the emotions, and those below it.
BELOW = ("", "/events", "/detections", "/vision_info", "/image", "/image/compressed")


def answer_topics(cameras: Sequence[str], asked: str = "") -> List[str]:
    """Return where the emotions of each image topic are told: where the node has them.

    Raises:
        OptionError: those of two image topics would be one topic; or a name is none.
    """
    if asked and len(cameras) == 1:
        name = asked if asked.startswith("/") else f"/{asked}"
        try:
            validate_full_topic_name(name)
        except InvalidTopicNameException as error:
            raise OptionError(f"--emotion-topic: {asked!r} is no name of a topic") from error
        return [name]
    named = bases(cameras, cameras)
    return [name if name.startswith("/") else f"/{name}" for name in named]


class AnswerWriter:
    """Topics of one camera, as :class:`esr_ros.node.publishers.Outputs` offers them."""

    def __init__(
        self, writer: BagWriter, base: str, pipeline: EmotionPipeline, image: str = ""
    ) -> None:
        """base: topic of the emotions. image: ``raw`` or ``compressed``: annotated ones too."""
        self.faces = 0  # that were given an id
        self.with_faces = 0  # images
        self._writer = writer
        self._pipeline = pipeline
        self._stream = StreamState()
        self._has_begun = False
        self._emotions = writer.offer(base, "esr_ros/msg/EmotionArray")
        self._events = writer.offer(f"{base}/events", "esr_ros/msg/EmotionEvent", 50)
        if vision_msgs.INSTALLED:
            kind = "vision_msgs/msg/{}"
            self._detections = writer.offer(f"{base}/detections", kind.format("Detection2DArray"))
            self._info = writer.offer(f"{base}/vision_info", kind.format("VisionInfo"), 1, True)
        self._image = image
        if image:
            compressed = image == "compressed"
            topic = f"{base}/image/compressed" if compressed else f"{base}/image"
            self._images = writer.offer(topic, COMPRESSED if compressed else IMAGE, 1)

    def tell(self, time_ns: int, sight: AnalysisRecord) -> None:
        """Write what an image shows; time_ns: when it was recorded."""
        assert sight.seen is not None
        sec, nanosec, frame_id = sight.header
        header = Header(stamp=Time(sec=sec, nanosec=nanosec), frame_id=frame_id)
        answer = self._pipeline.update(self._stream, sight.header.seconds(time_ns), sight.seen)
        self.faces = max([self.faces, *(face.face_id for face in answer.faces)])
        self.with_faces += bool(answer.faces)
        if vision_msgs.INSTALLED and not self._has_begun:
            info = vision_msgs.vision_info(header, self._pipeline.model.metadata.name)
            self._put(self._info, time_ns, info)
        self._has_begun = True
        array = messages.emotion_array(header, answer.faces, sight.shape)
        self._put(self._emotions, time_ns, array)
        for event in answer.events:
            self._put(self._events, time_ns, messages.emotion_event(header, event))
        if vision_msgs.INSTALLED:
            found = vision_msgs.detection_array(header, answer.faces, sight.shape)
            self._put(self._detections, time_ns, found)
        if sight.rgb is not None:
            picture = draw_faces(sight.rgb, answer.faces)
            if self._image == "compressed":
                self._put(self._images, time_ns, messages.jpeg(header, picture, JPEG_QUALITY))
            else:
                self._put(self._images, time_ns, messages.image(header, picture))

    def _put(self, connection: Connection, time_ns: int, message: Any) -> None:
        self._writer.put(connection, time_ns, cdr.write(message, connection.msgtype))
