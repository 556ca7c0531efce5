"""The values of one face over time, and how they are thinned for a picture."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Sequence, Tuple

import numpy as np
from numpy.typing import NDArray

from esr_core.emotions import LABELS
from esr_core.media.records import FaceRecord


class Segment(NamedTuple):
    """A time in which a face was seen and kept its label."""

    start_s: float
    end_s: float
    label: int  # an index into LABELS


@dataclass(frozen=True)
class Series:
    """One face over time: n sightings, or means of some that lie close together."""

    times_s: NDArray[np.float64]  # (n,) ascending, from the start of the recording
    probabilities: NDArray[np.float64]  # (n, 8) in [0, 1]
    affect: NDArray[np.float64]  # (n, 2) valence and arousal in [-1, 1]
    labels: NDArray[np.int64]  # (n,) indices into LABELS
    breaks: NDArray[np.int64]  # indices of those before which the face was not seen for long

    @classmethod
    def of(
        cls, times_s: NDArray[np.float64], sightings: Sequence[FaceRecord], gap_s: float
    ) -> Series:
        """Return a face's sightings; between some that are more than ``gap_s`` apart is a gap."""
        index = {label: number for number, label in enumerate(LABELS)}
        return cls(
            times_s=times_s,
            probabilities=np.array([each.probabilities for each in sightings], np.float64),
            affect=np.array([(each.valence, each.arousal) for each in sightings], np.float64),
            labels=np.array([index[each.label] for each in sightings], np.int64),
            breaks=np.flatnonzero(np.diff(times_s) > gap_s) + 1,
        )

    def held_s(self, period_s: float) -> NDArray[np.float64]:
        """Return for how long each sighting (n,) stands: until the next, or for ``period_s``."""
        held = np.diff(self.times_s, append=self.times_s[-1] + period_s)
        held[self.breaks - 1] = period_s
        return held

    def runs(self, period_s: float) -> Tuple[Segment, ...]:
        """Return where which label stood, without the gaps; the last of each ``period_s`` more."""
        turns = np.flatnonzero(np.diff(self.labels)) + 1
        starts = np.unique(np.concatenate([[0], turns, self.breaks]))
        ends_s = (self.times_s + self.held_s(period_s))[np.append(starts[1:], len(self.labels)) - 1]
        return tuple(
            Segment(float(start_s), float(end_s), int(label))
            for start_s, end_s, label in zip(self.times_s[starts], ends_s, self.labels[starts])
        )

    def thinned(self, points: int) -> Series:
        """Return at most ``points`` means over equal stretches of time, or itself if that is few.

        The label is the most frequent one. A gap within one of the stretches is not told.
        """
        span_s = self.times_s[-1] - self.times_s[0]
        if len(self.times_s) <= points:
            return self
        share = (self.times_s - self.times_s[0]) / (span_s or 1)
        stretch = np.minimum((share * points).astype(np.int64), points - 1)
        starts = np.flatnonzero(np.diff(stretch, prepend=-1))
        counts = np.diff(starts, append=len(stretch))
        votes = np.add.reduceat(np.eye(len(LABELS))[self.labels], starts)
        after = np.searchsorted(starts, self.breaks)
        seen = after[starts[np.minimum(after, len(starts) - 1)] == self.breaks]
        return Series(
            times_s=np.add.reduceat(self.times_s, starts) / counts,
            probabilities=np.add.reduceat(self.probabilities, starts) / counts[:, None],
            affect=np.add.reduceat(self.affect, starts) / counts[:, None],
            labels=votes.argmax(axis=1),
            breaks=seen,
        )
