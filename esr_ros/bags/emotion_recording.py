"""The emotions of a bag, live or from ``esr annotate``, as a recording for ``esr report``."""

from __future__ import annotations

import struct
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np
from numpy.typing import NDArray

from esr_core.emotions import LABELS
from esr_core.errors import ImageError, OptionError
from esr_core.media.records import FaceRecord, FrameRecord
from esr_core.perception.stream_clock import LONGEST_LATENCY_S, StreamClock, stamp_seconds
from esr_core.report.summary import Recording
from esr_ros.bags import cdr, message_definitions
from esr_ros.bags.metadata import note
from esr_ros.bags.reader import BagError, BagReader, chosen
from esr_ros.conversions.emotion_topics import bag_bases
from esr_ros.conversions.image_decoding import decode

EMOTIONS = "esr_ros/msg/EmotionArray"
#: Margin of a thumbnail on each side of the face's box, in widths and heights of it.
MARGIN = 0.25
#: An image is recorded before its result, or this much later at most.
SLACK_NS = 10**8

_ANNOTATED = "The answers were made from the bag by esr annotate, so there is no latency to report."
_UNSTAMPED = "The images have no stamps, so latency is not known."
_CLOCKS = "The images' stamps are of another clock than the recording, so latency is not known."
OnProgress = Callable[[int, int], None]


class _Entry(NamedTuple):
    """The message of one image."""

    frame: FrameRecord
    stamp_s: float  # of the image; the time of the recording if it has none
    time_ns: int  # of the recording
    latency_s: float  # nan: the image had no stamp


class _Image(NamedTuple):
    """A recorded image; by default that after the last one."""

    stamp_s: float = float("nan")
    time_ns: float = float("inf")  # of the recording
    type: str = ""
    data: bytes = b""


def read(
    path: Path,
    topics: Sequence[str] = (),
    title: str = "",
    on_progress: OnProgress = lambda done, total: None,
) -> Tuple[Recording, List[str]]:
    """Read the emotions of a bag; return also its damage, which may grow with the thumbnails.

    Thumbnails are read from its images on demand. topics: of emotions; none: the only one.
    Raises BagError if it cannot be read, lacks the topics, or has several and none is requested.
    """
    with BagReader(path) as bag:
        topics = _emotion_topics(bag, topics)
        entries, problems = _entries(bag, topics, on_progress)
        made_from = note(path if path.is_dir() else path.parent)
        cameras = {each: _camera(bag, each, topics, made_from) for each in topics}
        images = [each.msgcount for each in bag.connections if each.topic in cameras.values()]
        damage = bag.damage
    latencies_s = np.array([entry.latency_s for entry in entries])
    unknown = [_ANNOTATED] if made_from is not None else _why_no_latency(latencies_s)
    recording = Recording(
        title or path.resolve().name,
        [entry.frame for entry in entries],
        offered=None if None in cameras.values() else sum(images),
        latencies_s=None if unknown else latencies_s,
        thumbnail=_thumbnails(path, cameras, entries, damage),
        notes=[*unknown, *problems, *(f"Damaged: {each}." for each in damage)],
    )
    return recording, damage


def _emotion_topics(bag: BagReader, requested: Sequence[str]) -> List[str]:
    found = list(dict.fromkeys(each.topic for each in bag.connections if each.msgtype == EMOTIONS))
    if not found:
        kinds = ", ".join(sorted({each.msgtype for each in bag.connections}))
        first = f"; run 'esr annotate {bag.path}' first" if bag.cameras else ""
        raise BagError(f"{bag.path}: no emotions in it, only {kinds}{first}")
    return chosen(bag.path, "emotion", found, requested)


def _entries(
    bag: BagReader, topics: Sequence[str], on_progress: OnProgress
) -> Tuple[List[_Entry], List[str]]:
    """Return the entries of all valid messages, and what is wrong with their stamps.

    Invalid messages are noted as damage.
    """
    wanted = [e for e in bag.connections if e.msgtype == EMOTIONS and e.topic in topics]
    total = sum(each.msgcount for each in wanted)
    numbers: Counter[str] = Counter()
    invalid: Counter[str] = Counter()
    clocks = {topic: StreamClock() for topic in topics}
    entries: List[_Entry] = []
    for connection, time_ns, data in bag.messages(wanted):
        topic = connection.topic
        try:
            definition, _ = message_definitions.of(connection)  # the bag's own
            message = cdr.read(data, EMOTIONS, definition)
            entries.append(_entry(topic, numbers[topic], time_ns, message, clocks[topic]))
        except (cdr.MessageError, ValueError):
            invalid[topic] += 1
        except (AttributeError, message_definitions.DefinitionError) as error:
            raise BagError(
                f"{bag.path}: {topic} is of another version of this package ({error})"
            ) from error
        numbers[topic] += 1
        on_progress(len(entries), total)
    for topic, count in invalid.items():
        bag.note_damage(f"{count} of the messages on {topic} cannot be read")
    problems = [
        f"On {topic} {clock.problem}; the page has the times of the recording instead."
        for topic, clock in clocks.items()
        if clock.problem
    ]
    return entries, problems


def _entry(topic: str, number: int, time_ns: int, message: Any, clock: StreamClock) -> _Entry:
    sec, nanosec = int(message.header.stamp.sec), int(message.header.stamp.nanosec)
    faces = tuple(_face(each) for each in message.emotions)
    time_s = clock.update(stamp_seconds(sec, nanosec), time_ns * 1e-9).time_s
    frame = FrameRecord(topic, number, time_s, faces)
    latency_s = (time_ns - sec * 10**9 - nanosec) * 1e-9 if sec or nanosec else float("nan")
    return _Entry(frame, cdr.stamp_s(sec, nanosec, time_ns), time_ns, latency_s)


def _face(emotion: Any) -> FaceRecord:
    if emotion.label not in LABELS or len(emotion.probabilities) != len(LABELS):
        raise ValueError(f"no emotion is called {emotion.label!r}")
    roi = emotion.roi
    return FaceRecord(
        face_id=int(emotion.face_id),
        box=(float(roi.x_offset), float(roi.y_offset), float(roi.width), float(roi.height)),
        score=round(float(emotion.detection_score), 4),
        label=str(emotion.label),
        confidence=round(float(emotion.confidence), 4),
        probabilities=tuple(round(float(p), 4) for p in emotion.probabilities),
        valence=round(float(emotion.valence), 4),
        arousal=round(float(emotion.arousal), 4),
        agreement=round(float(emotion.agreement), 4),
    )


def _why_no_latency(latencies_s: NDArray[np.float64]) -> List[str]:
    """Return the reason why times from stamp to recording, (n,) in seconds, are no latencies."""
    known_s = latencies_s[np.isfinite(latencies_s)]
    if len(known_s) and not 0 < float(np.median(known_s)) < LONGEST_LATENCY_S:
        return [_CLOCKS]
    return [] if len(known_s) else [_UNSTAMPED]


def _camera(bag: BagReader, topic: str, topics: Sequence[str], made_from: Any) -> Optional[str]:
    """Return the image topic of a topic of emotions; None if that cannot be known."""
    with suppress(TypeError, KeyError, AttributeError, OptionError):
        if made_from is not None:
            cameras = made_from["topics"]
            camera = dict(zip(bag_bases(cameras, made_from["emotion_topic"]), cameras))[topic]
            return camera if camera in bag.cameras else None
    if len(bag.cameras) == len(topics) == 1:
        return bag.cameras[0]
    # The node publishes the results of left/image_raw on left/emotion.
    near = [each for each in bag.cameras if each.startswith(f"{topic.rpartition('/')[0]}/")]
    return near[0] if len(near) == 1 else None


def _thumbnails(
    path: Path, cameras: Dict[str, Optional[str]], entries: Sequence[_Entry], damage: List[str]
) -> Callable[[FrameRecord, FaceRecord], Optional[NDArray[np.uint8]]]:
    """Return a function that crops faces out of images, in one forward pass over each topic."""
    by_frame = {(each.frame.source, each.frame.number): each for each in entries}
    images = {topic: _images(path, cam, damage) for topic, cam in cameras.items() if cam}
    current = {topic: next(each, _Image()) for topic, each in images.items()}

    def thumbnail(frame: FrameRecord, face: FaceRecord) -> Optional[NDArray[np.uint8]]:
        topic = frame.source
        entry, image = by_frame[topic, frame.number], current.get(topic, _Image())
        while image.stamp_s != entry.stamp_s and image.time_ns <= entry.time_ns + SLACK_NS:
            image = current[topic] = next(images[topic], _Image())
        if image.stamp_s == entry.stamp_s:
            with suppress(ImageError, cdr.MessageError):
                return _crop(decode(cdr.read(image.data, image.type)), face.box)
        return None

    return thumbnail


def _images(path: Path, topic: str, damage: List[str]) -> Iterator[_Image]:
    with BagReader(path) as bag:
        cameras = [each for each in bag.connections if each.topic == topic]
        for connection, time_ns, data in bag.messages(cameras):
            with suppress(struct.error, IndexError):
                # A message begins with four bytes of CDR; the second has the byte order.
                sec, nanosec = struct.unpack_from("<iI" if data[1] & 1 else ">iI", data, 4)
                stamp_s = cdr.stamp_s(sec, nanosec, time_ns)
                yield _Image(stamp_s, time_ns, connection.msgtype, data)
        damage += [each for each in bag.damage if each not in damage]


def _crop(rgb: NDArray[np.uint8], box: Tuple[float, float, float, float]) -> NDArray[np.uint8]:
    x, y, width, height = box
    left, top = max(round(x - MARGIN * width), 0), max(round(y - MARGIN * height), 0)
    right, bottom = round(x + (1 + MARGIN) * width), round(y + (1 + MARGIN) * height)
    return rgb[top:bottom, left:right]
