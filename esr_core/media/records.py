"""What was seen, image after image, and its form as CSV and JSON."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Dict, Iterable, Iterator, List, Sequence, Tuple

from esr_core.emotions import LABELS
from esr_core.errors import DataError
from esr_core.perception.face_emotion import FaceEmotion

_PLACE = ("x", "y", "width", "height")
#: Of the columns of a CSV file: what a row says of the image, and of one face in it.
IMAGE_COLUMNS = ("source", "number", "stamp_s")
FACE_COLUMNS = (
    *("face_id", *_PLACE, "score", "label", "confidence"),
    *LABELS,
    *("valence", "arousal", "agreement"),
)


@dataclass(frozen=True)
class FaceRecord:
    """One face in one image, in plain values."""

    face_id: int
    box: Tuple[float, float, float, float]  # x, y, width, height in px of the image
    score: float  # of the detector, in [0, 1]
    label: str  # one of LABELS
    confidence: float  # probability of ``label``
    probabilities: Tuple[float, ...]  # one for each of LABELS
    valence: float  # in [-1, 1]
    arousal: float  # in [-1, 1]
    agreement: float  # share of the branches that voted for ``label``, in [0, 1]

    @classmethod
    def of(cls, face: FaceEmotion) -> FaceRecord:
        """Return what the pipeline says of a face, rounded to what it is good for."""
        x1, y1, x2, y2 = (float(v) for v in face.box)
        x, y, width, height = (round(v, 1) for v in (x1, y1, x2 - x1, y2 - y1))
        return cls(
            face_id=face.face_id,
            box=(x, y, width, height),
            score=round(face.score, 4),
            label=face.label,
            confidence=round(face.confidence, 4),
            probabilities=tuple(round(float(p), 4) for p in face.probabilities),
            valence=round(face.valence, 4),
            arousal=round(face.arousal, 4),
            agreement=round(face.agreement, 4),
        )

    def as_json(self) -> Dict[str, Any]:
        """Return it in JSON's values, without ``face_id``, which means nothing in a picture."""
        return {
            "box": list(self.box),
            "score": self.score,
            "label": self.label,
            "confidence": self.confidence,
            "probabilities": dict(zip(LABELS, self.probabilities)),
            "valence": self.valence,
            "arousal": self.arousal,
            "agreement": self.agreement,
        }

    def cells(self) -> List[Any]:
        """Return the values of FACE_COLUMNS."""
        return [
            *(self.face_id, *self.box, self.score, self.label, self.confidence),
            *self.probabilities,
            *(self.valence, self.arousal, self.agreement),
        ]


@dataclass(frozen=True)
class FrameRecord:
    """One image and the faces in it, the largest first."""

    source: str  # a file or a topic
    number: int  # of the image in it, from 0
    stamp_s: float
    sightings: Tuple[FaceRecord, ...]


class CsvWriter:
    """Writes frames as rows: one for each face, and one without a face for an image that has none.

    The first line names the columns: IMAGE_COLUMNS, FACE_COLUMNS.
    """

    def __init__(self, stream: IO[str]) -> None:
        """stream: a file that was opened with ``newline=""``."""
        self._rows = csv.writer(stream, lineterminator="\n")
        self._rows.writerow([*IMAGE_COLUMNS, *FACE_COLUMNS])

    def write(self, frame: FrameRecord) -> None:
        """Write the rows of an image."""
        image = [frame.source, frame.number, f"{frame.stamp_s:.6f}"]
        nobody: List[Any] = [""] * len(FACE_COLUMNS)
        for cells in [each.cells() for each in frame.sightings] or [nobody]:
            self._rows.writerow([*image, *cells])


def read_csv(path: Path) -> Iterator[FrameRecord]:
    """Yield the frames of a CSV file that :class:`CsvWriter` wrote.

    Raises:
        DataError: it is missing or not of that form; names the line.
    """
    try:
        with open(path, newline="", encoding="utf-8") as stream:
            rows = csv.reader(stream)
            if next(rows, None) != [*IMAGE_COLUMNS, *FACE_COLUMNS]:
                raise DataError(
                    f"{path}: must begin with the columns that 'esr video --csv' writes: "
                    f"{','.join(IMAGE_COLUMNS + FACE_COLUMNS[:3])},…"
                )
            yield from _frames(path, rows, rows)
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: not a CSV file ({error})") from error


def _frames(path: Path, rows: Iterable[Sequence[str]], at: Any) -> Iterator[FrameRecord]:
    """Bring the rows of an image together; ``at.line_num`` says where they are."""
    image: Sequence[str] = ()
    sightings: List[FaceRecord] = []
    for row in rows:
        try:
            if len(row) != len(IMAGE_COLUMNS + FACE_COLUMNS):
                raise ValueError(f"{len(row)} columns")
            cells = dict(zip(IMAGE_COLUMNS + FACE_COLUMNS, row))
            if image and tuple(row[:3]) != image:
                yield _frame(image, sightings)
                sightings = []
            image = tuple(row[:3])
            _frame(image, ())  # the line that is wrong is this one
            if cells["face_id"]:
                sightings.append(_sighting(cells))
        except ValueError as error:
            raise DataError(f"{path}, line {at.line_num}: {error}") from error
    if image:
        yield _frame(image, sightings)


def _frame(image: Sequence[str], sightings: Iterable[FaceRecord]) -> FrameRecord:
    source, number, stamp_s = image
    return FrameRecord(source, int(number), float(stamp_s), tuple(sightings))


def _sighting(cells: Dict[str, str]) -> FaceRecord:
    x, y, width, height = (float(cells[name]) for name in _PLACE)
    if cells["label"] not in LABELS:
        raise ValueError(f"label must be one of {', '.join(LABELS)}, but is {cells['label']!r}")
    return FaceRecord(
        face_id=int(cells["face_id"]),
        box=(x, y, width, height),
        score=float(cells["score"]),
        label=cells["label"],
        confidence=float(cells["confidence"]),
        probabilities=tuple(float(cells[label]) for label in LABELS),
        valence=float(cells["valence"]),
        arousal=float(cells["arousal"]),
        agreement=float(cells["agreement"]),
    )
