"""The runner: engines in processes of their own that take turns, and their figures."""

from __future__ import annotations

import io
import json
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from networks import faces, lively

from esr_core.benchmark.cases import FORMS, NODE_CASES, PEAK_SIDE, Case
from esr_core.benchmark.energy import Meter
from esr_core.benchmark.runner import BenchmarkError, Timing, Worker, measure
from esr_core.benchmark.worker import serve
from esr_core.inference.metadata import ModelMetadata
from esr_core.network.complexity import cost
from esr_core.network.onnx_export import export_fp32
from esr_core.perception.preprocessing import InputSpec

SMALL = (2, False, 56)


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bench") / "net.onnx"
    export_fp32(lively(2, False), ModelMetadata("ESR-2", 2, input=InputSpec(size_px=56)), path)
    return path


def timing(batch: int, times_ms: list[list[float]]) -> Timing:
    return Timing(Case("x", "onnx", batch=batch), np.array(times_ms) / 1e3, 10.0)


def test_a_training_step_has_three_times_the_operations_of_a_prediction() -> None:
    case = Case("x", "onnx", architecture=SMALL, batch=4)
    times = np.array([[0.5, 0.5]])
    (rate,) = Timing(case, times).macs_per_s
    assert rate == pytest.approx(cost(*SMALL).macs * 4 / 0.5)
    assert Timing(replace(case, engine="training"), times).macs_per_s == pytest.approx(3 * rate)


def test_two_engines_are_timed_in_turns(network: Path) -> None:
    cases = [
        Case("torch", "torch", architecture=SMALL),
        Case("onnx", "onnx", str(network), architecture=SMALL, batch=3),
    ]
    rounds: list[str] = []
    timings = measure(cases, rounds=3, calls=2, on_round=lambda: rounds.append("done"))
    assert len(rounds) == 3
    for each, case in zip(timings, cases):
        assert each.case is case
        assert each.times_s.shape == (3, 2)
        assert each.times_s.min() > 1e-5
        assert 30 < each.peak_mb < 2000
        assert each.gross_j is None


def test_energy_of_a_call_is_that_of_the_time_it_takes(network: Path) -> None:
    steady = Meter("a machine that takes 10 W", lambda: 10 * time.monotonic())
    (each,) = measure(
        [Case("onnx", "onnx", str(network), architecture=SMALL)], 2, 5, meters=[steady]
    )
    assert each.gross_j is not None
    assert each.net_j is not None
    assert 10 * each.times_s.min() * 0.5 < each.gross_j < 10 * each.times_s.max() * 4
    assert abs(each.net_j) < each.gross_j * 0.05, "the idle machine takes as much"


def test_one_process_serves_every_number_of_faces(network: Path) -> None:
    alone = Case("one", "onnx", str(network), architecture=SMALL)
    several = Case("three", "onnx", str(network), architecture=SMALL, batch=3)
    assert alone.setup == several.setup
    assert alone.setup != replace(alone, evaluated=1).setup
    first, second = measure([alone, several], rounds=2, calls=2)
    assert first.times_s.shape == second.times_s.shape == (2, 2)


@pytest.mark.parametrize("form", FORMS[:2])
def test_pytorch_runs_in_the_requested_form(form: str) -> None:
    responses = io.StringIO()
    case = Case("torch", "torch", architecture=(1, False, 56), form=form)
    serve(case, io.StringIO("[1, 1]\n"), responses)
    assert json.loads(responses.getvalue())["times_s"][0] > 1e-5


@pytest.mark.parametrize("kind", ["int8", "fp32"])
def test_peak_is_that_of_a_product_of_matrices(kind: str) -> None:
    (peak,) = measure([Case(kind, "matmul", kind)], rounds=2, calls=3)
    per_s = PEAK_SIDE**3 / float(np.median(peak.times_s))
    assert 1e9 < per_s < 1e14
    np.testing.assert_allclose(np.median(peak.macs_per_s), per_s, rtol=0.5)
    macs = cost(9, False).macs
    half = Timing(
        Case("x", "onnx", architecture=(9, False, 96)), 2 * peak.times_s * macs / PEAK_SIDE**3, 10.0
    )
    assert half.figures(peak=peak)["share_of_peak"] == pytest.approx(0.5, abs=1e-3)


def test_process_that_ends_gives_the_reason(tmp_path: Path) -> None:
    with pytest.raises(BenchmarkError, match=r"gone ended with exit code 1: .*no such model file"):
        measure([Case("gone", "onnx", str(tmp_path / "no.onnx"))])


def test_worker_ends_when_its_input_is_closed_and_reports_what_is_not_json() -> None:
    with Worker("json", "json.tool", "-") as worker:
        assert worker.check() is None
        worker.send([1])
    with Worker("this", "this", "") as worker, pytest.raises(BenchmarkError, match="this: The Zen"):
        worker.receive()
    with pytest.raises(BenchmarkError, match="this ended with exit code 0"):
        worker.check()


def test_faces_are_those_of_the_file(network: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "faces.npy", faces(5, 56))
    path = str(tmp_path / "faces.npy")
    case = Case("onnx", "onnx", str(network), architecture=SMALL, batch=2, faces=path)
    responses = io.StringIO()
    serve(case, io.StringIO("[4, 2]\n[1, 2]\n"), responses)
    lines = [json.loads(line) for line in responses.getvalue().splitlines()]
    assert [len(each["times_s"]) for each in lines] == [4, 1]
    np.save(tmp_path / "faces.npy", faces(2, 64))
    with pytest.raises(ValueError, match="must be"):
        serve(case, io.StringIO("[1, 2]\n"), responses)


def test_figures_of_known_times() -> None:
    slow = timing(1, [[10, 10, 10], [20, 20, 80]])
    fast = timing(4, [[8, 8, 8], [8, 8, 9]])
    assert slow.figures()["p50_ms"] == 15
    assert slow.figures()["evaluations_per_s"] == 1000 / 25
    assert fast.figures()["evaluations_per_s"] == round(4 * 1000 * 6 / 49, 1)
    np.testing.assert_allclose(slow.face_s / fast.face_s, [5, 10])
    adaptive = Timing(Case("x", "onnx", evaluated="adaptive"), slow.times_s / 2, 10.0)
    np.testing.assert_allclose(slow.face_s / adaptive.face_s, [2, 1], err_msg="the mean of calls")
    figures = fast.figures(slow)
    assert figures["speed_up"] == 7.5
    assert figures["speed_up_spread"] == [5.5, 9.5]
    assert figures["joules"] is None
    json.dumps(figures)


def test_node_cases_have_unique_names() -> None:
    assert len({case.name for case in NODE_CASES}) == len(NODE_CASES)
