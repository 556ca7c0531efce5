"""The annotation of one bag: the node's results for all of its images, in another bag."""

from __future__ import annotations

import json
import time
from collections import deque
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any, Callable, Deque, Dict, Iterable, Iterator, List, Optional, Sequence, Tuple

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
#: Consecutive messages of a bag; those that are images, as such too.
_Batch = List[Tuple[Message, Optional[RecordedImage]]]
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
        _check_free(bag, job, bases.values())
        with folder.opened(restart=job.overwrite and not job.resume) as log:
            with BagWriter(folder.bag, job.storage or bag.storage) as writer:
                if job.originals:
                    writer.write_extras(bag)
                writer.note(json.dumps(description))
                writers = {
                    topic: AnswerWriter(writer, base, pipeline, job.image)
                    for topic, base in bases.items()
                }
                on_progress(0, total)
                begin_ns = end_ns = 0  # times of the oldest message and the newest
                batches = _batches(bag, job, cameras)
                for batch, records in _analyzed(batches, executor, log, report):
                    for (connection, time_ns, data), image in batch:
                        # Without an index the messages are in the order of the file.
                        begin_ns = min(begin_ns or time_ns, time_ns)
                        end_ns = max(end_ns, time_ns)
                        if job.originals:
                            writer.write(connection, time_ns, data)
                        if image is not None:
                            answers = writers[connection.topic]
                            answers.write(time_ns, image, next(records), report)
                    on_progress(report.images, total)
                report.damage, report.left_out = bag.damage, writer.left_out
                report.recorded_s = (end_ns - begin_ns) * 1e-9
                if not report.images:
                    raise BagError(f"{path}: no image can be read: {'; '.join(report.damage)}")
            folder.install()
    report.faces = sum(each.faces for each in writers.values())
    report.assumed = [
        f"{topic}: {each.stamp_problem}; times of the recording are used instead"
        for topic, each in writers.items()
        if each.stamp_problem
    ]
    beyond = [count for each in writers.values() for count in each.left_out]
    report.limits = [limit_reached(beyond, job.options, "image")] if beyond else []
    report.elapsed_s = time.monotonic() - begin_s
    return report


def _check_free(bag: BagReader, job: AnnotationJob, bases: Iterable[str]) -> None:
    taken = {each.topic for each in bag.connections if job.originals}
    for name in (f"{base}{topic.suffix}" for base in bases for topic in TOPICS):
        if name in taken:
            raise OptionError(
                f"{bag.path} has {name} already; give --emotion-topic another, or "
                "--without-originals"
            )


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


def _batches(bag: BagReader, job: AnnotationJob, cameras: Sequence[str]) -> Iterator[_Batch]:
    # With a detection in every image there is no tracking state.
    tracks = job.options.detect_every > 1
    streams = {topic: StreamState() if tracks else None for topic in cameras}
    ranges = {topic: RunningRange() for topic in cameras}
    wanted = [each for each in bag.connections if job.originals or each.topic in cameras]
    batch: _Batch = []
    images = size = 0
    for message in bag.messages(wanted):
        connection, _, data = message
        topic, kind, image = connection.topic, connection.msgtype, None
        if topic in streams:
            value_range = _value_range(kind, data, ranges[topic])
            image = RecordedImage(kind, data, streams[topic], value_range)
        batch.append((message, image))
        images, size = images + (image is not None), size + len(data)
        if any(count >= most for count, most in zip((images, len(batch), size), BATCH)):
            yield batch
            batch, images, size = [], 0, 0
    if batch:
        yield batch


def _value_range(kind: str, data: bytes, running: RunningRange) -> Optional[ValueRange]:
    """Return the range of an image of 16 bits; here, as its analysis may come in any order."""
    with suppress(cdr.MessageError, ImageError):  # which the analysis reports
        values = wide_samples(cdr.read(data, kind))
        return running.update(values) if values is not None else None
    return None


def _analyzed(
    batches: Iterable[_Batch], executor: Executor, log: ResumeLog, report: AnnotationReport
) -> Iterator[Tuple[_Batch, Iterator[AnalysisRecord]]]:
    """Yield the batches in order with the records of their images, those of the log first."""
    # The images of each camera since its last detection, from which tracking continues.
    recent: Dict[StreamState, List[RecordedImage]] = {}
    waiting: Deque[Tuple[_Batch, Callable[[], List[AnalysisRecord]]]] = deque()

    def finished() -> Tuple[_Batch, Iterator[AnalysisRecord]]:
        batch, wait = waiting.popleft()
        log.add(records := wait())
        return batch, iter(records)

    for batch in batches:
        images = [image for _, image in batch if image is not None]
        records = log.read()
        if records is None:
            if recent:
                executor.submit(list(chain.from_iterable(recent.values())))()
                recent.clear()
            waiting.append((batch, executor.submit(images)))
            if len(waiting) > 2 * executor.workers:
                yield finished()
            continue
        report.resumed += len(records)
        for image, record in zip(images, records):
            if image.stream is not None and not record.error:
                if record.detected:
                    recent[image.stream] = []
                recent.setdefault(image.stream, []).append(image)
        yield batch, iter(records)
    while waiting:
        yield finished()


class AnswerWriter:
    """Writes the topics of one camera, as :class:`esr_ros.node.publishers.Publishers` does."""

    def __init__(
        self, writer: BagWriter, base: str, pipeline: EmotionPipeline, image: str = ""
    ) -> None:
        """base: topic of the emotions. image: form of the annotated images, or none."""
        self.faces = 0  # ids assigned
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

    def write(
        self, time_ns: int, image: RecordedImage, record: AnalysisRecord, report: AnnotationReport
    ) -> None:
        """Write the messages of an image if it is valid, and count it in the report.

        time_ns: of its recording.
        """
        report.images += 1
        if record.analysis is None:
            report.undecodable += 1
            report.first_error = report.first_error or record.error
            return
        report.answered += 1
        sec, nanosec, frame_id = record.header
        header = Header(stamp=Time(sec=sec, nanosec=nanosec), frame_id=frame_id)
        stamp_s = stamp_seconds(sec, nanosec)
        result = self._pipeline.update(self._stream, record.analysis, stamp_s, time_ns * 1e-9)
        self.faces = max([self.faces, *(face.face_id for face in result.faces)])
        report.with_faces += bool(result.faces)
        self.left_out += [result.left_out] if result.left_out else []
        # Decoded again: records, of which many wait and the log is made, have no pixels.
        rgb = image.pixels() if self._annotates else None
        answer = ImageResult(header, self._pipeline.model.metadata.name, result, record.shape, rgb)
        for topic, connection in self._topics:
            for message in topic.build(answer):
                self._writer.put(connection, time_ns, cdr.write(message, connection.msgtype))
        self._topics = [each for each in self._topics if not each[0].is_latched]
