"""The writer of one camera's results into a bag."""

from __future__ import annotations

from builtin_interfaces.msg import Time
from std_msgs.msg import Header

from esr_core.perception.stream_state import StreamState
from esr_core.pipeline import EmotionPipeline
from esr_ros.annotation.worker import AnalysisRecord, RecordedImage
from esr_ros.bags import cdr
from esr_ros.bags.writer import BagWriter
from esr_ros.conversions.emotion_topics import ImageResult, emotion_topics


class AnswerWriter:
    """Writes the topics of one camera, as :class:`esr_ros.node.publishers.Publishers` does."""

    def __init__(
        self, writer: BagWriter, base: str, pipeline: EmotionPipeline, image: str = ""
    ) -> None:
        """base: topic of the emotions. image: form of the annotated images, or none."""
        self.faces = 0  # ids assigned
        self.with_faces = 0  # images
        self._writer, self._pipeline, self._annotates = writer, pipeline, bool(image)
        self._stream = StreamState()
        self._topics = [
            (each, writer.offer(base + each.suffix, each.type_name, each.depth, each.is_latched))
            for each in emotion_topics(image)
        ]
        self._topics.sort(key=lambda each: not each[0].is_latched)  # these come first, once

    def write(self, time_ns: int, image: RecordedImage, record: AnalysisRecord) -> None:
        """Write the messages of a valid image; time_ns: of its recording."""
        assert record.analysis is not None
        sec, nanosec, frame_id = record.header
        header = Header(stamp=Time(sec=sec, nanosec=nanosec), frame_id=frame_id)
        stamp_s = cdr.stamp_s(sec, nanosec, time_ns)
        result = self._pipeline.update(self._stream, stamp_s, record.analysis)
        self.faces = max([self.faces, *(face.face_id for face in result.faces)])
        self.with_faces += bool(result.faces)
        # Decoded again: records, of which many wait and the log is made, have no pixels.
        rgb = image.pixels() if self._annotates else None
        answer = ImageResult(header, self._pipeline.model.metadata.name, result, record.shape, rgb)
        for topic, connection in self._topics:
            for message in topic.build(answer):
                self._writer.put(connection, time_ns, cdr.write(message, connection.msgtype))
        self._topics = [each for each in self._topics if not each[0].is_latched]
