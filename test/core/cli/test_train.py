"""`esr train`, as a process."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any, Callable

import pytest
import torch
from commands import esr, refusal

from esr_core import load_model
from esr_core.network import checkpoint

MakeFerPlus = Callable[[str, int], Path]


def trained(folder: Path, *more: object) -> subprocess.CompletedProcess[str]:
    tiny = ("--data", folder, "--branches", 1, "--stages", "54x1", "--batch-size", 8)
    return esr(folder, "train", *tiny, *more)


def test_train_evaluate_export(tmp_path: Path, data: Path) -> None:
    done = trained(tmp_path, "--out", "out", "--images", 16, "--json")
    assert done.returncode == 0, done.stderr
    report: dict[str, Any] = json.loads(done.stdout)
    assert report["n"] == 24
    _, metadata = checkpoint.load(tmp_path / "out")
    assert metadata.record["training_images"] == 16
    done = esr(tmp_path, "evaluate", "--data", data, "--model", "out", "--json")
    assert json.loads(done.stdout) == report
    calibration = data / "train.npz.xz"
    done = esr(tmp_path, "export", "out", "sub/net.onnx", "--int8", calibration, "--json")
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert answer["file"] == "sub/net.onnx"
    assert answer["name"] == "ESR-1-ferplus"
    assert answer["size_mb"] == pytest.approx((tmp_path / "sub/net.onnx").stat().st_size / 1e6)
    assert load_model(tmp_path / "sub/net.onnx").metadata == metadata
    assert [path.name for path in (tmp_path / "sub").iterdir()] == ["net.onnx"]


def test_train_evaluate_and_export_with_own_faces(tmp_path: Path, own: Path) -> None:
    done = esr(tmp_path, "evaluate", "--data", own, "--json")
    assert (json.loads(done.stdout)["n"], done.stderr) == (20, "")
    tiny = ("--branches", 1, "--stages", "54x1", "--batch-size", 8)
    done = esr(tmp_path, "train", "--data", own, "--out", "out", *tiny)
    assert done.returncode == 0, done.stderr
    assert f"esr train: {own}: no validation split, so 3 of 20 faces" in done.stderr
    shown = [line.split() for line in done.stdout.splitlines()]
    assert [line for line in shown if line[:1] in (["happy"], ["fear"], ["all"])] == [
        ["happy", "8", "2"],
        ["fear", "0", "0"],
        ["all", "17", "3"],
    ]
    picture = own / "happy" / "0.bmp"
    before = picture.read_bytes()
    picture.write_bytes((own / "sad" / "1.bmp").read_bytes())
    done = esr(tmp_path, "train", "--data", own, "--out", "out", *tiny)
    assert done.returncode == 2
    assert "out holds another training (faces was " in done.stderr
    picture.write_bytes(before)
    assert checkpoint.load(tmp_path / "out")[1].record["data"] == "own"
    done = esr(tmp_path, "export", "out", "net.onnx", "--int8", own)
    assert done.returncode == 0, done.stderr
    done = esr(tmp_path, "evaluate", "--data", own, "--model", "net.onnx")
    assert "of 2 emotions with faces" in done.stdout
    assert "was trained on own faces, so only 3 of 20 are used" in done.stderr
    assert max(map(len, done.stdout.split("by vote")[0].splitlines())) <= 80


def test_own_faces_that_are_wrong(tmp_path: Path, own: Path) -> None:
    (own / "happy" / "0.bmp").write_text("no picture")
    done = esr(tmp_path, "train", "--data", own, "--out", "out")
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        f"esr train: {own}: 1 fault; nothing was done",
        f"esr train:   {own}/happy/0.bmp: not a picture that can be read, such as JPEG or PNG",
    ]
    assert not (tmp_path / "out").exists()


def test_train_by_a_file_that_flags_override(tmp_path: Path, data: Path, weights: Path) -> None:
    branches = checkpoint.load(weights)[1].branches
    (tmp_path / "my.yaml").write_text(
        f"data: {data}\nout: out\nstart: {weights}\nbranches: {branches}\nstages: [54x3]\n"
        "batch_size: 8\nseed: 5\nmethod: affect\nheads_only: true\naugmentation: {flip: 0.25}\n",
        encoding="utf-8",
    )
    more = ("--stages", "54x1", "--heads-only", "false", "--blur", "0")
    done = esr(tmp_path, "train", "--config", "my.yaml", *more)
    assert done.returncode == 0, done.stderr
    recipe = checkpoint.load(tmp_path / "out")[1].record["recipe"]
    assert (recipe["seed"], recipe["stages"]) == (5, ["54x1"])
    assert (recipe["method"], recipe["heads_only"]) == ("affect", False)
    views = recipe["augmentation"]
    assert (views["flip"], views["blur"], views["erase"]) == (0.25, 0, 0.3)


def test_train_goes_on_or_begins_anew_only_when_told(tmp_path: Path, data: Path) -> None:
    assert trained(tmp_path, "--out", "out").returncode == 0
    line = refusal(trained(tmp_path, "--out", "out", "--seed", 9, "--json"))
    assert "another training (seed was 1, now 9); use another --out, or start over with" in line
    assert trained(tmp_path, "--out", "out", "--seed", 9, "--fresh").returncode == 0


def test_train_with_teachers(tmp_path: Path, data: Path, weights: Path) -> None:
    (tmp_path / "my.yaml").write_text("teachers: [weights]\nteacher_weight: 0.25\n")
    done = trained(tmp_path, "--config", "my.yaml", "--out", "out", "--images", 16)
    assert done.returncode == 0, done.stderr
    record = checkpoint.load(tmp_path / "out")[1].record
    assert (record["recipe"]["teacher_weight"], len(record["teachers"])) == (0.25, 64)
    done = trained(tmp_path, "--config", "my.yaml", "--out", "out", "--images", 15)
    assert "teachers.npz is of other teachers, or for other faces; use another" in refusal(done)
    done = trained(tmp_path, "--teachers", "none.onnx", "--out", "other")
    assert "none.onnx: no such model file" in refusal(done)
    assert not (tmp_path / "other").exists()
    (tmp_path / "my.yaml").write_text("teachers: weights\n")
    done = trained(tmp_path, "--config", "my.yaml", "--out", "other")
    assert "my.yaml: teachers must be a list of files or folders" in refusal(done)


def test_train_never_writes_over_what_it_starts_from(
    tmp_path: Path, data: Path, weights: Path
) -> None:
    before = {path: path.read_bytes() for path in weights.iterdir()}
    done = trained(tmp_path, "--start", "weights", "--out", weights, "--fresh")
    assert "--out would overwrite " in refusal(done)
    assert {path: path.read_bytes() for path in weights.iterdir()} == before


@pytest.mark.parametrize(
    ("more", "text"),
    [
        (
            ("--stages", "big"),
            "SIZExEPOCHS such as 56x4, with a size from 54 to 1024 px and 1 to 10000 epochs, "
            "but got 'big'",
        ),
        (("--branches", 0), "branches must be from 1 to 64, but got 0"),
        (("--batch-size", 0), "batch_size must be from 1"),
        (("--images", "none"), "images must be a whole number from 1 on, but got 'none'"),
        (("--config", "gone.yaml"), "gone.yaml: not a readable YAML file"),
        (("--data", "nowhere"), "nowhere: no such data folder"),
        (("--start", "nowhere"), "nowhere: no such folder, so no checkpoint"),
    ],
)
def test_train_says_what_is_wrong(
    tmp_path: Path, data: Path, more: tuple[object, ...], text: str
) -> None:
    done = trained(tmp_path, "--out", "out", *more)
    assert done.returncode == 2
    last = done.stderr.splitlines()[-1]
    assert last.startswith("esr train: ")
    assert text in last
    assert not (tmp_path / "out").exists()


def test_train_needs_data_and_a_place(tmp_path: Path) -> None:
    assert "--data is needed, or 'data:' in the --config file" in refusal(esr(tmp_path, "train"))


@pytest.mark.parametrize("device", ["cuda", "gpu", "cuda:x", "meta"])
def test_device_that_is_not_here(tmp_path: Path, data: Path, device: str) -> None:
    if device == "cuda" and torch.cuda.is_available():
        device = "cuda:99"
    done = trained(data, "--out", "out", "--device", device)
    assert "device must be" in refusal(done)
