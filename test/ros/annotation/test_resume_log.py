"""The log of an interrupted annotation."""

from __future__ import annotations

from pathlib import Path
from typing import List

import numpy as np
import pytest

from esr_core.inference.onnx_model import Prediction
from esr_core.perception.detection import Detections
from esr_core.pipeline import FrameAnalysis
from esr_ros.annotation.executors import AnalysisRecord, ImageHeader
from esr_ros.annotation.resume_log import ResumeLog, ResumeLogError

ABOUT = {"bag": [["walk.mcap", 7]], "min_score": 0.6}


def record(faces: int, number: int = 0) -> AnalysisRecord:
    random = np.random.default_rng(number)
    values = [
        random.random((faces, *shape), np.float32) for shape in ((4,), (), (5, 2), (8,), (2,))
    ]
    votes = random.integers(-1, 8, (faces, 9))
    analysis = FrameAnalysis(Detections(*values[:3]), Prediction(*values[3:], votes))
    analysis = analysis._replace(left_out=number)
    return AnalysisRecord(
        ImageHeader(number, 5, "camera"), (480, 640), analysis, detected=number % 2 == 0
    )


BATCHES = [
    [
        record(0),
        record(2, 1),
        AnalysisRecord(ImageHeader(0, 0, ""), error="no pixels"),
        record(1, 3),
    ],
    [record(0, 4)],
    [],
    [AnalysisRecord(ImageHeader(1, 2, "ä"), error="strange")],
    [record(3, 5), record(1, 6)],
]


def written(path: Path) -> Path:
    log = ResumeLog(path, ABOUT)
    assert log.is_empty
    assert log.read() is None
    for batch in BATCHES:
        log.add(batch)
    assert not log.is_empty
    log.close()
    return path


def read(path: Path) -> List[List[AnalysisRecord]]:
    log, found = ResumeLog(path, ABOUT), []
    while True:
        records = log.read()
        if records is None:
            log.close()
            return found
        found.append(records)


def assert_same(found: List[List[AnalysisRecord]], expected: List[List[AnalysisRecord]]) -> None:
    assert [len(batch) for batch in found] == [len(batch) for batch in expected]
    for one, other in zip((s for b in found for s in b), (s for b in expected for s in b)):
        assert one[:2] == other[:2]
        assert (one.error, one.detected) == (other.error, other.detected)
        assert (one.analysis is None) == (other.analysis is None)
        if one.analysis and other.analysis:
            assert one.analysis.left_out == other.analysis.left_out
            for name in ("boxes", "scores", "landmarks"):
                own, its = (getattr(each.analysis.faces, name) for each in (one, other))
                np.testing.assert_array_equal(own, its)
            for own, its in zip(one.analysis.prediction, other.analysis.prediction):
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
        log = ResumeLog(path, ABOUT)
        while log.read() is not None:
            pass
        log.add(BATCHES[-1])
        log.close()
        assert_same(read(path), [*BATCHES[: len(found)], BATCHES[-1]])
    assert counts == set(range(len(BATCHES)))


def test_about_something_else(tmp_path: Path) -> None:
    path = written(tmp_path / "journal")
    with pytest.raises(
        ResumeLogError, match="was started with another min_score, image; continue with the same"
    ):
        ResumeLog(path, {"bag": ABOUT["bag"], "min_score": 0.5, "image": "raw"})
    assert_same(read(path), BATCHES)
    ResumeLog(path, {**ABOUT, "min_score": 0.5}, restart=True).close()
    with pytest.raises(ResumeLogError, match="another min_score;"):
        ResumeLog(path, ABOUT)


def test_two_at_once(tmp_path: Path) -> None:
    first = ResumeLog(tmp_path / "journal", ABOUT)
    with pytest.raises(ResumeLogError, match="another run is writing"):
        ResumeLog(tmp_path / "journal", ABOUT)
    first.close()
    ResumeLog(tmp_path / "journal", ABOUT).close()
