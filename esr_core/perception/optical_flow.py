"""Tracking faces between two detections by optical flow, for a tenth of a detection's cost.

A grid of points in each face is tracked to the next image and back (Lucas and Kanade, in pyramids
after Bouguet). The points that return to their origin give its motion and growth, by medians:
Kalal, Mikolajczyk, Matas, "Forward-Backward Error: Automatic Detection of Tracking Failures",
ICPR 2010.
"""

from __future__ import annotations

from typing import Any, Dict, Optional, Tuple

import cv2
import numpy as np

from esr_core.perception.arrays import Boxes, Floats, Image, Points
from esr_core.perception.detection import Detections

#: Longer side of the image that faces are tracked in.
SIZE_PX = 320
#: Points of a face, 7 by 7 in the inner part of the box, which has no background: x and y as shares
#: of its width and height, (49, 2).
_STEPS = np.linspace(0.15, 0.85, 7, dtype=np.float32)
GRID = np.stack(np.meshgrid(_STEPS, _STEPS), axis=-1).reshape(-1, 2)
#: A point whose forward-backward error is larger is lost; in pixels of the small image.
MAX_RETURN_PX = 1.0
#: A face is lost if a smaller share of its points is left, or if it grows by a larger factor, ...
MIN_KEPT, MAX_GROWTH = 0.5, 1.3
#: ... or if its correlation with the detected face is lower, both reduced to a square of this side.
MIN_LIKENESS, PATCH_PX = 0.6, 24
#: The scene has changed if a larger share of the histogram has, which is stable while a head turns.
MAX_CHANGE, GREYS = 0.3, 32
LUCAS_KANADE: Dict[str, Any] = {
    "winSize": (11, 11),
    "maxLevel": 3,
    "criteria": (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 10, 0.03),
}


class OpticalFlowTracker:
    """Tracks the faces of the last image in the next one until a detection is due."""

    def __init__(self) -> None:
        self._last: Optional[Image] = None  # the image before, small and grey
        self._current: Optional[Image] = None
        self._scale = 1.0  # from pixels of the small image to those of the camera's
        self._faces = Detections.none()
        self._patches: Floats  # (n, PATCH_PX ** 2) what the faces looked like when detected
        self._age = 0  # images since the last detection
        self.left_out = 0  # faces of the last detection that are not tracked

    def track(self, rgb: Image, every: int) -> Optional[Detections]:
        """Return the faces in the next image (h, w, 3) uint8, in its pixels.

        every: period of the detections, in images. None is returned when a detection is due, the
        scene has changed, or a face is lost; then detect the faces and call :meth:`restart`.
        """
        if every == 1:
            self._last = self._current = None
            return None
        last, self._current = self._last, _small_grey(rgb)
        self._scale = max(rgb.shape[:2]) / max(self._current.shape)
        self._age += 1
        if last is None or self._age >= every or _is_other_scene(last, self._current):
            return None
        faces = self._moved(last, self._current) if len(self._faces) else self._faces
        if faces is not None:
            self._last, self._faces = self._current, faces
        return faces

    def restart(self, faces: Detections, left_out: int = 0) -> None:
        """Continue with the faces that were detected in the last image of :meth:`track`.

        left_out: further faces of that image, which are not tracked.
        """
        self.left_out = left_out
        self._last, self._faces, self._age = self._current, faces, 0
        if self._current is not None:
            self._patches = _patches(self._current, faces.boxes / self._scale)

    @property
    def has_detected(self) -> bool:
        """True if the faces of the last image were detected, independent of earlier images."""
        return self._age == 0

    def _moved(self, last: Image, current: Image) -> Optional[Detections]:
        """Return all faces in the current image, or None if one is lost."""
        corners = (self._faces.boxes / self._scale)[:, None]
        points = corners[..., :2] + GRID * (corners[..., 2:] - corners[..., :2])  # (n, 49, 2)
        moved = _flow(last, current, points)
        error = np.linalg.norm(_flow(current, last, moved) - points, axis=2)
        kept = error <= MAX_RETURN_PX
        if (kept.mean(axis=1) < MIN_KEPT).any():
            return None
        boxes, landmarks = self._faces.boxes.copy(), self._faces.landmarks.copy()
        for row in range(len(boxes)):
            origin, centre, growth = _motion(points[row, kept[row]], moved[row, kept[row]])
            if not 1 / MAX_GROWTH <= growth <= MAX_GROWTH:
                return None
            for each in (boxes[row].reshape(2, 2), landmarks[row]):
                each[:] = (each - origin * self._scale) * growth + centre * self._scale
        likeness = (self._patches * _patches(current, boxes / self._scale)).sum(axis=1)
        if (likeness < MIN_LIKENESS).any():
            return None
        return Detections(boxes, self._faces.scores, landmarks)


def _small_grey(rgb: Image) -> Image:
    height, width = rgb.shape[:2]
    scale = max(max(height, width) / SIZE_PX, 1.0)
    size = max(round(width / scale), 1), max(round(height / scale), 1)
    small = cv2.resize(rgb, size, interpolation=cv2.INTER_AREA)
    return cv2.cvtColor(small, cv2.COLOR_RGB2GRAY)  # type: ignore[return-value]


def _is_other_scene(last: Image, current: Image) -> bool:
    if last.shape != current.shape:
        return True
    greys = [cv2.calcHist([each], [0], None, [GREYS], [0, 256]) for each in (last, current)]
    return float(cv2.absdiff(*greys).sum()) / 2 > MAX_CHANGE * current.size


def _flow(first: Image, second: Image, points: Points) -> Points:
    """Return the positions in the second image of points (n, m, 2) of the first one."""
    flat = points.reshape(-1, 1, 2)
    moved = cv2.calcOpticalFlowPyrLK(first, second, flat, np.empty_like(flat), **LUCAS_KANADE)[0]
    return moved.reshape(points.shape)  # type: ignore[return-value]


def _motion(points: Points, moved: Points) -> Tuple[Points, Points, float]:
    """Return the centre of the points (m, 2) before and after, and their growth factor."""
    origin = points.mean(axis=0)
    shift = np.median(moved - points, axis=0)
    spread = np.linalg.norm(points - origin, axis=1)
    grown = np.linalg.norm(moved - origin - shift, axis=1)
    far = spread > 0.25 * spread.max()
    return origin, origin + shift, float(np.median(grown[far] / spread[far]))


def _patches(grey: Image, boxes: Boxes) -> Floats:
    """Return the content of boxes (n, 4), normalised: a product of two is their correlation."""
    patches = np.zeros((len(boxes), PATCH_PX**2), np.float32)
    flags, size = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, (PATCH_PX, PATCH_PX)
    for flat, (x1, y1, x2, y2) in zip(patches, boxes):
        matrix = np.array([[(x2 - x1) / PATCH_PX, 0, x1], [0, (y2 - y1) / PATCH_PX, y1]])
        patch = cv2.warpAffine(grey, matrix, size, flags=flags, borderMode=cv2.BORDER_REPLICATE)
        flat[:] = patch.ravel()
        flat -= flat.mean()
        flat /= max(float(np.linalg.norm(flat)), 1e-6)
    return patches
