"""What there is to tell of a recording, in numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Dict, Iterable, List, Optional, Sequence, Tuple

import numpy as np
from numpy.typing import NDArray

from esr_core.emotions import LABELS
from esr_core.errors import DataError
from esr_core.media.records import FaceRecord, FrameRecord
from esr_core.report.recording import Recording
from esr_core.report.time_series import Segment, Series

#: Of each face at most so many values are kept, means over equal stretches of time.
POINTS = 2000
_LEAST_GAP_S = 0.5
_GAP_PERIODS = 3
_Track = List[Tuple[FrameRecord, FaceRecord]]


@dataclass(frozen=True)
class Share:
    """How much of a face, or of all faces, was one emotion."""

    label: str
    share: float  # of the time that the face was seen, in [0, 1]
    time_s: float
    images: int


@dataclass(frozen=True)
class Change:
    """A face was seen with another label than the time before."""

    at_s: float  # from the start of the recording
    before: str
    frame: FrameRecord
    sighting: FaceRecord  # the first with the new label

    def as_json(self) -> Dict[str, Any]:
        """Return it in JSON's values."""
        return {
            "at_s": round(self.at_s, 3),
            "source": self.frame.source,
            "face_id": self.sighting.face_id,
            "before": self.before,
            "after": self.sighting.label,
            "confidence": self.sighting.confidence,
        }


@dataclass(frozen=True)
class FaceSummary:
    """What one face showed; times count from the start of the recording."""

    source: str
    face_id: int
    images: int
    first_s: float
    last_s: float
    seen_s: float  # without the gaps
    shares: Tuple[Share, ...]  # one for each of LABELS
    changes: Tuple[Change, ...]
    runs: Tuple[Segment, ...]
    series: Series  # thinned to POINTS
    best: Tuple[FrameRecord, FaceRecord]  # where the detector was surest

    def as_json(self) -> Dict[str, Any]:
        """Return it in JSON's values, without what it showed from image to image."""
        return {
            "source": self.source,
            "face_id": self.face_id,
            "images": self.images,
            "first_s": round(self.first_s, 3),
            "last_s": round(self.last_s, 3),
            "seen_s": round(self.seen_s, 3),
            "shares": _as_json(self.shares),
            "changes": len(self.changes),
        }


@dataclass(frozen=True)
class SourceSummary:
    """The images of one source; None: there are too few of them to tell."""

    source: str
    images: int
    without_face: int
    rate_hz: Optional[float]
    gaps: int  # times longer than ``gap_s`` from one image to the next
    longest_s: Optional[float]  # from one image to the next
    longest_at_s: Optional[float]  # where that begins

    def as_json(self) -> Dict[str, Any]:
        """Return it in JSON's values."""
        return {name: _rounded(value) for name, value in vars(self).items()}


@dataclass(frozen=True)
class Summary:
    """A recording in numbers; None: not known."""

    title: str
    began_s: float  # stamp of the first image
    duration_s: float
    gap_s: float  # a longer time without an image, or without a face, is a gap
    feeds: Tuple[SourceSummary, ...]  # those with most images first
    faces: Tuple[FaceSummary, ...]  # those seen longest first
    shares: Tuple[Share, ...]  # of all faces; one for each of LABELS
    changes: Tuple[Change, ...]  # of all faces, in order of time
    images: int
    without_face: int
    offered: Optional[int]
    unanswered: Optional[int]
    latencies_s: Optional[Dict[str, float]]  # p50, p99 and max
    notes: Tuple[str, ...] = ()  # what else a reader should know

    def as_json(self) -> Dict[str, Any]:
        """Return all of it in JSON's values, but for what the faces showed from image to image."""
        return {
            "title": self.title,
            "began_s": self.began_s,
            "duration_s": round(self.duration_s, 3),
            "images": self.images,
            "without_face": self.without_face,
            "offered": self.offered,
            "unanswered": self.unanswered,
            "latencies_s": self.latencies_s,
            "notes": list(self.notes),
            "gap_s": round(self.gap_s, 3),
            "feeds": [feed.as_json() for feed in self.feeds],
            "faces": [face.as_json() for face in self.faces],
            "shares": _as_json(self.shares),
            "changes": [change.as_json() for change in self.changes],
        }


def summarise(recording: Recording) -> Summary:
    """Return a recording in numbers.

    Raises:
        DataError: it has no images, or one with values out of their range; says which.
    """
    frames = sorted(recording.frames, key=lambda frame: frame.stamp_s)
    if not frames:
        raise DataError(f"{recording.title}: there are no images in it")
    _check(recording.title, frames)
    began_s = frames[0].stamp_s
    feeds = _by_source(frames)
    period_s = _period(feeds.values())
    gap_s = max(_LEAST_GAP_S, _GAP_PERIODS * period_s)
    faces = [_face(track, began_s, period_s, gap_s) for track in _tracks(frames)]
    faces.sort(key=lambda face: (-face.seen_s, face.first_s, face.source, face.face_id))
    changes = [change for face in faces for change in face.changes]
    missing = None if recording.offered is None else recording.offered - len(frames)
    return Summary(
        title=recording.title,
        began_s=began_s,
        duration_s=frames[-1].stamp_s - began_s,
        gap_s=gap_s,
        feeds=tuple(
            _feed(source, images, began_s, gap_s)
            for source, images in sorted(feeds.items(), key=lambda feed: -len(feed[1]))
        ),
        faces=tuple(faces),
        shares=_total([face.shares for face in faces]),
        changes=tuple(sorted(changes, key=lambda change: change.at_s)),
        images=len(frames),
        without_face=sum(not frame.sightings for frame in frames),
        offered=recording.offered,
        # More answers than images: some of the images are not in the recording.
        unanswered=missing if missing is not None and missing >= 0 else None,
        latencies_s=_latencies(recording.latencies_s),
        notes=tuple(recording.notes),
    )


def _check(title: str, frames: Sequence[FrameRecord]) -> None:
    """Raise DataError at the first image with a value that cannot be."""
    for frame in frames:
        where = f"{title}: image {frame.number} of {frame.source}"
        if not abs(frame.stamp_s) < 1e12:  # so is nan
            raise DataError(f"{where}: the stamp must be a number of seconds, not {frame.stamp_s}")
        for each in frame.sightings:
            for low, values in (
                (0, (*each.probabilities, each.confidence)),
                (-1, (each.valence, each.arousal)),
            ):
                if not all(low - 1e-3 <= value <= 1 + 1e-3 for value in values):
                    what = "valence and arousal" if low else "the probabilities"
                    raise DataError(f"{where}, face {each.face_id}: {what} must be {low} to 1")


def _by_source(frames: Sequence[FrameRecord]) -> Dict[str, List[FrameRecord]]:
    feeds: Dict[str, List[FrameRecord]] = {}
    for frame in frames:
        feeds.setdefault(frame.source, []).append(frame)
    return feeds


def _steps(frames: Sequence[FrameRecord]) -> NDArray[np.float64]:
    """Return the times from one image to the next, in seconds."""
    return np.diff([frame.stamp_s for frame in frames])


def _period(feeds: Iterable[Sequence[FrameRecord]]) -> float:
    """Return the usual time from an image to the next, 0 where there is none."""
    steps_s = np.concatenate([_steps(frames) for frames in feeds])
    return float(np.median(steps_s[steps_s > 0])) if (steps_s > 0).any() else 0.0


def _tracks(frames: Sequence[FrameRecord]) -> List[_Track]:
    """Return the sightings of each face, in the order of time; ids are those of a source."""
    tracks: Dict[Tuple[str, int], _Track] = {}
    for frame in frames:
        for sighting in frame.sightings:
            tracks.setdefault((frame.source, sighting.face_id), []).append((frame, sighting))
    return list(tracks.values())


def _face(track: _Track, began_s: float, period_s: float, gap_s: float) -> FaceSummary:
    frames, sightings = zip(*track)
    times_s = np.array([frame.stamp_s for frame in frames]) - began_s
    series = Series.of(times_s, sightings, gap_s)
    held_s = series.held_s(period_s)
    turns = np.flatnonzero(np.diff(series.labels)) + 1
    runs, thinned = series.runs(period_s), series.thinned(POINTS)
    return FaceSummary(
        source=frames[0].source,
        face_id=sightings[0].face_id,
        images=len(track),
        first_s=float(times_s[0]),
        last_s=float(times_s[-1]),
        seen_s=float(held_s.sum()),
        shares=_shares(series.labels, held_s),
        changes=tuple(
            Change(float(times_s[turn]), sightings[turn - 1].label, *track[turn]) for turn in turns
        ),
        runs=runs if len(runs) <= POINTS else thinned.runs(period_s),
        series=thinned,
        best=max(track, key=lambda seen: seen[1].score),
    )


def _shares(labels: NDArray[np.int64], held_s: NDArray[np.float64]) -> Tuple[Share, ...]:
    times_s = np.bincount(labels, held_s, minlength=len(LABELS))
    images = np.bincount(labels, minlength=len(LABELS))
    return _of_whole(times_s, images)


def _total(shares: Sequence[Sequence[Share]]) -> Tuple[Share, ...]:
    """Return the shares of all faces together."""
    of_faces = [[(each.time_s, each.images) for each in face] for face in shares]
    times_s, images = np.array(of_faces).reshape(-1, len(LABELS), 2).sum(axis=0).T
    return _of_whole(times_s, images.astype(np.int64))


def _of_whole(times_s: NDArray[Any], images: NDArray[Any]) -> Tuple[Share, ...]:
    """Return shares by time, or by images where no time passed between them."""
    parts = times_s if times_s.any() else images
    whole = float(parts.sum()) or 1.0
    return tuple(
        Share(label, float(part) / whole, float(time_s), int(count))
        for label, part, time_s, count in zip(LABELS, parts, times_s, images)
    )


def _feed(
    source: str, frames: Sequence[FrameRecord], began_s: float, gap_s: float
) -> SourceSummary:
    steps_s = _steps(frames)
    span_s = frames[-1].stamp_s - frames[0].stamp_s
    return SourceSummary(
        source=source,
        images=len(frames),
        without_face=sum(not frame.sightings for frame in frames),
        rate_hz=len(steps_s) / span_s if span_s else None,
        gaps=int((steps_s > gap_s).sum()),
        longest_s=float(steps_s.max()) if span_s else None,
        longest_at_s=frames[int(steps_s.argmax())].stamp_s - began_s if span_s else None,
    )


def _latencies(latencies_s: Optional[NDArray[np.float64]]) -> Optional[Dict[str, float]]:
    known_s = np.array([] if latencies_s is None else latencies_s)
    known_s = known_s[np.isfinite(known_s)]
    if not len(known_s):
        return None
    p50_s, p99_s, most_s = np.percentile(known_s, (50, 99, 100))
    return {"p50": float(p50_s), "p99": float(p99_s), "max": float(most_s)}


def _as_json(shares: Sequence[Share]) -> List[Dict[str, Any]]:
    return [{name: _rounded(value) for name, value in vars(each).items()} for each in shares]


def _rounded(value: Any) -> Any:
    return round(value, 4) if isinstance(value, float) else value
