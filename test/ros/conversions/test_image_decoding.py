"""Every encoding, against values computed here and against cv_bridge where that is right."""

from __future__ import annotations

import array
import re
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from ament_index_python.packages import get_package_prefix
from cv_bridge import CvBridge
from numpy.typing import NDArray
from sensor_msgs.msg import CompressedImage, Image

from esr_core.errors import ImageError
from esr_core.media.bit_depth import RunningRange, ValueRange
from esr_ros.conversions.image_decoding import ENCODINGS, decode, wide_samples

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


def wide(pixels: NDArray[np.uint8], big_endian: bool = False) -> NDArray[np.uint16]:
    """Pixels of 16 bits; 0 and 65535 are the ends of both scales."""
    return (pixels.astype(np.uint16) * 257).astype(">u2" if big_endian else "<u2")


PACKED = {
    "rgb8": (RGB, RGB),
    "bgr8": (RGB[:, :, ::-1], RGB),
    "8UC3": (RGB[:, :, ::-1], RGB),
    "rgba8": (with_alpha(RGB), RGB),
    "bgra8": (with_alpha(RGB[:, :, ::-1]), RGB),
    "8UC4": (with_alpha(RGB[:, :, ::-1]), RGB),
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
@pytest.mark.parametrize("encoding", PACKED)
def test_packed_in_16_bits(encoding: str, padding: int, big_endian: bool) -> None:
    rows, expected = PACKED[encoding]
    name = encoding.replace("8", "16")
    decoded = decode(message(name, wide(rows, big_endian), padding, big_endian))
    np.testing.assert_array_equal(decoded, expected)


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
@pytest.mark.parametrize("encoding", ["mono16", "16UC1", "rgb16", "rgba16", "bayer_rggb16"])
def test_bits_that_a_camera_uses(encoding: str, bits: int) -> None:
    """The same pixels, whatever the number of bits; alpha does not count."""
    rows = {"rgb16": RGB, "rgba16": with_alpha(RGB)}.get(encoding, GREY)
    narrow = wide(rows) >> (16 - bits)
    if encoding == "rgba16":
        narrow[:, :, 3] = 65535
    expected = decode(message(encoding.replace("16", "8"), rows))
    assert np.abs(decode(message(encoding, narrow)).astype(int) - expected).max() <= 1


def test_running_range_is_that_of_the_camera() -> None:
    """An image without bright pixels is as bright as those around it."""
    running = RunningRange()
    dark = message("mono16", (wide(GREY) >> 4) // 5)
    first = decode(message("mono16", wide(GREY) >> 4), running.update)
    np.testing.assert_array_equal(first, grey_rgb(GREY))
    assert np.abs(decode(dark, running.update).astype(int) - grey_rgb(GREY) / 5).max() <= 1
    assert np.abs(decode(dark).astype(int) - grey_rgb(GREY) * 0.8).max() <= 1


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


@pytest.mark.parametrize("padding", [0, 4])
@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("encoding", BAYER)
def test_bayer_of_one_colour(encoding: str, bits: int, padding: int) -> None:
    (red_y, red_x), (blue_y, blue_x) = BAYER[encoding]
    mosaic = np.full((HEIGHT, WIDTH), 120, np.uint8)
    mosaic[red_y::2, red_x::2] = 200
    mosaic[blue_y::2, blue_x::2] = 40
    rows = mosaic if bits == 8 else wide(mosaic)
    decoded = decode(message(encoding.replace("8", str(bits)), rows, padding))
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


@pytest.mark.parametrize("padding", [0, 4])
@pytest.mark.parametrize("encoding", ["nv24", "i420", "yuv420", "yv12"])
def test_planar_yuv_of_two_colours(encoding: str, padding: int) -> None:
    """The left half of the image has one colour, the right half another."""
    colours = COLOUR, np.array([60.0, 120.0, 200.0])
    halves = [[round(x) for x in yuv_of(each)] for each in colours]
    luma, u, v = (np.repeat([[a, b]], WIDTH // 2, axis=1) for a, b in zip(*halves))
    luma = np.pad(np.tile(luma, (HEIGHT, 1)), ((0, 0), (0, padding)))
    if encoding == "nv24":
        below = [np.tile(np.pad(np.dstack([u, v]).ravel(), (0, 2 * padding)), HEIGHT)]
    else:
        order = (v, u) if encoding == "yv12" else (u, v)
        below = [np.tile(np.pad(c[0, ::2], (0, padding // 2)), HEIGHT // 2) for c in order]
    built = Image(height=HEIGHT, width=WIDTH, encoding=encoding, step=WIDTH + padding)
    content = np.concatenate([luma.ravel(), *below]).astype(np.uint8)
    built.data = array.array("B", content.tobytes())
    decoded = decode(built).astype(int)
    assert decoded.shape == (HEIGHT, WIDTH, 3)
    assert np.abs(decoded[:, :4] - colours[0]).max() <= 3
    assert np.abs(decoded[:, 4:] - colours[1]).max() <= 3
    if not padding:
        built.step = len(built.data) // HEIGHT  # of all planes
        np.testing.assert_array_equal(decode(built), decoded)


@pytest.mark.parametrize("encoding", CV_BRIDGE_KNOWS)
def test_as_cv_bridge(encoding: str) -> None:
    """cv_bridge ignores padding and knows no YUV; where it is right, both agree."""
    rows = PACKED[encoding][0] if encoding in PACKED else GREY
    sent = message(encoding, rows)
    np.testing.assert_array_equal(decode(sent), CvBridge().imgmsg_to_cv2(sent, "rgb8"))


def test_every_encoding_has_a_case_here() -> None:
    yuv = {"yuv422", "uyvy", "yuv422_yuy2", "yuyv", "nv12", "nv21", "nv24"}
    packed = {*PACKED, *BAYER}
    wide = {name.replace("8", "16") for name in packed}
    assert set(ENCODINGS) == {*packed, *wide, *yuv, "i420", "yuv420", "yv12"}


def test_every_encoding_of_ros_is_decoded_or_refused_by_its_name() -> None:
    include = Path(get_package_prefix("sensor_msgs"), "include/sensor_msgs/sensor_msgs")
    header = (include / "image_encodings.hpp").read_text(encoding="utf-8")
    names = set(re.findall(r'^const char \w+\[\] = "(\w+)"', header, re.M))
    assert len(names) > 45
    measured = {each for each in names if re.fullmatch(r"\d+(SC|FC).|\d+UC2", each)}
    assert names - measured <= set(ENCODINGS)
    for name in measured:
        with pytest.raises(ImageError, match=f"encoding {name!r} is of depth or other measured"):
            decode(message(name, np.zeros((HEIGHT, WIDTH, 8), np.uint8)))


def test_capital_letters_of_a_name_do_not_count() -> None:
    np.testing.assert_array_equal(decode(message("BGR8", RGB[:, :, ::-1])), RGB)


def compressed(content: bytes, form: str) -> CompressedImage:
    built = CompressedImage(format=form)
    built.data = array.array("B", content)
    return built


@pytest.mark.parametrize("form", ["png", "bgr8; png compressed bgr8"])
def test_png(form: str) -> None:
    content = cv2.imencode(".png", RGB[:, :, ::-1])[1].tobytes()
    np.testing.assert_array_equal(decode(compressed(content, form)), RGB)


@pytest.mark.parametrize("suffix", [".png", ".tiff"])
def test_compressed_images_of_16_bits(suffix: str) -> None:
    """Of 12 bits used; in an annotated bag, too, their range is that of the stream."""
    content = cv2.imencode(suffix, wide(GREY) >> 4)[1].tobytes()
    image = compressed(content, "mono16; png compressed mono16")
    np.testing.assert_array_equal(decode(image), grey_rgb(GREY))
    values = wide_samples(image)
    assert values is not None
    assert RunningRange().update(values) == ValueRange(0, 12)


def test_samples_of_8_bits_have_no_range() -> None:
    for suffix in (".png", ".jpg", ".tiff", ".bmp"):
        content = cv2.imencode(suffix, GREY)[1].tobytes()
        assert wide_samples(compressed(content, suffix)) is None
    assert wide_samples(message("mono8", GREY)) is None


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
