"""Multi-object tracking: ids of faces across images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, List, Tuple

import numpy as np
from numpy.typing import NDArray

from esr_core.perception.arrays import Boxes, Floats

#: Largest motion plus growth of a face between two detections, in its own size.
MAX_STEP = 0.8


@dataclass
class Track:
    """The last detection of a tracked face."""

    face_id: int
    box: Boxes  # (4,)
    time_s: float


class Tracker:
    """Assigns detections to tracks by position and size; an id is never used for two tracks.

    A face that is not detected keeps its track for ``timeout_s`` after its last detection. A pause
    between two images does not end the track of a face that is in both.
    """

    def __init__(self) -> None:
        self._next_id = 1
        self._last_s = 0.0  # the time of the image before
        self.reset()

    def reset(self) -> None:
        """End all tracks."""
        self.tracks: List[Track] = []

    def update(self, boxes: Boxes, time_s: float, timeout_s: float) -> NDArray[np.int64]:
        """Return an id for each box (n, 4) of the next image, 0 or more; times never decrease."""
        # A face that was missing in the image before has its timeout to come back, no longer.
        before_s, self._last_s = self._last_s, time_s
        self.tracks = [
            track
            for track in self.tracks
            if track.time_s == before_s or time_s - track.time_s <= timeout_s
        ]
        ids = np.zeros(len(boxes), np.int64)
        tracked = np.array([track.box for track in self.tracks], np.float32).reshape(-1, 4)
        steps = step_sizes(boxes, tracked)
        while steps.min(initial=np.inf) <= MAX_STEP:  # the closest pairs first
            row, column = np.unravel_index(int(steps.argmin()), steps.shape)
            track = self.tracks[column]
            track.box, track.time_s, ids[row] = boxes[row].copy(), time_s, track.face_id
            steps[row, :] = steps[:, column] = np.inf
        self.tracks = [track for track in self.tracks if time_s - track.time_s <= timeout_s]
        for row in np.flatnonzero(ids == 0):
            self.tracks.append(Track(self._next_id, boxes[row].copy(), time_s))
            ids[row] = self._next_id
            self._next_id += 1
        return ids


def step_sizes(boxes: Boxes, others: Boxes) -> Floats:
    """Return the distance of each box (n, 4) to each other one (m, 4), in box sizes: (n, m).

    The distance of the centres over the mean size, plus the logarithm of the ratio of sizes.
    """

    def centre_and_size(boxes: Boxes) -> Tuple[Any, Any]:
        area = (boxes[..., 2:] - boxes[..., :2]).prod(axis=-1)
        return (boxes[..., :2] + boxes[..., 2:]) / 2, np.sqrt(np.maximum(area, 1.0))

    centre, size = centre_and_size(boxes[:, None])
    other_centre, other_size = centre_and_size(others[None])
    distance = np.linalg.norm(centre - other_centre, axis=2) / ((size + other_size) / 2)
    return distance + np.abs(np.log(size / other_size))  # type: ignore[no-any-return]
