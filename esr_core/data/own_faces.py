"""Your own faces: a folder for each emotion, or a CSV file with a path and a label in each row.

``FOLDER/happy/*.jpg``, optionally ``FOLDER/train/happy`` and ``FOLDER/valid/happy``; or a ``.csv``
file (``FOLDER/faces.csv``) with the columns ``path``, and ``label`` or one per emotion for votes,
and optionally ``valence``, ``arousal`` and ``split``. All pictures are read and checked first, and
stay in memory in the colour and the detail of the network's input.
"""

from __future__ import annotations

import csv
import logging
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Dict, List, NamedTuple, Sequence, Tuple

import cv2
import numpy as np
from numpy.typing import NDArray

from esr_core.data.faces import FaceDataset
from esr_core.emotions import LABELS
from esr_core.errors import DataError, ImageError
from esr_core.hashing import digest
from esr_core.media.image import find_pictures, read_image
from esr_core.perception.preprocessing import InputSpec, resize
from esr_core.process import usable_cores
from esr_core.progress import counter

NAME = "own"
#: The CSV file of a folder.
TABLE = "faces.csv"
SPLITS = ("train", "valid")
#: Share of the faces that is drawn for validation, if nothing else selects them.
VALIDATION_SHARE = 0.2
SMALLEST_PX = 20
#: Limit of the memory for pictures.
LARGEST_BYTES = 4 << 30
#: Number of faults that an error lists.
LISTED = 5

_AFFECT = ("valence", "arousal")
_log = logging.getLogger(__name__)


class _Face(NamedTuple):
    where: str  # the picture, or the line of the table, in errors
    path: Path
    votes: Sequence[float]  # one for each of LABELS
    affect: Sequence[float]  # valence and arousal, or empty
    split: str  # one of SPLITS, or empty


@dataclass(frozen=True)
class OwnFaces(FaceDataset):
    """Faces in memory, (n, h, w) grey or (n, h, w, 3) RGB, as the input spec requires."""

    name = NAME
    source: str = ""
    #: (n,) belongs to the validation split
    validates: NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, np.bool_))
    is_drawn: bool = False  # the validation split was drawn here

    def split(self, labels: str) -> Tuple[OwnFaces, OwnFaces]:
        """Return the training and the validation split; ``labels`` selects the training targets.

        Raises:
            DataError: one of them has no faces.
        """
        training, validation = self.select(~self.validates), self.select(self.validates)
        if not len(training):
            raise DataError(f"{self.source}: has no faces to train on")
        if self.is_drawn:
            _log.warning(
                "%s: no validation split, so %d of %d faces are drawn for it",
                *(self.source, len(validation), len(self)),
            )
        if labels == "majority":
            training = training.with_majority()
        absent = [label for i, label in enumerate(LABELS) if i not in training.target]
        if absent:
            _log.warning("%s: no face to train on of %s", self.source, ", ".join(absent))
        return replace(training, labels=labels), validation.with_majority()

    def evaluated(self, was_trained_on_own: bool) -> OwnFaces:
        """Return the validation split; without one all faces, unless the network may know them.

        Raises:
            DataError: there are none.
        """
        if self.is_drawn and not was_trained_on_own:
            return self.with_majority()
        faces = self.select(self.validates).with_majority()
        if self.is_drawn:
            _log.warning(
                "%s: the network was trained on own faces, so only %d of %d are used, those "
                "that 'esr train' draws for validation; a folder 'valid' selects others",
                *(self.source, len(faces), len(self)),
            )
        return faces

    def with_majority(self) -> OwnFaces:
        """Return the faces of which one emotion has more than half of the votes, and its label.

        Raises:
            DataError: there are none.
        """
        if not len(self):
            raise DataError(
                f"{self.source}: has no faces for validation; it needs an emotion with two "
                "faces or more, or a validation split"
            )
        kept = self.distribution.max(axis=1) > 0.5
        if not kept.any():
            raise DataError(
                f"{self.source}: none of {len(self)} faces has an emotion with most of the votes"
            )
        if not kept.all():
            text = "%s: %d of %d faces have no majority of votes; they are left out"
            _log.warning(text, self.source, (~kept).sum(), len(self))
        return replace(self.select(kept), labels="majority")


def read(path: Path, spec: InputSpec) -> OwnFaces:
    """Read and check all faces of a folder or a ``.csv`` file.

    Raises:
        DataError: faces cannot be used, lists the first ones and their number; or there are none.
    """
    table = path / TABLE if (path / TABLE).exists() else path
    faces, faults = _list_folders(path) if table.is_dir() else _list_table(table)
    faults += [f"{face.where}: no such file" for face in faces if not face.path.is_file()]
    _refuse(path, faults)
    if not faces:
        raise DataError(
            f"{path}: holds no faces; it must have a folder for each emotion "
            f"({', '.join(LABELS)}), {TABLE}, or the files of FER+ or AffectNet"
        )
    images, digests = _read_pictures(path, faces, spec)
    votes = np.array([face.votes for face in faces], np.float64)
    target = votes.argmax(axis=1).astype(np.int64)
    validates = np.array([face.split == "valid" for face in faces])
    is_drawn = not validates.any()
    if is_drawn:
        validates = _draw(target, digests)
    both = set(digests[validates]) & set(digests[~validates])
    if both:
        twice = next(face.path for face, each in zip(faces, digests) if each in both)
        _log.warning("%s: pictures in both splits: %d, such as %s", path, len(both), twice)
    affect = [face.affect for face in faces if face.affect]
    return OwnFaces(
        images,
        (votes / votes.sum(axis=1, keepdims=True)).astype(np.float32),
        target,
        source=str(path),
        spec=spec,
        annotated=np.array(affect, np.float32) if affect else None,
        validates=validates,
        is_drawn=is_drawn,
    )


def _refuse(path: Path, faults: Sequence[str]) -> None:
    if faults:
        more = [f"and {len(faults) - LISTED} more"] if len(faults) > LISTED else []
        count = f"{len(faults)} fault{'s'[: len(faults) > 1]}; nothing was done"
        raise DataError("\n  ".join([f"{path}: {count}", *faults[:LISTED], *more]))


def _list_folders(path: Path) -> Tuple[List[_Face], List[str]]:
    """Return the faces of a folder for each emotion, and faults."""
    faces, faults, left_out = [], [], []
    inside = _entries(path)
    parts = [each for each in inside if each.is_dir() and each.name.lower() in SPLITS]
    if parts:
        left_out += [each for each in inside if each not in parts]
    for part in parts or [path]:
        split = part.name.lower() if parts else ""
        entries = _entries(part)
        folders = [each for each in entries if each.is_dir()]
        left_out += [each for each in entries if each not in folders]
        unknown = [each.name for each in folders if each.name.lower() not in LABELS]
        if unknown:
            allowed = ", ".join(LABELS)
            faults.append(f"{part}: folder {', '.join(unknown)}; allowed are {allowed}")
            continue
        for folder in folders:
            votes = [float(label == folder.name.lower()) for label in LABELS]
            try:
                pictures, others = find_pictures(folder)
            except ImageError:  # there are none
                pictures, others = [], _entries(folder)
            left_out += others
            faces += [_Face(str(each), each, votes, (), split) for each in pictures]
    if left_out:
        more = f" and {len(left_out) - 1} more" if len(left_out) > 1 else ""
        _log.warning("%s%s left out: no picture in a folder of an emotion", left_out[0], more)
    return faces, faults


def _entries(folder: Path) -> List[Path]:
    return sorted(each for each in folder.iterdir() if each.name[0] != ".")


def _list_table(table: Path) -> Tuple[List[_Face], List[str]]:
    """Return the faces of a CSV file, and faults; DataError if it is no such table."""
    faces, faults = [], []
    try:
        with open(table, encoding="utf-8-sig", newline="") as file:
            rows = csv.DictReader(file)
            names = [name.strip().lower() for name in rows.fieldnames or ()]
            rows.fieldnames = names
            votes = [name for name in LABELS if name in names]
            if "path" not in names or ("label" in names) == (len(votes) == len(LABELS)):
                raise DataError(
                    f"{table}: must have the columns path, and either label or one for each of "
                    f"{', '.join(LABELS)}, but has {', '.join(names) or 'none'}"
                )
            twice = {name for name in names if name and names.count(name) > 1}
            if twice:
                raise DataError(f"{table}: has several columns {', '.join(sorted(twice))}")
            if len(set(_AFFECT) & set(names)) == 1:
                raise DataError(f"{table}: must have valence and arousal, or neither of them")
            for row in rows:
                where = f"{table}, line {rows.line_num}"
                try:
                    if any(row.pop(None, ())):
                        raise ValueError("has more cells than the first line")
                    faces.append(_parse(row, where, table.parent))
                except ValueError as error:
                    faults.append(f"{where}: {error}")
    except OSError as error:
        raise DataError(f"{table}: {error.strerror}") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{table}: not a CSV file ({error})") from error
    return faces, faults


def _parse(row: Dict[str, str], where: str, folder: Path) -> _Face:
    """Parse a row; ValueError if a cell is wrong."""
    cells = {name: (row[name] or "").strip() for name in row}
    label, split = cells.get("label", "").lower(), cells.get("split", "").lower()
    if not cells["path"]:
        raise ValueError("has no path")
    if "label" in cells and label not in LABELS:
        raise ValueError(f"label {cells['label']!r}; allowed are {', '.join(LABELS)}")
    if "split" in cells and split not in SPLITS:
        raise ValueError(f"split must be {' or '.join(SPLITS)}, but is {cells['split']!r}")
    if "label" in cells:
        votes = [float(each == label) for each in LABELS]
    else:
        votes = [_number(cells, name, 0, 1e9) for name in LABELS]
    if not sum(votes):
        raise ValueError("all votes are 0")
    affect = [_number(cells, name, -1, 1) for name in _AFFECT if name in cells]
    return _Face(f"{where}: {cells['path']}", folder / cells["path"], votes, affect, split)


def _number(cells: Dict[str, str], name: str, low: float, high: float) -> float:
    try:
        value = float(cells[name])
    except ValueError:
        value = float("nan")
    if not low <= value <= high:
        raise ValueError(f"{name} must be from {low:g} to {high:g}, but is {cells[name]!r}")
    return value


def _read_pictures(
    path: Path, faces: Sequence[_Face], spec: InputSpec
) -> Tuple[NDArray[np.uint8], NDArray[np.str_]]:
    """Return the pictures and the SHA-256 of their files; DataError if any cannot be used."""
    side = spec.detail_px or spec.size_px
    shape = (len(faces), side, side) if spec.grey else (len(faces), side, side, 3)
    if np.prod(shape) > LARGEST_BYTES:
        most = LARGEST_BYTES * len(faces) // int(np.prod(shape))
        raise DataError(
            f"{path}: {len(faces)} faces, but at most {most} of this size are kept in memory; "
            "larger data sets need AffectNet's form, which is read from the disk"
        )
    images: NDArray[np.uint8] = np.empty(shape, np.uint8)

    faults, stretched = [""] * len(faces), np.zeros(len(faces), np.bool_)

    def load(row: int) -> str:
        """Read a picture into its row; return the SHA-256 of its file."""
        face = faces[row]
        try:
            rgb = read_image(face.path)
            height, width = rgb.shape[:2]
            if min(height, width) < SMALLEST_PX:
                raise ImageError(f"{width}x{height} px, but at least {SMALLEST_PX} px are needed")
        except ImageError as error:
            has_place = str(error).startswith(f"{face.where}: ")
            faults[row] = str(error) if has_place else f"{face.where}: {error}"
            return ""
        stretched[row] = abs(height - width) > 0.1 * width
        plane = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY) if spec.grey else rgb
        images[row] = resize(plane, side)  # type: ignore[arg-type]
        return digest(face.path)

    digests = []
    with ThreadPoolExecutor(usable_cores()) as threads, counter(
        "faces", f"reading {path}", len(faces)
    ) as update:
        for done, each in enumerate(threads.map(load, range(len(faces))), start=1):
            digests.append(each)
            update(done)
    _refuse(path, [fault for fault in faults if fault])
    if stretched.any():
        text = "%s: %d of %d pictures not square; they are stretched"
        _log.warning(text, path, stretched.sum(), len(faces))
    return images, np.array(digests)


def _draw(target: NDArray[np.int64], digests: NDArray[np.str_]) -> NDArray[np.bool_]:
    """Return the rows for validation, (n,): those whose hash is in its lowest fifth.

    A face therefore stays in its split whatever its name, its row, and the other faces are, except
    in an emotion of two faces or more that would be in one split alone.
    """
    numbers = np.array([int(digest[:8], 16) for digest in digests])
    validates = numbers < VALIDATION_SHARE * 2**32
    for label in np.unique(target):
        rows = np.flatnonzero(target == label)
        rows = rows[np.argsort(digests[rows], kind="stable")]
        if len(rows) > 1:
            validates[rows[0]], validates[rows[-1]] = True, False
    return validates
