"""The data set interface of training and evaluation, and how to open a data folder."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, Sequence

import numpy as np
from numpy.typing import NDArray

from esr_core.data import ferplus, own_faces
from esr_core.emotions import LABELS
from esr_core.errors import DataError
from esr_core.inference.metadata import PUBLISHED_INPUT, ModelMetadata
from esr_core.perception.preprocessing import InputSpec
from esr_core.process import usable_cores

if TYPE_CHECKING:
    import torch

    from esr_core.data.affectnet import AffectNetCategorical, AffectNetDimensional

#: The files of FER+ in a data folder.
FERPLUS_FILES = {"training": "train.npz.xz", "validation": "valid.npz.xz"}
#: The folders of AffectNet in a data folder; all other folders hold own faces.
AFFECTNET_FOLDERS = ("Training_Labeled", "Training_Unlabeled", "Validation")
#: Number of AffectNet's images per label, or per quadrant, of a balanced training set.
TRAINING_IMAGES_PER_LABEL = 5000


class FaceDataset(Protocol):
    """A split of labelled faces; images are read on access."""

    name: str

    @property
    def spec(self) -> InputSpec:
        """The conversion of these faces to a network input."""

    @property
    def derives_affect(self) -> bool:
        """Valence and arousal are derived from the emotions, not annotated."""

    @property
    def emotions(self) -> NDArray[np.float32]:
        """(n, 8), rows sum to 1."""

    @property
    def affect(self) -> NDArray[np.float32]:
        """(n, 2) valence and arousal in [-1, 1]."""

    def __len__(self) -> int: ...

    def load(self, rows: Sequence[int]) -> NDArray[np.uint8]:
        """Return (k, h, w) grey or (k, h, w, 3) RGB images."""

    def targets(self, rows: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """Return the training targets (k, 8) of (k,) rows; may be random."""

    def subset(self, count: int) -> FaceDataset:
        """Return ``count`` of the faces, or all when there are fewer."""


class AffectNetFaces:
    """A split of AffectNet as :class:`FaceDataset`."""

    name = "affectnet"
    spec = PUBLISHED_INPUT
    derives_affect = False

    def __init__(
        self, data: AffectNetCategorical | AffectNetDimensional, rows: NDArray[np.int64]
    ) -> None:
        self._data = data
        self._rows = rows
        one_hot = np.eye(len(LABELS), dtype=np.float32)
        self.emotions: NDArray[np.float32] = one_hot[data.emotions[rows]]
        self.affect: NDArray[np.float32] = data.affect[rows]
        # OpenCV releases the GIL while it decodes, so threads are enough.
        self._threads = ThreadPoolExecutor(usable_cores(), "decode")

    def __len__(self) -> int:
        return len(self._rows)

    def load(self, rows: Sequence[int]) -> NDArray[np.uint8]:
        """Read images, (n, h, w, 3) uint8 RGB."""
        return np.stack(list(self._threads.map(self._data.image, self._rows[list(rows)])))

    def targets(self, rows: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """Return the annotated emotions, (n, 8) one-hot."""
        import torch

        return torch.from_numpy(self.emotions)[rows]

    def subset(self, count: int) -> AffectNetFaces:
        """Return ``count`` of the faces, deterministically drawn, in their order."""
        return AffectNetFaces(self._data, self._rows[ferplus.sample(len(self), count)])


def open_splits(
    path: Path, spec: InputSpec, kind: str = "categorical", labels: str = "cross_entropy"
) -> tuple[FaceDataset, FaceDataset]:
    """Open the training and the validation split of FER+, AffectNet, or own faces.

    spec: colour and detail of own faces. kind: ``categorical`` or ``dimensional``, selects
    AffectNet's images. labels: selects the training targets of faces with votes, see
    :func:`esr_core.data.ferplus.read`.

    Raises:
        DataError: the data set is missing, empty or damaged.
    """
    if _is_own(path):
        return own_faces.read(path, spec).split(labels)
    return open_split(path, "training", kind, labels), open_split(path, "validation", kind)


def open_training(path: Path, spec: InputSpec) -> FaceDataset:
    """Open the training split of a data set, or all faces of a file of FER+.

    Raises:
        DataError: the data set is missing, empty or damaged.
    """
    if _is_ferplus_file(path):
        return ferplus.read(path, "cross_entropy")
    return open_splits(path, spec)[0]


def open_evaluation(path: Path, metadata: ModelMetadata, kind: str = "categorical") -> FaceDataset:
    """Open the faces on which a network is evaluated or calibrated: the validation split.

    path: a data set, or a file of FER+. Own faces without a validation split are all evaluated,
    if the network was not trained on own faces.

    Raises:
        DataError: the data set is missing, empty or damaged.
    """
    if _is_ferplus_file(path):
        return ferplus.read(path)
    if _is_own(path):
        was_trained_on_own = metadata.record.get("data") == own_faces.NAME
        return own_faces.read(path, metadata.input).evaluated(was_trained_on_own)
    return open_split(path, "validation", kind)


def open_split(folder: Path, split: str, kind: str, labels: str = "cross_entropy") -> FaceDataset:
    """Open ``training`` or ``validation`` of FER+ or AffectNet; see :func:`open_splits`.

    Raises:
        DataError: the folder is missing or empty, or holds other files.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: no such data folder")
    if any((folder / file).exists() for file in FERPLUS_FILES.values()):
        labels = labels if split == "training" else "majority"
        return ferplus.read(folder / FERPLUS_FILES[split], labels)
    from esr_core.data.affectnet import AffectNetCategorical, AffectNetDimensional

    index, most = (0, TRAINING_IMAGES_PER_LABEL) if split == "training" else (2, 100_000)
    chosen = AffectNetCategorical if kind == "categorical" else AffectNetDimensional
    data = chosen(index, most, base_path_to_affectnet=folder)
    return AffectNetFaces(data, np.arange(len(data.emotions)))


def _is_ferplus_file(path: Path) -> bool:
    return path.suffix in (".npz", ".xz")


def _is_own(path: Path) -> bool:
    others = (*FERPLUS_FILES.values(), *AFFECTNET_FOLDERS)
    is_other = any((path / name).exists() for name in others)
    return (path.is_dir() and not is_other) or path.suffix.lower() == ".csv"
