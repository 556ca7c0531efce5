"""Drawing of faces on a frame: box, label and bars."""

from __future__ import annotations

from typing import Iterable, Sequence, Tuple

import cv2
import numpy as np
from numpy.typing import NDArray

from esr_core.emotions import COLOURS_RGB, LABELS
from esr_core.perception.face_emotion import FaceEmotion

# The colours of boxes, titles and bars are those of the emotions, in esr_core/emotions.py.
TITLE_RGB = (0, 0, 0)  # text on the colour of the emotion
_PANEL_RGB = (255, 255, 255)  # text beside the bars
_PANEL_BRIGHTNESS = 0.35  # of the frame behind the bars
_FONT = cv2.FONT_HERSHEY_SIMPLEX
# Sizes in a frame of 480 lines: thickness of a box, height of a title and of its letters.
BOX_PX, LINE_PX, TITLE_PX = 2, 18, 14


def unit_px(shape: Tuple[int, ...]) -> float:
    """Return the factor of all sizes in a frame of ``shape`` (h, w, ...)."""
    return float(max(min(shape[:2]) / 480, 0.5))


def title(face: FaceEmotion) -> str:
    """Return the text above a face."""
    return f"{face.face_id}: {face.label} {face.confidence:.0%}"


def draw_faces(rgb: NDArray[np.uint8], faces: Iterable[FaceEmotion]) -> NDArray[np.uint8]:
    """Return a copy of a frame (h, w, 3) uint8 with the box, label and bars of each face."""
    picture = np.ascontiguousarray(rgb).copy()
    for face in faces:
        _draw_face(picture, face)
    return picture


def _draw_face(picture: NDArray[np.uint8], face: FaceEmotion) -> None:
    height, width = picture.shape[:2]
    unit = unit_px(picture.shape)
    step, bar_px, name_px = round(13 * unit), round(8 * unit), round(58 * unit)

    def write(text: str, x: int, y: int, size: float, rgb: Sequence[int]) -> None:
        cv2.putText(picture, text, (x, y), _FONT, size * unit, rgb, 1, cv2.LINE_AA)

    x1, y1, x2, y2 = map(round, face.box.tolist())
    colour = COLOURS_RGB[face.emotion]
    cv2.rectangle(picture, (x1, y1), (x2, y2), colour, max(round(BOX_PX * unit), 1), cv2.LINE_AA)
    text = title(face)
    (title_px, _), _ = cv2.getTextSize(text, _FONT, 0.5 * unit, 1)
    line_px = round(LINE_PX * unit)
    left = min(max(x1, 0), max(width - title_px - 8, 0))
    top = max(y1 - line_px - 2, 0)  # above the box, or at the top of the frame
    cv2.rectangle(picture, (left, top), (left + title_px + 8, top + line_px), colour, cv2.FILLED)
    write(text, left + 4, top + step, 0.5, TITLE_RGB)

    wide_px, high_px = round(112 * unit), step * (len(LABELS) + 1) + round(6 * unit)
    left = x2 + 4 if x2 + 4 + wide_px <= width else max(x1 - 4 - wide_px, 0)
    top = min(max(y1, 0), max(height - high_px, 0))
    panel = picture[top : top + high_px, left : left + wide_px]
    panel[:] = (panel * _PANEL_BRIGHTNESS).astype(np.uint8)
    for i, (label, probability) in enumerate(zip(LABELS, face.probabilities.tolist())):
        y = top + (i + 1) * step
        write(label, left + 3, y, 0.36, _PANEL_RGB)
        start = left + name_px
        end = start + round((wide_px - name_px - 4) * probability)
        cv2.rectangle(picture, (start, y - bar_px), (end, y), COLOURS_RGB[i], cv2.FILLED)
    affect = f"v {face.valence:+.2f}  a {face.arousal:+.2f}"
    write(affect, left + 3, top + 9 * step, 0.36, _PANEL_RGB)
