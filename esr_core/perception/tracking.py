"""Which face is which: ids that stay with a face from image to image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import List, Tuple

import numpy as np
from numpy.typing import NDArray

#: A face may move or grow by so much, in its own size, between two sightings.
MAX_STEP = 0.8


@dataclass
class Track:
    """One face that is followed."""

    face_id: int
    box: NDArray[np.float32]  # (4,) x1, y1, x2, y2 where it was seen last
    seen_s: float


class Tracker:
    """Match faces to those of earlier images by place and size; ids are never given twice.

    Time is that of the images' stamps, so that the same recording gives the same ids. A face
    that is not found keeps its id for ``timeout_s``. Stamps that go back (a bag that starts
    over) end all tracks.
    """

    def __init__(self) -> None:
        self.tracks: List[Track] = []
        self._next_id = 1
        self._stamp_s = float("-inf")

    def reset(self) -> None:
        """End all tracks."""
        self.tracks.clear()
        self._stamp_s = float("-inf")

    def update(
        self, boxes: NDArray[np.float32], stamp_s: float, timeout_s: float
    ) -> NDArray[np.int64]:
        """Return an id for each box (n, 4); call it for images without faces too."""
        if stamp_s < self._stamp_s:
            self.reset()
        self._stamp_s = stamp_s
        self.tracks = [track for track in self.tracks if stamp_s - track.seen_s <= timeout_s]
        ids = np.zeros(len(boxes), np.int64)
        for row, track in self._matches(boxes):
            track.box, track.seen_s = boxes[row].copy(), stamp_s
            ids[row] = track.face_id
        for row in np.flatnonzero(ids == 0):
            self.tracks.append(Track(self._next_id, boxes[row].copy(), stamp_s))
            ids[row] = self._next_id
            self._next_id += 1
        return ids

    def _matches(self, boxes: NDArray[np.float32]) -> List[Tuple[int, Track]]:
        """Pair boxes and tracks, the closest first, none twice."""
        if len(boxes) == 0 or not self.tracks:
            return []
        steps = step_sizes(boxes, np.stack([track.box for track in self.tracks]))
        pairs: List[Tuple[int, Track]] = []
        while steps.min() <= MAX_STEP:
            row, column = np.unravel_index(int(steps.argmin()), steps.shape)
            pairs.append((int(row), self.tracks[column]))
            steps[row, :] = np.inf
            steps[:, column] = np.inf
        return pairs


def step_sizes(boxes: NDArray[np.float32], others: NDArray[np.float32]) -> NDArray[np.float32]:
    """How far each box (n, 4) is from each other one (m, 4), in box sizes: (n, m).

    The distance of the centres over the mean size, plus the logarithm of the ratio of sizes.
    """
    centre = (boxes[:, None, :2] + boxes[:, None, 2:]) / 2
    other_centre = (others[None, :, :2] + others[None, :, 2:]) / 2
    size = _size(boxes)[:, None]
    other_size = _size(others)[None, :]
    distance = np.linalg.norm(centre - other_centre, axis=2) / ((size + other_size) / 2)
    steps: NDArray[np.float32] = distance + np.abs(np.log(size / other_size))
    return steps


def _size(boxes: NDArray[np.float32]) -> NDArray[np.float32]:
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    side: NDArray[np.float32] = np.sqrt(np.maximum(area, 1.0))
    return side
