"""The range of 16-bit pixels: of one image, and of a stream."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from esr_core.media.bit_depth import DEPTHS, HOLD, RunningRange, ValueRange, range_of, to_uint8

GREY = np.random.default_rng(3).integers(0, 256, (480, 640)).astype(np.uint8)


def narrow(bits: int, share: float = 1.0) -> NDArray[np.uint16]:
    """GREY in that many bits; ``share`` of its brightness."""
    return ((GREY.astype(np.uint16) * 257 >> (16 - bits)) * share).astype(np.uint16)


@pytest.mark.parametrize("bits", DEPTHS)
def test_pixels_are_those_of_8_bits(bits: int) -> None:
    assert range_of(narrow(bits)) == ValueRange(0, bits)
    np.testing.assert_array_equal(to_uint8(narrow(bits)), GREY)
    np.testing.assert_array_equal(to_uint8(GREY), GREY)


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0, 0, ValueRange(0, 8)),
        (0, 256, ValueRange(0, 10)),
        (240, 700, ValueRange(0, 10)),  # the black level of a sensor of 12 bits
        (900, 4095, ValueRange(0, 12)),
        (20_000, 50_000, ValueRange(0, 16)),
        (29_400, 31_100, ValueRange(28_672, 12)),  # heat, in hundredths of a kelvin
        (65_535, 65_535, ValueRange(65_472, 8)),
    ],
)
def test_range_of_two_values(low: int, high: int, expected: ValueRange) -> None:
    assert ValueRange.of(low, high) == expected
    assert expected.low <= low
    assert high < expected.low + 2**expected.bits


def test_values_outside_of_a_range_are_black_or_white() -> None:
    values = np.array([[0, 28_671, 28_672, 30_720, 32_767, 65_535]], np.uint16)
    assert ValueRange(28_672, 12).to_uint8(values).tolist() == [[0, 0, 0, 128, 255, 255]]
    assert ValueRange(28_672, 12).to_uint8(np.dstack([values] * 4)).shape == (1, 6, 4)


def test_reflections_and_defects_do_not_count() -> None:
    image = narrow(10)
    image[:10, :20] = 65_535
    assert range_of(image) == ValueRange(0, 10)


def test_range_of_a_stream_grows_at_once_and_shrinks_later() -> None:
    running = RunningRange()
    assert running.current is None
    assert running.update(narrow(10)) == running.current == ValueRange(0, 10)
    assert running.update(narrow(12)).bits == 12
    bits = [running.update(narrow(10)).bits for _ in range(HOLD)]
    assert bits == [12] * (HOLD - 1) + [10]


def test_range_does_not_flicker_where_the_light_does() -> None:
    """A lamp that is seen in every third image, and brightness at the edge of a range."""
    running = RunningRange()
    lamp = [running.update(narrow(12, 1.0 if i % 3 == 0 else 0.1)).bits for i in range(90)]
    assert set(lamp) == {12}
    running = RunningRange()
    edge = [running.update(narrow(12, 0.25 + 0.01 * (-1) ** i)).bits for i in range(90)]
    assert edge[2:] == [12] * 88
