"""File names that are not UTF-8, in every place where a command takes one."""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
import videos
from commands import esr, refusal
from numpy.typing import NDArray

from esr_core.cli import parser
from esr_core.file_names import as_utf8, native_path
from esr_core.inference.onnx_model import default_model

NAME = os.fsdecode(b"caf\xe9")


@pytest.fixture
def folder(tmp_path: Path, photo: Path, rgb: NDArray) -> Path:
    """A folder of that name, with a picture, a video and a network of that name."""
    folder = tmp_path / NAME
    folder.mkdir()
    shutil.copy(photo, folder / f"{NAME}.png")
    videos.write(tmp_path / "x.mp4", videos.moved(rgb, 3)).rename(folder / f"{NAME}.mp4")
    shutil.copy(default_model(), folder / f"{NAME}.onnx")
    shutil.copy(default_model().with_name("yunet.onnx"), folder / f"{NAME}-yunet.onnx")
    return folder


def test_native_path_is_the_own_name_or_a_link(tmp_path: Path) -> None:
    (tmp_path / "é.txt").write_text("plain", encoding="ascii")
    (tmp_path / f"{NAME}.txt").write_text("odd", encoding="ascii")
    with native_path(tmp_path / "é.txt") as name:
        assert name == str(tmp_path / "é.txt")
    with native_path(tmp_path / f"{NAME}.txt") as name:
        assert Path(name.encode("utf-8").decode("utf-8")).read_text(encoding="ascii") == "odd"
        assert name.endswith(".txt")
    assert not Path(name).parent.exists()
    assert as_utf8(NAME) == "caf\\udce9"


def test_videos_and_pictures_are_read_and_written(folder: Path) -> None:
    done = esr(folder, "video", f"{NAME}.mp4", "--json", "--csv", f"{NAME}.csv", "--save", NAME)
    assert (done.returncode, done.stderr) == (0, "")
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["video"] for line in lines] == [f"{NAME}.mp4"] * 3
    assert (folder / NAME / f"{NAME}.mp4").stat().st_size > 1000
    with open(folder / f"{NAME}.csv", encoding="utf-8", newline="") as stream:
        assert {row["source"] for row in csv.DictReader(stream)} == {"caf\\udce9.mp4"}
    assert esr(folder, "report", f"{NAME}.csv", "-o", f"{NAME}.html").returncode == 0
    assert esr(folder, "camera", f"{NAME}.mp4", "--json", "--no-window").returncode == 0
    networks = ("--model", f"{NAME}.onnx", "--detector-model", f"{NAME}-yunet.onnx")
    done = esr(folder, "image", ".", "--json", "--save", NAME, *networks)
    assert json.loads(done.stdout)["faces"][0]["label"] == "happy"
    assert (folder / NAME / f"{NAME}.png").is_file()


@pytest.mark.parametrize(
    "environment",
    [
        {"PYTHONIOENCODING": "ascii"},
        {"PYTHONIOENCODING": "utf-8:strict"},
        {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    ],
)
def test_tables_are_printed_in_every_encoding(folder: Path, environment: dict[str, str]) -> None:
    done = subprocess.run(
        ["esr", "image", f"{NAME}.png"],
        cwd=folder,
        env={**os.environ, **environment},
        capture_output=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.startswith(b"caf\\udce9.png: 1 face")


#: An input that is missing, for every command.
MISSING: list[tuple[str, ...]] = [
    ("video", f"{NAME}.mkv"),
    ("camera", f"{NAME}.mkv"),
    ("camera", f"rtsp://127.0.0.1:1/{NAME}"),
    ("image", f"{NAME}.png", "--model", f"{NAME}.txt"),
    ("image", f"{NAME}.png", "--detector-model", f"{NAME}.txt"),
    ("report", f"{NAME}.txt"),
    ("evaluate", "--data", f"{NAME}.npz.xz"),
    ("calibrate", f"{NAME}.d", "--data", f"{NAME}.npz.xz"),
    ("card", f"{NAME}.onnx", "--data", f"{NAME}.npz.xz"),
    ("export", f"{NAME}.d", f"{NAME}2.onnx"),
    ("train", "--config", f"{NAME}.yaml"),
    ("train", "--data", f"{NAME}.d", "--out", "out"),
    ("annotate", f"{NAME}.d"),
    ("bench", "--model", f"{NAME}.txt"),
    ("download", "demo_image", "--url", f"file:///{NAME}"),
]


@pytest.mark.parametrize("arguments", MISSING)
def test_missing_inputs_are_named(folder: Path, arguments: tuple[str, ...]) -> None:
    """docs/recordings.md: one form of notes and exit codes for all commands."""
    line = refusal(esr(folder, *arguments))
    assert line.startswith(f"esr {arguments[0]}: ")
    assert "caf\\udce9" in line


def test_every_command_is_among_them() -> None:
    (commands,) = (each for each in parser()._actions if each.dest == "command")
    assert {words[0] for words in MISSING} == set(commands.choices or ())
