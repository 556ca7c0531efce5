"""AffectNet: photographs labelled with an expression, valence and arousal.

Mollahosseini, Hasani, Mahoor, "AffectNet: A Database for Facial Expression, Valence, and Arousal
Computing in the Wild", 2017. The data set is got from its authors; :func:`pre_process_affect_net`
cuts the faces out, into small files whose names carry the labels, and the data sets read those.
"""

from __future__ import annotations

import csv
import os
import re
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Iterator, NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from torch.utils.data import Dataset

from esr_core.atomic_write import replacing
from esr_core.emotions import LABELS
from esr_core.errors import DataError, ImageError, OptionError
from esr_core.media.image import read_image
from esr_core.progress import bar
from esr_core.validation import as_folder, as_number, as_path

SIZE_PX = 96
FILES_PER_FOLDER = 500
JPEG_QUALITY = 95


class _Set(NamedTuple):
    """Where a set of images is annotated, lies, and is written to."""

    annotations: str
    images: str
    destination: str


_SETS = (
    _Set("automatically_annotated.csv", "Automatically_Annotated_extracted", "Training_Unlabeled"),
    _Set("training.csv", "Manually_Annotated_extracted", "Training_Labeled"),
    _Set("validation.csv", "Manually_Annotated_extracted", "Validation"),
)
_COLUMNS = (
    "subDirectory_filePath",
    "face_x",
    "face_y",
    "face_width",
    "face_height",
    "expression",
    "valence",
    "arousal",
)
#: What the data sets call the sets: for them, as for the published ones, 0 is what one trains on.
_FOLDERS = ("Training_Labeled", "Training_Unlabeled", "Validation")
#: Of the three colours over the training images, as the published learner has them.
_MEAN = torch.tensor([149.35457, 117.06477, 102.67609]) / 255
_STD = torch.tensor([69.18084, 61.907074, 60.435623]) / 255
_NAME = re.compile(r"\d+[s_](-?\d+)[s_](-?\d+)[s_](-?\d+)\.jpg")
#: AffectNet's further expressions: none, uncertain, no face.
_LAST_EXPRESSION = 10


class PreProcessed(NamedTuple):
    """What came of a run."""

    written: int
    already_there: int
    broken: tuple[str, ...]  # one line for each row that gave no face


def pre_process_affect_net(
    base_path_to_images: str | Path,
    base_path_to_annotations: str | Path,
    base_destination_path: str | Path,
    set_index: int,
) -> PreProcessed:
    """Cut the annotated faces out: 96x96 JPEGs, 500 a folder, labels in their names.

    set_index: 0 the automatically annotated images, 1 those to train on, 2 those to validate on.
    Uses all cores, goes on after a broken image, and does not do again what is there.

    Raises:
        OptionError: set_index is not 0, 1 or 2.
        DataError: a folder, a file or a column is missing.
    """
    kind = _SETS[as_number("set_index", set_index, int, 0, 2)]
    images = as_path("base_path_to_images", base_path_to_images) / kind.images
    annotations = as_path("base_path_to_annotations", base_path_to_annotations) / kind.annotations
    destination = as_folder("base_destination_path", base_destination_path) / kind.destination
    if not images.is_dir():
        raise DataError(f"{images}: no such folder, but the images must be there")
    total = _count_rows(annotations)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    written, already_there, broken = 0, 0, []
    with ThreadPoolExecutor(cores, "crop") as threads, bar("faces") as progress:
        task = progress.add_task(kind.destination, total=total)
        jobs = (
            threads.submit(_process, number, row, images, destination)
            for number, row in enumerate(_rows(annotations))
        )
        for outcome in _in_order(jobs, ahead=16 * (cores or 1)):
            written += outcome is True
            already_there += outcome is False
            if isinstance(outcome, str):
                broken.append(outcome)
            progress.advance(task)
    if broken:
        console = Console(stderr=True, soft_wrap=True, highlight=False, markup=False)
        console.print(f"{len(broken)} of {total} rows gave no face:")
        for line in broken[:20]:
            console.print(f"  {line}")
        if len(broken) > 20:
            console.print(f"  and {len(broken) - 20} more")
    return PreProcessed(written, already_there, tuple(broken))


def _rows(annotations: Path) -> Iterator[dict[str, Any]]:
    with open(annotations, encoding="utf-8", newline="") as file:
        yield from csv.DictReader(file)


def _count_rows(annotations: Path) -> int:
    try:
        with open(annotations, encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file)
            missing = [name for name in _COLUMNS if name not in (reader.fieldnames or ())]
            if missing:
                raise DataError(f"{annotations}: lacks the column {', '.join(missing)}")
            count = sum(1 for _ in reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{annotations}: not a readable table of annotations ({error})") from error
    if not count:
        raise DataError(f"{annotations}: has no rows")
    return count


def _in_order(jobs: Iterator[Future[bool | str]], ahead: int) -> Iterator[bool | str]:
    """Yield results, with so many jobs waiting at most: there may be a million of them."""
    waiting: deque[Future[bool | str]] = deque()
    for job in jobs:
        waiting.append(job)
        if len(waiting) > ahead:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def _process(number: int, row: dict[str, Any], images: Path, destination: Path) -> bool | str:
    """Write one face: True; False if it was there; a line that says what is wrong with the row."""
    source = str(row["subDirectory_filePath"])
    if not source.isprintable() or source.startswith("/") or ".." in source.split("/"):
        return f"row {number}: {source!r}: not a path inside of the folder of images"
    try:
        x, y, width, height = (
            round(float(row[name])) for name in ("face_x", "face_y", "face_width", "face_height")
        )
        expression = int(row["expression"])
        valence, arousal = (round(float(row[name]) * 1000) for name in ("valence", "arousal"))
    except (TypeError, ValueError, OverflowError) as error:
        return f"row {number}: {source}: not a number ({error})"
    try:
        _check_labels(expression, valence, arousal)
    except ValueError as error:
        return f"row {number}: {source}: {error}"
    name = f"{number:07d}s{expression}s{valence}s{arousal}.jpg"
    target = destination / str(number // FILES_PER_FOLDER) / name
    if target.is_file() and target.stat().st_size:
        return False
    try:
        path = images / source
        if not path.exists():  # some copies keep all images in one folder
            path = images / source.rsplit("/", 1)[-1]
        rgb = read_image(path)
    except OSError as error:  # a name that no file system takes
        return f"row {number}: {source}: {error.strerror}"
    except ImageError as error:
        return f"row {number}: {error}"
    face = rgb[max(y, 0) : max(y + height, 0), max(x, 0) : max(x + width, 0)]
    if face.size == 0:
        return (
            f"row {number}: {source}: its box ({x}, {y}, {width}, {height}) holds nothing of the "
            f"{rgb.shape[1]}x{rgb.shape[0]} image"
        )
    jpeg = cv2.imencode(
        ".jpg",
        cv2.cvtColor(_resized(face), cv2.COLOR_RGB2BGR),
        [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY],
    )[1]
    target.parent.mkdir(parents=True, exist_ok=True)
    with replacing(target) as partial:
        partial.write_bytes(jpeg.tobytes())
    return True


def _resized(face: NDArray[np.uint8]) -> NDArray[np.uint8]:
    if face.shape[:2] == (SIZE_PX, SIZE_PX):
        return face
    method = cv2.INTER_AREA if min(face.shape[:2]) > SIZE_PX else cv2.INTER_LINEAR
    return cv2.resize(face, (SIZE_PX, SIZE_PX), interpolation=method)  # type: ignore[return-value]


@dataclass(frozen=True)
class _Names:
    """The files of a set and the labels in their names; nothing is decoded yet."""

    paths: list[str]
    emotions: NDArray[np.int64]  # (n,)
    affect: NDArray[np.float32]  # (n, 2)

    @classmethod
    def scan(cls, folder: Path) -> _Names:
        if not folder.is_dir():
            raise DataError(
                f"{folder}: no such folder; make it with esr_core.datasets.pre_process_affect_net"
            )
        paths, labels = [], []
        for path in sorted(str(path) for path in folder.rglob("*.jpg")):
            label = _labels(path)
            if label[0] < len(LABELS):
                paths.append(path)
                labels.append(label)
        if not paths:
            raise DataError(f"{folder}: holds no face with one of the eight expressions")
        table = np.array(labels, np.int64)
        return cls(paths, table[:, 0], (table[:, 1:] / 1000).astype(np.float32))


def _labels(path: str) -> tuple[int, int, int]:
    match = _NAME.fullmatch(os.path.basename(path))
    if not match:
        raise DataError(
            f"{path}: a face must be named like 0000017s1s-250s300.jpg: number, expression, "
            "valence and arousal in thousandths, with s or _ between"
        )
    expression, valence, arousal = (int(part) for part in match.groups())
    try:
        _check_labels(expression, valence, arousal)
    except ValueError as error:
        raise DataError(f"{path}: {error}") from error
    return expression, valence, arousal


def _check_labels(expression: int, valence: int, arousal: int) -> None:
    if not 0 <= expression <= _LAST_EXPRESSION:
        raise ValueError(
            f"the expression must be from 0 to {_LAST_EXPRESSION}, but is {expression}"
        )
    # Of those without a face or an emotion AffectNet says -2 each.
    limit = 1000 if expression < len(LABELS) else 2000
    if max(abs(valence), abs(arousal)) > limit:
        raise ValueError(
            f"valence and arousal must be from {-limit} to {limit} thousandths, but are "
            f"{valence} and {arousal}"
        )


class _AffectNet(Dataset[Any]):
    """Faces of one set, read when they are asked for."""

    def __init__(
        self,
        idx_set: int = 0,
        max_loaded_images_per_label: int = 1000,
        transforms: Callable[[NDArray[np.uint8]], Any] | None = None,
        is_norm_by_mean_std: bool = True,
        base_path_to_affectnet: str | Path | None = None,
        seed: int = 0,
    ) -> None:
        """Find the faces.

        idx_set: 0 labelled by people, to train on; 1 labelled automatically; 2 validation.
        transforms: what is done with a face, (96, 96, 3) uint8 RGB, before it becomes a tensor
        (3, 96, 96) in [0, 1]; may return a tensor itself. ``is_norm_by_mean_std`` takes that to
        the mean 0 and standard deviation 1 of AffectNet. Of labels with more images
        ``max_loaded_images_per_label`` are drawn by ``seed``; none is loaded before it is used.

        Raises:
            OptionError: an argument is out of range.
            DataError: the folder is missing or empty, or a file's name carries no valid labels.
        """
        if isinstance(idx_set, bool) or idx_set not in (0, 1, 2):
            raise OptionError(f"idx_set must be 0, 1 or 2, but got {idx_set!r}")
        most = max_loaded_images_per_label
        if isinstance(most, bool) or not isinstance(most, int) or most < 1:
            raise OptionError(
                f"max_loaded_images_per_label must be a whole number from 1 on, but got {most!r}"
            )
        if transforms is not None and not callable(transforms):
            raise OptionError(f"transforms must be a function or None, but got {transforms!r}")
        folder = Path(base_path_to_affectnet or "./data/AffectNet") / _FOLDERS[idx_set]
        found = _Names.scan(folder)
        rows = _at_most(self._kinds(found), most, seed)
        self.paths = [found.paths[i] for i in rows]
        self.emotions: NDArray[np.int64] = found.emotions[rows]
        self.affect: NDArray[np.float32] = found.affect[rows]
        self._transforms = transforms
        self._normalises = is_norm_by_mean_std

    def _kinds(self, found: _Names) -> NDArray[np.int64]:
        """What an even share is to be taken of: (n,)."""
        raise NotImplementedError

    def _target(self, i: int) -> Any:
        raise NotImplementedError

    def __len__(self) -> int:
        return len(self.paths)

    def image(self, i: int) -> NDArray[np.uint8]:
        """Read a face: (96, 96, 3) uint8 RGB.

        Raises:
            DataError: the file is not a picture.
        """
        try:
            return _resized(read_image(Path(self.paths[i])))
        except ImageError as error:
            raise DataError(str(error)) from error

    def __getitem__(self, i: int) -> tuple[Any, Any]:
        if not -len(self) <= i < len(self):
            raise IndexError(f"face {i} of {len(self)}")
        face: Any = self.image(i)
        if self._transforms is not None:
            face = self._transforms(face)
        if not isinstance(face, torch.Tensor):
            face = torch.from_numpy(np.moveaxis(np.asarray(face), 2, 0).copy()).float() / 255
        if self._normalises:
            face = (face - _MEAN[:, None, None]) / _STD[:, None, None]
        return face, self._target(i)

    @staticmethod
    def get_class(idx: int) -> str:
        """Return an expression's name, such as ``Happy``."""
        return LABELS[idx].capitalize()


class AffectNetCategorical(_AffectNet):
    """Faces with their expression, an index into ``LABELS``; evenly drawn from the expressions."""

    def _kinds(self, found: _Names) -> NDArray[np.int64]:
        return found.emotions

    def _target(self, i: int) -> int:
        return int(self.emotions[i])


class AffectNetDimensional(_AffectNet):
    """Faces with valence and arousal; evenly drawn from the plane's quadrants."""

    def _kinds(self, found: _Names) -> NDArray[np.int64]:
        quadrants: NDArray[np.int64] = (found.affect >= 0) @ np.array([2, 1])
        return quadrants

    def _target(self, i: int) -> torch.Tensor:
        return torch.from_numpy(self.affect[i])


def _at_most(kinds: NDArray[np.int64], most: int, seed: int) -> list[int]:
    """Draw ``most`` rows of each kind, or all when there are fewer; in the rows' order."""
    random = np.random.default_rng(seed)
    chosen = [random.permutation(np.flatnonzero(kinds == kind))[:most] for kind in np.unique(kinds)]
    return sorted(int(i) for i in np.concatenate(chosen))
