"""Records of frames and their faces, and their CSV and JSON forms."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import IO, Any, Dict, Iterator, List, Sequence, Tuple

from esr_core.emotions import LABELS
from esr_core.errors import DataError
from esr_core.perception.face_emotion import FaceEmotion
from esr_core.perception.stream_state import FrameResult

#: The columns of a CSV file: of the frame, and of a face in it, in the order of its record.
IMAGE_COLUMNS = ("source", "number", "stamp_s")
FACE_COLUMNS = (
    *("face_id", "x", "y", "width", "height", "score", "label", "confidence"),
    *(*LABELS, "valence", "arousal", "agreement"),
)
Shape = Tuple[int, ...]  # (h, w, …)
_ROUNDED = ("score", "confidence", "valence", "arousal", "agreement")


@dataclass(frozen=True)
class FaceRecord:
    """One face in one frame, in plain values."""

    face_id: int
    box: Tuple[float, float, float, float]  # x, y, width, height in px, in the frame
    score: float  # of the detector, in [0, 1]
    label: str  # one of LABELS
    confidence: float  # probability of ``label``
    probabilities: Tuple[float, ...]  # one for each of LABELS
    valence: float  # in [-1, 1]
    arousal: float  # in [-1, 1]
    agreement: float  # share of the evaluated branches that voted for ``label``, in [0, 1]

    @classmethod
    def of(cls, face: FaceEmotion, shape: Shape) -> FaceRecord:
        """Return the record of a face of a frame.

        Values are rounded to their useful precision, and the box is cut to the frame.
        """
        x1, y1, x2, y2 = (round(each, 1) for each in face.visible_box(shape))
        return cls(
            face_id=face.face_id,
            box=(x1, y1, round(x2 - x1, 1), round(y2 - y1, 1)),
            label=face.label,
            probabilities=tuple(round(p, 4) for p in face.probabilities.tolist()),
            **{name: round(getattr(face, name), 4) for name in _ROUNDED},
        )

    def as_json(self) -> Dict[str, Any]:
        """Return the fields as JSON values; the probabilities by label."""
        probabilities = dict(zip(LABELS, self.probabilities))
        return {**vars(self), "box": list(self.box), "probabilities": probabilities}

    def cells(self) -> List[Any]:
        """Return the values of FACE_COLUMNS."""
        face_id, box, score, label, confidence, probabilities, *affect = vars(self).values()
        return [face_id, *box, score, label, confidence, *probabilities, *affect]


@dataclass(frozen=True)
class FrameRecord:
    """One frame and its faces, the largest first."""

    source: str  # a file or a topic
    number: int  # of the frame in its source, from 0
    stamp_s: float
    faces: Tuple[FaceRecord, ...]
    left_out: int = 0  # further faces, beyond max_faces; not in CSV

    @classmethod
    def of(
        cls, source: object, number: int, stamp_s: float, result: FrameResult, shape: Shape
    ) -> FrameRecord:
        """Return the record of a processed frame."""
        faces = tuple(FaceRecord.of(face, shape) for face in result.faces)
        return cls(str(source), number, stamp_s, faces, result.left_out)

    def json_of_faces(self, faces: Sequence[Dict[str, Any]]) -> Dict[str, Any]:
        """Return ``faces`` and, where there are faces beyond ``max_faces``, ``left_out``."""
        return {"faces": faces, **({"left_out": self.left_out} if self.left_out else {})}


class CsvWriter:
    """Writes one row per face, and one without a face for a frame that has none.

    The first line holds the column names: IMAGE_COLUMNS, FACE_COLUMNS.
    """

    def __init__(self, stream: IO[str]) -> None:
        """Write the first line to a file that was opened with ``newline=""``."""
        self._rows = csv.writer(stream, lineterminator="\n")
        self._rows.writerow([*IMAGE_COLUMNS, *FACE_COLUMNS])

    def write(self, frame: FrameRecord) -> None:
        """Write the rows of a frame."""
        head = [frame.source, frame.number, f"{frame.stamp_s:.6f}"]
        for cells in [face.cells() for face in frame.faces] or [[""] * len(FACE_COLUMNS)]:
            self._rows.writerow([*head, *cells])


def read_csv(path: Path) -> Iterator[FrameRecord]:
    """Yield the frames of a CSV file that :class:`CsvWriter` wrote.

    Raises DataError, which names the line, if it is missing or not of that form.
    """
    try:
        with open(path, newline="", encoding="utf-8") as stream:
            rows = csv.reader(stream)
            if next(rows, None) != [*IMAGE_COLUMNS, *FACE_COLUMNS]:
                raise DataError(
                    f"{path}: must begin with the columns that 'esr video --csv' writes: "
                    f"{','.join(IMAGE_COLUMNS + FACE_COLUMNS[:3])},…"
                )
            for frame, rows_of_frame in groupby(rows, _parse_frame):
                faces = (row[len(IMAGE_COLUMNS) :] for row in rows_of_frame)
                yield FrameRecord(*frame, tuple(_parse_face(cells) for cells in faces if cells[0]))
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: not a CSV file ({error})") from error
    except DataError:  # of the columns; is a ValueError too
        raise
    except ValueError as error:
        raise DataError(f"{path}, line {rows.line_num}: {error}") from error


def _parse_frame(row: Sequence[str]) -> Tuple[str, int, float]:
    if len(row) != len(IMAGE_COLUMNS + FACE_COLUMNS):
        raise ValueError(f"{len(row)} columns")
    source, number, stamp_s, *_ = row
    return source, int(number), float(stamp_s)


def _parse_face(cells: Sequence[str]) -> FaceRecord:
    by_name = dict(zip(FACE_COLUMNS, cells))
    face_id, label = int(by_name.pop("face_id")), by_name.pop("label")
    if label not in LABELS:
        raise ValueError(f"label must be one of {', '.join(LABELS)}, but is {label!r}")
    x, y, width, height, score, confidence, *more = map(float, by_name.values())
    probabilities, affect = tuple(more[: len(LABELS)]), more[len(LABELS) :]
    box = (x, y, width, height)
    return FaceRecord(face_id, box, score, label, confidence, probabilities, *affect)
