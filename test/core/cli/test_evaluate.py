"""The commands that measure a network."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any, Callable

import cv2
import numpy as np
import pytest
import torch
from commands import esr, refusal
from networks import lively

from esr_core import LABELS, load_model
from esr_core.evaluation.robustness import DISTURBANCES
from esr_core.inference.metadata import ModelMetadata
from esr_core.network import checkpoint
from esr_core.network.esr import ESR
from esr_core.perception.preprocessing import InputSpec

MakeFerPlus = Callable[[str, int], Path]


def test_evaluate_as_json(tmp_path: Path, weights: Path, make_ferplus: MakeFerPlus) -> None:
    data = make_ferplus("valid.npz.xz", 16)
    assert esr(tmp_path, "export", weights, "net.onnx").returncode == 0
    done = esr(tmp_path, "evaluate", "--data", data, "--model", "net.onnx", "--json")
    assert done.returncode == 0
    answer = json.loads(done.stdout)
    assert answer["n"] == 16
    assert set(answer["recall"]) == set(LABELS)
    assert 0 <= answer["accuracy"] <= 1
    assert {"accuracy_vote", "ece"} <= set(answer)


def test_evaluate_counts_branches_and_robustness(tmp_path: Path, make_ferplus: MakeFerPlus) -> None:
    data = make_ferplus("valid.npz.xz", 8)
    torch.manual_seed(1)
    checkpoint.save(
        tmp_path / "two", ESR(2), ModelMetadata("ESR-2", 2, input=InputSpec(size_px=56))
    )
    assert esr(tmp_path, "export", "two", "net.onnx").returncode == 0
    for model in ("two", "net.onnx"):
        done = esr(tmp_path, "evaluate", "--data", data, "--model", model, "--robustness", "--json")
        assert done.returncode == 0, done.stderr
        answer = json.loads(done.stdout)
        assert len(answer["nested"]) == 2
        assert answer["nested"][1] == answer["accuracy"] == answer["robustness"]["accuracy"]
        assert set(DISTURBANCES) < set(answer["robustness"])
    shown = esr(tmp_path, "evaluate", "--data", data, "--model", "net.onnx").stdout
    assert "accuracy of the first 1, 2, … branches: " in shown
    assert shown.count("(without targets of 0)") == 2


def test_calibrate_notes_a_temperature_that_all_else_uses(
    tmp_path: Path, weights: Path, make_ferplus: MakeFerPlus
) -> None:
    data = make_ferplus("valid.npz.xz", 24)
    before = checkpoint.load(weights)
    done = esr(tmp_path, "calibrate", weights, "--data", data, "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    network, metadata = checkpoint.load(weights)
    assert metadata.temperature == told["temperature"] != 1.0
    assert metadata.record["calibration"] == {
        name: told[name]
        for name in ("ece_before", "ece", "faces", "branches_asked", "tau", "balance")
    }
    assert (metadata.lead, list(metadata.bias)) == (told["lead"], told["bias"])
    for old, new in zip(before[0].to_state_dict(), network.to_state_dict()):
        assert all(torch.equal(old[key], new[key]) for key in old)
    assert esr(tmp_path, "export", weights, "net.onnx").returncode == 0
    assert load_model(tmp_path / "net.onnx").metadata.temperature == told["temperature"]
    for model in (weights, "net.onnx"):
        done = esr(tmp_path, "evaluate", "--data", data, "--model", model, "--json")
        assert json.loads(done.stdout)["ece"] == pytest.approx(told["ece"], abs=2e-4)
    again = json.loads(esr(tmp_path, "calibrate", weights, "--data", data, "--json").stdout)
    assert again == told  # not relative to the last one
    shown = esr(tmp_path, "calibrate", weights, "--data", data).stdout
    assert f"temperature {told['temperature']:.3f}: calibration error " in shown
    assert f"tau {told['tau']:g}, for rare emotions: macro F1 " in shown


def test_branches_take_turns(tmp_path: Path, make_ferplus: MakeFerPlus) -> None:
    network, data = lively(3, False), make_ferplus("valid.npz.xz", 24)
    checkpoint.save(
        tmp_path / "three",
        network,
        ModelMetadata("ESR-3", 3, input=InputSpec(size_px=56), lead=0.1),
    )
    assert esr(tmp_path, "export", "three", "net.onnx").returncode == 0

    def evaluated(*options: str) -> dict[str, Any]:
        done = esr(tmp_path, "evaluate", "--data", data, "--model", "net.onnx", "--json", *options)
        assert done.returncode == 0, done.stderr
        told: dict[str, Any] = json.loads(done.stdout)
        return told

    everyone = evaluated()
    assert evaluated("--branches", "1")["accuracy"] == everyone["nested"][0]
    assert evaluated("--branches", "2")["branches_asked"] == 2
    assert evaluated("--branches", "3")["branches_asked"] == 3
    done = esr(tmp_path, "evaluate", "--data", data, "--model", "net.onnx", "--branches", "4")
    line = "branches must be adaptive, or from 1 to 3 for ESR-3, but got 4"
    assert refusal(done) == f"esr evaluate: {line}"
    adaptive = evaluated("--branches", "adaptive")
    assert 1 <= adaptive["branches_asked"] < 3
    shown = esr(
        tmp_path, "evaluate", "--data", data, "--model", "net.onnx", "--branches", "adaptive"
    ).stdout
    assert f"{adaptive['branches_asked']:.2f} of 3 branches evaluated per face" in shown
    assert esr(tmp_path, "card", "net.onnx", "--data", data).returncode == 0
    card = " ".join((tmp_path / "net.md").read_text(encoding="utf-8").split())
    assert f"(`branches: adaptive`), {adaptive['branches_asked']:.2f} of 3 branches" in card


@pytest.mark.parametrize(("model", "data"), [("net.md", "x.npz"), ("net.onnx", "net.md")])
def test_card_never_takes_the_place_of_what_it_is_of(tmp_path: Path, model: str, data: str) -> None:
    (tmp_path / "net.md").write_text("a network, or faces")
    line = refusal(esr(tmp_path, "card", model, "--data", data))
    assert "the card would overwrite net.md, which is read" in line
    assert (tmp_path / "net.md").read_text() == "a network, or faces"


@pytest.mark.parametrize("branches", ["0", "-1", "all", "1.5"])
def test_branches_that_cannot_be_asked(tmp_path: Path, branches: str) -> None:
    done = esr(tmp_path, "evaluate", "--data", "x.npz", "--branches", branches)
    assert done.returncode == 2
    assert "must be adaptive, or a whole number from 1 on" in done.stderr


def test_branches_of_a_folder_of_weights(
    tmp_path: Path, weights: Path, make_ferplus: MakeFerPlus
) -> None:
    data = make_ferplus("valid.npz.xz", 8)
    done = esr(tmp_path, "evaluate", "--data", data, "--model", weights, "--branches", "1")
    assert done.returncode == 2
    assert "--branches needs an .onnx file" in done.stderr


def test_card_says_what_evaluate_says(
    tmp_path: Path, weights: Path, make_ferplus: MakeFerPlus
) -> None:
    data = make_ferplus("valid.npz.xz", 24)
    assert esr(tmp_path, "calibrate", weights, "--data", data).returncode == 0
    assert esr(tmp_path, "export", weights, "net.onnx", "--int8", data).returncode == 0
    done = esr(tmp_path, "card", "net.onnx", "--data", data, "--fp32", weights, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"files": ["net.md", "net-confusion.png"]}
    card = (tmp_path / "net.md").read_text(encoding="utf-8")
    done = esr(tmp_path, "evaluate", "--data", data, "--model", "net.onnx", "--json")
    report = json.loads(done.stdout)
    fp32 = json.loads(
        esr(tmp_path, "evaluate", "--data", data, "--model", weights, "--json").stdout
    )
    assert f"| by vote | {report['accuracy_vote']:.2%} | {fp32['accuracy_vote']:.2%} |" in card
    for label, value in report["recall"].items():
        assert f"| {label} | 3 | {value:.1%} |" in card
    assert "targets of exactly 0 are excluded" in card
    for name in ("valence", "arousal"):
        affect = report[name]
        assert f"| {name} | {affect['rmse']:.3f} | {affect['sign_agreement']:.1%} |" in card
    assert "Derived, not annotated" in card
    assert "must not be used" in card
    picture = cv2.imread(str(tmp_path / "net-confusion.png"))
    assert picture is not None
    assert picture.shape[0] > 400
    assert "None" not in card
    assert "nan" not in card


def test_card_of_the_network_that_ships(tmp_path: Path, make_ferplus: MakeFerPlus) -> None:
    shutil.copy(load_model().path, tmp_path / "net.onnx")
    done = esr(tmp_path, "card", "net.onnx", "--data", make_ferplus("valid.npz.xz", 8))
    assert (done.returncode, done.stdout.split()) == (0, ["net.md", "net-confusion.png"])


@pytest.mark.parametrize(
    ("content", "text"),
    [(None, "no such file; FER+ is not part"), (b"junk", "not a readable .npz")],
)
def test_evaluate_names_data_that_it_cannot_read(
    tmp_path: Path, content: bytes | None, text: str
) -> None:
    if content is not None:
        (tmp_path / "valid.npz").write_bytes(content)
    line = refusal(esr(tmp_path, "evaluate", "--data", "valid.npz", "--json"))
    assert line.startswith("esr evaluate: valid.npz: ")
    assert text in line


def test_evaluate_without_a_single_usable_image(tmp_path: Path) -> None:
    images, votes = np.zeros((2, 48, 48), np.uint8), np.zeros((2, 10), np.uint8)
    np.savez(tmp_path / "nobody.npz", images=images, votes=votes)
    line = refusal(esr(tmp_path, "evaluate", "--data", "nobody.npz", "--json"))
    assert "nobody.npz" in line


def test_card_of_other_faces_than_those_of_the_training(tmp_path: Path, own: Path) -> None:
    shutil.copy(load_model().path, tmp_path / "net.onnx")
    assert esr(tmp_path, "card", "net.onnx", "--data", own).returncode == 0
    card = (tmp_path / "net.md").read_text(encoding="utf-8")
    assert "was selected on this split" not in card
    assert "was fitted" not in card
