"""Videos for tests: a photograph that moves."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

RATE_HZ = 30.0


def moved(rgb: NDArray[np.uint8], count: int) -> list[NDArray[np.uint8]]:
    """Return frames in which the photograph moves 2 px to the right per frame."""
    return [np.roll(rgb, 2 * i, axis=1) for i in range(count)]


def write(path: Path, frames: list[NDArray[np.uint8]], code: str = "mp4v") -> Path:
    """Write a video by OpenCV; code ``MJPG`` is for .avi, which stays readable when it is cut."""
    height, width = frames[0].shape[:2]
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*code), RATE_HZ, (width, height))
    assert writer.isOpened()
    for frame in frames:
        writer.write(np.ascontiguousarray(frame[..., ::-1]))
    writer.release()
    return path


def cut(path: Path, share: float) -> Path:
    """Truncate a file to its first part."""
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    return path
