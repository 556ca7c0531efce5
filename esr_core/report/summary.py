"""A recording, the input of a report, and its statistics."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import Any, Callable, DefaultDict, Dict, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np
from numpy.typing import NDArray

from esr_core.emotions import LABELS
from esr_core.errors import DataError
from esr_core.media.records import FaceRecord, FrameRecord

#: Maximum number of values per face; longer series become means over equal periods.
POINTS = 2000
_LEAST_GAP_S = 0.5
_GAP_PERIODS = 3
Floats = NDArray[np.float64]
#: A face in one frame.
Sight = Tuple[FrameRecord, FaceRecord]


@dataclass(frozen=True)
class Recording:
    """The frames of a recording, with the statistics of its topics."""

    title: str
    frames: Sequence[FrameRecord]
    offered: Optional[int] = None  # images on the topics, processed or not; None: unknown
    latencies_s: Optional[Floats] = None  # (n,) from an image's stamp to its result
    #: Returns the picture of a face, RGB (h, w, 3), or None if its frame is not available; is
    #: called in the order of time.
    thumbnail: Optional[Callable[[FrameRecord, FaceRecord], Optional[NDArray[np.uint8]]]] = None
    notes: Sequence[str] = ()  # further remarks for the reader, in sentences


@dataclass(frozen=True)
class Share:
    """The share of one emotion, of one face or of all."""

    label: str
    share: float  # of the time that the face was visible, in [0, 1]
    time_s: float
    images: int


class Segment(NamedTuple):
    """A period in which a face was visible and kept its label."""

    start_s: float
    end_s: float
    label: int  # an index into LABELS


@dataclass(frozen=True)
class Series:
    """One face over time: n records, or means over equal periods."""

    times_s: Floats  # (n,) ascending, from the start of the recording
    probabilities: Floats  # (n, 8) in [0, 1]
    affect: Floats  # (n, 2) valence and arousal in [-1, 1]
    labels: NDArray[np.int64]  # (n,) indices into LABELS
    breaks: NDArray[np.int64]  # indices of the values that follow a gap

    @classmethod
    def of(cls, times_s: Floats, records: Sequence[FaceRecord], gap_s: float) -> Series:
        """Return the series of a face; records more than ``gap_s`` apart are separated by a gap."""
        return cls(
            times_s=times_s,
            probabilities=np.array([each.probabilities for each in records], np.float64),
            affect=np.array([(each.valence, each.arousal) for each in records], np.float64),
            labels=np.array([LABELS.index(each.label) for each in records], np.int64),
            breaks=np.flatnonzero(np.diff(times_s) > gap_s) + 1,
        )

    def durations_s(self, period_s: float) -> Floats:
        """Return the duration of each value (n,): until the next, or ``period_s`` at a gap."""
        durations = np.diff(self.times_s, append=self.times_s[-1] + period_s)
        durations[self.breaks - 1] = period_s
        return durations

    def segments(self, period_s: float) -> Tuple[Segment, ...]:
        """Return the periods of constant label between gaps; each ends ``period_s`` after them."""
        changes = np.flatnonzero(np.diff(self.labels)) + 1
        starts = np.unique(np.concatenate([[0], changes, self.breaks]))
        lasts = np.append(starts[1:], len(self.labels)) - 1
        ends_s = (self.times_s + self.durations_s(period_s))[lasts]
        columns = self.times_s[starts], ends_s, self.labels[starts]
        return tuple(Segment(*values) for values in zip(*(column.tolist() for column in columns)))

    def thinned(self, points: int) -> Series:
        """Return at most ``points`` means over equal periods, or the series itself if it is short.

        The label is the most frequent one. Gaps within a period are lost.
        """
        if len(self.times_s) <= points:
            return self
        span_s = self.times_s[-1] - self.times_s[0]
        share = (self.times_s - self.times_s[0]) / (span_s or 1)
        period = np.minimum((share * points).astype(np.int64), points - 1)
        starts = np.flatnonzero(np.diff(period, prepend=-1))
        counts = np.diff(starts, append=len(period))
        votes = np.add.reduceat(np.eye(len(LABELS))[self.labels], starts)
        after = np.searchsorted(starts, self.breaks)
        return Series(
            times_s=np.add.reduceat(self.times_s, starts) / counts,
            probabilities=np.add.reduceat(self.probabilities, starts) / counts[:, None],
            affect=np.add.reduceat(self.affect, starts) / counts[:, None],
            labels=votes.argmax(axis=1),
            breaks=after[starts[np.minimum(after, len(starts) - 1)] == self.breaks],
        )


@dataclass(frozen=True)
class Change:
    """A change of a face's label from one record to the next."""

    at_s: float  # from the start of the recording
    before: str
    frame: FrameRecord
    face: FaceRecord  # the first with the new label

    def as_json(self) -> Dict[str, Any]:
        """Return the change as JSON values."""
        return {
            "at_s": round(self.at_s, 3),
            "source": self.frame.source,
            "face_id": self.face.face_id,
            "before": self.before,
            "after": self.face.label,
            "confidence": self.face.confidence,
        }


class FaceSummary:
    """The statistics of one face; times count from the start of the recording."""

    def __init__(
        self, track: Sequence[Sight], began_s: float, period_s: float, gap_s: float
    ) -> None:
        frames, records = zip(*track)
        times_s = np.array([frame.stamp_s for frame in frames]) - began_s
        series = Series.of(times_s, records, gap_s)
        durations_s, segments = series.durations_s(period_s), series.segments(period_s)
        changes = np.flatnonzero(np.diff(series.labels)) + 1
        self.source: str = frames[0].source
        self.face_id: int = records[0].face_id
        self.images = len(track)
        self.first_s = float(times_s[0])
        self.last_s = float(times_s[-1])
        self.seen_s = float(durations_s.sum())  # without the gaps
        self.shares = _shares(  # one for each of LABELS
            np.bincount(series.labels, durations_s, minlength=len(LABELS)),
            np.bincount(series.labels, minlength=len(LABELS)),
        )
        self.changes = [Change(float(times_s[i]), records[i - 1].label, *track[i]) for i in changes]
        self.series = series.thinned(POINTS)
        is_short = len(segments) <= POINTS
        self.segments = segments if is_short else self.series.segments(period_s)
        self.best = max(track, key=lambda sight: sight[1].score)  # score of the detector

    def as_json(self) -> Dict[str, Any]:
        """Return the statistics as JSON values, without the series."""
        fields = _rounded(self, 3)
        del fields["segments"], fields["series"], fields["best"]
        return {**fields, "shares": [*map(_rounded, self.shares)], "changes": len(self.changes)}


class SourceSummary:
    """The statistics of one source; None: too few images."""

    def __init__(self, frames: Sequence[FrameRecord], began_s: float, gap_s: float) -> None:
        intervals_s = _intervals_s(frames)
        span_s = frames[-1].stamp_s - frames[0].stamp_s
        longest = int(intervals_s.argmax()) if span_s else None
        self.source = frames[0].source
        self.images = len(frames)
        self.without_face = sum(not frame.faces for frame in frames)
        self.rate_hz = len(intervals_s) / span_s if span_s else None
        self.gaps = int((intervals_s > gap_s).sum())
        self.longest_s = float(intervals_s.max()) if span_s else None  # interval
        self.longest_at_s = None if longest is None else frames[longest].stamp_s - began_s


class Summary:
    """The statistics of a recording; None: unknown."""

    def __init__(self, recording: Recording, frames: Sequence[FrameRecord]) -> None:
        feeds: DefaultDict[str, List[FrameRecord]] = defaultdict(list)
        tracks: DefaultDict[Tuple[str, int], List[Sight]] = defaultdict(list)  # ids are of a source
        for frame in frames:
            feeds[frame.source].append(frame)
            for face in frame.faces:
                tracks[frame.source, face.face_id].append((frame, face))
        intervals_s = np.concatenate([*map(_intervals_s, feeds.values())])
        intervals_s = intervals_s[intervals_s > 0]
        period_s = float(np.median(intervals_s)) if len(intervals_s) else 0.0
        began_s, gap_s = frames[0].stamp_s, max(_LEAST_GAP_S, _GAP_PERIODS * period_s)
        sources = sorted(feeds.values(), key=len, reverse=True)
        faces = [FaceSummary(track, began_s, period_s, gap_s) for track in tracks.values()]
        faces.sort(key=lambda face: (-face.seen_s, face.first_s, face.source, face.face_id))
        changes = [change for face in faces for change in face.changes]
        totals = np.array([[(each.time_s, each.images) for each in face.shares] for face in faces])
        self.title = recording.title
        self.began_s = began_s  # stamp of the first image
        self.duration_s = frames[-1].stamp_s - began_s
        self.images = len(frames)
        self.without_face = sum(not frame.faces for frame in frames)
        self.offered = recording.offered
        # More results than images: some of the images are not in the recording.
        unanswered = -1 if self.offered is None else self.offered - self.images
        self.unanswered = unanswered if unanswered >= 0 else None
        self.latencies_s = None  # p50, p99 and max
        latencies_s = np.array(() if recording.latencies_s is None else recording.latencies_s)
        latencies_s = latencies_s[np.isfinite(latencies_s)]
        if len(latencies_s):
            figures = np.percentile(latencies_s, (50, 99, 100)).tolist()
            self.latencies_s = dict(zip(("p50", "p99", "max"), figures))
        self.notes = recording.notes  # further remarks for the reader
        self.gap_s = gap_s  # a longer interval without an image, or without a face, is a gap
        self.feeds = [SourceSummary(images, began_s, gap_s) for images in sources]
        self.faces = tuple(faces)  # the longest visible first
        self.shares = _shares(*totals.reshape(-1, len(LABELS), 2).sum(axis=0).T)
        self.changes = tuple(sorted(changes, key=lambda change: change.at_s))

    def as_json(self) -> Dict[str, Any]:
        """Return the statistics as JSON values, without the series of the faces."""
        return {
            **vars(self),
            "duration_s": round(self.duration_s, 3),
            "gap_s": round(self.gap_s, 3),
            "feeds": [*map(_rounded, self.feeds)],
            "faces": [face.as_json() for face in self.faces],
            "shares": [*map(_rounded, self.shares)],
            "changes": [change.as_json() for change in self.changes],
        }


def summarise(recording: Recording) -> Summary:
    """Return the statistics of a recording.

    Raises DataError, which names the image, for no images or values out of their range.
    """
    frames = sorted(recording.frames, key=lambda frame: frame.stamp_s)
    if not frames:
        raise DataError(f"{recording.title}: contains no images")
    _check(recording.title, frames)
    return Summary(recording, frames)


def _check(title: str, frames: Sequence[FrameRecord]) -> None:
    """Raise DataError for the first image with a value out of its range."""
    for frame in frames:
        where = f"{title}: image {frame.number} of {frame.source}"
        if not abs(frame.stamp_s) < 1e12:  # also nan
            raise DataError(f"{where}: the stamp must be a number of seconds, not {frame.stamp_s}")
        for face in frame.faces:
            for low, name, values in (
                (0, "the probabilities", (*face.probabilities, face.confidence)),
                (-1, "valence and arousal", (face.valence, face.arousal)),
            ):
                if not all(low - 1e-3 <= value <= 1 + 1e-3 for value in values):
                    raise DataError(f"{where}, face {face.face_id}: {name} must be {low} to 1")


def _intervals_s(frames: Sequence[FrameRecord]) -> Floats:
    return np.diff([frame.stamp_s for frame in frames])


def _shares(times_s: NDArray[Any], images: NDArray[Any]) -> Tuple[Share, ...]:
    """Return the shares by time (8,), or by images (8,) if no time passed between them."""
    parts = times_s if times_s.any() else images
    total = float(parts.sum()) or 1.0
    return tuple(
        Share(label, float(part) / total, float(time_s), int(count))
        for label, part, time_s, count in zip(LABELS, parts, times_s, images)
    )


def _rounded(record: object, decimals: int = 4) -> Dict[str, Any]:
    """Return the fields of a dataclass, floats rounded."""
    fields = vars(record).items()
    return {name: round(v, decimals) if isinstance(v, float) else v for name, v in fields}
