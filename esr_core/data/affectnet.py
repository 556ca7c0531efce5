"""AffectNet: photographs labelled with an expression, valence and arousal.

Mollahosseini, Hasani, Mahoor, "AffectNet: A Database for Facial Expression, Valence, and Arousal
Computing in the Wild", 2017; available from its authors. :func:`pre_process_affect_net` crops the
faces into small files with the labels in their names, which the data sets read.
"""

from __future__ import annotations

import csv
import itertools
import os
import re
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, Callable, Iterator, NamedTuple, Sequence

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset

from esr_core.atomic_write import replacing
from esr_core.data.faces import FaceDataset
from esr_core.emotions import LABELS
from esr_core.errors import DataError, ImageError, OptionError
from esr_core.inference.metadata import PUBLISHED_INPUT
from esr_core.media.image import read_image
from esr_core.options import as_folder, as_number, as_path
from esr_core.perception.preprocessing import InputSpec, resize
from esr_core.process import usable_cores
from esr_core.progress import counter

SIZE_PX = 96
FILES_PER_FOLDER = 500
JPEG_QUALITY = 95
#: For each ``set_index`` the table of annotations, the folder of images, and the output folder.
_SETS = (
    ("automatically_annotated.csv", "Automatically_Annotated_extracted", "Training_Unlabeled"),
    ("training.csv", "Manually_Annotated_extracted", "Training_Labeled"),
    ("validation.csv", "Manually_Annotated_extracted", "Validation"),
)
_BOX = ("face_x", "face_y", "face_width", "face_height")
_COLUMNS = ("subDirectory_filePath", *_BOX, "expression", "valence", "arousal")
#: The folders by ``idx_set`` of the data sets, where as in the published ones 0 is for training.
_FOLDERS = ("Training_Labeled", "Training_Unlabeled", "Validation")
#: Mean and standard deviation of the training images' RGB, from the published learner.
_MEAN = torch.tensor([149.35457, 117.06477, 102.67609]) / 255
_STD = torch.tensor([69.18084, 61.907074, 60.435623]) / 255
_NAME = re.compile(r"\d+[s_](-?\d+)[s_](-?\d+)[s_](-?\d+)\.jpg")
#: The labels 8 to 10 are: none, uncertain, no face.
_LAST_EXPRESSION = 10


class PreProcessed(NamedTuple):
    """The result of :func:`pre_process_affect_net`."""

    written: int
    already_there: int
    broken: tuple[str, ...]  # one line per row without a face


def pre_process_affect_net(
    base_path_to_images: str | Path,
    base_path_to_annotations: str | Path,
    base_destination_path: str | Path,
    set_index: int,
) -> PreProcessed:
    """Crop the annotated faces into 96x96 JPEGs, 500 per folder, with labels in their names.

    set_index: 0 automatically annotated, 1 training, 2 validation. Runs on all cores, skips broken
    images, and keeps the files of an earlier run.

    Raises:
        OptionError: set_index is not 0, 1 or 2.
        DataError: a folder, a file or a column is missing.
    """
    table, source, output = _SETS[as_number("set_index", set_index, int, 0, 2)]
    images = as_path("base_path_to_images", base_path_to_images) / source
    annotations = as_path("base_path_to_annotations", base_path_to_annotations) / table
    destination = as_folder("base_destination_path", base_destination_path) / output
    if not images.is_dir():
        raise DataError(f"{images}: no such folder, but it must hold the images")
    total = sum(1 for _ in _rows(annotations))
    if not total:
        raise DataError(f"{annotations}: has no rows")
    written, broken, rows = 0, [], enumerate(_rows(annotations))
    pool = ThreadPoolExecutor(usable_cores(), "crop")
    with pool as threads, counter("faces", output, total) as update:
        # A folder at a time, since a table may have a million rows.
        while block := list(itertools.islice(rows, FILES_PER_FOLDER)):
            jobs = [threads.submit(_process, *row, images, destination) for row in block]
            for (number, _), job in zip(block, jobs):
                try:
                    written += job.result()
                except (DataError, ImageError) as error:
                    broken.append(f"row {number}: {error}")
                update(number + 1)
    if broken:
        more = [f"and {len(broken) - 20} more"] if len(broken) > 20 else []
        lines = [f"{len(broken)} of {total} rows gave no face:", *broken[:20], *more]
        print("\n  ".join(lines), file=sys.stderr)
    return PreProcessed(written, total - written - len(broken), tuple(broken))


def _rows(annotations: Path) -> Iterator[dict[str, Any]]:
    """Read a table row by row; DataError if it is none."""
    try:
        with open(annotations, encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file)
            missing = [name for name in _COLUMNS if name not in (reader.fieldnames or ())]
            if missing:
                raise DataError(f"{annotations}: lacks the column {', '.join(missing)}")
            yield from reader
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{annotations}: not a readable table of annotations ({error})") from error


def _process(number: int, row: dict[str, Any], images: Path, destination: Path) -> bool:
    """Write one face; return False if its file exists."""
    source = str(row["subDirectory_filePath"])
    if not source.isprintable() or source.startswith("/") or ".." in source.split("/"):
        raise DataError(f"{source!r}: not a path inside of the folder of images")
    try:
        x, y, width, height = (round(float(row[name])) for name in _BOX)
        expression = int(row["expression"])
        valence, arousal = (round(float(row[name]) * 1000) for name in ("valence", "arousal"))
    except (TypeError, ValueError, OverflowError) as error:
        raise DataError(f"{source}: not a number ({error})") from error
    name = f"{number:07d}s{expression}s{valence}s{arousal}.jpg"
    _labels(name, source)
    target = destination / str(number // FILES_PER_FOLDER) / name
    if target.is_file() and target.stat().st_size:
        return False
    path = images / source
    if not os.path.exists(path):  # some copies have all images in one folder
        path = images / source.rsplit("/", 1)[-1]
    rgb = read_image(path)
    face = rgb[max(y, 0) : max(y + height, 0), max(x, 0) : max(x + width, 0)]
    if face.size == 0:
        raise DataError(
            f"{source}: its box ({x}, {y}, {width}, {height}) holds nothing of the "
            f"{rgb.shape[1]}x{rgb.shape[0]} image"
        )
    bgr = cv2.cvtColor(resize(face, SIZE_PX), cv2.COLOR_RGB2BGR)
    jpeg = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1]
    target.parent.mkdir(parents=True, exist_ok=True)
    with replacing(target) as partial:
        partial.write_bytes(jpeg.tobytes())
    return True


def _scan(folder: Path) -> tuple[list[str], NDArray[np.int64]]:
    """Return the files with one of the eight emotions, and their labels (n, 3)."""
    if not folder.is_dir():
        raise DataError(
            f"{folder}: no such folder; make it with esr_core.datasets.pre_process_affect_net"
        )
    paths = sorted(map(str, folder.rglob("*.jpg")))
    labels = {path: _labels(os.path.basename(path), path) for path in paths}
    labels = {path: label for path, label in labels.items() if label[0] < len(LABELS)}
    if not labels:
        raise DataError(f"{folder}: holds no face with one of the eight expressions")
    return list(labels), np.array(list(labels.values()), np.int64)


def _labels(name: str, where: str) -> tuple[int, int, int]:
    """Return expression, valence and arousal from a file's name; ``where`` begins errors."""
    match = _NAME.fullmatch(name)
    if not match:
        raise DataError(
            f"{where}: a face must be named like 0000017s1s-250s300.jpg: number, expression, "
            "valence and arousal in thousandths, separated by s or _"
        )
    expression, valence, arousal = map(int, match.groups())
    if not 0 <= expression <= _LAST_EXPRESSION:
        raise DataError(
            f"{where}: the expression must be from 0 to {_LAST_EXPRESSION}, but is {expression}"
        )
    # AffectNet has -2 where there is no face or no emotion.
    limit = 1000 if expression < len(LABELS) else 2000
    if max(abs(valence), abs(arousal)) > limit:
        raise DataError(
            f"{where}: valence and arousal must be from {-limit} to {limit} thousandths, but are "
            f"{valence} and {arousal}"
        )
    return expression, valence, arousal


def _read(path: str) -> NDArray[np.uint8]:
    try:
        return resize(read_image(Path(path)), SIZE_PX)
    except ImageError as error:
        raise DataError(str(error)) from error


class _Faces(FaceDataset):
    """Faces whose ``images`` are their paths (n,), since all of them may not fit in memory."""

    name = "affectnet"

    def load(self, rows: Sequence[int]) -> NDArray[np.uint8]:
        """Read images in the colour and detail of the input spec, (k, h, w) or (k, h, w, 3)."""
        # OpenCV releases the GIL while it decodes, so threads are enough.
        with ThreadPoolExecutor(usable_cores(), "decode") as threads:
            return np.stack(list(threads.map(self._load, self.images[rows])))

    def _load(self, path: str) -> NDArray[np.uint8]:
        image = _read(path)
        if self.spec.grey:
            image = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)  # type: ignore[assignment]
        return resize(image, self.spec.detail_px) if self.spec.detail_px else image


class _AffectNet(Dataset[Any]):
    """Faces of one set; images are read on access."""

    _dimensional = False

    def __init__(
        self,
        idx_set: int = 0,
        max_loaded_images_per_label: int = 1000,
        transforms: Callable[[NDArray[np.uint8]], Any] | None = None,
        is_norm_by_mean_std: bool = True,
        base_path_to_affectnet: str | Path | None = None,
        seed: int = 0,
    ) -> None:
        """List the faces.

        idx_set: 0 manually labelled, for training; 1 automatically labelled; 2 validation.
        max_loaded_images_per_label: of labels with more images, that many are drawn by ``seed``.
        transforms: applied to a face, (96, 96, 3) uint8 RGB, before it becomes a tensor
        (3, 96, 96) in [0, 1]; may return a tensor itself. is_norm_by_mean_std: normalize the tensor
        to AffectNet's mean 0 and standard deviation 1.

        Raises:
            OptionError: an argument is out of range.
            DataError: the folder is missing or empty, or a file's name holds no valid labels.
        """
        index = as_number("idx_set", idx_set, int, 0, 2)
        most = as_number("max_loaded_images_per_label", max_loaded_images_per_label, int, 1, 10**9)
        if transforms is not None and not callable(transforms):
            raise OptionError(f"transforms must be a function or None, but got {transforms!r}")
        paths, labels = _scan(Path(base_path_to_affectnet or "./data/AffectNet") / _FOLDERS[index])
        quadrants = (labels[:, 1:] >= 0) @ np.array([2, 1])
        groups = quadrants if self._dimensional else labels[:, 0]
        random = np.random.default_rng(seed)
        drawn = (
            random.permutation(np.flatnonzero(groups == each))[:most] for each in np.unique(groups)
        )
        rows = np.sort(np.concatenate([*drawn]))
        self.paths = [paths[i] for i in rows]
        self.emotions: NDArray[np.int64] = labels[rows, 0]
        self.affect: NDArray[np.float32] = (labels[rows, 1:] / 1000).astype(np.float32)
        self._transforms = transforms
        self._normalizes = is_norm_by_mean_std

    def __len__(self) -> int:
        return len(self.paths)

    def image(self, i: int) -> NDArray[np.uint8]:
        """Read a face: (96, 96, 3) uint8 RGB.

        Raises:
            DataError: the file is not an image.
        """
        return _read(self.paths[i])

    def faces(self, spec: InputSpec = PUBLISHED_INPUT) -> FaceDataset:
        """Return the faces for a network with the colour, detail and size of ``spec``.

        They are cropped as :func:`pre_process_affect_net` does, whatever its margin is.
        """
        published = PUBLISHED_INPUT
        spec = replace(spec, margin=published.margin, shift_y=published.shift_y)
        one_hot = np.eye(len(LABELS), dtype=np.float32)[self.emotions]
        paths = np.array(self.paths, object)
        return _Faces(paths, one_hot, self.emotions, spec=spec, annotated=self.affect)

    def __getitem__(self, i: int) -> tuple[Any, Any]:
        if not -len(self) <= i < len(self):
            raise IndexError(f"face {i} of {len(self)}")
        face: Any = self.image(i)
        if self._transforms is not None:
            face = self._transforms(face)
        if not isinstance(face, torch.Tensor):
            face = torch.from_numpy(np.moveaxis(np.asarray(face), 2, 0).copy()).float() / 255
        if self._normalizes:
            face = (face - _MEAN[:, None, None]) / _STD[:, None, None]
        target = torch.from_numpy(self.affect[i]) if self._dimensional else int(self.emotions[i])
        return face, target

    @staticmethod
    def get_class(idx: int) -> str:
        """Return an expression's name, such as ``Happy``."""
        return LABELS[idx].capitalize()


class AffectNetCategorical(_AffectNet):
    """Faces with their expression, an index into ``LABELS``, balanced over the expressions."""


class AffectNetDimensional(_AffectNet):
    """Faces with valence and arousal, balanced over the quadrants of the plane."""

    _dimensional = True
