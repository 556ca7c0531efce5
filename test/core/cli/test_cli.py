"""The command `esr`, run as a process."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
from pathlib import Path
from typing import Callable

import cv2
import numpy as np
import pytest
from commands import esr, refusal
from numpy.typing import NDArray

from esr_core import LABELS

MakeFerPlus = Callable[[str, int], Path]


def test_image_as_json(tmp_path: Path, photo: Path) -> None:
    done = esr(tmp_path, "image", photo.name, "--json")
    assert (done.returncode, done.stderr) == (0, "")
    answer = json.loads(done.stdout)
    assert set(answer) == {"image", "faces"}
    assert answer["image"] == photo.name
    (face,) = answer["faces"]
    assert set(face) == {
        "box",
        "score",
        "label",
        "confidence",
        "probabilities",
        "valence",
        "arousal",
        "agreement",
    }
    np.testing.assert_allclose(face["box"], [178, 63, 89, 112], atol=8)
    assert face["label"] == "happy"
    assert list(face["probabilities"]) == list(LABELS)
    assert sum(face["probabilities"].values()) == pytest.approx(1, abs=1e-3)
    assert face["confidence"] == face["probabilities"]["happy"]
    assert -1 <= face["arousal"] <= 1
    assert 0 < face["valence"] <= 1
    assert 0.5 <= face["score"] <= 1
    assert 0.5 <= face["agreement"] <= 1


def test_image_as_a_table(tmp_path: Path, photo: Path) -> None:
    grey = tmp_path / "grey.png"
    cv2.imwrite(str(grey), np.full((100, 100, 3), 128, np.uint8))
    done = esr(tmp_path, "image", photo.name, grey.name)
    assert (done.returncode, done.stderr) == (0, "")
    assert "astronaut.png: 1 face" in done.stdout
    assert "happy" in done.stdout
    assert "grey.png: no faces" in done.stdout


def test_one_bad_file_among_several_does_not_stop_the_others(tmp_path: Path, photo: Path) -> None:
    (tmp_path / "notes.txt").write_text("no picture", encoding="utf-8")
    (tmp_path / "empty.jpg").touch()
    files = ("notes.txt", photo.name, "gone.png", "empty.jpg", photo.name)
    done = esr(tmp_path, "image", *files, "--json")
    assert [json.loads(line)["image"] for line in done.stdout.splitlines()] == [photo.name] * 2
    assert done.returncode == 2
    notes, gone, empty = done.stderr.splitlines()
    assert notes == "esr image: notes.txt: not a picture that can be read, such as JPEG or PNG"
    assert gone == "esr image: gone.png: No such file or directory"
    assert empty.startswith("esr image: empty.jpg: not a picture")


def test_faces_of_one_picture_do_not_affect_the_next(
    tmp_path: Path, photo: Path, rgb: NDArray[np.uint8]
) -> None:
    dark = tmp_path / "dark.png"
    cv2.imwrite(str(dark), (rgb[..., ::-1] * 0.35).astype(np.uint8))
    after = esr(tmp_path, "image", photo.name, dark.name, "--json").stdout.splitlines()[1]
    alone = esr(tmp_path, "image", dark.name, "--json").stdout
    assert json.loads(after) == json.loads(alone)


def test_annotated_pictures_are_saved(tmp_path: Path, photo: Path, rgb: NDArray[np.uint8]) -> None:
    done = esr(tmp_path, "image", photo.name, "--save", "new/folder", "--json")
    assert done.returncode == 0
    saved = cv2.imread(str(tmp_path / "new" / "folder" / "astronaut.png"))
    assert saved.shape == rgb.shape
    changed = (saved != rgb[..., ::-1]).any(axis=2).mean()
    assert 0.01 < changed < 0.5


def test_folder_to_save_into_that_is_a_file(tmp_path: Path, photo: Path) -> None:
    (tmp_path / "taken").touch()
    assert "taken" in refusal(esr(tmp_path, "image", photo.name, "--save", "taken", "--json"))


def test_truncated_picture(tmp_path: Path, rgb: NDArray[np.uint8]) -> None:
    _, content = cv2.imencode(".jpg", rgb)
    (tmp_path / "half.jpg").write_bytes(content.tobytes()[:9000])
    assert "half.jpg: not a picture" in refusal(esr(tmp_path, "image", "half.jpg"))


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("--model", "gone.onnx"), "gone.onnx: no such model file"),
        (("--detector", "opencv", "--detector-model", "yn.onnx"), "yn.onnx: no such file"),
        (("--detector", "opencv"), "needs detector_model"),
        (("--min-score", "0"), "min_score must be from 0.3 to 1, but got 0.0"),
        (("--detection-size-px", "9"), "detection_size_px must be from 64 to 4096"),
        (("--provider", "tensorrt"), "no provider 'tensorrt', only"),
    ],
)
def test_image_names_the_fault(
    tmp_path: Path, photo: Path, arguments: tuple[str, ...], text: str
) -> None:
    line = refusal(esr(tmp_path, "image", photo.name, *arguments))
    assert line.startswith("esr image: ")
    assert text in line


def test_model_that_is_not_onnx(tmp_path: Path, photo: Path) -> None:
    line = refusal(esr(tmp_path, "image", photo.name, "--model", photo.name))
    assert "astronaut.png: ONNX Runtime does not load it" in line


@pytest.mark.parametrize("arguments", [(), ("image",), ("dance",), ("image", "x", "--nonsense")])
def test_wrong_usage_returns_two(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    done = esr(tmp_path, *arguments)
    assert done.returncode == 2
    assert done.stdout == ""
    assert "error: " in done.stderr.splitlines()[-1]


def test_help_shows_the_commands_and_examples(tmp_path: Path) -> None:
    overall = esr(tmp_path, "--help")
    assert overall.returncode == 0
    for name in ("image", "evaluate", "train", "export"):
        assert name in overall.stdout
    assert "esr image group.jpg" in esr(tmp_path, "image", "--help").stdout


def test_each_command_has_examples_in_its_help(tmp_path: Path) -> None:
    for name in ("image", "video", "camera", "annotate", "report"):
        text = esr(tmp_path, name, "--help").stdout
        assert f"examples:\n  esr {name} " in text
        assert "--ask" not in text
        assert name == "report" or "--branches N|adaptive" in text


@pytest.mark.parametrize("flags", [("--json",), ()])
def test_closed_stdout_ends_without_a_message(
    tmp_path: Path, photo: Path, flags: tuple[str, ...]
) -> None:
    command = ["esr", "image", photo.name, *flags]
    with subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait() == 128 + signal.SIGPIPE


def test_another_broken_pipe_is_an_error(tmp_path: Path, photo: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: open(pipe, "rb").close())
    reader.start()
    done = esr(tmp_path, "image", photo.name, "--json", "--csv", "pipe")
    reader.join()
    assert refusal(done) == "esr image: pipe: Broken pipe"
    assert json.loads(done.stdout)["image"] == photo.name


@pytest.mark.parametrize("names", [["a.png"], ["one/b.png", "two/b.png"]])
def test_save_never_writes_over_a_picture(
    tmp_path: Path, rgb: NDArray[np.uint8], names: list[str]
) -> None:
    paths = [tmp_path / name for name in names]
    for path in paths:
        path.parent.mkdir(exist_ok=True)
        cv2.imwrite(str(path), rgb)
    before = [path.read_bytes() for path in paths]
    done = subprocess.run(
        ["esr", "image", *map(str, paths), "--save", str(tmp_path)], capture_output=True, text=True
    )
    assert done.returncode == 2
    assert "--save would" in done.stderr
    assert [path.read_bytes() for path in paths] == before


def test_download_from_a_server_of_ones_own(tmp_path: Path) -> None:
    (tmp_path / "server/demo").mkdir(parents=True)
    (tmp_path / "server/demo/sheldon.jpg").write_bytes(b"picture")
    url = f"file://{tmp_path}/server"
    done = esr(tmp_path, "download", "demo_image", "--to", "here", "--url", url, "--json")
    assert json.loads(done.stdout) == {"path": "here/demo/sheldon.jpg"}
    assert (tmp_path / "here/demo/sheldon.jpg").read_bytes() == b"picture"
