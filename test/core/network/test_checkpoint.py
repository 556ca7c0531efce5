"""Checkpoints."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import published
import pytest
import torch

from esr_core import ModelError
from esr_core.inference.metadata import PUBLISHED_INPUT, ModelMetadata
from esr_core.network import checkpoint
from esr_core.network.esr import ESR
from esr_core.perception.preprocessing import InputSpec


def saved(folder: Path, branches: int = 1, diversified: bool = False) -> ESR:
    esr = ESR(branches, diversified).eval()
    metadata = ModelMetadata(
        esr.name, branches, diversified, InputSpec(size_px=56), record={"epochs_done": 3}
    )
    checkpoint.save(folder, esr, metadata)
    return esr


@pytest.mark.parametrize(("branches", "diversified"), [(2, False), (1, True)])
def test_round_trip(tmp_path: Path, branches: int, diversified: bool) -> None:
    esr = saved(tmp_path / "new" / "folder", branches, diversified)
    read, metadata = checkpoint.load(tmp_path / "new" / "folder")
    assert metadata.name == esr.name
    assert (metadata.branches, metadata.diversified) == (branches, diversified)
    assert metadata.input == InputSpec(size_px=56)
    assert metadata.record == {"epochs_done": 3}
    assert not read.training
    torch.testing.assert_close(read.state_dict(), esr.state_dict(), rtol=0, atol=0)


def test_layout_is_that_of_the_published_checkpoints(tmp_path: Path) -> None:
    saved(tmp_path, branches=2)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "Net-Base-Shared_Representations.pt",
        "Net-Branch_1.pt",
        "Net-Branch_2.pt",
        "esr-2.json",
    ]


def test_files_hold_bare_state_dicts(tmp_path: Path) -> None:
    esr = saved(tmp_path)
    weights = torch.load(tmp_path / "Net-Branch_1.pt", weights_only=True)
    assert set(weights) == set(esr.convolutional_branches[0].state_dict())


def test_second_save_replaces_the_first(tmp_path: Path) -> None:
    saved(tmp_path)
    second = saved(tmp_path)
    read, _ = checkpoint.load(tmp_path)
    torch.testing.assert_close(read.state_dict(), second.state_dict(), rtol=0, atol=0)


def test_folder_without_a_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"no checkpoint here; one \.json file must describe"):
        checkpoint.load(tmp_path)
    with pytest.raises(ModelError, match="gone: no such folder"):
        checkpoint.load(tmp_path / "gone")


@pytest.mark.parametrize("name", [checkpoint.BASE_FILE, "Net-Branch_1.pt"])
def test_missing_weights_are_named(tmp_path: Path, name: str) -> None:
    saved(tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(ModelError, match=f"{name}: no such file"):
        checkpoint.load(tmp_path)


@pytest.mark.parametrize("kept", [0, 20, 100_000])
def test_truncated_weights_are_named(tmp_path: Path, kept: int) -> None:
    saved(tmp_path)
    path = tmp_path / checkpoint.BASE_FILE
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(ModelError, match=f"{checkpoint.BASE_FILE}: not the weights"):
        checkpoint.load(tmp_path)


@pytest.mark.parametrize("content", [b"<html>404 Not Found</html>", b"hello world", b"\x80\x02."])
def test_weights_that_are_another_kind_of_file(tmp_path: Path, content: bytes) -> None:
    saved(tmp_path)
    (tmp_path / checkpoint.BASE_FILE).write_bytes(content)
    with pytest.raises(ModelError, match="not the weights"):
        checkpoint.load(tmp_path)


def test_tensors_that_are_no_state_dict(tmp_path: Path) -> None:
    saved(tmp_path)
    torch.save([torch.zeros(2)], tmp_path / checkpoint.BASE_FILE)
    with pytest.raises(ModelError, match="not the weights"):
        checkpoint.load(tmp_path)


@pytest.mark.parametrize("kind", ["sparse", "meta", "complex", "int", "fp8", "nan", "huge"])
def test_tensors_without_plain_numbers_are_named(tmp_path: Path, kind: str) -> None:
    saved(tmp_path)
    weights = torch.load(tmp_path / checkpoint.BASE_FILE, weights_only=True)
    bias = weights["conv1.bias"]
    weights["conv1.bias"] = {
        "sparse": bias.to_sparse(),
        "meta": bias.to("meta"),
        "complex": bias.to(torch.complex64),
        "int": bias.int(),
        "fp8": bias.to(torch.float8_e4m3fn),
        "nan": bias * torch.nan,
        "huge": bias.double() + 1e300,
    }[kind]
    torch.save(weights, tmp_path / checkpoint.BASE_FILE)
    with pytest.raises(
        ModelError, match=r"conv1\.bias (must hold torch\.float32, but is|holds values)"
    ):
        checkpoint.load(tmp_path)


def test_weights_cannot_run_code(tmp_path: Path) -> None:
    saved(tmp_path)
    torch.save({"conv1.weight": Path}, tmp_path / checkpoint.BASE_FILE)
    with pytest.raises(ModelError, match="not the weights"):
        checkpoint.load(tmp_path)


def test_plain_weights_do_not_load_into_a_network_with_attention(tmp_path: Path) -> None:
    saved(tmp_path)
    path = tmp_path / "esr-1.json"
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace('"diversified": false', '"diversified": true'), encoding="utf-8")
    with pytest.raises(ModelError, match=f"{checkpoint.BASE_FILE}: not the weights"):
        checkpoint.load(tmp_path)


def test_metadata_that_is_no_text(tmp_path: Path) -> None:
    saved(tmp_path)
    (tmp_path / "esr-1.json").write_bytes(b"\xff\xfe\x00\x80")
    with pytest.raises(ModelError, match=r"esr-1\.json: its metadata is not readable"):
        checkpoint.load(tmp_path)


@pytest.mark.parametrize(("branches", "diversified"), [(9, False), (9, True)])
def test_published_folder_loads_without_our_metadata(
    tmp_path: Path, branches: int, diversified: bool
) -> None:
    parts = published.write(tmp_path / "esr_9", branches, diversified)
    esr, metadata = checkpoint.load(tmp_path / "esr_9", "esr_9")
    assert (metadata.branches, metadata.diversified) == (branches, diversified)
    assert metadata.input == PUBLISHED_INPUT
    for loaded, written in zip(esr.to_state_dict(), parts):
        torch.testing.assert_close(loaded, written, rtol=0, atol=0)


def test_only_the_first_branches(tmp_path: Path) -> None:
    esr = saved(tmp_path, branches=3)
    read, metadata = checkpoint.load(tmp_path, branches=2)
    assert (read.name, metadata.name, metadata.branches) == ("ESR-2", "ESR-2", 2)
    for loaded, written in zip(read.to_state_dict(), esr.to_state_dict()):
        torch.testing.assert_close(loaded, written, rtol=0, atol=0)


def test_more_branches_than_in_the_folder(tmp_path: Path) -> None:
    saved(tmp_path, branches=2)
    with pytest.raises(ModelError, match=r"Net-Branch_3\.pt: no such file; 5 .* needed, 2 here"):
        checkpoint.load(tmp_path, branches=5)


def test_the_only_description_may_have_any_name(tmp_path: Path) -> None:
    saved(tmp_path)
    assert checkpoint.load(tmp_path, "mine")[1].name == "ESR-1"
    (tmp_path / "another.json").write_text((tmp_path / "esr-1.json").read_text())
    message = r"mine\.json must describe it; there are another\.json, esr-1\.json"
    with pytest.raises(ModelError, match=message):
        checkpoint.load(tmp_path, "mine")
    assert checkpoint.load(tmp_path, "another")[1].name == "ESR-1"


def test_save_removes_what_no_longer_belongs_to_the_base_and_nothing_else(tmp_path: Path) -> None:
    saved(tmp_path, branches=3)
    checkpoint.write_description(tmp_path, ModelMetadata("ESR-9", 9), "fast", "fast.onnx")
    (tmp_path / "notes.json").write_text("[1, 2]")
    saved(tmp_path, branches=2)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        checkpoint.BASE_FILE,
        "Net-Branch_1.pt",
        "Net-Branch_2.pt",
        "esr-2.json",
        "fast.json",
        "notes.json",
    ]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"bn1.weight": torch.full((64,), torch.nan)}, "bn1.weight holds values that are not fin"),
        ({"bn1.weight": torch.ones(63)}, r"bn1.weight must be \(64,\), but is \(63,\)"),
        ({"bn9.weight": torch.ones(64)}, "it has unknown bn9.weight"),
        ({"bn1.weight": 7}, "a dict of tensors is expected"),
    ],
)
def test_weights_that_do_not_fit_are_refused_and_nothing_is_written(
    tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    esr = ESR(1)
    weights = esr.to_state_dict()
    weights[0].update(change)
    with pytest.raises(ModelError, match=message):
        checkpoint.save_weights(tmp_path / "new", weights, ModelMetadata("ESR-1", 1))
    assert not (tmp_path / "new").exists()
    saved(tmp_path)
    torch.save(weights[0], tmp_path / checkpoint.BASE_FILE)
    with pytest.raises(ModelError, match=message):
        checkpoint.load(tmp_path)


def test_save_that_was_killed_among_its_files_is_not_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved(tmp_path, branches=2)
    replaces, left = os.replace, 3

    class Killed(BaseException):
        pass

    def killed(source: Path, target: Path) -> None:
        nonlocal left
        left -= 1
        if not left:
            raise Killed
        replaces(source, target)

    monkeypatch.setattr(os, "replace", killed)
    with pytest.raises(Killed):
        saved(tmp_path, branches=2)
    with pytest.raises(ModelError, match="its files are of two saves"):
        checkpoint.load(tmp_path)
    saved(tmp_path, branches=2)
    assert checkpoint.load(tmp_path)[1].branches == 2
    assert not (tmp_path / checkpoint.UNFINISHED).exists()


#: Saves one network over another, and ends before the n-th file operation, for n = 1, 2, …
KILLED = """
import os, shutil, sys
from pathlib import Path
import torch
from esr_core import ModelError
from esr_core.inference.metadata import ModelMetadata
from esr_core.network import checkpoint
from esr_core.network.esr import ESR

folder, first = Path(sys.argv[1]) / "folder", Path(sys.argv[1]) / "first"
networks = {each: ESR(1).to_state_dict() for each in ("old", "new")}
for each, weights in networks.items():
    weights[0]["bn1.bias"].fill_(len(each) + (each == "new"))
    weights[1]["bn1.bias"].fill_(len(each) + (each == "new"))

def save(each):
    metadata = ModelMetadata("ESR-1", 1, record={"save": each})
    checkpoint.save_weights(folder, networks[each], metadata)

def state():
    try:
        esr, metadata = checkpoint.load(folder)
    except ModelError as error:
        return "refused" if "of two saves" in str(error) else str(error)
    values = {int(part.bn1.bias[0]) for part in esr.parts()}
    return metadata.record["save"] + "".join(map(str, sorted(values)))

def end_before(last):
    done = 0
    def hook(event, arguments):
        nonlocal done
        if event in ("open", "os.rename", "os.remove") and str(folder) in str(arguments[0]):
            done += 1
            if done == last:
                os._exit(9)
    sys.addaudithook(hook)

torch.set_num_threads(1)
save("old")
folder.rename(first)
status, last = 9, 0
while status:
    last += 1
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(first, folder)
    child = os.fork()
    if not child:
        end_before(last)
        save("new")
        os._exit(0)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    print(state(), flush=True)
"""


def test_save_killed_at_any_step_leaves_the_old_the_new_or_a_refused_folder(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(tmp_path)], capture_output=True, text=True, cwd=tmp_path
    )
    states = done.stdout.split()
    assert done.returncode == 0, done.stderr
    assert set(states) == {"old3", "refused", "new4"}, states
    assert states == sorted(states, key=["old3", "refused", "new4"].index)
    assert states.count("refused") >= 3
    assert states.count("new4") == 1


def test_failed_save_leaves_the_previous_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    esr = saved(tmp_path, branches=2)
    write, written = torch.save, []

    def disk_full(weights: Any, path: Path) -> None:
        write(weights, path)
        written.append(path)
        if len(written) == 2:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", disk_full)
    with pytest.raises(OSError, match="No space left"):
        saved(tmp_path, branches=2)
    assert not list(tmp_path.glob("*.part"))
    read, _ = checkpoint.load(tmp_path)
    torch.testing.assert_close(read.state_dict(), esr.state_dict(), rtol=0, atol=0)


@pytest.mark.parametrize("name", [checkpoint.BASE_FILE, "Net-Branch_2.pt"])
def test_flipped_bits_are_noticed(tmp_path: Path, name: str) -> None:
    """Anywhere in the file: in the numbers by the zip's checksums, elsewhere by the SHA-256."""
    saved(tmp_path, branches=2)
    path = tmp_path / name
    whole, draw = path.read_bytes(), random.Random(5)
    for _ in range(8):
        data = bytearray(whole)
        for _ in range(64):
            data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
        path.write_bytes(data)
        with pytest.raises(ModelError, match=name):
            checkpoint.load(tmp_path)
    data = bytearray(whole)
    data[whole.index(b"PK\1\2") + 5] ^= 1  # in the directory, in a field that nobody reads
    path.write_bytes(data)
    with pytest.raises(ModelError, match="damaged or replaced: its SHA-256 is not that in the"):
        checkpoint.load(tmp_path)
    path.write_bytes(whole)
    checkpoint.load(tmp_path)


def test_weights_without_a_digest_load_and_their_checksums_count(tmp_path: Path) -> None:
    """Those of other programs and of earlier versions."""
    esr = saved(tmp_path, branches=2)
    description = tmp_path / "esr-2.json"
    content = json.loads(description.read_text())
    assert set(content.pop("sha256")) == {path.name for path in tmp_path.glob("*.pt")}
    description.write_text(json.dumps(content))
    read, metadata = checkpoint.load(tmp_path)
    torch.testing.assert_close(read.state_dict(), esr.state_dict(), rtol=0, atol=0)
    path = tmp_path / "Net-Branch_1.pt"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(
        ModelError, match=r"Net-Branch_1\.pt: not the weights of a network; it is cut"
    ):
        checkpoint.load(tmp_path)
    saved(tmp_path, branches=2)
    checkpoint.write_description(tmp_path, metadata, "esr-2")
    digests = json.loads(description.read_text())["sha256"]
    assert set(digests) == {path.name for path in tmp_path.glob("*.pt")}
