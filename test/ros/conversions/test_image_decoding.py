"""Every encoding, against values computed here and against cv_bridge where that is right."""

from __future__ import annotations

import array
from typing import Any

import cv2
import numpy as np
import pytest
from cv_bridge import CvBridge
from numpy.typing import NDArray
from sensor_msgs.msg import CompressedImage, Image

from esr_core.errors import ImageError
from esr_ros.conversions.image_decoding import ENCODINGS, decode

HEIGHT, WIDTH = 6, 8
RGB = np.random.default_rng(7).integers(0, 256, (HEIGHT, WIDTH, 3)).astype(np.uint8)
GREY = np.random.default_rng(8).integers(0, 256, (HEIGHT, WIDTH)).astype(np.uint8)


def message(encoding: str, rows: NDArray[Any], padding: int = 0, big_endian: bool = False) -> Image:
    """An image of rows of bytes, with ``padding`` bytes of rubbish after each row."""
    raw = np.ascontiguousarray(rows).view(np.uint8).reshape(len(rows), -1)
    padded = np.pad(raw, ((0, 0), (0, padding)), constant_values=173)
    built = Image(height=HEIGHT, width=WIDTH, encoding=encoding, step=padded.shape[1])
    built.is_bigendian = int(big_endian)
    built.data = array.array("B", padded.tobytes())
    return built


def with_alpha(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.dstack([pixels, np.full(pixels.shape[:2], 77, np.uint8)])


def grey_rgb(grey: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.dstack([grey] * 3)


PACKED = {
    "rgb8": (RGB, RGB),
    "bgr8": (RGB[:, :, ::-1], RGB),
    "8UC3": (RGB[:, :, ::-1], RGB),
    "rgba8": (with_alpha(RGB), RGB),
    "bgra8": (with_alpha(RGB[:, :, ::-1]), RGB),
    "mono8": (GREY, grey_rgb(GREY)),
    "8UC1": (GREY, grey_rgb(GREY)),
}


@pytest.mark.parametrize("padding", [0, 5])
@pytest.mark.parametrize("encoding", PACKED)
def test_packed(encoding: str, padding: int) -> None:
    rows, expected = PACKED[encoding]
    np.testing.assert_array_equal(decode(message(encoding, rows, padding)), expected)


@pytest.mark.parametrize("padding", [0, 6])
@pytest.mark.parametrize("big_endian", [False, True])
def test_mono16(padding: int, big_endian: bool) -> None:
    wide = GREY.astype(np.uint16) * 257  # 0 and 65535 are the ends of both scales
    rows = wide.astype(">u2" if big_endian else "<u2")
    decoded = decode(message("mono16", rows, padding, big_endian))
    np.testing.assert_array_equal(decoded, grey_rgb(GREY))


#: The encodings that the cv_bridge of PyPI turns into rgb8.
CV_BRIDGE_KNOWS = (
    "rgb8",
    "bgr8",
    "rgba8",
    "bgra8",
    "mono8",
    "bayer_rggb8",
    "bayer_bggr8",
    "bayer_gbrg8",
)

# Position of red and blue in a 2x2 cell: (row, column).
BAYER = {
    "bayer_rggb8": ((0, 0), (1, 1)),
    "bayer_bggr8": ((1, 1), (0, 0)),
    "bayer_gbrg8": ((1, 0), (0, 1)),
    "bayer_grbg8": ((0, 1), (1, 0)),
}


@pytest.mark.parametrize("padding", [0, 3])
@pytest.mark.parametrize("encoding", BAYER)
def test_bayer_of_one_colour(encoding: str, padding: int) -> None:
    (red_y, red_x), (blue_y, blue_x) = BAYER[encoding]
    mosaic = np.full((HEIGHT, WIDTH), 120, np.uint8)
    mosaic[red_y::2, red_x::2] = 200
    mosaic[blue_y::2, blue_x::2] = 40
    decoded = decode(message(encoding, mosaic, padding))
    np.testing.assert_array_equal(decoded[2:-2, 2:-2], np.full((2, 4, 3), (200, 120, 40)))


def yuv_of(rgb: NDArray[np.float64]) -> tuple[float, float, float]:
    """ITU-R BT.601, 8 bit, limited range."""
    r, g, b = rgb / 255
    y = 16 + 65.481 * r + 128.553 * g + 24.966 * b
    u = 128 - 37.797 * r - 74.203 * g + 112.0 * b
    v = 128 + 112.0 * r - 93.786 * g - 18.214 * b
    return y, u, v


COLOUR = np.array([180.0, 90.0, 60.0])


@pytest.mark.parametrize("padding", [0, 4])
@pytest.mark.parametrize(
    ("encoding", "order"),
    [("yuv422", "uyvy"), ("uyvy", "uyvy"), ("yuv422_yuy2", "yuyv"), ("yuyv", "yuyv")],
)
def test_yuv422_of_one_colour(encoding: str, order: str, padding: int) -> None:
    y, u, v = yuv_of(COLOUR)
    cell = [round({"y": y, "u": u, "v": v}[letter]) for letter in order]
    rows = np.tile(np.array(cell, np.uint8), (HEIGHT, WIDTH // 2))
    decoded = decode(message(encoding, rows, padding)).astype(int)
    assert decoded.shape == (HEIGHT, WIDTH, 3)
    assert np.abs(decoded - COLOUR).max() <= 3


@pytest.mark.parametrize("padding", [0, 4])
@pytest.mark.parametrize(("encoding", "order"), [("nv12", "uv"), ("nv21", "vu")])
def test_nv_of_one_colour(encoding: str, order: str, padding: int) -> None:
    y, u, v = (round(x) for x in yuv_of(COLOUR))
    luma = np.full((HEIGHT, WIDTH), y, np.uint8)
    chroma = np.tile(np.array([u, v] if order == "uv" else [v, u], np.uint8), (3, WIDTH // 2))
    decoded = decode(message(encoding, np.vstack([luma, chroma]), padding)).astype(int)
    assert decoded.shape == (HEIGHT, WIDTH, 3)
    assert np.abs(decoded - COLOUR).max() <= 3


@pytest.mark.parametrize("encoding", CV_BRIDGE_KNOWS)
def test_as_cv_bridge(encoding: str) -> None:
    """cv_bridge ignores padding and knows no YUV; where it is right, both agree."""
    rows = PACKED[encoding][0] if encoding in PACKED else GREY
    sent = message(encoding, rows)
    np.testing.assert_array_equal(decode(sent), CvBridge().imgmsg_to_cv2(sent, "rgb8"))


def test_every_encoding_has_a_case_here() -> None:
    yuv = {"yuv422", "uyvy", "yuv422_yuy2", "yuyv", "nv12", "nv21"}
    assert set(ENCODINGS) == {*PACKED, *BAYER, *yuv, "mono16"}


def compressed(content: bytes, form: str) -> CompressedImage:
    built = CompressedImage(format=form)
    built.data = array.array("B", content)
    return built


@pytest.mark.parametrize("form", ["png", "bgr8; png compressed bgr8"])
def test_png(form: str) -> None:
    content = cv2.imencode(".png", RGB[:, :, ::-1])[1].tobytes()
    np.testing.assert_array_equal(decode(compressed(content, form)), RGB)


def test_jpeg() -> None:
    flat = np.full((64, 64, 3), COLOUR, np.uint8)
    content = cv2.imencode(".jpg", flat[:, :, ::-1])[1].tobytes()
    decoded = decode(compressed(content, "jpeg")).astype(int)
    assert np.abs(decoded - flat).max() <= 4


@pytest.mark.parametrize(
    ("content", "form", "error"),
    [
        (b"", "jpeg", "empty"),
        (b"no picture at all", "jpeg", "cannot be decoded"),
        (b"\x00" * 40, "16UC1; compressedDepth png", "depth"),
    ],
)
def test_bad_compressed(content: bytes, form: str, error: str) -> None:
    with pytest.raises(ImageError, match=error):
        decode(compressed(content, form))


def lying(**changes: Any) -> Image:
    built = message("rgb8", RGB)
    for name, value in changes.items():
        setattr(built, name, value)
    return built


@pytest.mark.parametrize(
    ("bad", "error"),
    [
        (lying(encoding="rgb9"), "encoding 'rgb9' is unknown; known are bgr8"),
        (lying(encoding=""), "encoding '' is unknown"),
        (lying(height=0), "has no pixels"),
        (lying(width=0), "has no pixels"),
        (lying(height=HEIGHT + 1), "must hold 168 bytes, but holds 144"),
        (lying(height=HEIGHT - 1), "must hold 120 bytes, but holds 144"),
        (lying(width=WIDTH + 1), "step of at least 27 bytes, but has 24"),
        (lying(step=0), "step of at least 24 bytes, but has 0"),
        (lying(step=2**32 - 1), "but holds 144"),
        (lying(height=2**32 - 1, width=2**32 - 1), "step of at least"),
        (lying(data=array.array("B")), "but holds 0"),
        (lying(encoding="nv12", width=7, step=7), "multiple of 2"),
        (lying(encoding="yuv422", width=7, step=24), "multiple of 2"),
        (lying(encoding="bayer_rggb8", width=1, height=1, step=1), "multiple of 2"),
    ],
)
def test_inconsistent_image(bad: Image, error: str) -> None:
    with pytest.raises(ImageError, match=error):
        decode(bad)


def test_one_pixel() -> None:
    built = Image(height=1, width=1, encoding="bgr8", step=3)
    built.data = array.array("B", [1, 2, 3])
    np.testing.assert_array_equal(decode(built), [[[3, 2, 1]]])
