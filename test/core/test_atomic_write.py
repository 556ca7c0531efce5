"""Files that are complete, or unchanged."""

from __future__ import annotations

import errno
import os
import resource
import stat
import subprocess
from pathlib import Path
from typing import Any, Callable

import pytest
import torch

from esr_core.atomic_write import replacing
from esr_core.data.ferplus import read
from esr_core.training.config import ResizeStage, TrainingConfig
from esr_core.training.trainer import train


def test_written_file_replaces_the_old_one(tmp_path: Path) -> None:
    target = tmp_path / "file"
    target.write_text("old")
    with replacing(target) as partial:
        partial.write_text("new")
        assert target.read_text() == "old"
    assert target.read_text() == "new"
    assert list(tmp_path.iterdir()) == [target]


def test_after_an_error_nothing_has_changed(tmp_path: Path) -> None:
    target = tmp_path / "file"
    target.write_text("old")
    with pytest.raises(ZeroDivisionError), replacing(target) as partial:
        print(partial.write_text("new") / 0)
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_other_files_stay(tmp_path: Path) -> None:
    (tmp_path / "file.part").write_text("precious")
    with replacing(tmp_path / "file") as first, replacing(tmp_path / "file") as second:
        assert {path.name[0] for path in tmp_path.iterdir()} == {"f", "."}
        first.write_text("first")
        second.write_text("second")
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {
        "file": "first",
        "file.part": "precious",
    }


def test_new_file_has_the_default_permissions(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        with replacing(tmp_path / "file") as partial:
            partial.write_text("new")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o640


@pytest.mark.parametrize("name", ["x" * 255, "é" * 127, "\U0001f600" * 63, "\udcff" * 255], ids=len)
def test_names_of_the_maximum_length(tmp_path: Path, name: str) -> None:
    with replacing(tmp_path / name, ".part.mp4") as partial:
        partial.write_text("new")
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_ctrl_c_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), replacing(tmp_path / "file"):
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_error_names_the_file_at_once(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    for place in (tmp_path / "gone" / "file", tmp_path / "folder", Path("/proc/file")):
        with pytest.raises(OSError, match=str(place)) as caught, replacing(place):
            pytest.fail("yielded a file that cannot be written")
        assert caught.value.filename == str(place)
    assert list((tmp_path / "folder").iterdir()) == []


def test_device_is_written_directly(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="/dev/full"):  # noqa: SIM117
        with replacing(Path("/dev/full")) as partial, open(partial, "w") as full:
            full.write("x" * 9999)
    assert Path("/dev/full").is_char_device()
    (tmp_path / "link").symlink_to("/dev/null")
    with replacing(tmp_path / "link") as partial:
        partial.write_text("new")
    assert (tmp_path / "link").is_char_device()


def test_symbolic_link_is_kept(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("folder/file")
    with replacing(tmp_path / "link", ".part.mp4") as partial:
        assert partial.parent == tmp_path / "folder"
        assert partial.name.endswith(".part.mp4")
        partial.write_text("new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "folder" / "file").read_text() == "new"


def test_full_device_is_named_even_where_torch_hides_it(tmp_path: Path) -> None:
    target = tmp_path / "file.pt"
    for write in (lambda f: f.write(b"x" * 9999), lambda f: torch.save(torch.ones(99_999), f)):
        with pytest.raises(OSError, match=r"file\.pt") as caught:  # noqa: SIM117
            with replacing(target), open("/dev/full", "wb", buffering=0) as full:
                write(full)
        assert caught.value.errno == errno.ENOSPC
    assert list(tmp_path.iterdir()) == []


def test_disk_that_fills_up_leaves_what_a_training_had(
    tmp_path: Path, make_ferplus: Callable[[str, int], Path]
) -> None:
    for name in ("train.npz.xz", "valid.npz.xz"):
        make_ferplus(name, 16)
    out = tmp_path / "out"
    config = TrainingConfig(branches=1, stages=(ResizeStage(54, 1),), batch_size=8)
    faces = read(tmp_path / "train.npz.xz", "cross_entropy")
    train(faces, faces, config, out)
    before = {path.name: path.read_bytes() for path in out.iterdir()}

    def little_room() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))

    command: list[Any] = ["esr", "train", "--data", tmp_path, "--out", out, "--branches", "1"]
    done = subprocess.run(
        [*command, "--stages", "54x1", "--batch-size", "8", "--fresh"],
        preexec_fn=little_room,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].endswith("File too large")
    assert "state.pt" in done.stderr
    assert "Traceback" not in done.stderr
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before


def test_permissions_are_kept(tmp_path: Path) -> None:
    place = tmp_path / "private"
    place.touch(mode=0o600)
    with replacing(place) as partial:
        partial.write_text("new")
    assert (place.read_text(), place.stat().st_mode & 0o777) == ("new", 0o600)
