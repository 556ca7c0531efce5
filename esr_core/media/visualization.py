"""Drawing of faces on a frame: box, label and bars."""

from __future__ import annotations

from functools import partial
from typing import Iterable, Tuple

import cv2
import numpy as np
from numpy.typing import NDArray

from esr_core.emotions import COLOURS_RGB, LABELS
from esr_core.perception.face_emotion import FaceEmotion

# The colours of boxes, titles and bars are those of the emotions, in esr_core/emotions.py.
_TITLE_RGB = (0, 0, 0)  # text on the colour of the emotion
_PANEL_RGB = (255, 255, 255)  # text beside the bars
_PANEL_BRIGHTNESS = 0.35  # of the frame behind the bars
_FONT = cv2.FONT_HERSHEY_SIMPLEX
_write = partial(cv2.putText, fontFace=_FONT, thickness=1, lineType=cv2.LINE_AA)


def draw_faces(rgb: NDArray[np.uint8], faces: Iterable[FaceEmotion]) -> NDArray[np.uint8]:
    """Return a copy of a frame (h, w, 3) uint8 with the box, label and bars of each face."""
    picture = np.ascontiguousarray(rgb).copy()
    unit = max(min(picture.shape[:2]) / 480, 0.5)  # sizes are for 480 lines
    for face in faces:
        _draw_face(picture, face, unit)
    return picture


def _draw_face(picture: NDArray[np.uint8], face: FaceEmotion, unit: float) -> None:
    height, width = picture.shape[:2]
    x1, y1, x2, y2 = (round(float(v)) for v in face.box)
    colour = COLOURS_RGB[face.emotion]
    cv2.rectangle(picture, (x1, y1), (x2, y2), colour, max(round(2 * unit), 1), cv2.LINE_AA)
    title = f"{face.face_id}: {face.label} {face.confidence:.0%}"
    line_px = round(18 * unit)
    (title_px, _), _ = cv2.getTextSize(title, _FONT, 0.5 * unit, 1)
    left = min(max(x1, 0), max(width - title_px - 8, 0))
    top = max(y1 - line_px - 2, 0)  # above the box, or at the top of the frame
    cv2.rectangle(picture, (left, top), (left + title_px + 8, top + line_px), colour, cv2.FILLED)
    _write(
        picture, title, (left + 4, top + round(13 * unit)), fontScale=0.5 * unit, color=_TITLE_RGB
    )

    panel_px = round(112 * unit), round(13 * unit) * (len(LABELS) + 1) + round(6 * unit)
    left = x2 + 4 if x2 + 4 + panel_px[0] <= width else max(x1 - 4 - panel_px[0], 0)
    top = min(max(y1, 0), max(height - panel_px[1], 0))
    _draw_panel(picture, face, (left, top), panel_px, unit)


def _draw_panel(
    picture: NDArray[np.uint8],
    face: FaceEmotion,
    corner: Tuple[int, int],
    size: Tuple[int, int],
    unit: float,
) -> None:
    left, top = corner
    panel = picture[top : top + size[1], left : left + size[0]]
    panel[:] = (panel * _PANEL_BRIGHTNESS).astype(np.uint8)
    step, name_px = round(13 * unit), round(58 * unit)
    for i, (label, probability) in enumerate(zip(LABELS, face.probabilities)):
        base = top + (i + 1) * step
        _write(picture, label, (left + 3, base), fontScale=0.36 * unit, color=_PANEL_RGB)
        bar_px = round((size[0] - name_px - 4) * float(probability))
        start = (left + name_px, base - round(8 * unit))
        cv2.rectangle(picture, start, (start[0] + bar_px, base), COLOURS_RGB[i], cv2.FILLED)
    affect = f"v {face.valence:+.2f}  a {face.arousal:+.2f}"
    _write(picture, affect, (left + 3, top + 9 * step), fontScale=0.36 * unit, color=_PANEL_RGB)
