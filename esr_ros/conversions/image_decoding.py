"""RGB pixels of ROS image messages.

Not cv_bridge: it breaks on NumPy 2, and its PyPI version ignores row padding and lacks YUV.
Encodings: those of colour and grey in sensor_msgs/image_encodings.hpp, and the usual YUV 4:2:0.
"""

from __future__ import annotations

import re
from functools import partial
from typing import Any, Callable, Dict, NamedTuple, Optional, Tuple, Union

import cv2
import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import CompressedImage, Image

from esr_core.errors import ImageError
from esr_core.media.bit_depth import FindRange, range_of, to_uint8
from esr_core.media.image import read_samples

Pixels = NDArray[np.uint8]


class _Encoding(NamedTuple):
    """Memory layout of an encoding and its conversion from 8 bits to RGB."""

    channels: int
    to_rgb: Callable[[Any], Any]
    multiple: Tuple[int, int] = (1, 1)  # width and height must be multiples of these
    # Of a second plane, which follows the first: rows, and bytes of a row, in those of the first.
    chroma: Optional[Tuple[float, float]] = None
    sample_bytes: int = 1  # 2: in either byte order


def _by(code: int) -> Callable[[Any], Any]:
    return partial(cv2.cvtColor, code=code)


#: BT.601, as OpenCV has it for the other YUV encodings: from y, u, v, 1 to R, G, B.
_FACTORS = np.array([[1.164, 0, 1.596], [1.164, -0.391, -0.813], [1.164, 2.018, 0]])
_YUV_TO_RGB = np.column_stack([_FACTORS, _FACTORS @ (-16, -128, -128)])


def _from_nv24(rows: Any) -> Any:
    luma, chroma = np.split(rows, [len(rows) // 3])
    yuv = np.concatenate([luma[..., None], chroma.reshape(*luma.shape, 2)], axis=2)
    return cv2.transform(yuv, _YUV_TO_RGB)


_PACKED: Dict[str, _Encoding] = {  # by names, with {0} in place of the bits of a sample
    "bgr{0} {0}UC3": _Encoding(3, _by(cv2.COLOR_BGR2RGB)),  # UC3: as cv_bridge publishes it
    "rgb{0}": _Encoding(3, lambda pixels: pixels),
    "bgra{0} {0}UC4": _Encoding(4, _by(cv2.COLOR_BGRA2RGB)),
    "rgba{0}": _Encoding(4, _by(cv2.COLOR_RGBA2RGB)),
    "mono{0} {0}UC1": _Encoding(1, _by(cv2.COLOR_GRAY2RGB)),
    # OpenCV names a Bayer pattern after the second row's second and third pixel.
    "bayer_rggb{0}": _Encoding(1, _by(cv2.COLOR_BayerBG2RGB), (2, 2)),
    "bayer_bggr{0}": _Encoding(1, _by(cv2.COLOR_BayerRG2RGB), (2, 2)),
    "bayer_gbrg{0}": _Encoding(1, _by(cv2.COLOR_BayerGR2RGB), (2, 2)),
    "bayer_grbg{0}": _Encoding(1, _by(cv2.COLOR_BayerGB2RGB), (2, 2)),
}
_TABLE: Dict[str, _Encoding] = {
    **{names.format(8): each for names, each in _PACKED.items()},
    **{names.format(16): each._replace(sample_bytes=2) for names, each in _PACKED.items()},
    "yuv422 uyvy": _Encoding(2, _by(cv2.COLOR_YUV2RGB_UYVY), (2, 1)),
    "yuv422_yuy2 yuyv": _Encoding(2, _by(cv2.COLOR_YUV2RGB_YUYV), (2, 1)),
    "nv12": _Encoding(1, _by(cv2.COLOR_YUV2RGB_NV12), (2, 2), chroma=(0.5, 1)),
    "nv21": _Encoding(1, _by(cv2.COLOR_YUV2RGB_NV21), (2, 2), chroma=(0.5, 1)),
    "nv24": _Encoding(1, _from_nv24, chroma=(1, 2)),
    "i420 yuv420": _Encoding(1, _by(cv2.COLOR_YUV2RGB_I420), (2, 2), chroma=(1, 0.5)),
    "yv12": _Encoding(1, _by(cv2.COLOR_YUV2RGB_YV12), (2, 2), chroma=(1, 0.5)),
}
_ENCODINGS = {name: each for names, each in _TABLE.items() for name in names.split()}
ENCODINGS = tuple(_ENCODINGS)
_BY_LOWER_CASE = {name.lower(): each for name, each in _ENCODINGS.items()}
#: Other arrays of numbers: signed, floats, more bits, or another number of channels.
_NUMBERS = re.compile(r"\d+[USF]C\d*", re.I)


def decode(message: Union[Image, CompressedImage], find_range: FindRange = range_of) -> Pixels:
    """Return the pixels of an image message as RGB, (h, w, 3) uint8; may share its memory.

    Takes messages of rosbags as well, whose fields are the same. find_range: of 16-bit pixels; by
    default that of the image alone.
    Raises ImageError for an unknown encoding, inconsistent sizes, or damaged compressed data.
    """
    samples, to_rgb = _samples(message)
    rgb: Pixels = to_rgb(to_uint8(samples, find_range))
    return rgb


def wide_samples(message: Union[Image, CompressedImage]) -> Optional[NDArray[np.uint16]]:
    """Return the values of an image of 16 bits, as FindRange takes them; None if it has 8.

    Raises ImageError as :func:`decode`.
    """
    if hasattr(message, "format"):
        start = bytes(message.data[:25])
        is_png, is_jpeg = start.startswith(b"\x89PNG"), start.startswith(b"\xff\xd8")
        is_wide = not is_jpeg and not (is_png and start[24:] != b"\x10")  # its bits per sample
    else:
        encoding = _BY_LOWER_CASE.get(message.encoding.lower())
        is_wide = encoding is not None and encoding.sample_bytes == 2
    samples = _samples(message)[0] if is_wide else None
    return samples if samples is not None and samples.dtype == np.uint16 else None


def _samples(message: Union[Image, CompressedImage]) -> Tuple[Any, Callable[[Any], Any]]:
    """Return the pixels as they are stored, uint8 or uint16, and their conversion from uint8."""
    if hasattr(message, "format"):
        return _decompress(message), _by(cv2.COLOR_BGR2RGB)
    name = message.encoding
    encoding = _BY_LOWER_CASE.get(name.lower())
    if encoding is None:
        if _NUMBERS.fullmatch(name):
            raise ImageError(
                f"encoding {name!r} is of depth or other measured values, not of colour or grey; "
                "it shows no faces"
            )
        raise ImageError(f"encoding {name!r} is unknown; known are {', '.join(ENCODINGS)}")
    rows = _rows(message, encoding)
    if encoding.sample_bytes == 2:
        rows = rows.view(">u2" if message.is_bigendian else "<u2").astype(np.uint16, copy=False)
    if encoding.channels > 1:
        rows = rows.reshape(len(rows), message.width, encoding.channels)
    return rows, encoding.to_rgb


def _rows(message: Image, encoding: _Encoding) -> Any:
    """Return the bytes of a message as rows without padding, after checking the sizes."""
    height, width, step = message.height, message.width, message.step
    what = f"a {width}x{height} {message.encoding} image"
    if height == 0 or width == 0:
        raise ImageError(f"{what} has no pixels")
    multiple_x, multiple_y = encoding.multiple
    if width % multiple_x or height % multiple_y:
        raise ImageError(
            f"{what} cannot be: width must be a multiple of {multiple_x}, height of {multiple_y}"
        )
    row_bytes = width * encoding.channels * encoding.sample_bytes
    if step < row_bytes:
        raise ImageError(f"{what} needs a step of at least {row_bytes} bytes, but has {step}")
    chroma_rows, chroma_bytes = encoding.chroma or (0, 0)
    whole = int(height * row_bytes * (1 + chroma_rows * chroma_bytes))
    if encoding.chroma and len(message.data) == whole:
        step = row_bytes  # no padding; some cameras count the bytes of all planes in their step
    chroma = int(height * chroma_rows), int(step * chroma_bytes)
    count = height * step + chroma[0] * chroma[1]
    if len(message.data) != count:
        raise ImageError(
            f"{what} with a step of {step} must hold {count} bytes, but holds {len(message.data)}"
        )
    content = np.frombuffer(message.data, np.uint8)
    rows = content[: height * step].reshape(height, step)[:, :row_bytes]
    if encoding.chroma:
        below = content[height * step :].reshape(chroma)[:, : int(row_bytes * chroma_bytes)]
        rows = np.concatenate([rows, below.reshape(-1, row_bytes)])
    return np.ascontiguousarray(rows)


def _decompress(message: CompressedImage) -> Any:
    what = f"a compressed image of format {message.format!r} and {len(message.data)} bytes"
    if "compressedDepth" in message.format:
        raise ImageError(f"{what} is a depth image; it shows no faces")
    if len(message.data) == 0:
        raise ImageError(f"{what} is empty")
    try:
        return read_samples(message.data)
    except ImageError as error:
        raise ImageError(f"{what} cannot be decoded ({error})") from error
