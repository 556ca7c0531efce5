"""FER+: the 48x48 grey faces of FER2013 with ten votes each.

Images: Goodfellow et al., "Challenges in representation learning", 2013. Votes: Barsoum et al.,
"Training deep networks for facial expression recognition with crowd-sourced label distribution",
2016. Files: ``.npz`` or ``.npz.xz`` with ``images`` (n, 48, 48) uint8 and ``votes`` (n, 10) uint8.
"""

from __future__ import annotations

import io
import lzma
import zipfile
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from esr_core.data.faces import LABEL_MODES, FaceDataset
from esr_core.emotions import LABELS
from esr_core.errors import DataError
from esr_core.options import as_choice

_EMOTIONS = ("neutral", "happy", "surprise", "sad", "anger", "disgust", "fear", "contempt")
#: The columns of ``votes``.
VOTE_COLUMNS = (*_EMOTIONS, "unknown", "not-a-face")
_TO_LABELS = [VOTE_COLUMNS.index(label) for label in LABELS]


class FerPlus(FaceDataset):
    """Faces with the votes of ten annotators, in the project's order of emotions."""

    name = "ferplus"


def read(path: Path, labels: str = "majority") -> FerPlus:
    """Read one split.

    Single votes are noise and set to 0 first. ``majority`` keeps an image if one emotion has more
    than half of the remaining votes (the protocol of the published ESR figures); ``probability``
    and ``cross_entropy`` keep it if the eight emotions together have more than half.

    Raises:
        OptionError: labels is not one of ``LABEL_MODES``.
        DataError: the file is missing, damaged, or lacks an array.
    """
    as_choice("labels", labels, LABEL_MODES)
    images, votes = _arrays(path)
    votes = np.where(votes > 1, votes, 0).astype(np.float32)
    total = votes.sum(axis=1)
    emotions = votes[:, _TO_LABELS]
    keep = (emotions.max if labels == "majority" else emotions.sum)(axis=1) > total / 2
    if not keep.any():
        raise DataError(f"{path}: none of its {len(images)} images passes the {labels} protocol")
    emotions = emotions[keep]
    distribution = emotions / emotions.sum(axis=1, keepdims=True)
    target = emotions.argmax(axis=1).astype(np.int64)
    return FerPlus(images[keep], distribution, target, labels)


#: Of files that are damaged; RuntimeError for a method of compression that there is not.
_DAMAGE = (
    *(OSError, EOFError, ValueError, RuntimeError),
    *(lzma.LZMAError, zipfile.BadZipFile, zlib.error),
)


def _arrays(path: Path) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    try:
        content = path.read_bytes()
        if path.suffix == ".xz":
            content = lzma.decompress(content)
        archive = np.load(io.BytesIO(content), allow_pickle=False)
        if not isinstance(archive, np.lib.npyio.NpzFile):
            raise ValueError("one array, but it must hold two, images and votes")
        missing = {"images", "votes"} - set(archive.files)
        if missing:
            raise ValueError(f"it lacks the array {', '.join(sorted(missing))}")
        images, votes = archive["images"], archive["votes"]
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file; FER+ is not part of this project") from error
    except _DAMAGE as error:
        raise DataError(f"{path}: not a readable .npz or .npz.xz archive ({error})") from error
    if images.ndim != 3 or images.dtype != np.uint8 or 0 in images.shape[1:]:
        got = f"{images.shape} {images.dtype}"
        raise DataError(f"{path}: images must be (n, h, w) uint8, but got {got}")
    if votes.shape != (len(images), len(VOTE_COLUMNS)) or votes.dtype.kind not in "iuf":
        got = f"{votes.shape} {votes.dtype}"
        raise DataError(f"{path}: votes must be ({len(images)}, 10) numbers, but got {got}")
    return images, votes
