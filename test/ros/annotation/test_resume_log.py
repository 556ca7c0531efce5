"""What an interrupted annotation leaves behind."""

from __future__ import annotations

from pathlib import Path
from typing import List

import numpy as np
import pytest

from esr_core.inference.onnx_model import Prediction
from esr_core.perception.detection import Detections
from esr_core.pipeline import FrameAnalysis
from esr_ros.annotation.resume_log import ResumeLog, ResumeLogError
from esr_ros.annotation.worker import AnalysisRecord, Stamp

ABOUT = {"bag": [["walk.mcap", 7]], "min_score": 0.6}


def sight(faces: int, number: int = 0) -> AnalysisRecord:
    random = np.random.default_rng(number)
    values = [
        random.random((faces, *shape), np.float32) for shape in ((4,), (), (5, 2), (8,), (2,))
    ]
    votes = random.integers(-1, 8, (faces, 9))
    seen = FrameAnalysis(Detections(*values[:3]), Prediction(*values[3:], votes))
    return AnalysisRecord(Stamp(number, 5, "camera"), (480, 640), seen, detected=number % 2 == 0)


BATCHES = [
    [sight(0), sight(2, 1), AnalysisRecord(Stamp(0, 0, ""), error="no pixels"), sight(1, 3)],
    [sight(0, 4)],
    [],
    [AnalysisRecord(Stamp(1, 2, "ä"), error="strange")],
    [sight(3, 5), sight(1, 6)],
]


def written(path: Path) -> Path:
    journal = ResumeLog(path, ABOUT)
    assert journal.is_empty
    assert journal.read() == ([], False)
    for batch in BATCHES:
        journal.add(batch)
    assert not journal.is_empty
    journal.close()
    return path


def read(path: Path) -> List[List[AnalysisRecord]]:
    journal, found = ResumeLog(path, ABOUT), []
    while True:
        sights, there = journal.read()
        if not there:
            journal.close()
            return found
        found.append(sights)


def assert_same(found: List[List[AnalysisRecord]], expected: List[List[AnalysisRecord]]) -> None:
    assert [len(batch) for batch in found] == [len(batch) for batch in expected]
    for one, other in zip((s for b in found for s in b), (s for b in expected for s in b)):
        assert one[:2] == other[:2]
        assert (one.error, one.detected) == (other.error, other.detected)
        assert (one.seen is None) == (other.seen is None)
        if one.seen and other.seen:
            for name in ("boxes", "scores", "landmarks"):
                own, its = (getattr(each.seen.faces, name) for each in (one, other))
                np.testing.assert_array_equal(own, its)
            for own, its in zip(one.seen.prediction, other.seen.prediction):
                np.testing.assert_array_equal(own, its)
                assert own.dtype == its.dtype


def test_what_was_written_is_read(tmp_path: Path) -> None:
    assert_same(read(written(tmp_path / "journal")), BATCHES)


def test_cut_off_anywhere_the_whole_batches_are_left(tmp_path: Path) -> None:
    whole = written(tmp_path / "journal").read_bytes()
    counts = set()
    for length in range(0, len(whole), 97):
        path = tmp_path / "cut"
        path.write_bytes(whole[:length])
        found = read(path)
        counts.add(len(found))
        assert_same(found, BATCHES[: len(found)])
        journal = ResumeLog(path, ABOUT)
        while journal.read()[1]:
            pass
        journal.add(BATCHES[-1])
        journal.close()
        assert_same(read(path), [*BATCHES[: len(found)], BATCHES[-1]])
    assert counts == set(range(len(BATCHES)))


def test_about_something_else(tmp_path: Path) -> None:
    path = written(tmp_path / "journal")
    with pytest.raises(ResumeLogError, match="was begun with another min_score, image; go on as"):
        ResumeLog(path, {"bag": ABOUT["bag"], "min_score": 0.5, "image": "raw"})
    assert_same(read(path), BATCHES)
    ResumeLog(path, {**ABOUT, "min_score": 0.5}, anew=True).close()
    with pytest.raises(ResumeLogError, match="another min_score;"):
        ResumeLog(path, ABOUT)


def test_two_at_once(tmp_path: Path) -> None:
    first = ResumeLog(tmp_path / "journal", ABOUT)
    with pytest.raises(ResumeLogError, match="another run is writing"):
        ResumeLog(tmp_path / "journal", ABOUT)
    first.close()
    ResumeLog(tmp_path / "journal", ABOUT).close()
