"""Conversion of 16-bit pixels to 8 bits by the range of values that a camera uses.

Cameras for infrared and machine vision use 8, 10, 12 or 14 of the 16 bits, and neither a message
nor a file states it. The range has steps of two bits: it changes rarely, unlike a minimum and a
maximum, so brightness is steady, and 10 bits give the same 8-bit pixels as 16.
"""

from __future__ import annotations

from collections import deque
from typing import Any, Callable, Deque, NamedTuple, Optional, Tuple

import cv2
import numpy as np
from numpy.typing import NDArray

#: Numbers of bits of a range.
DEPTHS = (8, 10, 12, 14, 16)
#: Part of the darkest pixels, and of the brightest ones, that is ignored: reflections and defects
#: of the sensor, fewer pixels than the smallest face that can be detected.
IGNORED = 0.001
HOLD = 15
_SAMPLES = 20_000  # pixels of an image that are counted, at least


class ValueRange(NamedTuple):
    """A range of values: ``low`` becomes 0, and ``low + 2 ** bits - 1`` becomes 255."""

    low: int
    bits: int

    @classmethod
    def of(cls, low: int, high: int) -> ValueRange:
        """Return the smallest range with two values, from 0 or a multiple of its quarter on."""
        for bits in DEPTHS:
            quarter = 2 ** (bits - 2)
            begin = 0 if high < 2**bits else low // quarter * quarter  # no dark pixels, as of heat
            if high < begin + 2**bits:
                break
        return cls(begin, bits)

    def __str__(self) -> str:
        return f"{self.low} to {self.low + 2**self.bits - 1}"

    def to_uint8(self, values: NDArray[np.uint16]) -> NDArray[np.uint8]:
        """Return values (h, w) or (h, w, channels) in 8 bits; those outside become 0 or 255."""
        if self.low:
            values = np.maximum(values, np.uint16(self.low)) - np.uint16(self.low)
        return cv2.convertScaleAbs(values, alpha=255 / (2**self.bits - 1))  # type: ignore[return-value]


#: Returns the range of an image's values (h, w) or (h, w, channels); a fourth channel is alpha.
FindRange = Callable[[NDArray[np.uint16]], ValueRange]


class RunningRange:
    """The range of a camera: grows at once, and shrinks when HOLD images do not need it."""

    def __init__(self) -> None:
        self._extremes: Deque[Tuple[int, int]] = deque(maxlen=HOLD)
        self.current: Optional[ValueRange] = None  # None: no image of 16 bits yet

    def update(self, values: NDArray[np.uint16]) -> ValueRange:
        """Return the range for the next image, as FindRange."""
        self._extremes.append(_extremes(values))
        lows, highs = zip(*self._extremes)
        self.current = ValueRange.of(min(lows), max(highs))
        return self.current


def range_of(values: NDArray[np.uint16]) -> ValueRange:
    """Return the range of a single image, as FindRange."""
    return ValueRange.of(*_extremes(values))


def to_uint8(pixels: NDArray[Any], find_range: FindRange = range_of) -> NDArray[np.uint8]:
    """Return an image of uint16 in 8 bits, and one of uint8 unchanged."""
    return find_range(pixels).to_uint8(pixels) if pixels.dtype == np.uint16 else pixels


def _extremes(values: NDArray[np.uint16]) -> Tuple[int, int]:
    # An odd step meets all colours of a Bayer pattern.
    step = int((values.shape[0] * values.shape[1] / _SAMPLES) ** 0.5 - 1) // 2 * 2 + 1
    samples = np.atleast_3d(values)[::step, ::step, :3]
    low, high = np.quantile(samples, (IGNORED, 1 - IGNORED)).tolist()
    return int(low), int(high)
