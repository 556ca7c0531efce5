"""AffectNet; the photographs here are made up, in its form."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from esr_core import DataError, OptionError
from esr_core.data.dataset import open_split
from esr_core.datasets import (
    AffectNetCategorical,
    AffectNetDimensional,
    pre_process_affect_net,
)

COLUMNS = [
    "subDirectory_filePath",
    "face_x",
    "face_y",
    "face_width",
    "face_height",
    "facial_landmarks",
    "expression",
    "valence",
    "arousal",
]
Row = dict[str, Any]


def row(file: str, box: tuple[int, int, int, int] = (100, 20, 60, 50), **changes: Any) -> Row:
    numbers = dict(zip(COLUMNS[1:5], box))
    base = {"facial_landmarks": "1;2", "expression": 1, "valence": 0.29, "arousal": -0.5}
    return {"subDirectory_filePath": file, **numbers, **base, **changes}


def photograph(path: Path) -> None:
    """200x120, red grows with x, green with y; what is left of x 100 is blue."""
    rgb = np.zeros((120, 200, 3), np.uint8)
    rgb[..., 0], rgb[..., 1] = np.arange(200), 2 * np.arange(120)[:, None]
    rgb[:, :100, 2] = 255
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), rgb[..., ::-1])


class Source:
    """The folders as AffectNet's authors hand them out."""

    def __init__(self, root: Path) -> None:
        self.root, self.images = root, root / "images/Manually_Annotated_extracted"
        for name in ("17/a.png", "18/b.png"):
            photograph(self.images / name)

    def annotate(self, rows: list[Row], file: str = "training.csv") -> None:
        with open(self.root / file, "w", newline="", encoding="utf-8") as target:
            writer = csv.DictWriter(target, COLUMNS)
            writer.writeheader()
            writer.writerows(rows)

    def process(self, set_index: int = 1) -> Any:
        return pre_process_affect_net(
            self.root / "images", str(self.root), self.root / "out", set_index
        )

    def written(self) -> list[str]:
        files = (path for path in (self.root / "out").rglob("*") if path.is_file())
        return sorted(str(path.relative_to(self.root / "out")) for path in files)


@pytest.fixture
def source(tmp_path: Path) -> Source:
    return Source(tmp_path)


def test_faces_are_cropped_by_x_and_y(source: Source) -> None:
    source.annotate([row("17/a.png"), row("18/b.png", (0, 60, 40, 40), expression=6)])
    assert source.process() == (2, 0, ())
    names = [
        "Training_Labeled/0/0000000s1s290s-500.jpg",
        "Training_Labeled/0/0000001s6s290s-500.jpg",
    ]
    assert source.written() == names
    first, second = (cv2.imread(str(source.root / "out" / n))[..., ::-1] for n in names)
    assert first.shape == second.shape == (96, 96, 3)
    assert first[..., 0].mean() == pytest.approx(100 + 29.5, abs=2)
    assert first[..., 1].mean() == pytest.approx(2 * (20 + 24.5), abs=2)
    assert first[..., 2].mean() < 5
    assert second[..., 0].mean() == pytest.approx(19.5, abs=3)
    assert second[..., 2].mean() > 245


def test_five_hundred_files_a_folder(source: Source) -> None:
    source.annotate([row("17/a.png")] * 502)
    assert source.process().written == 502
    folders = [Path(name).parts[1] for name in source.written()]
    assert (folders.count("0"), folders.count("1")) == (500, 2)


def test_second_run_writes_missing_faces_only(source: Source) -> None:
    rows = [row("17/a.png"), row("18/b.png")]
    source.annotate(rows)
    source.process()
    times = {name: (source.root / "out" / name).stat().st_mtime_ns for name in source.written()}
    source.annotate([*rows, row("17/a.png")])
    assert source.process() == (1, 2, ())
    for name, time in times.items():
        assert (source.root / "out" / name).stat().st_mtime_ns == time


def test_broken_rows_are_listed_and_the_others_written(
    source: Source, capsys: pytest.CaptureFixture[str]
) -> None:
    (source.images / "text.png").write_text("no picture", encoding="utf-8")
    source.annotate(
        [
            row("17/gone.png"),
            row("text.png"),
            row("17/a.png", (300, 10, 20, 20)),
            row("17/a.png", (10, 10, 0, 20)),
            row("17/a.png", expression="happy"),
            row("17/a.png", valence=""),
            row("17/a.png", expression=11),
            row("17/a.png", expression=-1),
            row("17/a.png", valence=5),
            row("17/a.png", valence=1e300),
            row("../secret.png"),
            row("/etc/secret.png"),
            row("17/\0.png"),
            row("n" * 300 + ".png"),
            row("17/a.png", (190, 110, 50, 50)),
        ]
    )
    photograph(source.images.parent / "secret.png")
    done = source.process()
    assert (done.written, done.already_there, len(done.broken)) == (1, 0, 14)
    for number, message in enumerate(
        ["gone.png: No such file", "text.png: not a picture", "holds nothing of the 200x120"]
    ):
        assert done.broken[number].startswith(f"row {number}: ")
        assert message in done.broken[number]
    shown = capsys.readouterr().err
    assert "14 of 15 rows gave no face" in shown
    assert all(line in shown for line in done.broken)
    assert len(source.written()) == 1
    done = source.process()
    assert (done.written, done.already_there, len(done.broken)) == (0, 1, 14)


def test_empty_file_is_replaced(source: Source) -> None:
    source.annotate([row("17/a.png")])
    source.process()
    (name,) = source.written()
    (source.root / "out" / name).write_bytes(b"")
    assert source.process().written == 1
    assert (source.root / "out" / name).stat().st_size > 500


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((None, "x", "x", 1), "base_path_to_images must be a path"),
        (("x", 3, "x", 1), "base_path_to_annotations must be a path"),
        (("x", "x", __file__, 1), "base_destination_path must be a folder"),
        (("x", "x", "x", 1.0), "set_index must be an int from 0 to 2"),
        (("x", "x", "x", True), "set_index must be an int from 0 to 2"),
    ],
)
def test_pre_process_names_wrong_arguments(arguments: Any, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        pre_process_affect_net(*arguments)


def test_images_may_all_lie_in_one_folder(source: Source) -> None:
    photograph(source.images / "flat.png")
    source.annotate([row("99/flat.png")])
    assert source.process().written == 1


@pytest.mark.parametrize(
    ("index", "file", "images", "folder"),
    [
        (
            0,
            "automatically_annotated.csv",
            "Automatically_Annotated_extracted",
            "Training_Unlabeled",
        ),
        (2, "validation.csv", "Manually_Annotated_extracted", "Validation"),
    ],
)
def test_other_sets(source: Source, index: int, file: str, images: str, folder: str) -> None:
    photograph(source.root / "images" / images / "17/c.png")
    source.annotate([row("17/c.png")], file)
    assert source.process(index).written == 1
    assert source.written()[0].startswith(folder)


def test_missing_inputs_create_nothing(source: Source) -> None:
    with pytest.raises(DataError, match=r"training\.csv: not a readable table"):
        source.process()
    source.annotate([])
    with pytest.raises(DataError, match=r"training\.csv: has no rows"):
        source.process()
    (source.root / "training.csv").write_text("face_x,face_y\n1,2\n", encoding="utf-8")
    with pytest.raises(DataError, match="lacks the column subDirectory_filePath, face_width"):
        source.process()
    with pytest.raises(DataError, match="Automatically_Annotated_extracted: no such folder"):
        source.process(0)
    with pytest.raises(OptionError, match="set_index must be an int from 0 to 2, but got 3"):
        source.process(3)
    assert not (source.root / "out").exists()


def face(root: Path, name: str, folder: str = "Training_Labeled/0") -> Path:
    path = root / folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.full((96, 96, 3), (10, 100, 200), np.uint8))
    return path


def test_labels_come_from_names_with_either_separator(tmp_path: Path) -> None:
    face(tmp_path, "0000001s7s-250s300.jpg")
    face(tmp_path, "0000002_0_1000_-1000.jpg")
    face(tmp_path, "0000003s9s-2000s-2000.jpg")  # uncertain: no emotion
    data = AffectNetCategorical(base_path_to_affectnet=tmp_path)
    assert data.emotions.tolist() == [7, 0]
    assert data.affect.tolist() == [[-0.25, pytest.approx(0.3)], [1, -1]]
    assert [AffectNetCategorical.get_class(i) for i in (0, 7)] == ["Neutral", "Contempt"]


def test_items_are_tensors_with_their_label(tmp_path: Path) -> None:
    face(tmp_path, "0000001s7s-250s300.jpg")
    plain = AffectNetCategorical(0, 10, None, False, tmp_path)
    image, label = plain[0]
    assert (image.shape, image.dtype, label) == ((3, 96, 96), torch.float32, 7)
    assert image.mean(dim=(1, 2)).tolist() == pytest.approx(
        [200 / 255, 100 / 255, 10 / 255], abs=0.02
    )
    normal, _ = AffectNetCategorical(base_path_to_affectnet=tmp_path)[0]
    assert float(normal[0].mean()) == pytest.approx((200 - 149.35457) / 69.18084, abs=0.05)
    _, affect = AffectNetDimensional(0, 10, None, False, tmp_path)[0]
    torch.testing.assert_close(affect, torch.tensor([-0.25, 0.3]))
    mirrored = AffectNetCategorical(0, 10, np.fliplr, False, tmp_path)
    torch.testing.assert_close(mirrored[0][0], image.flip(2))


def test_pytorch_data_loader(tmp_path: Path) -> None:
    for i in range(5):
        face(tmp_path, f"000000{i}s{i}s0s0.jpg")
    data = AffectNetCategorical(0, 10, None, False, tmp_path)
    images, labels = next(iter(DataLoader(data, batch_size=5)))
    assert images.shape == (5, 3, 96, 96)
    assert labels.tolist() == [0, 1, 2, 3, 4]


def test_labels_and_quadrants_are_drawn_evenly_by_seed(tmp_path: Path) -> None:
    folder = tmp_path / "Training_Labeled" / "3"
    folder.mkdir(parents=True)
    for i in range(60):
        valence = 500 if i < 40 else -500
        (folder / f"{i:07d}s{i % 3}s{valence}s100.jpg").touch()
    data = AffectNetCategorical(0, 5, base_path_to_affectnet=tmp_path)
    assert np.bincount(data.emotions).tolist() == [5, 5, 5]
    again = AffectNetCategorical(0, 5, base_path_to_affectnet=tmp_path)
    other = AffectNetCategorical(0, 5, base_path_to_affectnet=tmp_path, seed=1)
    assert data.paths == again.paths != other.paths
    quadrants = AffectNetDimensional(0, 30, base_path_to_affectnet=tmp_path)
    assert (quadrants.affect[:, 0] > 0).sum() == 30
    assert (quadrants.affect[:, 0] < 0).sum() == 20


def test_images_are_read_on_access(tmp_path: Path) -> None:
    """The files of the last test were empty; here one is read."""
    folder = tmp_path / "Training_Labeled" / "0"
    folder.mkdir(parents=True)
    (folder / "0000001s1s0s0.jpg").touch()
    data = AffectNetCategorical(base_path_to_affectnet=tmp_path)
    with pytest.raises(DataError, match=r"0000001s1s0s0\.jpg: not a picture"):
        data[0]
    with pytest.raises(IndexError):
        data[1]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("holiday.jpg", "a face must be named like"),
        ("0000001s11s0s0.jpg", "expression must be from 0 to 10, but is 11"),
        ("0000001s1s1001s0.jpg", "valence and arousal must be from -1000 to 1000"),
        ("0000001s1s0s-2000.jpg", "valence and arousal must be from -1000 to 1000"),
    ],
)
def test_names_that_carry_no_valid_labels(tmp_path: Path, name: str, message: str) -> None:
    face(tmp_path, name)
    with pytest.raises(DataError, match=message) as caught:
        AffectNetCategorical(base_path_to_affectnet=tmp_path)
    assert name in str(caught.value)


def test_missing_and_empty_folders(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="Training_Labeled: no such folder"):
        AffectNetCategorical(base_path_to_affectnet=tmp_path)
    (tmp_path / "Validation").mkdir()
    with pytest.raises(DataError, match="Validation: holds no face"):
        AffectNetDimensional(2, base_path_to_affectnet=tmp_path)


@pytest.mark.parametrize(
    "arguments",
    [{"idx_set": 3}, {"max_loaded_images_per_label": 0}, {"transforms": "flip"}],
)
def test_arguments_out_of_range(tmp_path: Path, arguments: dict[str, Any]) -> None:
    (name,) = arguments
    with pytest.raises(OptionError, match=f"{name} must be"):
        AffectNetCategorical(**arguments, base_path_to_affectnet=tmp_path)


def test_split_of_the_learner(tmp_path: Path) -> None:
    for i in range(4):
        face(tmp_path, f"000000{i}s{i}s{100 * i}s0.jpg", "Validation/0")
    split = open_split(tmp_path, "validation", "categorical")
    assert len(split) == 4
    assert split.emotions.argmax(axis=1).tolist() == [0, 1, 2, 3]
    assert split.affect[:, 0].tolist() == pytest.approx([0, 0.1, 0.2, 0.3])
    assert split.load([3, 1]).shape == (2, 96, 96, 3)
    assert len(split.subset(2)) == 2
    with pytest.raises(DataError, match="Training_Labeled: no such folder"):
        open_split(tmp_path, "training", "categorical")
    with pytest.raises(DataError, match="gone: no such data folder"):
        open_split(tmp_path / "gone", "training", "categorical")
