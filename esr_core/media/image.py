"""An image as the learner takes it, and how arrays of all kinds become the network's input."""

from __future__ import annotations

from pathlib import Path
from typing import Any, List

import cv2
import numpy as np
from numpy.typing import NDArray

from esr_core.errors import ImageError
from esr_core.perception.preprocessing import InputSpec, whole

#: Endings of files that are taken for pictures in a folder.
PICTURES = (".bmp", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
#: Larger values in an image of floats mean that it counts to 255, not to 1.
_LARGEST = 16.0


class Image:
    """A picture; ``data`` is (3, h, w) RGB, uint8 or float."""

    def __init__(self, data: NDArray[Any]) -> None:
        """data: (3, h, w), (h, w, 3) or (h, w)."""
        array = np.asarray(data)
        if array.ndim == 2:
            array = np.repeat(array[:, :, None], 3, axis=2)
        if array.ndim != 3 or 3 not in (array.shape[0], array.shape[2]) or array.size == 0:
            raise ImageError(
                f"an image must be (3, h, w), (h, w, 3) or (h, w), but is {array.shape}"
            )
        self.data: NDArray[Any] = array if array.shape[2] != 3 else np.moveaxis(array, 2, 0)

    @classmethod
    def open(cls, path: str | Path) -> Image:
        """Read a picture file.

        Raises:
            ImageError: no such file, or not a picture.
        """
        return cls(read_image(Path(path)))

    def rgb(self) -> NDArray[Any]:
        """(h, w, 3)"""
        return np.ascontiguousarray(np.moveaxis(self.data, 0, 2))

    def opencv(self) -> NDArray[Any]:
        """(h, w, 3) BGR, as OpenCV wants it."""
        return np.ascontiguousarray(self.rgb()[:, :, ::-1])


def find_pictures(folder: Path) -> List[Path]:
    """Return the pictures in a folder, by name; those in folders within are not looked for.

    Raises:
        ImageError: there are none.
    """
    found = sorted(
        path
        for path in folder.iterdir()
        if path.suffix.lower() in PICTURES and not path.name.startswith(".") and path.is_file()
    )
    if not found:
        raise ImageError(f"{folder}: no pictures in this folder ({', '.join(PICTURES)})")
    return found


def read_image(path: Path) -> NDArray[np.uint8]:
    """Read a picture as RGB, (h, w, 3) uint8.

    Raises:
        ImageError: no such file, or not a picture.
    """
    try:
        content = np.frombuffer(path.read_bytes(), np.uint8)
        bgr = cv2.imdecode(content, cv2.IMREAD_COLOR) if len(content) else None
    except OSError as error:
        raise ImageError(f"{path}: {error.strerror}") from error
    except cv2.error as error:
        raise ImageError(f"{path}: cannot be decoded ({error.err})") from error
    if bgr is None:
        raise ImageError(f"{path}: not a picture that can be read, such as JPEG or PNG")
    return cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)  # type: ignore[return-value]


def as_batch(images: Any, spec: InputSpec) -> NDArray[np.float32]:
    """Turn one image or several into (n, 3, size, size) float32.

    images: an :class:`Image`, an array or tensor of one image or of a batch, or a sequence of
    single ones. uint8 images, (h, w), (h, w, 3) or (3, h, w) of any size, are brought to the
    network's colour and size. Float images must be (3, size, size), as the network sees them:
    in [0, 1], or normalised as in its training.

    Raises:
        ImageError: another shape or type, values that are not finite, or floats that count to 255.
    """
    if isinstance(images, (list, tuple)):
        singles = [_array(image) for image in images]
    else:
        array = _array(images)
        singles = list(array) if array.ndim == 4 else [array]
    batch = np.empty((len(singles), 3, spec.size_px, spec.size_px), np.float32)
    for i, single in enumerate(singles):
        where = f"image {i + 1} of {len(singles)}"
        if single.dtype == np.uint8:
            batch[i] = whole(_framed(single, where), spec)[0]
        else:
            batch[i] = _floats(single, spec.size_px, where)
    return batch


def _array(image: Any) -> NDArray[Any]:
    if hasattr(image, "detach"):  # a tensor; asking torch would make the node need it
        image = image.detach().cpu()
        image = (image.float() if image.is_floating_point() else image).numpy()
    elif isinstance(getattr(image, "data", None), np.ndarray):  # an Image, ours or OpenDR's
        image = image.data
    if not isinstance(image, np.ndarray):
        raise ImageError(
            "an image must be an Image, an array or a tensor, or a list of such, "
            f"but is a {type(image).__name__}"
        )
    return image


def _framed(image: NDArray[np.uint8], where: str) -> NDArray[np.uint8]:
    if image.size and (image.ndim == 2 or (image.ndim == 3 and image.shape[2] == 3)):
        return image[None]
    if image.size and image.ndim == 3 and image.shape[0] == 3:
        return np.ascontiguousarray(np.moveaxis(image, 0, 2))[None]
    raise ImageError(f"{where} must be (h, w), (h, w, 3) or (3, h, w) uint8, but is {image.shape}")


def _floats(image: NDArray[Any], size_px: int, where: str) -> NDArray[Any]:
    if image.shape != (3, size_px, size_px) or not np.issubdtype(image.dtype, np.floating):
        raise ImageError(
            f"{where} must be uint8, or (3, {size_px}, {size_px}) float in [0, 1], "
            f"but is {image.shape} {image.dtype}"
        )
    if not np.isfinite(image).all():
        raise ImageError(f"{where} holds values that are not finite (NaN or infinite)")
    if np.abs(image).max() > _LARGEST:
        raise ImageError(
            f"{where} holds floats up to {np.abs(image).max():g}; give it as uint8, or in [0, 1]"
        )
    return image
