"""The values of one face over time, and their thinning for charts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Sequence, Tuple

import numpy as np
from numpy.typing import NDArray

from esr_core.emotions import LABELS
from esr_core.media.records import FaceRecord


class Segment(NamedTuple):
    """A period in which a face was visible and kept its label."""

    start_s: float
    end_s: float
    label: int  # an index into LABELS


@dataclass(frozen=True)
class Series:
    """One face over time: n records, or means over equal periods."""

    times_s: NDArray[np.float64]  # (n,) ascending, from the start of the recording
    probabilities: NDArray[np.float64]  # (n, 8) in [0, 1]
    affect: NDArray[np.float64]  # (n, 2) valence and arousal in [-1, 1]
    labels: NDArray[np.int64]  # (n,) indices into LABELS
    breaks: NDArray[np.int64]  # indices of the values that follow a gap

    @classmethod
    def of(
        cls, times_s: NDArray[np.float64], records: Sequence[FaceRecord], gap_s: float
    ) -> Series:
        """Return the series of a face; records more than ``gap_s`` apart are separated by a gap."""
        return cls(
            times_s=times_s,
            probabilities=np.array([each.probabilities for each in records], np.float64),
            affect=np.array([(each.valence, each.arousal) for each in records], np.float64),
            labels=np.array([LABELS.index(each.label) for each in records], np.int64),
            breaks=np.flatnonzero(np.diff(times_s) > gap_s) + 1,
        )

    def durations_s(self, period_s: float) -> NDArray[np.float64]:
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
