"""``esr bench`` as a command; the measurements are tested in test/core/benchmark."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, Callable

import cv2
import pytest
from commands import esr
from networks import lively

from esr_core import load_model
from esr_core.benchmark.reference_figures import PUBLISHED
from esr_core.cli.bench import show_tables
from esr_core.cli.tables import print_table
from esr_core.inference.metadata import ModelMetadata
from esr_core.inference.onnx_model import default_model
from esr_core.network.complexity import METHODS
from esr_core.network.onnx_export import export_fp32
from esr_core.perception.preprocessing import InputSpec

MakeFerPlus = Callable[[str, int], Path]
QUICK = ("--rounds", 2, "--calls", 2)


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small file."""
    path = tmp_path_factory.mktemp("small") / "esr-2.onnx"
    export_fp32(lively(2, False), ModelMetadata("ESR-2", 2, input=InputSpec(size_px=56)), path)
    return path


def bench(folder: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    return esr(folder, "bench", *arguments)


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The results of two networks, with one face and with two."""
    done = bench(
        tmp_path_factory.mktemp("bench"),
        *("--networks", "ESR-9,ESR*-9", "--faces", "1,2", "--json"),
        *("--rounds", 1, "--calls", 2),
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_every_engine_is_timed_with_every_number_of_faces(results: Any) -> None:
    assert [(row["network"], row["name"], row["faces"]) for row in results["rows"]] == [
        (network, engine, count)
        for network, engines in (
            ("ESR-9", ("PyTorch", "fp32", "INT8", "adaptive")),
            ("ESR-9 ships", ("PyTorch", "INT8")),
            ("ESR*-9", ("PyTorch", "fp32", "INT8", "adaptive")),
        )
        for count in (1, 2)
        for engine in engines
    ]
    for row in results["rows"]:
        assert row["evaluations_per_s"] > 0
        assert 50 < row["peak_mb"] < 1500, "of this process, not of the one that made the networks"
        low, high = row["speed_up_spread"]
        assert low <= row["speed_up"] <= high
        assert (row["speed_up"] == 1) == (row["name"] == "PyTorch")


def test_share_of_the_peak_is_given_without_early_exit(results: Any) -> None:
    assert set(results["peak_gmac_per_s"]) == {"int8", "fp32"}
    for row in results["rows"]:
        assert ("share_of_peak" in row) == (row["name"] != "adaptive")
        assert row.get("share_of_peak", 1) > 0


def test_networks_stand_beside_what_was_published(results: Any) -> None:
    shipped = load_model().metadata.record["validation"]["accuracy"]
    for each, name, accuracy in zip(
        results["networks"], ("ESR-9", "ESR-9", "ESR*-9"), (None, shipped, None)
    ):
        assert each["published"] == PUBLISHED[name]
        assert each["parameters_m"] == pytest.approx(PUBLISHED[name]["parameters_m"], rel=0.03)
        assert each["accuracy"] == accuracy


def test_one_file_is_timed_with_real_faces_and_drawn(
    tmp_path: Path, make_ferplus: MakeFerPlus
) -> None:
    data = make_ferplus("valid.npz.xz", 40)
    arguments = ("--model", default_model(), "--data", data, "--plot", "speed.png", "--json")
    done = bench(tmp_path, *arguments, *QUICK)
    assert done.returncode == 0, done.stderr
    results = json.loads(done.stdout)
    assert [row["name"] for row in results["rows"]] == ["PyTorch", "this file", "adaptive"]
    curve = results["curve"]
    evaluated = [point["branches_asked"] for point in curve]
    assert (evaluated[0], evaluated[-1]) == (1, 9)
    assert evaluated == sorted(evaluated)
    assert all(0 <= point["accuracy"] <= 1 and point["p50_ms"] > 0 for point in curve)
    picture = cv2.imread(str(tmp_path / "speed.png"))
    assert picture is not None
    assert picture.shape[1] > 1000, "two panels"
    assert picture.std() > 10


def test_faces_may_be_named_in_any_order_and_the_provider_be_left_to_the_machine(
    network: Path, tmp_path: Path
) -> None:
    (tmp_path / "json.py").write_text("raise SystemExit('the wrong json')", encoding="utf-8")
    words = ("--model", network, "--provider", "auto", "--faces", "8,1", "--json")
    done = bench(tmp_path, *words, *QUICK)
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)["rows"]
    assert [row["faces"] for row in rows] == [1, 1, 8, 8]
    assert json.loads(done.stdout)["provider"] == "cpu"
    assert rows[0]["peak_mb"] < rows[2]["peak_mb"]


def test_tables_for_people(results: Any, capsys: pytest.CaptureFixture[str]) -> None:
    show_tables(results)
    shown = capsys.readouterr().out
    shipped = f"{100 * results['networks'][1]['accuracy']:.2f}"
    for word in ("PyTorch", "INT8", "ESR-9 ships", shipped, "87.17", "117.91", "times PyTorch"):
        assert word in shown
    assert max(map(len, shown.splitlines())) <= 80
    assert "…" not in shown, "a column is cut off"


def test_notes_below_the_tables(network: Path, tmp_path: Path) -> None:
    done = bench(tmp_path, "--model", network, "--faces", "1,16", *QUICK)
    assert done.returncode == 0, done.stderr
    for word in ("PyTorch", "this file", "Peak, of a product of matrices"):
        assert word in done.stdout
    assert "Energy" in done.stdout or "J a call" in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80


def test_steps_of_training_are_timed(tmp_path: Path) -> None:
    words = ("--training", "--networks", "ESR-9", "--size-px", 54, "--faces", 2, "--json")
    done = bench(tmp_path, *words, "--rounds", 2, "--calls", 1)
    assert done.returncode == 0, done.stderr
    results = json.loads(done.stdout)
    (row,) = results["rows"]
    assert row["name"] in ("training bf16", "training fp32")
    assert (row["network"], row["faces"]) == ("ESR-9", 2)
    assert row["share_of_peak"] > 0
    assert row["evaluations_per_s"] > 0
    assert results["peak_gmac_per_s"].keys() == {row["name"].split()[1]}
    show_tables(results)


@pytest.mark.parametrize("arguments", [[], ["--networks", "ESR-9"], ["--networks", "ESR-15"]])
def test_without_pytorch_the_network_that_ships_is_timed(
    tmp_path: Path, arguments: list[str]
) -> None:
    program = (
        "import sys; sys.modules.update(torch=None, onnx=None); import esr_core.cli as cli;"
        "sys.exit(cli.main(sys.argv[1:]))"
    )
    words = ["bench", "--rounds", "1", "--calls", "1", *arguments]
    done = subprocess.run(
        [sys.executable, "-c", program, *words], cwd=tmp_path, capture_output=True, text=True
    )
    if "ESR-15" in arguments:
        assert done.returncode == 2
        assert "PyTorch is not installed" in done.stderr
    else:
        assert done.returncode == 0, done.stderr
        assert "PyTorch is not installed" in " ".join(done.stdout.split())
        assert "--data with FER+'s validation faces adds" in " ".join(done.stdout.split())
        assert "ESR-9 ships" in done.stdout
        assert "ESR*-9" not in done.stdout


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("--rounds", "0"), "--rounds must be from 1 to 10000, but got 0"),
        (("--threads", "-1"), "--threads must be from 0 to 256, but got -1"),
        (("--networks", "ESR-15", "--data", "x.npz"), "--data is for a trained network"),
        (("--faces", "0"), "must be numbers from 1 to 4096 such as 1,4,16"),
        (("--networks", "ESR-8"), f"must be of {', '.join(METHODS)}"),
        (("--networks", "ESR-9", "--model", "x.onnx"), "--networks is for the published networks"),
        (("--model", "no.onnx"), "no.onnx: no such model file"),
        (("--networks", "ESR-9", "--data", "no.npz"), "no.npz: no such file"),
        (("--plot", "speed.pdf"), "--plot wants a .png in a folder that exists, not speed.pdf"),
        (("--plot", "no/speed.png"), "--plot wants a .png in a folder that exists"),
        (("--provider", "cuda"), "has no provider 'cuda', only cpu"),
        (("--seconds", "3"), "--seconds is for --node only"),
        (("--node", "--plot", "a.png"), "--plot is not for --node"),
        (("--training", "--plot", "a.png"), "--plot is not for --training"),
        (("--training", "--size-px", "10"), "--size-px must be from 54 to 1024, but got 10"),
        (("--size-px", "60"), "--size-px is for --training only"),
    ],
)
def test_bench_that_cannot_be(tmp_path: Path, arguments: tuple[str, ...], text: str) -> None:
    done = bench(tmp_path, *arguments)
    assert done.returncode == 2
    assert text in done.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("read", [("--model", "speed.png"), ("--data", "speed.png")])
def test_picture_never_takes_the_place_of_what_is_read(
    tmp_path: Path, read: tuple[str, ...]
) -> None:
    (tmp_path / "speed.png").write_text("a network, or faces")
    done = bench(tmp_path, *read, "--plot", "speed.png")
    assert "--plot would overwrite speed.png, which is read" in done.stderr
    assert (tmp_path / "speed.png").read_text() == "a network, or faces"


def test_narrow_terminal_cuts_no_figure(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    print_table("times", {"name": "{name}", "MB": "{mb}"}, [{"name": "n" * 40, "mb": 1234.5}])
    shown = capsys.readouterr().out
    assert "n" * 40 in shown
    assert "1234.5" in shown
    assert "…" not in shown
