"""Image corruptions of cameras and files, for augmentation and robustness."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray


def blur(face: NDArray[np.uint8], width: float) -> NDArray[np.uint8]:
    """Blur (h, w) or (h, w, 3) by a Gaussian; width: its sigma in widths of the image."""
    return cv2.GaussianBlur(face, (0, 0), width * face.shape[1])  # type: ignore[return-value]


def compress(face: NDArray[np.uint8], quality: int) -> NDArray[np.uint8]:
    """Compress (h, w) or (h, w, 3) as JPEG of this quality, in percent, and decode it."""
    packed = cv2.imencode(".jpg", face, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return cv2.imdecode(packed, cv2.IMREAD_UNCHANGED)  # type: ignore[return-value]
