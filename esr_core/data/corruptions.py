"""What cameras and files do to a face; to train with, and to measure what it costs."""

from __future__ import annotations

from typing import cast

import cv2
import numpy as np
from numpy.typing import NDArray


def blur(face: NDArray[np.uint8], width: float) -> NDArray[np.uint8]:
    """Return (h, w) or (h, w, 3) out of focus: a Gaussian of so many widths of the image."""
    return cast(NDArray[np.uint8], cv2.GaussianBlur(face, (0, 0), width * face.shape[1]))


def compress(face: NDArray[np.uint8], quality: int) -> NDArray[np.uint8]:
    """Return (h, w) or (h, w, 3) as it comes out of a JPEG file of that quality, in percent."""
    packed = cv2.imencode(".jpg", face, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return cast(NDArray[np.uint8], cv2.imdecode(packed, cv2.IMREAD_UNCHANGED))
