"""Engines in processes of their own, which take turns."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
from networks import faces, lively

from esr_core.benchmark import BenchmarkError, Contestant, Timing, measure, serve
from esr_core.crop import InputSpec
from esr_core.export import export_fp32
from esr_core.metadata import Metadata


class Steady:
    """A meter of a machine that takes 10 W, whatever it does."""

    name = "steady"

    def __init__(self) -> None:
        import time

        self._clock = time.monotonic

    def joules(self) -> float:
        return 10 * self._clock()


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bench") / "net.onnx"
    export_fp32(lively(2, False), Metadata("ESR-2", 2, input=InputSpec(size_px=56)), path)
    return path


def timing(batch: int, times_ms: list[list[float]]) -> Timing:
    return Timing(Contestant("x", "onnx", batch=batch), np.array(times_ms) / 1e3, 10.0)


def test_two_engines_are_timed_in_turns(network: Path) -> None:
    contestants = [
        Contestant("torch", "torch", branches=2, size_px=56),
        Contestant("onnx", "onnx", str(network), size_px=56, batch=3),
    ]
    rounds: list[int] = []
    timings = measure(contestants, rounds=3, calls=2, on_progress=rounds.append)
    assert rounds == [1, 2, 3]
    for each, contestant in zip(timings, contestants):
        assert each.contestant is contestant
        assert each.times_s.shape == (3, 2)
        assert each.times_s.min() > 1e-5
        assert 30 < each.peak_mb < 2000
        assert each.gross_j is None


def test_energy_of_a_call_is_that_of_the_time_it_takes(network: Path) -> None:
    (told,) = measure(
        [Contestant("onnx", "onnx", str(network), size_px=56)], 2, 5, meters=[Steady()]
    )
    assert told.gross_j is not None
    assert told.net_j is not None
    assert 10 * told.times_s.min() * 0.5 < told.gross_j < 10 * told.times_s.max() * 4
    assert abs(told.net_j) < told.gross_j * 0.05, "the idle machine takes as much"


def test_process_that_ends_says_why(tmp_path: Path) -> None:
    with pytest.raises(BenchmarkError, match=r"gone ended: .*no such model file"):
        measure([Contestant("gone", "onnx", str(tmp_path / "no.onnx"))])


def test_faces_are_what_was_given(network: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "faces.npy", faces(5, 56))
    contestant = Contestant(
        "onnx", "onnx", str(network), size_px=56, batch=2, faces=str(tmp_path / "faces.npy")
    )
    answers = io.StringIO()
    serve(contestant, io.StringIO("4\n1\n"), answers)
    told = [json.loads(line) for line in answers.getvalue().splitlines()]
    assert [len(each["times_s"]) for each in told] == [4, 1]
    np.save(tmp_path / "faces.npy", faces(2, 64))
    with pytest.raises(ValueError, match="must be"):
        serve(contestant, io.StringIO("1\n"), answers)


def test_figures_of_known_times() -> None:
    slow = timing(1, [[10, 10, 10], [20, 20, 80]])
    fast = timing(4, [[8, 8, 8], [8, 8, 9]])
    assert slow.percentile_ms(50) == pytest.approx(15)
    assert slow.evaluations_per_s == pytest.approx(1000 / 25)
    assert fast.evaluations_per_s == pytest.approx(4 * 1000 * 6 / 49)
    np.testing.assert_allclose(fast.speed_up(slow), [5, 10])
    figures = fast.summary(slow)
    assert figures["speed_up"] == 7.5
    assert figures["speed_up_spread"] == [5.5, 9.5]
    assert figures["joules"] is None
    json.dumps(figures)
