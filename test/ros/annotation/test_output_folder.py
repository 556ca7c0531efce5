"""The places of an output, and the files of a user that are never lost there."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import bags
import pytest

from esr_core.errors import OptionError
from esr_ros.annotation.output_folder import OutputFolder
from esr_ros.annotation.resume_log import ResumeLog
from esr_ros.bags.metadata import note
from esr_ros.bags.writer import BagWriteError, BagWriter
from esr_ros.demo.scene import Scene

ABOUT: dict[str, Any] = {"bag": "walk"}
SHORT = Scene(((0.2, 0),), rate_hz=10.0)


def make(output: Path, source: Path, overwrite: bool = False, resume: bool = False) -> bool:
    """Make an empty output; returns whether it was needed."""
    folder = OutputFolder(output, source, ABOUT)
    if not folder.is_needed(overwrite, resume):
        return False
    with folder.opened(restart=overwrite and not resume):
        with BagWriter(folder.bag, "mcap") as writer:
            writer.note('{"bag": "walk"}')
        folder.install()
    return True


def test_an_output_is_there_when_it_is_whole(tmp_path: Path) -> None:
    assert make(tmp_path / "out", tmp_path / "walk")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert note(tmp_path / "out") == ABOUT
    assert not make(tmp_path / "out", tmp_path / "walk", resume=True)
    assert make(tmp_path / "out", tmp_path / "walk", overwrite=True)
    with pytest.raises(OptionError, match="out already exists; add --overwrite"):
        make(tmp_path / "out", tmp_path / "walk")


@pytest.mark.parametrize("flag", ["overwrite", "resume"])
def test_the_source_is_not_in_the_place_of_the_work(tmp_path: Path, flag: str) -> None:
    source = bags.recorded(tmp_path / "out.part", SHORT)
    before = bags.content(source)
    for bag in (source, bags.storage_file(source)):
        with pytest.raises(OptionError, match=r"out\.part would lie over"):
            make(tmp_path / "out", bag, **{flag: True})
    assert bags.content(source) == before


@pytest.mark.parametrize("flag", ["overwrite", "resume"])
def test_a_folder_of_somebody_else_is_left_alone(tmp_path: Path, flag: str) -> None:
    (tmp_path / "out.part").mkdir()
    for name in ("thesis.txt", "journal", "old/precious", "out/precious"):
        mine = tmp_path / "out.part" / name
        mine.parent.mkdir(exist_ok=True)
        mine.write_text("mine")
        with pytest.raises(OptionError, match=r"out\.part is in the way"):
            make(tmp_path / "out", tmp_path / "walk", **{flag: True})
        assert mine.read_text() == "mine"
        mine.unlink()


def test_files_beside_the_old_bag_are_not_lost(tmp_path: Path) -> None:
    make(tmp_path / "out", tmp_path / "walk")
    (tmp_path / "out" / "notes.txt").write_text("mine")
    with pytest.raises(OptionError, match=r"notes\.txt in it lost; move"):
        make(tmp_path / "out", tmp_path / "walk", overwrite=True)
    assert (tmp_path / "out" / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize("is_there_before", [True, False])
def test_what_comes_to_the_place_meanwhile_is_not_lost(
    tmp_path: Path, is_there_before: bool
) -> None:
    if is_there_before:
        make(tmp_path / "out", tmp_path / "walk")
    folder = OutputFolder(tmp_path / "out", tmp_path / "walk", ABOUT)
    assert folder.is_needed(overwrite=is_there_before, resume=False)
    with folder.opened():
        with BagWriter(folder.bag, "mcap"):
            (tmp_path / "out").mkdir(exist_ok=True)
            (tmp_path / "out" / "notes.txt").write_text("mine")
        with pytest.raises(OptionError, match="out"):
            folder.install()
    assert (tmp_path / "out" / "notes.txt").read_text() == "mine"


def test_after_a_kill_between_two_names_the_old_output_is_back(tmp_path: Path) -> None:
    make(tmp_path / "out", tmp_path / "walk")
    part = tmp_path / "out.part"
    part.mkdir()
    ResumeLog(part / "journal", ABOUT).close()
    (tmp_path / "out").rename(part / "old")
    folder = OutputFolder(tmp_path / "out", tmp_path / "walk", ABOUT)
    assert not folder.is_needed(overwrite=False, resume=True)
    assert note(tmp_path / "out") == ABOUT


@pytest.mark.parametrize("has_log", [True, False])
def test_after_a_kill_behind_the_last_name_it_can_be_replaced(
    tmp_path: Path, has_log: bool
) -> None:
    make(tmp_path / "out", tmp_path / "walk")
    part = tmp_path / "out.part"
    shutil.copytree(tmp_path / "out", part / "old")
    if has_log:
        ResumeLog(part / "journal", ABOUT).close()
    assert not make(tmp_path / "out", tmp_path / "walk", resume=True)
    assert make(tmp_path / "out", tmp_path / "walk", overwrite=True)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_an_output_that_lacks_files_is_not_taken_for_done(tmp_path: Path) -> None:
    make(tmp_path / "out", tmp_path / "walk")
    bags.storage_file(tmp_path / "out").unlink()
    with pytest.raises(OptionError, match="out lacks files; give --overwrite"):
        make(tmp_path / "out", tmp_path / "walk", resume=True)
    assert make(tmp_path / "out", tmp_path / "walk", overwrite=True)


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(BagWriteError, match="/proc/nowhere/out: cannot be written"):
        make(Path("/proc/nowhere/out"), tmp_path / "walk")
