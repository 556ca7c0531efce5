"""RGB pixels of ROS image messages.

Not cv_bridge: it breaks on NumPy 2, and its PyPI version ignores row padding and lacks YUV.
Encodings: sensor_msgs/image_encodings.hpp and the V4L2 pixel formats UYVY, YUYV, NV12, NV21.
"""

from __future__ import annotations

from typing import Any, Dict, NamedTuple, Optional, Tuple, Union

import cv2
import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import CompressedImage, Image

from esr_core.errors import ImageError

Pixels = NDArray[np.uint8]


class _Encoding(NamedTuple):
    """Memory layout of an encoding and its conversion to RGB."""

    bytes_per_pixel: int
    conversion: Optional[int]  # of cv2.cvtColor; None: is RGB
    multiple: Tuple[int, int] = (1, 1)  # width and height must be multiples of these
    rows: float = 1.0  # rows in memory per row of the image; 1.5 where chroma follows
    wide: bool = False  # 16 bit per pixel, in either byte order


_ENCODINGS: Dict[str, _Encoding] = {
    "bgr8": _Encoding(3, cv2.COLOR_BGR2RGB),
    "8UC3": _Encoding(3, cv2.COLOR_BGR2RGB),  # OpenCV's order, as cv_bridge publishes it
    "rgb8": _Encoding(3, None),
    "bgra8": _Encoding(4, cv2.COLOR_BGRA2RGB),
    "rgba8": _Encoding(4, cv2.COLOR_RGBA2RGB),
    "mono8": _Encoding(1, cv2.COLOR_GRAY2RGB),
    "8UC1": _Encoding(1, cv2.COLOR_GRAY2RGB),
    "mono16": _Encoding(2, cv2.COLOR_GRAY2RGB, wide=True),
    # OpenCV names a Bayer pattern after the second row's second and third pixel.
    "bayer_rggb8": _Encoding(1, cv2.COLOR_BayerBG2RGB, (2, 2)),
    "bayer_bggr8": _Encoding(1, cv2.COLOR_BayerRG2RGB, (2, 2)),
    "bayer_gbrg8": _Encoding(1, cv2.COLOR_BayerGR2RGB, (2, 2)),
    "bayer_grbg8": _Encoding(1, cv2.COLOR_BayerGB2RGB, (2, 2)),
    "yuv422": _Encoding(2, cv2.COLOR_YUV2RGB_UYVY, (2, 1)),
    "uyvy": _Encoding(2, cv2.COLOR_YUV2RGB_UYVY, (2, 1)),
    "yuv422_yuy2": _Encoding(2, cv2.COLOR_YUV2RGB_YUYV, (2, 1)),
    "yuyv": _Encoding(2, cv2.COLOR_YUV2RGB_YUYV, (2, 1)),
    "nv12": _Encoding(1, cv2.COLOR_YUV2RGB_NV12, (2, 2), rows=1.5),
    "nv21": _Encoding(1, cv2.COLOR_YUV2RGB_NV21, (2, 2), rows=1.5),
}
ENCODINGS = tuple(_ENCODINGS)


def decode(message: Union[Image, CompressedImage]) -> Pixels:
    """Return the pixels of an image message as RGB, (h, w, 3) uint8; may share its memory.

    Takes messages of rosbags as well, whose fields are the same.
    Raises ImageError for an unknown encoding, inconsistent sizes, or damaged compressed data.
    """
    if hasattr(message, "format"):
        return _decode_compressed(message)
    encoding = _ENCODINGS.get(message.encoding)
    if encoding is None:
        known = ", ".join(ENCODINGS)
        raise ImageError(f"encoding {message.encoding!r} is unknown; known are {known}")
    rows = _rows(message, encoding)
    if encoding.wide:  # 65535 becomes 255
        wide = rows.view(">u2" if message.is_bigendian else "<u2").astype(np.uint16, copy=False)
        rows = cv2.convertScaleAbs(wide, alpha=255 / 65535)
    elif encoding.bytes_per_pixel > 1:
        rows = rows.reshape(len(rows), message.width, encoding.bytes_per_pixel)
    rgb: Pixels = rows if encoding.conversion is None else cv2.cvtColor(rows, encoding.conversion)
    return rgb


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
    row_bytes = width * encoding.bytes_per_pixel
    if step < row_bytes:
        raise ImageError(f"{what} needs a step of at least {row_bytes} bytes, but has {step}")
    count = int(height * encoding.rows)
    if len(message.data) != step * count:
        raise ImageError(
            f"{what} with a step of {step} must hold {step * count} bytes, "
            f"but holds {len(message.data)}"
        )
    rows = np.frombuffer(message.data, np.uint8).reshape(count, step)[:, :row_bytes]
    return rows if step == row_bytes else np.ascontiguousarray(rows)


def _decode_compressed(message: CompressedImage) -> Pixels:
    content = np.frombuffer(message.data, np.uint8)
    what = f"a compressed image of format {message.format!r} and {len(content)} bytes"
    if "compressedDepth" in message.format:
        raise ImageError(f"{what} is a depth image; it shows no faces")
    if len(content) == 0:
        raise ImageError(f"{what} is empty")
    try:
        bgr = cv2.imdecode(content, cv2.IMREAD_COLOR)
    except cv2.error as error:
        raise ImageError(f"{what} cannot be decoded ({error.err})") from error
    if bgr is None:
        raise ImageError(f"{what} cannot be decoded; jpeg and png can, if they are whole")
    return cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)  # type: ignore[return-value]
