"""Reading FER+; the data here are made up, in its form."""

from __future__ import annotations

import lzma
from contextlib import suppress
from pathlib import Path
from typing import Callable

import numpy as np
import pytest
import torch

from esr_core import LABELS, DataError, OptionError
from esr_core.data.ferplus import VOTE_COLUMNS, read

MakeFerPlus = Callable[[str, int], Path]


def write(path: Path, *rows: dict[str, int]) -> Path:
    """A file with one image per row, whose grey is its number; a row is {label: votes}."""
    votes = np.array([[row.get(name, 0) for name in VOTE_COLUMNS] for row in rows], np.uint8)
    images = np.repeat(np.arange(len(rows), dtype=np.uint8), 48 * 48).reshape(-1, 48, 48)
    np.savez(path, images=images, votes=votes)
    return path


def kept(path: Path, protocol: str) -> list[int]:
    return [int(image[0, 0]) for image in read(path, protocol).images]


@pytest.mark.parametrize("label", LABELS)
def test_columns_are_brought_into_the_projects_order(tmp_path: Path, label: str) -> None:
    data = read(write(tmp_path / "x.npz", {label: 10}))
    assert [LABELS[i] for i in data.target] == [label]
    assert data.distribution[0].argmax() == LABELS.index(label)


def test_distribution_is_the_share_of_votes(tmp_path: Path) -> None:
    data = read(write(tmp_path / "x.npz", {"happy": 6, "surprise": 4}))
    assert data.distribution[0, LABELS.index("happy")] == pytest.approx(0.6)
    assert data.distribution[0, LABELS.index("surprise")] == pytest.approx(0.4)
    assert data.distribution.sum() == pytest.approx(1)


def test_single_votes_are_noise(tmp_path: Path) -> None:
    data = read(write(tmp_path / "x.npz", {"sad": 8, "anger": 1, "unknown": 1}))
    assert data.distribution[0, LABELS.index("sad")] == 1
    assert data.distribution[0, LABELS.index("anger")] == 0


def test_majority_needs_more_than_half_for_one_emotion(tmp_path: Path) -> None:
    path = write(
        tmp_path / "x.npz",
        {"happy": 6, "sad": 4},
        {"happy": 5, "sad": 5},
        {"happy": 4, "sad": 3, "fear": 3},
        {"unknown": 10},
        {"happy": 4, "not-a-face": 6},
    )
    assert kept(path, "majority") == [0]


def test_majority_counts_what_is_left_without_single_votes(tmp_path: Path) -> None:
    path = write(tmp_path / "x.npz", {"happy": 4, "sad": 3, "fear": 1, "anger": 1, "disgust": 1})
    assert kept(path, "majority") == [0]


def test_soft_needs_more_than_half_for_emotions_together(tmp_path: Path) -> None:
    path = write(
        tmp_path / "x.npz",
        {"happy": 4, "sad": 3, "fear": 3},
        {"happy": 5, "unknown": 5},
        {"happy": 3, "sad": 3, "unknown": 4},
        {"not-a-face": 10},
    )
    assert kept(path, "cross_entropy") == [0, 2]


def test_images_without_any_votes_are_left_out(tmp_path: Path) -> None:
    path = write(tmp_path / "x.npz", {}, {"happy": 1, "sad": 1}, {"fear": 9})
    assert kept(path, "majority") == kept(path, "cross_entropy") == [2]


def test_packed_file_reads_like_a_plain_one(make_ferplus: MakeFerPlus) -> None:
    plain, packed = (read(make_ferplus(name, 16)) for name in ("a.npz", "b.npz.xz"))
    assert len(plain) == len(packed) == 16
    np.testing.assert_array_equal(plain.images, packed.images)
    np.testing.assert_array_equal(plain.distribution, packed.distribution)
    assert plain.distribution.dtype == np.float32


def test_subset_is_drawn_without_repetition_and_the_same_every_time(tmp_path: Path) -> None:
    data = read(write(tmp_path / "x.npz", *[{"happy": 9}] * 40))
    first, again, other = data.subset(10), data.subset(10), data.subset(10, seed=1)
    numbers = [int(image[0, 0]) for image in first.images]
    assert len(first) == len(set(numbers)) == 10
    assert numbers != list(range(10))
    np.testing.assert_array_equal(first.images, again.images)
    assert not np.array_equal(first.images, other.images)
    assert len(data.subset(1000)) == 40


def test_subset_keeps_images_and_votes_together(make_ferplus: MakeFerPlus) -> None:
    data = read(make_ferplus("x.npz", 64)).subset(20)
    grey = data.images.mean(axis=(1, 2)) // 30
    assert [LABELS[i] for i in data.target] == [VOTE_COLUMNS[int(g)] for g in grey]


def test_unknown_protocol(make_ferplus: MakeFerPlus) -> None:
    with pytest.raises(OptionError, match="majority, probability, cross_entropy, but got 'loud'"):
        read(make_ferplus("x.npz", 8), "loud")


def test_targets_are_the_label_all_votes_or_one_vote_drawn(make_ferplus: MakeFerPlus) -> None:
    """Made-up faces have 8 votes for one emotion and 2 for the next."""
    path, generator = make_ferplus("x.npz", 8), torch.Generator().manual_seed(0)
    rows = torch.zeros(2000, dtype=torch.int64)
    voted = torch.from_numpy(read(path).distribution[0])
    certain = read(path, "majority").targets(rows, generator)
    assert certain[0].tolist() == (voted == voted.max()).float().tolist()
    assert bool((certain == certain[0]).all())
    torch.testing.assert_close(read(path, "cross_entropy").targets(rows[:1], generator)[0], voted)
    drawn = read(path, "probability").targets(rows, generator)
    assert bool((drawn.sum(dim=1) == 1).all())
    assert set(drawn.unique().tolist()) == {0, 1}
    torch.testing.assert_close(drawn.mean(dim=0), voted, atol=0.03, rtol=0)


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none\.npz\.xz: no such file"):
        read(tmp_path / "none.npz.xz")


@pytest.mark.parametrize("name", ["x.npz", "x.npz.xz"])
@pytest.mark.parametrize("content", [b"", b"nothing of the kind", b"PK\x03\x04 and so on"])
def test_damaged_file_is_named(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=f"{name}: not a readable .npz or .npz.xz archive"):
        read(tmp_path / name)


def test_packed_file_that_breaks_off_is_named(make_ferplus: MakeFerPlus) -> None:
    path = make_ferplus("x.npz.xz", 16)
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(DataError, match="not a readable"):
        read(path)


def test_damage_within_a_compressed_array_is_named(tmp_path: Path) -> None:
    path, faces = tmp_path / "x.npz", np.random.default_rng(1).integers(0, 9, (16, 48, 48))
    np.savez_compressed(path, images=faces.astype(np.uint8), votes=np.ones((16, 10), np.uint8))
    content = path.read_bytes()
    for place in range(60, len(content), len(content) // 50):
        path.write_bytes(content[:place] + b"\xff" * 8 + content[place + 8 :])
        with suppress(DataError):
            read(path)
    path.write_bytes(content[:80] + b"\xff" * 8 + content[88:])
    with pytest.raises(DataError, match="not a readable"):
        read(path)


def test_packed_file_that_holds_no_archive(tmp_path: Path) -> None:
    (tmp_path / "x.npz.xz").write_bytes(lzma.compress(b"text"))
    with pytest.raises(DataError, match="not a readable"):
        read(tmp_path / "x.npz.xz")


def test_bare_array_is_no_archive(tmp_path: Path) -> None:
    with (tmp_path / "x.npz").open("wb") as file:
        np.save(file, np.zeros(3))
    with pytest.raises(DataError, match=r"x\.npz: "):
        read(tmp_path / "x.npz")


@pytest.mark.parametrize("missing", ["images", "votes"])
def test_missing_array_is_named(tmp_path: Path, missing: str) -> None:
    arrays = {"images": np.zeros((2, 48, 48), np.uint8), "votes": np.zeros((2, 10), np.uint8)}
    del arrays[missing]
    np.savez(tmp_path / "x.npz", **arrays)
    with pytest.raises(DataError, match=f"lacks the array {missing}"):
        read(tmp_path / "x.npz")


@pytest.mark.parametrize(
    ("images", "votes", "text"),
    [
        (((2, 48, 48), np.float32), (2, 10), r"images must be .*, but got \(2, 48, 48\) float32"),
        (((2, 2304), np.uint8), (2, 10), r"images must be .*, but got \(2, 2304\) uint8"),
        (((2, 48, 48), np.uint8), (3, 10), r"votes must be \(2, 10\) numbers, but got \(3, 10\)"),
        (((2, 48, 48), np.uint8), (2, 8), r"votes must be \(2, 10\) numbers, but got \(2, 8\)"),
    ],
)
def test_arrays_of_another_form_are_refused(
    tmp_path: Path, images: tuple[tuple[int, ...], type], votes: tuple[int, ...], text: str
) -> None:
    np.savez(tmp_path / "x.npz", images=np.zeros(*images), votes=np.zeros(votes, np.uint8))
    with pytest.raises(DataError, match=text):
        read(tmp_path / "x.npz")


def test_pickled_objects_are_not_read(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", images=np.array([{}, None]), votes=np.zeros((2, 10), np.uint8))
    with pytest.raises(DataError, match="not a readable"):
        read(tmp_path / "x.npz")
