"""`esr export`, as a process."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from commands import esr, refusal, report

from esr_core import load_model
from esr_core.network import checkpoint


def test_export_of_half_precision(tmp_path: Path, weights: Path) -> None:
    done = esr(tmp_path, "export", weights, "half", "--fp16", "--json")
    assert done.returncode == 0, done.stderr
    network, metadata = checkpoint.load(tmp_path / "half")
    exact, described = checkpoint.load(weights)
    assert metadata == described
    assert network.base.conv1.weight.dtype == torch.float32  # type: ignore[union-attr]
    for mine, theirs in zip(network.parameters(), exact.parameters()):
        torch.testing.assert_close(mine, theirs, atol=1e-3, rtol=1e-3)
    sizes = [
        sum(f.stat().st_size for f in folder.glob("*.pt"))
        for folder in (tmp_path / "half", weights)
    ]
    assert sizes[0] < 0.52 * sizes[1]
    assert esr(tmp_path, "export", "half", "net.onnx", "--fp16").returncode == 0
    assert load_model(tmp_path / "net.onnx").metadata == metadata


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("net.onnx", "--symmetric"), "--symmetric is a form of INT8; it needs --int8 DATA"),
        (("half",), "half must end in .onnx, or be a folder for weights with --fp16"),
        (("weights", "--fp16"), "OUT would overwrite weights/"),
        (("linked", "--fp16"), "OUT would overwrite linked/"),
        (("link.onnx", "--int8", "data.onnx"), "OUT would overwrite link.onnx, which is read"),
        (("data.onnx", "--int8", "data.onnx"), "OUT would overwrite data.onnx, which is read"),
        (("folder.onnx",), "OUT: folder.onnx is a folder"),
    ],
)
def test_export_of_what_makes_no_sense(
    tmp_path: Path, weights: Path, arguments: tuple[str, ...], text: str
) -> None:
    (tmp_path / "data.onnx").write_text("faces")
    (tmp_path / "link.onnx").symlink_to("data.onnx")
    (tmp_path / "folder.onnx").mkdir()
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked" / checkpoint.BASE_FILE).symlink_to(weights / checkpoint.BASE_FILE)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert text in refusal(esr(tmp_path, "export", "weights", *arguments))
    after = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert after == before


def test_export_of_a_folder_without_weights(tmp_path: Path) -> None:
    line = refusal(esr(tmp_path, "export", "nowhere", "net.onnx"))
    assert line == "esr export: nowhere: no such folder, so no checkpoint"
    assert list(tmp_path.iterdir()) == []


def test_export_onto_a_path_that_cannot_be(tmp_path: Path, weights: Path) -> None:
    (tmp_path / "file").touch()
    assert "file" in refusal(esr(tmp_path, "export", weights, "file/net.onnx"))


def test_size_is_that_of_the_weights_alone(tmp_path: Path, weights: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "notes.bin").write_bytes(bytes(10**7))
    printed = report(esr(tmp_path, "export", weights, "out", "--fp16", "--json"))
    size = sum(each.stat().st_size for each in checkpoint.files(tmp_path / "out"))
    assert printed["size_mb"] == pytest.approx(size / 1e6)
