"""Conversion of a face into the input of a network.

Training, evaluation, calibration and inference share it, so a network gets the same input in use
as in training.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Sequence, Union

import cv2
import numpy as np

from esr_core.errors import ImageError
from esr_core.options import check, option
from esr_core.perception.arrays import Boxes, Floats, Image

Images = Union[Image, Sequence[Image]]


@dataclass(frozen=True)
class InputSpec:
    """Input that a network was trained on, stored with its weights; OptionError if out of range."""

    size_px: int = option(96, "side of the input", bounds=(54, 1024))
    grey: bool = option(True, "convert to greyscale")
    margin: float = option(1.22, "side of the crop, in widths of the face box", bounds=(0.5, 4))
    shift_y: float = option(0.0, "offset of its centre downwards, in the same unit", bounds=(-1, 1))
    # Otherwise a sharp camera image would have more detail than the network was trained on.
    detail_px: int = option(
        48, "size that a face is reduced to before it is enlarged; 0 keeps all", bounds=(0, 1024)
    )

    def __post_init__(self) -> None:
        check(self)


def squares(boxes: Boxes, spec: InputSpec) -> Floats:
    """Return the square to crop around each box (n, 4): centre x, centre y, side in px, (n, 3)."""
    width = boxes[:, 2] - boxes[:, 0]
    centre_x = (boxes[:, 0] + boxes[:, 2]) / 2
    centre_y = (boxes[:, 1] + boxes[:, 3]) / 2 + spec.shift_y * width
    return np.stack([centre_x, centre_y, width * spec.margin], axis=1)


def crop(rgb: Image, boxes: Boxes, spec: InputSpec) -> Floats:
    """Return the faces of an image as a batch for the network, (n, 3, size, size) in [0, 1].

    rgb: (h, w, 3). boxes: (n, 4); outside of the image the pixels of its border are repeated.

    Raises:
        ImageError: a box is not finite.
    """
    if not np.isfinite(boxes).all():
        raise ImageError(f"boxes must be numbers, but got {boxes[~np.isfinite(boxes).all(axis=1)]}")
    height, width = rgb.shape[:2]
    x, y, side = squares(boxes, spec).astype(np.float64).T
    # Keep boxes near the image: a distant or huge one would need a border of any size.
    side_px = np.clip(np.rint(side), 2, 2 * max(height, width))
    left = np.clip(np.rint(x - side / 2), -side_px, width)
    top = np.clip(np.rint(y - side / 2), -side_px, height)
    places = np.stack([left, top, side_px], axis=1).astype(np.int64).tolist()
    return whole([_cut(rgb, *place) for place in places], spec)


def whole(images: Images, spec: InputSpec) -> Floats:
    """Return images that are cropped already as a batch (n, 3, size, size) in [0, 1].

    images: n of them, each (h, w) grey or (h, w, 3) rgb, uint8, or an array of them.
    """
    batch = np.empty((len(images), 3, spec.size_px, spec.size_px), np.float32)
    for image, face in zip(images, batch):
        if spec.grey and image.ndim == 3:
            image = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
        elif not spec.grey and image.ndim == 2:
            image = cv2.cvtColor(image, cv2.COLOR_GRAY2RGB)
        if spec.detail_px:
            image = resize(image, spec.detail_px)
        image = resize(image, spec.size_px)
        planes = image if spec.grey else image.transpose(2, 0, 1)
        np.multiply(planes, np.float32(1 / 255), out=face)
    return batch


def resize(face: Image, size_px: int) -> Image:
    """Resize (h, w) or (h, w, 3) to a square."""
    if face.shape[:2] == (size_px, size_px):
        return face
    # Area averaging avoids aliasing when a face shrinks, but is blocky when it is enlarged.
    # INTER_LINEAR differs between x86 and Arm by one grey level in 9 % of the pixels.
    shrink = min(face.shape[:2]) > size_px
    method = cv2.INTER_AREA if shrink else cv2.INTER_LINEAR_EXACT
    return cv2.resize(face, (size_px, size_px), interpolation=method)  # type: ignore[return-value]


def _cut(rgb: Image, left: int, top: int, side_px: int) -> Image:
    inside = rgb[max(top, 0) : top + side_px, max(left, 0) : left + side_px]
    if inside.shape[:2] == (side_px, side_px):
        return inside
    rows = rgb.take(np.arange(top, top + side_px), axis=0, mode="clip")
    return rows.take(np.arange(left, left + side_px), axis=1, mode="clip")
