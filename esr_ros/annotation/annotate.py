"""The annotation of one bag: the node's results for all of its images, in another bag."""

from __future__ import annotations

import json
import time
from collections import deque
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any, Callable, Deque, Dict, Iterator, List, Optional, Sequence, Tuple

from builtin_interfaces.msg import Time
from std_msgs.msg import Header

from esr_core.errors import ImageError, OptionError
from esr_core.hashing import digest, digest_of_ends
from esr_core.media.bit_depth import RunningRange, ValueRange
from esr_core.perception.stream_clock import SILENCE_S, stamp_seconds
from esr_core.perception.stream_state import StreamState
from esr_core.pipeline import EmotionPipeline, PipelineOptions, limit_reached
from esr_ros.annotation.executors import AnalysisRecord, Executor, RecordedImage
from esr_ros.annotation.output_folder import OutputFolder
from esr_ros.annotation.resume_log import ResumeLog
from esr_ros.bags import cdr
from esr_ros.bags.reader import BagError, BagReader, Message
from esr_ros.bags.writer import BagWriter
from esr_ros.conversions.emotion_topics import TOPICS, ImageResult, bag_bases, emotion_topics
from esr_ros.conversions.image_decoding import wide_samples

#: A batch ends with that many images, or messages including those between them, or bytes.
BATCH = (8, 10_000, 16 << 20)
#: Number of images processed, and of all images.
OnProgress = Callable[[int, int], None]


@dataclass(frozen=True)
class AnnotationJob:
    """Options of an annotation."""

    options: PipelineOptions
    topics: Tuple[str, ...] = ()  # of images; none: the only one
    emotion_topic: str = ""  # of the results; empty: the node's name
    image: str = ""  # annotated images: raw, compressed, or none
    originals: bool = True  # copy the recorded messages
    storage: str = ""  # mcap or sqlite3; empty: that of the bag
    overwrite: bool = False
    resume: bool = False


@dataclass
class AnnotationReport:
    """The outcome of the annotation of one bag."""

    bag: str
    output: str
    images: int = 0
    answered: int = 0
    with_faces: int = 0
    faces: int = 0  # ids assigned
    undecodable: int = 0
    first_error: str = ""  # of an undecodable image
    is_done_before: bool = False  # the output was complete; the counts are 0
    resumed: int = 0  # images analyzed by an earlier run
    recorded_s: float = 0.0
    elapsed_s: float = 0.0
    damage: List[str] = field(default_factory=list)  # parts of the bag that cannot be read
    left_out: List[str] = field(default_factory=list)  # of the bag, with the reason
    limits: List[str] = field(default_factory=list)  # faces beyond max_faces
    assumed: List[str] = field(default_factory=list)  # what was not known for certain
    error: str = ""  # why there is no output, of one bag of several


@dataclass
class _Batch:
    """Consecutive messages, the images among them, and later the records of these."""

    messages: List[Message] = field(default_factory=list)
    images: List[RecordedImage] = field(default_factory=list)
    records: List[AnalysisRecord] = field(default_factory=list)


def annotate(
    path: Path,
    output: Path,
    job: AnnotationJob,
    pipeline: EmotionPipeline,
    executor: Executor,
    on_progress: OnProgress = lambda done, total: None,
) -> AnnotationReport:
    """Annotate all images of a bag.

    Until it is complete, the new bag lies beside ``output``, in a folder that ends in ``.part``.
    Raises BagError, OptionError or ResumeLogError if bag, output and an unfinished earlier run do
    not allow for it, and BagWriteError or OSError if it cannot be written.
    """
    begin_s = time.monotonic()
    report = AnnotationReport(str(path), str(output))
    with BagReader(path) as bag:
        cameras = bag.image_topics(job.topics)
        total = sum(each.msgcount for each in bag.connections if each.topic in cameras)
        if not total:
            why = f" ({'; '.join(bag.damage)})" if bag.damage else ""
            raise BagError(f"{path}: there are no images on {', '.join(cameras)}{why}")
        bases = dict(zip(cameras, bag_bases(cameras, job.emotion_topic)))
        description = _description(bag, job, cameras, pipeline)
        folder = OutputFolder(output, path, description)
        if not folder.is_needed(job.overwrite, job.resume):
            report.is_done_before = True
            return report
        with folder.opened(restart=job.overwrite and not job.resume) as log:
            with BagWriter(folder.bag, job.storage or bag.storage) as writer:
                if job.originals:
                    writer.write_extras(bag)
                writer.note(json.dumps(description))
                annotation = _Annotation(bag, bases, job, pipeline, executor, log, report)
                annotation.run(writer, lambda done: on_progress(done, total))
            folder.install()
    report.elapsed_s = time.monotonic() - begin_s
    return report


def _description(
    bag: BagReader, job: AnnotationJob, cameras: Sequence[str], pipeline: EmotionPipeline
) -> Dict[str, Any]:
    """Return all that the results depend on, for the note in the bag and the resume log."""
    options = {**asdict(job.options), **asdict(job), "topics": list(cameras)}
    # "networks" identifies the first five; the results do not depend on the last two.
    names = ("model", "provider", "threads", "detector", "detector_model")
    for name in (*names, "options", "overwrite", "resume"):
        del options[name]
    return {
        # The ends of two recordings differ at least in their times.
        "bag": [[file.name, file.stat().st_size, digest_of_ends(file)] for file in bag.files],
        "networks": [
            digest(pipeline.detector.path),
            digest(pipeline.model.path),
            pipeline.model.provider,
        ],
        **options,
        "storage": job.storage or bag.storage,
        "batch": list(BATCH),
    }


@dataclass
class _Annotation:
    """One run over a bag."""

    bag: BagReader
    bases: Dict[str, str]  # image topic: topic of its emotions
    job: AnnotationJob
    pipeline: EmotionPipeline
    executor: Executor
    log: ResumeLog
    report: AnnotationReport

    def run(self, writer: BagWriter, on_progress: Callable[[int], None]) -> None:
        """Write the results of all images; ``on_progress`` gets the number of images done."""
        on_progress(0)
        writers, report = self._writers(writer), self.report
        begin_ns = end_ns = 0  # times of the first message and the last
        for batch in self._analyzed():
            begin_ns, end_ns = begin_ns or batch.messages[0][1], batch.messages[-1][1]
            analyzed = zip(batch.images, batch.records)
            for connection, time_ns, data in batch.messages:
                if self.job.originals:
                    writer.write(connection, time_ns, data)
                if connection.topic in writers:
                    image, record = next(analyzed)
                    report.images += 1
                    if record.error:
                        report.undecodable += 1
                        report.first_error = report.first_error or record.error
                    else:
                        writers[connection.topic].write(time_ns, image, record)
            on_progress(report.images)
        report.damage, report.left_out = self.bag.damage, writer.left_out
        if not report.images:
            raise BagError(f"{self.bag.path}: no image can be read: {'; '.join(report.damage)}")
        report.answered = report.images - report.undecodable
        report.faces = sum(each.faces for each in writers.values())
        report.with_faces = sum(each.with_faces for each in writers.values())
        report.assumed = [
            f"{topic}: {each.stamp_problem}; times of the recording are used instead"
            for topic, each in writers.items()
            if each.stamp_problem
        ]
        beyond = [count for each in writers.values() for count in each.left_out]
        if beyond:
            report.limits = [limit_reached(beyond, self.job.options, "image")]
        report.recorded_s = (end_ns - begin_ns) * 1e-9

    def _writers(self, writer: BagWriter) -> Dict[str, AnswerWriter]:
        taken = {each.topic for each in self.bag.connections if self.job.originals}
        for name in (f"{base}{topic.suffix}" for base in self.bases.values() for topic in TOPICS):
            if name in taken:
                raise OptionError(
                    f"{self.bag.path} has {name} already; give --emotion-topic another, or "
                    "--without-originals"
                )
        return {
            topic: AnswerWriter(writer, base, self.pipeline, self.job.image)
            for topic, base in self.bases.items()
        }

    def _analyzed(self) -> Iterator[_Batch]:
        """Yield the batches in order with their records, those of the log first."""
        # The images of each camera since its last detection, from which tracking continues.
        recent: Dict[StreamState, List[RecordedImage]] = {}
        waiting: Deque[Tuple[_Batch, Callable[[], List[AnalysisRecord]]]] = deque()
        for batch in self._batches():
            records = self.log.read()
            if records is None:
                if recent:
                    self.executor.submit(list(chain.from_iterable(recent.values())))()
                    recent.clear()
                waiting.append((batch, self.executor.submit(batch.images)))
                if len(waiting) > 2 * self.executor.workers:
                    yield self._finished(*waiting.popleft())
                continue
            batch.records = records
            self.report.resumed += len(records)
            for image, record in zip(batch.images, records):
                if image.stream is not None and not record.error:
                    if record.detected:
                        recent[image.stream] = []
                    recent.setdefault(image.stream, []).append(image)
            yield batch
        while waiting:
            yield self._finished(*waiting.popleft())

    def _finished(self, batch: _Batch, wait: Callable[[], List[AnalysisRecord]]) -> _Batch:
        batch.records = wait()
        self.log.add(batch.records)
        return batch

    def _batches(self) -> Iterator[_Batch]:
        wanted = [e for e in self.bag.connections if self.job.originals or e.topic in self.bases]
        # With a detection in every image there is no tracking state.
        tracks = self.job.options.detect_every > 1
        streams = {topic: StreamState() if tracks else None for topic in self.bases}
        ranges = {topic: RunningRange() for topic in self.bases}
        batch, size = _Batch(), 0
        for message in self.bag.messages(wanted):
            connection, _, data = message
            batch.messages.append(message)
            size += len(data)
            if connection.topic in streams:
                batch.images.append(
                    RecordedImage(
                        connection.msgtype,
                        data,
                        streams[connection.topic],
                        _value_range(connection.msgtype, data, ranges[connection.topic]),
                    )
                )
            counts = (len(batch.images), len(batch.messages), size)
            if any(count >= most for count, most in zip(counts, BATCH)):
                yield batch
                batch, size = _Batch(), 0
        if batch.messages:
            yield batch


def _value_range(kind: str, data: bytes, running: RunningRange) -> Optional[ValueRange]:
    """Return the range of an image of 16 bits; here, as its analysis may come in any order."""
    with suppress(cdr.MessageError, ImageError):  # which the analysis reports
        values = wide_samples(cdr.read(data, kind))
        return running.update(values) if values is not None else None
    return None


class AnswerWriter:
    """Writes the topics of one camera, as :class:`esr_ros.node.publishers.Publishers` does."""

    def __init__(
        self, writer: BagWriter, base: str, pipeline: EmotionPipeline, image: str = ""
    ) -> None:
        """base: topic of the emotions. image: form of the annotated images, or none."""
        self.faces = 0  # ids assigned
        self.with_faces = 0  # images
        self.left_out: List[int] = []  # faces beyond max_faces, of each image with such
        self._writer, self._pipeline, self._annotates = writer, pipeline, bool(image)
        self._stream = StreamState(SILENCE_S)
        self._topics = [
            (each, writer.offer(base + each.suffix, each.type_name, each.depth, each.is_latched))
            for each in emotion_topics(image)
        ]
        self._topics.sort(key=lambda each: not each[0].is_latched)  # these come first, once

    @property
    def stamp_problem(self) -> str:
        """Return what is wrong with the stamps of the images, or an empty string."""
        return self._stream.clock.problem

    def write(self, time_ns: int, image: RecordedImage, record: AnalysisRecord) -> None:
        """Write the messages of a valid image; time_ns: of its recording."""
        assert record.analysis is not None
        sec, nanosec, frame_id = record.header
        header = Header(stamp=Time(sec=sec, nanosec=nanosec), frame_id=frame_id)
        stamp_s = stamp_seconds(sec, nanosec)
        result = self._pipeline.update(self._stream, record.analysis, stamp_s, time_ns * 1e-9)
        self.faces = max([self.faces, *(face.face_id for face in result.faces)])
        self.with_faces += bool(result.faces)
        self.left_out += [result.left_out] if result.left_out else []
        # Decoded again: records, of which many wait and the log is made, have no pixels.
        rgb = image.pixels() if self._annotates else None
        answer = ImageResult(header, self._pipeline.model.metadata.name, result, record.shape, rgb)
        for topic, connection in self._topics:
            for message in topic.build(answer):
                self._writer.put(connection, time_ns, cdr.write(message, connection.msgtype))
        self._topics = [each for each in self._topics if not each[0].is_latched]
