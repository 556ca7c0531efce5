"""FER+: the 48x48 grey faces of FER2013 with ten votes each.

Images: Goodfellow et al., "Challenges in representation learning", 2013. Votes: Barsoum et al.,
"Training deep networks for facial expression recognition with crowd-sourced label distribution",
2016. Files: ``.npz`` or ``.npz.xz`` with ``images`` (n, 48, 48) uint8 and ``votes`` (n, 10) uint8.
"""

from __future__ import annotations

import io
import lzma
import zipfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Sequence, TypeVar

import numpy as np
from numpy.typing import NDArray

from esr_core.emotions import LABELS, affect_of
from esr_core.errors import DataError
from esr_core.options import as_choice
from esr_core.perception.preprocessing import InputSpec

if TYPE_CHECKING:
    from torch import Generator, Tensor

#: Targets made of the votes, after Barsoum et al.: the label with the most votes; a label drawn
#: from them each time; or their distribution.
LABEL_MODES = ("majority", "probability", "cross_entropy")

_EMOTIONS = ("neutral", "happy", "surprise", "sad", "anger", "disgust", "fear", "contempt")
#: The columns of ``votes``.
VOTE_COLUMNS = (*_EMOTIONS, "unknown", "not-a-face")
_TO_LABELS = [VOTE_COLUMNS.index(label) for label in LABELS]

F = TypeVar("F", bound="FerPlus")


@dataclass(frozen=True)
class FerPlus:
    """Faces with the votes of ten annotators, in the project's order of emotions."""

    images: NDArray[np.uint8]  # (n, 48, 48) grey
    distribution: NDArray[np.float32]  # (n, 8), rows sum to 1
    target: NDArray[np.int64]  # (n,) the label with the most votes
    labels: str = "cross_entropy"  # the targets, one of LABEL_MODES

    name = "ferplus"
    spec = InputSpec()
    derives_affect = True

    def __len__(self) -> int:
        return len(self.images)

    @property
    def emotions(self) -> NDArray[np.float32]:
        """(n, 8) the mean targets: all votes, or only the label."""
        if self.labels == "majority":
            return np.eye(len(LABELS), dtype=np.float32)[self.target]
        return self.distribution

    @property
    def affect(self) -> NDArray[np.float32]:
        """(n, 2) valence and arousal, derived from the emotions."""
        return affect_of(self.distribution)

    def load(self, rows: Sequence[int]) -> NDArray[np.uint8]:
        """Return images, (n, 48, 48) uint8 grey."""
        return self.images[rows]

    def targets(self, rows: Tensor, generator: Generator) -> Tensor:
        """Return targets (k, 8); ``probability`` draws a label from the votes each time."""
        import torch

        targets = torch.from_numpy(self.emotions)[rows]
        if self.labels != "probability":
            return targets
        drawn = torch.multinomial(targets, 1, generator=generator)[:, 0]
        return torch.nn.functional.one_hot(drawn, len(LABELS)).float()

    def subset(self: F, count: int, seed: int = 0) -> F:
        """Return ``count`` images drawn at random, or all when there are fewer."""
        return self.select(sample(len(self), count, seed))

    def select(self: F, rows: NDArray[np.int64]) -> F:
        """Return some of the faces, by their rows in all arrays."""
        arrays: dict[str, Any] = {
            name: each[rows] for name, each in vars(self).items() if isinstance(each, np.ndarray)
        }
        return replace(self, **arrays)


def sample(n: int, count: int, seed: int = 0) -> NDArray[np.int64]:
    """Return ``count`` of ``n`` rows drawn at random, or all when there are fewer, in order."""
    return np.sort(np.random.default_rng(seed).permutation(n)[:count])


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
    except (OSError, EOFError, lzma.LZMAError, ValueError, zipfile.BadZipFile) as error:
        raise DataError(f"{path}: not a readable .npz or .npz.xz archive ({error})") from error
    if images.ndim != 3 or images.dtype != np.uint8 or 0 in images.shape[1:]:
        got = f"{images.shape} {images.dtype}"
        raise DataError(f"{path}: images must be (n, h, w) uint8, but got {got}")
    if votes.shape != (len(images), len(VOTE_COLUMNS)) or votes.dtype.kind not in "iuf":
        got = f"{votes.shape} {votes.dtype}"
        raise DataError(f"{path}: votes must be ({len(images)}, 10) numbers, but got {got}")
    return images, votes
