"""Image files, and the conversion of arrays of all kinds to the network's input."""

from __future__ import annotations

import mimetypes
import os
from functools import lru_cache
from pathlib import Path
from typing import Any, List, Tuple

import cv2
import numpy as np
from numpy.typing import NDArray

from esr_core.errors import ImageError
from esr_core.file_names import native_path
from esr_core.media.bit_depth import to_uint8
from esr_core.perception.preprocessing import InputSpec, whole

#: Suffixes of image files that Python's table of MIME types lacks, in some versions at least.
_PICTURES = (
    *(".avif", ".heic", ".heif", ".jfif", ".jp2", ".jxl", ".webp"),
    *(".arw", ".cr2", ".cr3", ".dng", ".nef", ".orf", ".raf", ".rw2"),
)
#: Larger values in an image of floats mean that its range is 0 to 255, not 0 to 1.
_LARGEST = 16.0


class Image:
    """An image; ``data`` is (3, h, w) RGB, uint8 or float."""

    def __init__(self, data: NDArray[Any]) -> None:
        """data: (3, h, w), (h, w, 3) or (h, w)."""
        self.data: NDArray[Any] = np.moveaxis(_channels_last(np.asarray(data), "an image"), 2, 0)

    @classmethod
    def open(cls, path: str | Path) -> Image:
        """Read an image file.

        Raises:
            ImageError: the file does not exist, or is not an image.
        """
        return cls(read_image(Path(path)))

    def rgb(self) -> NDArray[Any]:
        """Return (h, w, 3) RGB."""
        return np.ascontiguousarray(np.moveaxis(self.data, 0, 2))

    def opencv(self) -> NDArray[Any]:
        """Return (h, w, 3) BGR, the order of OpenCV."""
        return np.ascontiguousarray(self.rgb()[:, :, ::-1])


@lru_cache(maxsize=None)  # once: it is called for each compressed image
def silence_opencv() -> None:
    """Keep OpenCV's log off stderr, unless OPENCV_LOG_LEVEL is set; errors have our own text."""
    logging = getattr(cv2.utils, "logging", None)  # missing in old versions
    if logging and "OPENCV_LOG_LEVEL" not in os.environ:
        logging.setLogLevel(logging.LOG_LEVEL_SILENT)


def find_pictures(folder: Path) -> Tuple[List[Path], List[Path]]:
    """Return the image files of a folder, and all else in it, sorted by name.

    An image file is one that OpenCV can read, whatever its name, or that has the name of one.
    Hidden files are in neither list; folders are not searched. Raises ImageError for no images.
    """
    silence_opencv()
    paths = [path for path in folder.iterdir() if not path.name.startswith(".")]
    pictures = {path for path in paths if _is_picture(path)}
    if not pictures:
        raise ImageError(f"{folder}: no pictures in this folder")
    return sorted(pictures), sorted({*paths} - pictures)


def count_pages(path: Path) -> int:
    """Return the number of pictures in an image file: pages, or frames of an animation.

    1 for a pipe: its pictures were read once, and opening it again would wait for ever.
    """
    if not path.is_file():
        return 1
    with native_path(path) as name:
        return cv2.imcount(name)


def _is_picture(path: Path) -> bool:
    kind = mimetypes.guess_type(path.name, strict=False)[0] or ""
    if kind.startswith("image/") or path.suffix.lower() in _PICTURES:
        return not path.is_dir()
    with native_path(path) as name:
        return path.is_file() and cv2.haveImageReader(name)  # a pipe has no end


def read_image(path: Path) -> NDArray[np.uint8]:
    """Read an image file as RGB, (h, w, 3) uint8; ImageError if it is missing or no image."""
    try:
        bgr = to_uint8(read_samples(path.read_bytes()))
    except (OSError, ImageError) as error:
        raise ImageError(f"{path}: {getattr(error, 'strerror', error)}") from error
    return cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)  # type: ignore[return-value]


def read_samples(content: Any) -> NDArray[Any]:
    """Decode the bytes of an image file to BGR, (h, w, 3) uint8 or, if it has 16 bits, uint16.

    Raises ImageError if they are not a picture, or its pixels are not of 8 or 16 bits.
    """
    silence_opencv()
    packed, flags = np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH
    try:
        bgr: Any = cv2.imdecode(packed, flags) if len(packed) else None
    except cv2.error as error:
        raise ImageError(f"damaged: {error.err}") from error
    if bgr is None:
        raise ImageError("not a picture that can be read, such as JPEG or PNG")
    if bgr.dtype not in (np.uint8, np.uint16):
        raise ImageError(f"has pixels of type {bgr.dtype}; colour and grey have 8 or 16 bits")
    return bgr  # type: ignore[no-any-return]


def as_batch(images: Any, spec: InputSpec) -> NDArray[np.float32]:
    """Convert one image or several to (n, 3, size, size) float32.

    images: an :class:`Image`, an array or tensor of one image or of a batch, or a sequence of
    single ones. uint8 images, (h, w), (h, w, 3) or (3, h, w) of any size, are converted to the
    network's colour and size. Float images must be (3, size, size), the network's input: in
    [0, 1], or normalised as in its training.

    Raises ImageError for another shape or type, values that are not finite, or floats in 0 to 255.
    """
    if not isinstance(images, (list, tuple)):
        images = _array(images)
        images = images if images.ndim == 4 else [images]
    arrays = [_array(image) for image in images]
    batch = np.empty((len(arrays), 3, spec.size_px, spec.size_px), np.float32)
    for i, array in enumerate(arrays):
        name = f"image {i + 1} of {len(arrays)}"
        if array.dtype == np.uint8:
            batch[i] = whole([np.ascontiguousarray(_channels_last(array, name))], spec)[0]
            continue
        if array.shape != batch[i].shape or not np.issubdtype(array.dtype, np.floating):
            kinds = f"uint8, or {batch[i].shape} float in [0, 1]"
            raise ImageError(f"{name} must be {kinds}, but is {array.shape} {array.dtype}")
        if not np.isfinite(array).all():
            raise ImageError(f"{name} holds values that are not finite (NaN or infinite)")
        most = np.abs(array).max()
        if most > _LARGEST:
            raise ImageError(f"{name} holds floats up to {most:g}; pass it as uint8, or in [0, 1]")
        batch[i] = array
    return batch


def _array(image: Any) -> NDArray[Any]:
    if hasattr(image, "detach"):  # a tensor; the node works without an import of torch
        image = image.detach().cpu()
        image = (image.float() if image.is_floating_point() else image).numpy()
    elif isinstance(getattr(image, "data", None), np.ndarray):  # an Image, also OpenDR's
        image = image.data
    if not isinstance(image, np.ndarray):
        kinds = "an Image, an array or a tensor, or a list of such"
        raise ImageError(f"an image must be {kinds}, but is a {type(image).__name__}")
    return image


def _channels_last(image: NDArray[Any], name: str) -> NDArray[Any]:
    """Return (h, w), (h, w, 3) or (3, h, w) as (h, w, 3); ``name`` is for the error."""
    if image.ndim == 2:
        image = np.repeat(image[:, :, None], 3, axis=2)
    if image.ndim != 3 or 3 not in (image.shape[0], image.shape[2]) or image.size == 0:
        raise ImageError(f"{name} must be (h, w), (h, w, 3) or (3, h, w), but is {image.shape}")
    return image if image.shape[2] == 3 else np.moveaxis(image, 0, 2)
