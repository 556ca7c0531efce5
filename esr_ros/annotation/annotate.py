"""Answering the images of a bag as the node would, into another bag."""

from __future__ import annotations

import json
import time
from collections import deque
from dataclasses import asdict, dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any, Callable, Deque, Dict, Iterable, Iterator, List, NamedTuple, Sequence, Tuple

from esr_core.errors import OptionError
from esr_core.hashing import digest, digest_of_ends
from esr_core.perception.stream_state import StreamState
from esr_core.pipeline import EmotionPipeline, PipelineOptions
from esr_ros.annotation.answer_writer import BELOW, AnswerWriter, answer_topics
from esr_ros.annotation.executors import Executor
from esr_ros.annotation.output_folder import OutputFolder
from esr_ros.annotation.resume_log import ResumeLog
from esr_ros.annotation.worker import AnalysisRecord, RecordedImage, pixels
from esr_ros.bags.reader import BagError, BagReader, Message
from esr_ros.bags.writer import BagWriter

#: A batch has so many images, or with what lies between them so many messages, or bytes.
BATCH_IMAGES = 8
BATCH_MESSAGES = 10_000
BATCH_BYTES = 16 << 20
#: How many images are done, of how many.
OnProgress = Callable[[int, int], None]


@dataclass(frozen=True)
class AnnotationJob:
    """What is wanted of a bag."""

    options: PipelineOptions
    topics: Tuple[str, ...] = ()  # none: the only one there is
    emotion_topic: str = ""  # where the answers are; empty: where the node has them
    image: str = ""  # annotated images: raw, compressed, or none
    originals: bool = True  # what was recorded stands beside the answers
    storage: str = ""  # mcap or sqlite3; empty: as the bag has it
    overwrite: bool = False
    resume: bool = False


@dataclass
class AnnotationReport:
    """What became of a bag."""

    bag: str
    output: str
    images: int = 0
    answered: int = 0
    with_faces: int = 0
    faces: int = 0  # ids that were given
    undecodable: int = 0
    first_error: str = ""  # of an image that is not answered
    is_done_before: bool = False  # it was there, whole, and nothing else is known of it
    resumed: int = 0  # images that an earlier run had looked at
    recorded_s: float = 0.0
    elapsed_s: float = 0.0
    damage: List[str] = field(default_factory=list)  # what of the bag could not be read
    left_out: List[str] = field(default_factory=list)  # topics, with the reason


class _Batch(NamedTuple):
    """Messages in their order; those of image topics wait for what the engine says."""

    messages: List[Message]
    images: List[RecordedImage]


def annotate(
    path: Path,
    output: Path,
    order: AnnotationJob,
    pipeline: EmotionPipeline,
    engine: Executor,
    on_progress: OnProgress = lambda done, total: None,
) -> AnnotationReport:
    """Answer all images of a bag; returns what became of it.

    Until all is done the work lies beside ``output``, in a folder that ends in ``.part``.

    Raises:
        BagError: it has no images, or none that can be read.
        OptionError: it is not said which topic is meant, or ``output`` is there.
        JournalError: an earlier run, not yet finished, was about something else.
        BagWriteError, OSError: it cannot be written.
    """
    begin_s = time.monotonic()
    with BagReader(path) as bag:
        cameras = bag.image_topics(order.topics)
        total = sum(each.msgcount for each in bag.connections if each.topic in cameras)
        if not total:
            why = f" ({'; '.join(bag.damage)})" if bag.damage else ""
            raise BagError(f"{path}: there are no images on {', '.join(cameras)}{why}")
        names = dict(zip(cameras, answer_topics(cameras, order.emotion_topic)))
        about = _about(bag, order, cameras, pipeline)
        workshop = OutputFolder(output, path, about)
        if not workshop.is_needed(order.overwrite, order.resume):
            return AnnotationReport(str(path), str(output), is_done_before=True)
        with workshop.opened(anew=order.overwrite and not order.resume) as journal:
            work = _Work(bag, names, order, pipeline, engine, journal)
            with BagWriter(workshop.bag, order.storage or bag.storage) as writer:
                writer.note(json.dumps(about))
                report = work.run(writer, lambda done: on_progress(done, total))
            workshop.install()
    report.bag, report.output = str(path), str(output)
    report.elapsed_s = time.monotonic() - begin_s
    return report


def _about(
    bag: BagReader, order: AnnotationJob, cameras: Sequence[str], pipeline: EmotionPipeline
) -> Dict[str, Any]:
    """Describe what the answers depend on, and how the bag looks."""
    options = asdict(order.options)
    for name in ("model", "provider", "threads", "detector_model"):
        del options[name]  # what counts of them is below
    return {
        # Of two recordings the times at their ends differ, at least.
        "bag": [[file.name, file.stat().st_size, digest_of_ends(file)] for file in bag.files],
        "network": [digest(pipeline.model.path), pipeline.model.provider, pipeline.detector.name],
        **options,
        "topics": list(cameras),
        "emotion_topic": order.emotion_topic,
        "image": order.image,
        "originals": order.originals,
        "storage": order.storage or bag.storage,
        "batch": [BATCH_IMAGES, BATCH_MESSAGES, BATCH_BYTES],
    }


class _Work:
    """One run over a bag."""

    def __init__(
        self,
        bag: BagReader,
        names: Dict[str, str],  # of each image topic that of its answers
        order: AnnotationJob,
        pipeline: EmotionPipeline,
        engine: Executor,
        journal: ResumeLog,
    ) -> None:
        self._bag = bag
        self._order = order
        self._pipeline = pipeline
        self._engine = engine
        self._journal = journal
        self._names = names
        # What each camera remembers: of this bag alone, and nothing where no image needs it.
        follows = order.options.detect_every > 1
        self._streams = {topic: StreamState() for topic in names} if follows else {}
        self._wanted = [each for each in bag.connections if order.originals or each.topic in names]
        self._times_ns: List[int] = []  # of the first message and the last
        self.report = AnnotationReport("", "")

    def run(self, writer: BagWriter, on_progress: Callable[[int], None]) -> AnnotationReport:
        """Answer all images; ``on_progress`` is told how many are done.

        Raises:
            BagError: there are none that can be read.
        """
        on_progress(0)
        answers = self._answers(writer)
        for batch, sights in self._looked_at():
            told = iter(sights)
            times_ns = [*self._times_ns, batch.messages[0][1], batch.messages[-1][1]]
            self._times_ns = [times_ns[0], times_ns[-1]]
            for connection, time_ns, data in batch.messages:
                if self._order.originals:
                    writer.write(connection, time_ns, data)
                if connection.topic in answers:
                    self._answer(answers[connection.topic], time_ns, next(told))
            on_progress(self.report.images)
        report = self.report
        report.damage, report.left_out = self._bag.damage, writer.left_out
        if not report.images:
            raise BagError(f"{self._bag.path}: no image can be read: {'; '.join(report.damage)}")
        report.faces = sum(each.faces for each in answers.values())
        report.with_faces = sum(each.with_faces for each in answers.values())
        report.recorded_s = (self._times_ns[-1] - self._times_ns[0]) * 1e-9
        return report

    def _answers(self, writer: BagWriter) -> Dict[str, AnswerWriter]:
        """Make who tells, for each image topic."""
        if self._order.originals:
            taken = {each.topic for each in self._bag.connections}
            for name in (f"{base}{below}" for base in self._names.values() for below in BELOW):
                if name in taken:
                    raise OptionError(
                        f"{self._bag.path} has {name} already; give --emotion-topic another, or "
                        "--without-originals"
                    )
        kind = self._order.image
        return {
            topic: AnswerWriter(writer, name, self._pipeline, kind)
            for topic, name in self._names.items()
        }

    def _answer(self, answers: AnswerWriter, time_ns: int, sight: AnalysisRecord) -> None:
        self.report.images += 1
        if sight.error:
            self.report.undecodable += 1
            self.report.first_error = self.report.first_error or sight.error
            return
        answers.tell(time_ns, sight)
        self.report.answered += 1

    def _looked_at(self) -> Iterator[Tuple[_Batch, List[AnalysisRecord]]]:
        """Yield batches in their order with what they show: from the journal, then anew."""
        batches = self._batches()
        # Of each camera, what the image after them depends on.
        before: Dict[StreamState, List[RecordedImage]] = {
            each: [] for each in self._streams.values()
        }
        for batch in batches:
            sights, found = self._journal.read()
            if not found:
                yield from self._anew([*chain(*before.values())], batch, batches)
                return
            self.report.resumed += len(sights)
            for image, sight in zip(batch.images, sights):
                if image.stream and not sight.error:
                    if sight.detected:
                        before[image.stream].clear()
                    before[image.stream].append(image)
            if self._order.image:  # the journal has no pixels
                sights = self._with_pixels(batch, sights)
            yield batch, sights

    def _with_pixels(self, batch: _Batch, sights: List[AnalysisRecord]) -> List[AnalysisRecord]:
        kept = []
        for image, sight in zip(batch.images, sights):
            kept.append(sight if sight.error else sight._replace(rgb=pixels(image)))
        return kept

    def _anew(
        self, before: List[RecordedImage], first: _Batch, others: Iterable[_Batch]
    ) -> Iterator[Tuple[_Batch, List[AnalysisRecord]]]:
        if before:
            self._engine.result(self._engine.submit(before))
        waiting: Deque[Tuple[_Batch, Any]] = deque([(first, self._engine.submit(first.images))])
        for batch in others:
            waiting.append((batch, self._engine.submit(batch.images)))
            if len(waiting) > 2 * self._engine.workers:
                yield self._finished(*waiting.popleft())
        while waiting:
            yield self._finished(*waiting.popleft())

    def _finished(self, batch: _Batch, ticket: Any) -> Tuple[_Batch, List[AnalysisRecord]]:
        sights = self._engine.result(ticket)
        self._journal.add(sights)
        return batch, sights

    def _batches(self) -> Iterator[_Batch]:
        batch, size = _Batch([], []), 0
        for message in self._bag.messages(self._wanted):
            connection, _, data = message
            batch.messages.append(message)
            size += len(data)
            if connection.topic in self._names:
                stream = self._streams.get(connection.topic)
                batch.images.append(RecordedImage(connection.msgtype, data, stream))
            if (
                len(batch.images) == BATCH_IMAGES
                or len(batch.messages) == BATCH_MESSAGES
                or size >= BATCH_BYTES
            ):
                yield batch
                batch, size = _Batch([], []), 0
        if batch.messages:
            yield batch
