"""Data folders: FER+, AffectNet, or own faces."""

from __future__ import annotations

from pathlib import Path

from esr_core.data import ferplus, own_faces
from esr_core.data.faces import FaceDataset
from esr_core.errors import DataError
from esr_core.inference.metadata import PUBLISHED_INPUT, ModelMetadata
from esr_core.perception.preprocessing import InputSpec

#: The files of FER+ in a data folder.
FERPLUS_FILES = {"training": "train.npz.xz", "validation": "valid.npz.xz"}
#: The folders of AffectNet in a data folder; all other folders hold own faces.
AFFECTNET_FOLDERS = ("Training_Labeled", "Training_Unlabeled", "Validation")
#: Number of AffectNet's images per label, or per quadrant, of a balanced training set.
TRAINING_IMAGES_PER_LABEL = 5000


def open_splits(
    path: Path,
    spec: InputSpec | None = None,
    kind: str = "categorical",
    labels: str = "cross_entropy",
) -> tuple[FaceDataset, FaceDataset]:
    """Open the training and the validation split of FER+, AffectNet, or own faces.

    spec: colour and detail of AffectNet and of own faces, the input of the network that training
    starts from; None: colour at 96 px for AffectNet, grey for own faces. FER+ is grey. kind:
    ``categorical`` or ``dimensional``, selects AffectNet's images. labels: selects the training
    targets of faces with votes, see :func:`esr_core.data.ferplus.read`.

    Raises:
        DataError: the data set is missing, empty or damaged.
    """
    if _is_own(path):
        return own_faces.read(path, spec or InputSpec()).split(labels)
    training = open_split(path, "training", kind, labels, spec)
    return training, open_split(path, "validation", kind, spec=spec)


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


def open_split(
    folder: Path,
    split: str,
    kind: str,
    labels: str = "cross_entropy",
    spec: InputSpec | None = None,
) -> FaceDataset:
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
    return chosen(index, most, base_path_to_affectnet=folder).faces(spec or PUBLISHED_INPUT)


def _is_ferplus_file(path: Path) -> bool:
    return path.suffix in (".npz", ".xz")


def _is_own(path: Path) -> bool:
    others = (*FERPLUS_FILES.values(), *AFFECTNET_FOLDERS)
    is_other = any((path / name).exists() for name in others)
    return (path.is_dir() and not is_other) or path.suffix.lower() == ".csv"
