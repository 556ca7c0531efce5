"""Own faces: folders of emotions and CSV files; the pictures are made up."""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from esr_core import LABELS
from esr_core.data import own_faces
from esr_core.data.dataset import open_evaluation, open_splits
from esr_core.data.own_faces import OwnFaces, read
from esr_core.errors import DataError
from esr_core.inference.metadata import PUBLISHED_INPUT, ModelMetadata
from esr_core.perception.preprocessing import InputSpec

GREY = InputSpec()
VOTES = ",".join(LABELS)


def picture(path: Path, number: int = 0, height: int = 48, width: int = 48) -> Path:
    """Write a picture of noise that depends on the number."""
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(number).integers(0, 256, (height, width, 3), np.uint8)
    assert cv2.imwrite(str(path), noise)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Ten happy and five sad faces, named in upper case too; their bytes decide about the split."""
    for i in range(10):
        picture(tmp_path / "faces" / "Happy" / f"{i}.bmp", i)
    for i in range(10, 15):
        picture(tmp_path / "faces" / "sad" / f"{i}.bmp", i)
    return tmp_path / "faces"


def table(folder: Path, *lines: str, name: str = "faces.csv") -> Path:
    for i in range(4):
        picture(folder / "pictures" / f"{i}.png", i)
    path = folder / name
    path.write_text("\n".join(lines) + "\n", encoding="utf-8-sig")  # as spreadsheets write it
    return path


def test_folders_are_split_by_emotion_and_content(folder: Path) -> None:
    training, validation = open_splits(folder, GREY)
    assert (training.name, training.spec, training.derives_affect) == ("own", GREY, True)
    counts = [np.bincount(each.emotions.argmax(axis=1)).tolist() for each in (training, validation)]
    assert counts == [[0, 9, 4], [0, 1, 1]]
    for old in sorted((folder / "Happy").iterdir(), reverse=True):
        old.rename(old.with_name(f"x{9 - int(old.stem)}.bmp"))
    again = open_splits(folder, GREY)[1]
    first, second = ({face.tobytes() for face in each.load([0, 1])} for each in (validation, again))
    assert first == second
    assert len(open_evaluation(folder, ModelMetadata("n", 1))) == 15
    own = ModelMetadata("n", 1, record={"data": "own"})
    assert len(open_evaluation(folder, own)) == 2


def test_faces_stay_in_their_split_when_others_are_added(tmp_path: Path) -> None:
    def split(count: int) -> list[set[bytes]]:
        for i in range(count):
            picture(tmp_path / LABELS[i % 2] / f"{i}.png", i)
        return [{face.tobytes() for face in each.images} for each in open_splits(tmp_path, GREY)]

    trained, validated = split(60)
    more_trained, more_validated = split(120)
    assert trained < more_trained
    assert validated < more_validated
    assert 12 <= len(more_validated) <= 36


def test_each_split_has_an_emotion_of_two_faces(tmp_path: Path) -> None:
    for label in range(8):
        picture(tmp_path / LABELS[label] / "a.png", 2 * label)
        picture(tmp_path / LABELS[label] / "b.png", 2 * label + 1)
    training, validation = open_splits(tmp_path, GREY)
    assert len(training) == len(validation) == 8


def test_split_of_ones_own(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for i in range(4):
        picture(tmp_path / "train" / LABELS[i] / f"{i}.png", i)
    picture(tmp_path / "valid" / "happy" / "a.png", 9)
    picture(tmp_path / "valid" / "happy" / "b.png", 1)  # is in train too
    picture(tmp_path / "test" / "happy" / "c.png", 8)
    picture(tmp_path / "Train" / "sad" / "5.png", 5)
    (tmp_path / "valid" / "sad").mkdir()
    (tmp_path / "train" / "sad" / "notes.txt").write_text("faces")
    training, validation = open_splits(tmp_path, GREY)
    assert (len(training), len(validation)) == (5, 2)
    log = caplog.text
    assert f"{tmp_path}: pictures in both splits: 1, such as " in log
    assert f"{tmp_path / 'test'} and 1 more left out: no picture in a folder of an emotion" in log
    assert "no face to train on of fear, disgust, anger, contempt" in log
    assert len(open_evaluation(tmp_path, ModelMetadata("n", 1))) == 2


def test_pictures_have_the_form_of_the_network(tmp_path: Path) -> None:
    picture(tmp_path / "fear" / "a.png", 0, 120, 100)
    picture(tmp_path / "fear" / "b.png", 1, 48, 48)
    grey, colour = read(tmp_path, GREY), read(tmp_path, PUBLISHED_INPUT)
    assert grey.load([0, 1]).shape == (2, 48, 48)
    assert colour.load([0]).shape == (1, 96, 96, 3)
    bgr = cv2.imread(str(tmp_path / "fear" / "b.png"))
    assert np.array_equal(grey.images[1], cv2.cvtColor(bgr, cv2.COLOR_BGR2GRAY))
    larger = cv2.resize(bgr[..., ::-1], (96, 96), interpolation=cv2.INTER_LINEAR_EXACT)
    assert np.array_equal(colour.images[1], larger)


def test_stretched_pictures_are_reported(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    picture(tmp_path / "fear" / "a.png", 0, 120, 100)
    read(tmp_path, GREY)
    assert f"{tmp_path}: 1 of 1 pictures not square; they are stretched" in caplog.text


def test_table_with_votes_and_a_split(tmp_path: Path) -> None:
    path = table(
        tmp_path,
        f"Path,Split,{VOTES},annotator",
        "pictures/0.png,train,2,2,0,0,0,0,0,0,x",
        "pictures/1.png,valid,0,3,1,0,0,0,0,0,y",
        "pictures/2.png,valid,1,1,0,0,0,0,0,0,z",
        "pictures/3.png,train,0,0,0,0,0,0,0,1,z,,",
    )
    training, validation = open_splits(path, GREY)
    assert np.array_equal(training.emotions[0], [0.5, 0.5, 0, 0, 0, 0, 0, 0])
    assert training.derives_affect
    assert len(validation) == 1  # the other one has no majority
    assert validation.emotions.argmax() == 1
    assert len(open_splits(tmp_path, GREY, labels="majority")[0]) == 1  # found in its folder


def test_table_with_valence_and_arousal(tmp_path: Path) -> None:
    path = table(
        tmp_path,
        "path,label,valence,arousal",
        "pictures/0.png,HAPPY,0.5,-0.25",
        f"{tmp_path}/pictures/1.png,sad,-1,1",
        name="mine.csv",
    )
    faces = read(path, GREY)
    assert not faces.derives_affect
    assert faces.affect.tolist() == [[0.5, -0.25], [-1, 1]]
    assert faces.subset(1).affect.shape == (1, 2)


@pytest.mark.parametrize(
    ("lines", "texts"),
    [
        (("file,label",), ["faces.csv: must have the columns path, and either label or one for "]),
        (("path,happy,sad",), ["but has path, happy, sad"]),
        (("path,label,valence",), ["must have valence and arousal, or neither of them"]),
        (("path,label",), ["holds no faces; it must have a folder for each emotion"]),
        (
            ("path,label", "pictures/0.png,joy", "gone.png,sad", ",sad"),
            [
                "3 faults; nothing was done",
                "faces.csv, line 2: label 'joy'; allowed are neutral, happy",
                "faces.csv, line 3: gone.png: no such file",
                "faces.csv, line 4: has no path",
            ],
        ),
        (("path,label", "pictures/0.png"), ["line 2: label ''; allowed"]),
        (
            ("path,label,Label,", "pictures/0.png,sad,fear,"),
            ["faces.csv: has several columns label"],
        ),
        (
            (f"path,{VOTES}", "pictures/0.png,0,5,0,5,0,0,0,0,0,0"),  # 0,5 for a half
            ["line 2: has more cells than the first line"],
        ),
        (
            (f"path,{VOTES}", "pictures/0.png,1,-1,0,0,0,0,0,0"),
            ["1 fault;", "line 2: happy must be from 0 to 1e+09, but is '-1'"],
        ),
        ((f"path,{VOTES}", "pictures/0.png,1,x,0,0,0,0,0,0"), ["but is 'x'"]),
        ((f"path,{VOTES}", "pictures/0.png,1,nan,0,0,0,0,0,0"), ["but is 'nan'"]),
        ((f"path,{VOTES}", "pictures/0.png,0,0,0,0,0,0,0,0"), ["line 2: all votes are 0"]),
        (
            ("path,label,valence,arousal", "pictures/0.png,sad,1.5,0"),
            ["valence must be from -1 to 1, but is '1.5'"],
        ),
        (
            ("path,label,split", "pictures/0.png,sad,test"),
            ["split must be train or valid, but is 'test'"],
        ),
        (
            ("path,label", *["gone.png,sad"] * 9),
            ["9 faults", "line 6: gone.png: no such file\n  and 4 more"],
        ),
    ],
)
def test_table_that_is_wrong(tmp_path: Path, lines: tuple[str, ...], texts: list[str]) -> None:
    table(tmp_path, *lines)
    with pytest.raises(DataError) as caught:
        read(tmp_path, GREY)
    assert [text for text in texts if text not in str(caught.value)] == []


def test_pictures_that_cannot_be_used(tmp_path: Path, folder: Path) -> None:
    (folder / "sad" / "text.jpg").write_text("no picture")
    picture(folder / "sad" / "tiny.png", 0, 19, 40)
    with pytest.raises(DataError) as caught:
        open_splits(folder, GREY)
    first, *rest = str(caught.value).splitlines()
    assert first == f"{folder}: 2 faults; nothing was done"
    assert rest[0].startswith(f"  {folder / 'sad' / 'text.jpg'}: not a picture")
    assert rest[1] == f"  {folder / 'sad' / 'tiny.png'}: 40x19 px, but at least 20 px are needed"


def test_folder_of_no_emotion(folder: Path) -> None:
    (folder / "joy").mkdir()
    (folder / "rage").mkdir()
    with pytest.raises(DataError, match=r"folder joy, rage; allowed are neutral, happy, sad"):
        read(folder, GREY)


def test_folder_without_faces(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no faces; it must have a folder for each emotion"):
        open_splits(tmp_path, GREY)
    with pytest.raises(DataError, match=r"gone\.csv: No such file"):
        open_splits(tmp_path / "gone.csv", GREY)
    picture(tmp_path / "valid" / "sad" / "a.png")
    assert len(open_evaluation(tmp_path, ModelMetadata("n", 1))) == 1
    with pytest.raises(DataError, match="has no faces to train on"):
        open_splits(tmp_path, GREY)


def test_too_many_faces_for_the_memory(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(own_faces, "LARGEST_BYTES", 48 * 48 * 10)
    with pytest.raises(DataError, match="15 faces, but at most 10 of this size are kept in memory"):
        read(folder, GREY)


def test_one_face_of_each_emotion(tmp_path: Path) -> None:
    picture(tmp_path / "sad" / "a.png", 0)
    picture(tmp_path / "fear" / "a.png", 1)
    os.mkfifo(tmp_path / "sad" / "pipe")  # has no end
    with pytest.raises(DataError, match="has no faces for validation; it needs an emotion with"):
        open_splits(tmp_path, GREY)
    assert len(open_evaluation(tmp_path, ModelMetadata("n", 1))) == 2


def test_very_small_votes(tmp_path: Path) -> None:
    table(tmp_path, f"path,{VOTES}", "pictures/0.png,1e-300,0,3e-300,0,0,0,0,0")
    assert read(tmp_path, GREY).emotions[0, :3] == pytest.approx([0.25, 0, 0.75])


def test_without_a_majority(tmp_path: Path) -> None:
    table(tmp_path, f"path,{VOTES}", "pictures/0.png,1,1,0,0,0,0,0,0")
    faces = read(tmp_path, GREY)
    assert isinstance(faces, OwnFaces)
    with pytest.raises(DataError, match="none of 1 faces has an emotion with most of the votes"):
        faces.with_majority()


def test_pictures_beside_and_below_the_folders_are_reported(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    picture(tmp_path / "happy" / "a.png")
    picture(tmp_path / "b.png", 1)
    picture(tmp_path / "sad" / "monday" / "c.png", 2)
    assert len(read(tmp_path, GREY)) == 1
    assert f"{tmp_path / 'b.png'} and 1 more left out" in caplog.text
