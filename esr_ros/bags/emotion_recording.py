"""The emotions in a bag, as ``esr report`` wants them: answered live, or by ``esr annotate``."""

from __future__ import annotations

import struct
from contextlib import suppress
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np
from numpy.typing import NDArray

from esr_core.emotions import LABELS
from esr_core.errors import ImageError, OptionError
from esr_core.media.records import FaceRecord, FrameRecord
from esr_core.report.recording import Recording
from esr_ros.annotation.answer_writer import answer_topics
from esr_ros.annotation.output_folder import note
from esr_ros.annotation.worker import RecordedImage, Stamp, pixels
from esr_ros.bags import cdr, message_definitions
from esr_ros.bags.reader import BagError, BagReader, chosen

EMOTIONS = "esr_ros/msg/EmotionArray"
#: A picture shows so much more than the face's box, in widths and heights of it, on each side.
MARGIN = 0.25
#: An image is recorded before its answer, or so much later at most.
SLACK_NS = 10**8
#: Nobody waits longer for an answer; if most do, stamps and recording have different clocks.
LONGEST_S = 60.0

_ANNOTATED = "The answers were made from the bag by esr annotate, so there is no latency to tell."
_UNSTAMPED = "The images have no stamps, so latency is not known."
_CLOCKS = "The images' stamps are of another clock than the recording, so latency is not known."
OnProgress = Callable[[int, int], None]


class Reading(NamedTuple):
    """A recording, and what of its bag cannot be read; more may come once pictures are cut."""

    recording: Recording
    damage: List[str]


class _Answer(NamedTuple):
    """A message, and when it was recorded."""

    frame: FrameRecord
    time_ns: int
    latency_s: float  # nan: the image had no stamp


def read(
    path: Path,
    topics: Sequence[str] = (),
    title: str = "",
    on_progress: OnProgress = lambda done, total: None,
) -> Reading:
    """Read the emotions of a bag; pictures of faces come from its images, when asked for.

    topics: of emotions; none: the only one there is.

    Raises:
        BagError: it cannot be read, or has no emotions, or several topics and none was asked for.
    """
    with BagReader(path) as bag:
        told = _emotion_topics(bag, topics)
        answers = _answers(bag, told, on_progress)
        made_from = note(path if path.is_dir() else path.parent)
        cameras = {topic: _camera(bag, topic, told, made_from) for topic in told}
        offered = _offered(bag, list(cameras.values()))
        damage = bag.damage
    latencies_s = np.array([answer.latency_s for answer in answers])
    why_not = [_ANNOTATED] if made_from is not None else _why_no_latency(latencies_s)
    recording = Recording(
        title or path.resolve().name,
        [answer.frame for answer in answers],
        offered=offered,
        latencies_s=None if why_not else latencies_s,
        thumbnail=_Thumbnails(path, cameras, answers, damage),
        notes=[*why_not, *(f"Damaged: {each}." for each in damage)],
    )
    return Reading(recording, damage)


def _emotion_topics(bag: BagReader, asked: Sequence[str]) -> List[str]:
    there = list(dict.fromkeys(each.topic for each in bag.connections if each.msgtype == EMOTIONS))
    if not there:
        kinds = ", ".join(sorted({each.msgtype for each in bag.connections}))
        first = f"; run 'esr annotate {bag.path}' first" if bag.cameras else ""
        raise BagError(f"{bag.path}: no emotions in it, only {kinds}{first}")
    return chosen(bag.path, "emotion", there, asked)


def _answers(bag: BagReader, topics: Sequence[str], on_progress: OnProgress) -> List[_Answer]:
    """Return what was answered; messages that are none are left out, and noted as damage."""
    connections = [
        each for each in bag.connections if each.msgtype == EMOTIONS and each.topic in topics
    ]
    total = sum(each.msgcount for each in connections)
    numbers = dict.fromkeys(topics, 0)
    answers: List[_Answer] = []
    bad: Dict[str, int] = {}
    for connection, time_ns, data in bag.messages(connections):
        topic = connection.topic
        try:
            found = message_definitions.of(connection)  # the bag's own
            message = cdr.read(data, EMOTIONS, found[0] if found else None)
            answers.append(_answer(topic, numbers[topic], time_ns, message))
        except (cdr.MessageError, ValueError):
            bad[topic] = bad.get(topic, 0) + 1
        except (AttributeError, cdr.DefinitionError) as error:
            raise BagError(
                f"{bag.path}: {topic} is of another version of this package ({error})"
            ) from error
        numbers[topic] += 1
        on_progress(len(answers), total)
    for topic, count in bad.items():
        bag.note_damage(f"{count} of the messages on {topic} cannot be read")
    return answers


def _answer(topic: str, number: int, time_ns: int, message: Any) -> _Answer:
    sec, nanosec = int(message.header.stamp.sec), int(message.header.stamp.nanosec)
    frame = FrameRecord(
        topic,
        number,
        Stamp(sec, nanosec, message.header.frame_id).seconds(time_ns),
        tuple(_sighting(each) for each in message.emotions),
    )
    latency_s = (time_ns - sec * 10**9 - nanosec) * 1e-9 if sec or nanosec else float("nan")
    return _Answer(frame, time_ns, latency_s)


def _sighting(emotion: Any) -> FaceRecord:
    if emotion.label not in LABELS or len(emotion.probabilities) != len(LABELS):
        raise ValueError(f"no emotion is called {emotion.label!r}")
    place = emotion.roi
    return FaceRecord(
        face_id=int(emotion.face_id),
        box=tuple(float(v) for v in (place.x_offset, place.y_offset, place.width, place.height)),  # type: ignore[arg-type]
        score=round(float(emotion.detection_score), 4),
        label=str(emotion.label),
        confidence=round(float(emotion.confidence), 4),
        probabilities=tuple(round(float(p), 4) for p in emotion.probabilities),
        valence=round(float(emotion.valence), 4),
        arousal=round(float(emotion.arousal), 4),
        agreement=round(float(emotion.agreement), 4),
    )


def _why_no_latency(latencies_s: NDArray[np.float64]) -> List[str]:
    """Say why times from stamp to recording, (n,) in seconds, are none; nothing if they are."""
    known_s = latencies_s[np.isfinite(latencies_s)]
    if len(known_s) and not 0 < float(np.median(known_s)) < LONGEST_S:
        return [_CLOCKS]
    return [] if len(known_s) else [_UNSTAMPED]


def _camera(bag: BagReader, topic: str, told: Sequence[str], made_from: Any) -> Optional[str]:
    """Return whose images were answered on a topic; None if that cannot be known."""
    with suppress(TypeError, KeyError, AttributeError, OptionError):
        if made_from is not None:
            cameras = made_from["topics"]
            found = dict(zip(answer_topics(cameras, made_from["emotion_topic"]), cameras))
            return found[topic] if found[topic] in bag.cameras else None
    if len(bag.cameras) == len(told) == 1:
        return bag.cameras[0]
    # As the node names them: what is answered on left/emotion came on left/image_raw.
    near = [each for each in bag.cameras if each.startswith(f"{topic.rpartition('/')[0]}/")]
    return near[0] if len(near) == 1 else None


def _offered(bag: BagReader, cameras: Sequence[Optional[str]]) -> Optional[int]:
    """Return how many images there were; None if that of one topic is not known."""
    if None in cameras:
        return None
    return sum(each.msgcount for each in bag.connections if each.topic in cameras)


class _Thumbnails:
    """Cuts faces out of the images of a bag, which is gone through once, as it is asked."""

    def __init__(
        self,
        path: Path,
        cameras: Dict[str, Optional[str]],
        answers: Sequence[_Answer],
        damage: List[str],
    ) -> None:
        self._times_ns = {(each.frame.source, each.frame.number): each.time_ns for each in answers}
        self._films = {
            topic: _Film(path, camera, damage) for topic, camera in cameras.items() if camera
        }

    def __call__(self, frame: FrameRecord, sighting: FaceRecord) -> Optional[NDArray[np.uint8]]:
        film = self._films.get(frame.source)
        if film is None:
            return None
        rgb = film.at(frame.stamp_s, self._times_ns[frame.source, frame.number])
        return None if rgb is None else _cut(rgb, sighting.box)


class _Film:
    """The images of one topic, forwards; one of them is held."""

    def __init__(self, path: Path, topic: str, damage: List[str]) -> None:
        self._images = _images(path, topic, damage)
        self._held = next(self._images, None)

    def at(self, stamp_s: float, time_ns: int) -> Optional[NDArray[np.uint8]]:
        """Return the image of a stamp, (h, w, 3) RGB, if it comes about when its answer does."""
        while self._held and self._held[0] != stamp_s and self._held[1] <= time_ns + SLACK_NS:
            self._held = next(self._images, None)
        if self._held and self._held[0] == stamp_s:
            with suppress(ImageError, cdr.MessageError):
                return pixels(self._held[2])
        return None


def _images(
    path: Path, topic: str, damage: List[str]
) -> Iterator[Tuple[float, int, RecordedImage]]:
    """Yield stamp, time of the recording and content of each image."""
    with BagReader(path) as bag:
        cameras = [each for each in bag.connections if each.topic == topic]
        for connection, time_ns, data in bag.messages(cameras):
            with suppress(struct.error, IndexError):
                # A message begins with four bytes of CDR, of which the second tells the order.
                sec, nanosec = struct.unpack_from("<iI" if data[1] & 1 else ">iI", data, 4)
                stamp_s = Stamp(sec, nanosec, "").seconds(time_ns)
                yield stamp_s, time_ns, RecordedImage(connection.msgtype, data)
        damage += [each for each in bag.damage if each not in damage]


def _cut(rgb: NDArray[np.uint8], box: Tuple[float, float, float, float]) -> NDArray[np.uint8]:
    x, y, width, height = box
    left, top = max(round(x - MARGIN * width), 0), max(round(y - MARGIN * height), 0)
    right, bottom = round(x + (1 + MARGIN) * width), round(y + (1 + MARGIN) * height)
    return rgb[top:bottom, left:right]
