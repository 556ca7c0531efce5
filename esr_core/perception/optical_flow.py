"""Following faces between two detections by optical flow, checked; a tenth of a detection's work.

Points on a grid in each face are followed from image to image and back (Lucas and Kanade, in
pyramids as Bouguet has them); those that come back to where they began tell how the face moved and
grew, by medians: Kalal, Mikolajczyk, Matas, "Forward-Backward Error: Automatic Detection of
Tracking Failures", ICPR 2010.
"""

from __future__ import annotations

from typing import Optional, Tuple

import cv2
import numpy as np
from numpy.typing import NDArray

from esr_core.perception.detection import Detections

#: The longer side of the image in which faces are followed.
SIZE_PX = 320
#: Points in a face: a grid of so many by so many, in the middle of the box, which shows no room.
GRID = 7
INNER = 0.7
#: A point that returns farther than this from where it began was lost, in pixels of that image.
MAX_RETURN_PX = 1.0
#: A face with a smaller share of points left is lost; one that grows by more in one image as well.
MIN_KEPT = 0.5
MAX_GROWTH = 1.3
#: What lies under a face looks as it did where it was detected, by correlation, or it is lost.
MIN_LIKENESS = 0.6
PATCH_PX = 24
#: Where more of the image has other grey levels, in so many classes, it is another scene. What
#: turns its head has the same greys elsewhere.
MAX_CHANGE = 0.3
GREYS = 32

#: Of the flow: what is compared around a point, how often the image is halved, when it is exact.
WINDOW_PX = (11, 11)
PYRAMID = 3
PRECISION = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 10, 0.03)

Grey = NDArray[np.uint8]


class OpticalFlowTracker:
    """Where the faces of the image before are in this one, until they must be detected again."""

    def __init__(self) -> None:
        self._grey: Optional[Grey] = None  # the image before, small
        self._next: Optional[Grey] = None  # the image in hand
        self._scale = 1.0  # from its pixels to the camera's
        self._faces = Detections.none()
        # Of the faces, as they looked when they were detected: (n, PATCH_PX ** 2).
        self._patches: NDArray[np.float32] = np.zeros((0, PATCH_PX**2), np.float32)
        self._age = 0  # images since the last detection

    def follow(self, rgb: NDArray[np.uint8], every: int) -> Optional[Detections]:
        """Return the faces in the next image (h, w, 3) uint8, in its pixels.

        every: detect in every so many-th image. Then, and as soon as the scene has changed or a
        face is lost, None is returned: detect them, and call :meth:`detected`.
        """
        if every == 1:
            self._grey = self._next = None
            return None
        before, self._next = self._grey, _small_grey(rgb)
        self._scale = max(rgb.shape[:2]) / max(self._next.shape)
        self._age += 1
        if before is None or self._age >= every or _is_other_scene(before, self._next):
            return None
        faces = self._moved(before, self._next)
        if faces is not None:
            self._grey, self._faces = self._next, faces
        return faces

    def detected(self, faces: Detections) -> None:
        """Go on from these faces, found in the image that :meth:`follow` had last."""
        self._grey, self._faces, self._age = self._next, faces, 0
        if self._next is not None:
            self._patches = _patches(self._next, faces.boxes / self._scale)

    @property
    def has_detected(self) -> bool:
        """Whether the faces of the last image were detected: what came before it does not count."""
        return self._age == 0

    def _moved(self, before: Grey, now: Grey) -> Optional[Detections]:
        """Follow all faces, or none."""
        count, scale = len(self._faces), self._scale
        if count == 0:
            return self._faces
        points = _grid(self._faces.boxes / scale)  # (n, grid, 2)
        there, back = _flow(before, now, points)
        kept = np.linalg.norm(back - points, axis=2) <= MAX_RETURN_PX
        if (kept.mean(axis=1) < MIN_KEPT).any():
            return None
        boxes, landmarks = self._faces.boxes.copy(), self._faces.landmarks.copy()
        for row in range(count):
            origin, centre, growth = _motion(points[row, kept[row]], there[row, kept[row]])
            if not 1 / MAX_GROWTH <= growth <= MAX_GROWTH:
                return None
            for corners in (boxes[row].reshape(2, 2), landmarks[row]):
                corners[:] = (corners - origin * scale) * growth + centre * scale
        likeness = (self._patches * _patches(now, boxes / scale)).sum(axis=1)
        if (likeness < MIN_LIKENESS).any():
            return None
        return Detections(boxes, self._faces.scores, landmarks)


def _small_grey(rgb: NDArray[np.uint8]) -> Grey:
    height, width = rgb.shape[:2]
    scale = max(max(height, width) / SIZE_PX, 1.0)
    size = max(round(width / scale), 1), max(round(height / scale), 1)
    small = cv2.resize(rgb, size, interpolation=cv2.INTER_AREA)
    return cv2.cvtColor(small, cv2.COLOR_RGB2GRAY)  # type: ignore[return-value]


def _is_other_scene(before: Grey, now: Grey) -> bool:
    if before.shape != now.shape:
        return True
    greys = [cv2.calcHist([each], [0], None, [GREYS], [0, 256]) for each in (before, now)]
    return float(cv2.absdiff(*greys).sum()) / 2 > MAX_CHANGE * now.size


def _grid(boxes: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return points in boxes (n, 4): (n, GRID * GRID, 2)."""
    steps = np.linspace(0.5 - INNER / 2, 0.5 + INNER / 2, GRID, dtype=np.float32)
    shares = np.stack(np.meshgrid(steps, steps), axis=-1).reshape(1, -1, 2)
    points: NDArray[np.float32] = boxes[:, None, :2] + shares * (
        boxes[:, None, 2:] - boxes[:, None, :2]
    )
    return points


def _flow(
    before: Grey, now: Grey, points: NDArray[np.float32]
) -> Tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Where points (n, m, 2) went, and where those come from when asked backwards."""
    there = _tracked(before, now, points.reshape(-1, 1, 2))
    back = _tracked(now, before, there)
    return there.reshape(points.shape), back.reshape(points.shape)


def _tracked(before: Grey, now: Grey, points: NDArray[np.float32]) -> NDArray[np.float32]:
    places, _, _ = cv2.calcOpticalFlowPyrLK(
        before,
        now,
        points,
        np.empty_like(points),
        winSize=WINDOW_PX,
        maxLevel=PYRAMID,
        criteria=PRECISION,
    )
    return places  # type: ignore[return-value]


def _motion(
    points: NDArray[np.float32], there: NDArray[np.float32]
) -> Tuple[NDArray[np.float32], NDArray[np.float32], float]:
    """The centre of the points (m, 2) before and after, and the factor by which they grew."""
    origin = points.mean(axis=0)
    move = np.median(there - points, axis=0)
    spread = np.linalg.norm(points - origin, axis=1)
    grown = np.linalg.norm(there - origin - move, axis=1)
    far = spread > 0.25 * spread.max()
    return origin, origin + move, float(np.median(grown[far] / spread[far]))


def _patches(grey: Grey, boxes: NDArray[np.float32]) -> NDArray[np.float32]:
    """What lies under boxes (n, 4), normalised so that a product is a correlation."""
    patches = np.zeros((len(boxes), PATCH_PX**2), np.float32)
    for row, (x1, y1, x2, y2) in enumerate(boxes):
        matrix = np.array([[(x2 - x1) / PATCH_PX, 0, x1], [0, (y2 - y1) / PATCH_PX, y1]])
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        patch = cv2.warpAffine(
            grey, matrix, (PATCH_PX, PATCH_PX), flags=flags, borderMode=cv2.BORDER_REPLICATE
        )
        flat = patch.astype(np.float32).ravel()
        flat -= flat.mean()
        patches[row] = flat / max(float(np.linalg.norm(flat)), 1e-6)
    return patches
