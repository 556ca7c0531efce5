"""Engines in processes of their own, which take turns."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
from networks import faces, lively

from esr_core.benchmark.runner import BenchmarkError, Timing, measure
from esr_core.benchmark.worker import FORMS, PEAK_SIDE, Contestant, serve
from esr_core.inference.metadata import ModelMetadata
from esr_core.network.onnx_export import export_fp32
from esr_core.perception.preprocessing import InputSpec


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
    export_fp32(lively(2, False), ModelMetadata("ESR-2", 2, input=InputSpec(size_px=56)), path)
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


def test_one_process_serves_every_number_of_faces(network: Path) -> None:
    alone = Contestant("one", "onnx", str(network), size_px=56)
    several = Contestant("three", "onnx", str(network), size_px=56, batch=3)
    assert alone.process == several.process
    assert alone.process != Contestant("x", "onnx", str(network), size_px=56, branches=1).process
    first, second = measure([alone, several], rounds=2, calls=2)
    assert first.times_s.shape == second.times_s.shape == (2, 2)


@pytest.mark.parametrize("form", FORMS[:2])
def test_pytorch_runs_in_the_form_that_was_asked_for(form: str) -> None:
    answers = io.StringIO()
    contestant = Contestant("torch", "torch", branches=1, size_px=56, form=form)
    serve(contestant, io.StringIO("1 1\n"), answers)
    assert json.loads(answers.getvalue())["times_s"][0] > 1e-5


@pytest.mark.parametrize("kind", ["int8", "fp32"])
def test_peak_is_that_of_a_product_of_matrices(kind: str) -> None:
    (peak,) = measure([Contestant(kind, "matmul", kind)], rounds=2, calls=3)
    per_s = PEAK_SIDE**3 / float(np.median(peak.times_s))
    assert 1e9 < per_s < 1e14
    half = Timing(Contestant("x", "onnx"), 2 * peak.times_s, 10.0)
    np.testing.assert_allclose(half.share_of_peak(peak, PEAK_SIDE**3), 0.5)


def test_process_that_ends_says_why(tmp_path: Path) -> None:
    with pytest.raises(BenchmarkError, match=r"gone ended: .*no such model file"):
        measure([Contestant("gone", "onnx", str(tmp_path / "no.onnx"))])


def test_faces_are_what_was_given(network: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "faces.npy", faces(5, 56))
    contestant = Contestant(
        "onnx", "onnx", str(network), size_px=56, batch=2, faces=str(tmp_path / "faces.npy")
    )
    answers = io.StringIO()
    serve(contestant, io.StringIO("4 2\n1 2\n"), answers)
    told = [json.loads(line) for line in answers.getvalue().splitlines()]
    assert [len(each["times_s"]) for each in told] == [4, 1]
    np.save(tmp_path / "faces.npy", faces(2, 64))
    with pytest.raises(ValueError, match="must be"):
        serve(contestant, io.StringIO("1 2\n"), answers)


def test_figures_of_known_times() -> None:
    slow = timing(1, [[10, 10, 10], [20, 20, 80]])
    fast = timing(4, [[8, 8, 8], [8, 8, 9]])
    assert slow.percentile_ms(50) == pytest.approx(15)
    assert slow.evaluations_per_s == pytest.approx(1000 / 25)
    assert fast.evaluations_per_s == pytest.approx(4 * 1000 * 6 / 49)
    np.testing.assert_allclose(fast.speed_up(slow), [5, 10])
    by_face = Timing(Contestant("x", "onnx", branches="adaptive"), slow.times_s / 2, 10.0)
    np.testing.assert_allclose(by_face.speed_up(slow), [2, 1], err_msg="the mean of its calls")
    figures = fast.summary(slow)
    assert figures["speed_up"] == 7.5
    assert figures["speed_up_spread"] == [5.5, 9.5]
    assert figures["joules"] is None
    json.dumps(figures)
