"""Outputs that exist, and what must never be removed."""

from __future__ import annotations

from pathlib import Path

import bags
import pytest
from commands import esr, refusal, report


def test_an_output_that_exists(walk: Path, annotated: Path, tmp_path: Path) -> None:
    words = ("annotate", walk, "-o", "out")
    report(esr(tmp_path, *words, "--json"))
    assert "out already exists; add --overwrite, or name another" in refusal(esr(tmp_path, *words))
    assert report(esr(tmp_path, *words, "--json", "--resume"))["is_done_before"]
    error = refusal(esr(tmp_path, *words, "--resume", "--smoothing-s", "0"))
    assert "out was made with another smoothing_s; give --overwrite" in error
    summary = report(esr(tmp_path, *words, "--json", "--overwrite", "--smoothing-s", "0"))
    assert summary["answered"] == 42
    assert bags.answers(tmp_path / "out")["/emotion"] != bags.answers(annotated)["/emotion"]
    (tmp_path / "mine").mkdir()
    error = refusal(esr(tmp_path, "annotate", walk, "-o", "mine", "--resume"))
    assert "mine exists and is not of this command" in error
    error = refusal(esr(tmp_path, "annotate", "out", "-o", "again"))
    assert "out has /emotion already; give --emotion-topic another, or --without-originals" in error
    words = ("annotate", "out", "-o", "again", "--emotion-topic", "again", "--json")
    assert report(esr(tmp_path, *words))["answered"] == 42
    assert bags.content(tmp_path / "again")["/again"] == bags.answers(annotated)["/emotion"]


def test_nothing_else_is_ever_removed(walk: Path, tmp_path: Path) -> None:
    """Wherever the output would be, and whatever lies there."""
    folder = tmp_path / "mine"
    folder.mkdir()
    bag = bags.damaged(walk, folder / "bag")
    (folder / "notes.txt").write_text("important")
    before = {each: each.read_bytes() for each in tmp_path.rglob("*") if each.is_file()}
    file = bags.storage_file(bag)
    for words in (
        (bag, "-o", bag),
        (file, "-o", bag),
        (bag, "-o", folder),
        (bag, "-o", bag / "answers"),
        (bag, "-o", file),
        (bag, "-o", "."),
        (bag, "-o", ".."),
        (bag, "-o", "/"),
        (bag, "-o", bag / ".."),
        (bag, "-o", folder / "notes.txt"),
        (bag, "-o", folder / "notes.txt" / ".."),
    ):
        error = refusal(esr(folder, "annotate", *words, "--overwrite"))
        assert "output" in error or "exists and is not of this command" in error, words
    assert {e: e.read_bytes() for e in tmp_path.rglob("*") if e.is_file()} == before


def test_a_bag_where_one_stands(walk: Path, annotated: Path, tmp_path: Path) -> None:
    bag = bags.damaged(walk, tmp_path / "walk")
    report(esr(bag, "annotate", ".", "--json"))
    assert sorted(each.name for each in tmp_path.iterdir()) == ["walk", "walk_emotions"]
    assert bags.answers(tmp_path / "walk_emotions") == bags.answers(annotated)


@pytest.mark.parametrize("flag", ["--model", "--detector-model", "--params-file"])
def test_the_folder_of_what_is_read_is_never_replaced(tmp_path: Path, flag: str) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "file").write_text("mine")
    line = refusal(esr(tmp_path, "annotate", "walk", "-o", "out", "--overwrite", flag, "out/file"))
    assert f"--output would overwrite {tmp_path / 'out'}, which is read" in line
    assert (tmp_path / "out" / "file").read_text() == "mine"
