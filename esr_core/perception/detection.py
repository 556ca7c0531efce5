"""Detections of one image; the detector is in :mod:`esr_core.inference.face_detector`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import List, Protocol, Union

import cv2
import numpy as np
from numpy.typing import NDArray

from esr_core.perception.arrays import Boxes, Floats, Image, Landmarks, Points, Shape

#: Detections with a lower score are dropped, whatever ``min_score`` is.
SCORE_FLOOR = 0.3
#: YuNet misses faces that fill an image larger than the first, so it runs at the second as well.
LARGEST_FOR_CLOSE_FACES_PX, CLOSE_SIZE_PX = 480, 320
#: Size of the cut-out of a face in which its landmarks are most accurate; its side in box sizes.
CUT_OUT_PX, CUT_OUT_SIDE = 160, 1.5
#: Two detections are the same face if they share more of the smaller one.
MAX_COVER = 0.6


@dataclass(frozen=True)
class Detections:
    """Faces detected in one image, in its pixels."""

    boxes: Boxes  # (n, 4)
    scores: Floats  # (n,) in [0, 1]
    landmarks: Landmarks  # (n, 5, 2)

    def __post_init__(self) -> None:
        n = len(self.boxes)
        for name, shape in (("boxes", (n, 4)), ("scores", (n,)), ("landmarks", (n, 5, 2))):
            value = getattr(self, name)
            if value.shape != shape or value.dtype != np.float32:
                got = f"{value.shape} {value.dtype}"
                raise ValueError(f"{name} must be {shape} float32, but got {got}")

    def __len__(self) -> int:
        return len(self.boxes)

    def __getitem__(self, rows: Union[NDArray[np.intp], NDArray[np.bool_], slice]) -> Detections:
        return Detections(self.boxes[rows], self.scores[rows], self.landmarks[rows])

    def turned(self, degrees: int, shape: Shape) -> Detections:
        """Return the detections after :func:`turned` of their image, before of ``shape`` (h, w)."""
        boxes = turned_boxes(self.boxes, degrees, shape)
        return Detections(boxes, self.scores, turned_points(self.landmarks, degrees, shape))

    @staticmethod
    def none() -> Detections:
        """Return the detections of an image without faces."""
        return Detections(*(np.zeros(s, np.float32) for s in ((0, 4), (0,), (0, 5, 2))))


class Detector(Protocol):
    """Interface of a face detector."""

    name: str
    path: Path  # of its network

    def detect(self, rgb: Image, size_px: int) -> Detections:
        """Return the faces in (h, w, 3) uint8, reduced to ``size_px`` on its longer side.

        The best score comes first.
        """


def turned(rgb: Image, degrees: int) -> Image:
    """Return an image (h, w, 3), turned clockwise by a multiple of 90 degrees."""
    codes = (cv2.ROTATE_90_CLOCKWISE, cv2.ROTATE_180, cv2.ROTATE_90_COUNTERCLOCKWISE)
    turns = degrees // 90 % 4
    return cv2.rotate(rgb, codes[turns - 1]) if turns else rgb  # type: ignore[return-value]


def turned_points(points: Points, degrees: int, shape: Shape) -> Points:
    """Return points (…, 2) of an image of ``shape`` (h, w, …) after :func:`turned`."""
    height, width = shape[:2]
    for _ in range(degrees // 90 % 4):
        points = np.stack([np.float32(height) - points[..., 1], points[..., 0]], axis=-1)
        height, width = width, height
    return points


def turned_boxes(boxes: Boxes, degrees: int, shape: Shape) -> Boxes:
    """Return boxes (n, 4) of an image of ``shape`` (h, w, …) after :func:`turned`."""
    corners = turned_points(boxes.reshape(-1, 2, 2), degrees, shape)
    return np.concatenate([corners.min(axis=1), corners.max(axis=1)], axis=1)


def find_faces(detector: Detector, rgb: Image, size_px: int) -> Detections:
    """Return the small and the image-filling faces of an image (h, w, 3) uint8, each once."""
    faces = detector.detect(rgb, size_px)
    if min(size_px, max(rgb.shape[:2])) <= LARGEST_FOR_CLOSE_FACES_PX:
        return faces
    close = detector.detect(rgb, CLOSE_SIZE_PX)
    parts = ((f.boxes, f.scores, f.landmarks) for f in (faces, close))
    both = Detections(*map(np.concatenate, zip(*parts)))
    return _suppress(both[np.argsort(-both.scores, kind="stable")])


def _suppress(faces: Detections) -> Detections:
    """Non-maximum suppression by the shared part of the smaller box; the best comes first."""
    kept: List[int] = []
    area = (faces.boxes[:, 2:] - faces.boxes[:, :2]).prod(axis=1)
    for row, box in enumerate(faces.boxes):
        others = faces.boxes[kept]
        overlap = np.minimum(box[2:], others[:, 2:]) - np.maximum(box[:2], others[:, :2])
        shared = np.maximum(overlap, 0).prod(axis=1)
        if not (shared > MAX_COVER * np.minimum(area[row], area[kept])).any():
            kept.append(row)
    return faces[np.array(kept, np.intp)]


def refined_landmarks(detector: Detector, rgb: Image, box: Boxes, degrees: int) -> Landmarks:
    """Return the landmarks (5, 2) of a face, detected again at a fixed size; NaN if it is not.

    Those of small faces in a whole image are up to a quarter too close together.

    rgb: (h, w, 3). box: (4,). degrees: of the clockwise turn that makes the face upright, a
    multiple of 90.
    """
    side = CUT_OUT_SIDE * np.sqrt((box[2:] - box[:2]).prod())
    centre = (box[:2] + box[2:]) / 2
    left, top = np.maximum(centre - side / 2, 0).astype(int).tolist()
    right, bottom = np.ceil(centre + side / 2).astype(int).tolist()
    part = rgb[top:bottom, left:right]
    scale = max(CUT_OUT_PX / max(part.shape), 1.0)
    upright = turned(part, degrees)
    if scale > 1:
        upright = cv2.resize(upright, None, fx=scale, fy=scale)  # type: ignore[assignment]
    faces = detector.detect(upright, CUT_OUT_PX).turned(-degrees, upright.shape)
    if not len(faces):
        return np.full((5, 2), np.nan, np.float32)
    centres = (faces.boxes[:, :2] + faces.boxes[:, 2:]) / 2 / scale + (left, top)
    nearest = np.linalg.norm(centres - centre, axis=1).argmin()
    landmarks: NDArray[np.float64] = faces.landmarks[nearest] / scale + (left, top)
    return landmarks.astype(np.float32)
