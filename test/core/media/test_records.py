"""Records of frames, written as CSV and read."""

from __future__ import annotations

import dataclasses
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from esr_core import LABELS, EmotionPipeline, Model
from esr_core.errors import DataError
from esr_core.media.records import (
    FACE_COLUMNS,
    IMAGE_COLUMNS,
    CsvWriter,
    FaceRecord,
    FrameRecord,
    read_csv,
)
from esr_core.perception.stream_state import FrameResult

SAD = FaceRecord(
    7, (1.5, 2.0, 30.0, 40.1), 0.91, "sad", 0.6, (0.4, 0, 0.6, *5 * [0.0]), -0.5, 0, 1.0
)
FRAMES = [
    FrameRecord(
        "a, b.mp4", 0, 0.0, (SAD, replace(SAD, face_id=8, label="neutral", confidence=0.4))
    ),
    FrameRecord("a, b.mp4", 1, 1 / 3, ()),
    FrameRecord("a, b.mp4", 2, 2 / 3, (SAD,)),
    FrameRecord('"second".mp4', 0, 0.0, ()),
    FrameRecord('"second".mp4', 1, 1700000000.123456, (SAD,)),
]


def written(path: Path, frames: list[FrameRecord]) -> Path:
    with open(path, "w", newline="", encoding="utf-8") as stream:
        writer = CsvWriter(stream)
        for frame in frames:
            writer.write(frame)
    return path


def test_csv_round_trip(tmp_path: Path) -> None:
    read = list(read_csv(written(tmp_path / "x.csv", FRAMES)))
    assert read == [replace(frame, stamp_s=round(frame.stamp_s, 6)) for frame in FRAMES]


def test_file_without_frames(tmp_path: Path) -> None:
    assert list(read_csv(written(tmp_path / "x.csv", []))) == []


def test_record_of_a_face(model: Model, rgb: NDArray[np.uint8]) -> None:
    (face,) = EmotionPipeline(model=model).step(rgb, 0.0)
    record = FaceRecord.of(face, rgb.shape)
    x1, y1, x2, y2 = face.box
    np.testing.assert_allclose(record.box, [x1, y1, x2 - x1, y2 - y1], atol=0.06)
    assert (record.label, record.face_id) == ("happy", face.face_id)
    np.testing.assert_allclose(record.probabilities, face.probabilities, atol=1e-4)
    fields = record.as_json()
    assert list(fields) == [field.name for field in dataclasses.fields(FaceRecord)]
    assert fields["probabilities"] == dict(zip(LABELS, record.probabilities))
    assert len(record.cells()) == len(FACE_COLUMNS)


def test_boxes_are_cut_to_the_frame(model: Model, rgb: NDArray[np.uint8]) -> None:
    (face,) = EmotionPipeline(model=model).step(rgb, 0.0)
    over = replace(face, box=np.array([-4.04, 430.26, 100.26, 530.0], np.float32))
    (record,) = FrameRecord.of("x.png", 0, 0.0, FrameResult([over], []), (512, 90, 3)).faces
    assert record.box == (0.0, 430.3, 90.0, 81.7)


@pytest.mark.parametrize(
    ("line", "old", "new", "text"),
    [
        (1, "face_id", "face", "must begin with the columns .* source,number,stamp_s,face_id"),
        (3, ",sad,", ",glad,", "line 3: label must be one of neutral, .*, but is 'glad'"),
        (2, "0.91", "high", "line 2: could not convert string to float: 'high'"),
        (4, "1,", "one,", "line 4: invalid literal for int"),
        (5, ",1.0", "", rf"line 5: {len(IMAGE_COLUMNS + FACE_COLUMNS) - 1} columns"),
        (2, ",7,", ",7.5,", "line 2: invalid literal for int"),
    ],
)
def test_error_names_the_line(tmp_path: Path, line: int, old: str, new: str, text: str) -> None:
    frames = [replace(FRAMES[0], faces=(SAD, SAD)), *FRAMES[1:3]]
    path = written(tmp_path / "x.csv", [replace(frame, source="a") for frame in frames])
    lines = path.read_text(encoding="utf-8").splitlines()
    assert old in lines[line - 1]
    lines[line - 1] = lines[line - 1].replace(old, new, 1)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    with pytest.raises(DataError, match=text):
        list(read_csv(path))


@pytest.mark.parametrize("content", [None, b"", b"\x00\xff\xfe", b"a,b\n1,2\n"])
def test_file_of_another_format_is_refused(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "x.csv"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match=r"x\.csv: (No such file|must begin|not a CSV file)"):
        list(read_csv(path))
