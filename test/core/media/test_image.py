"""Pictures in folders, and further flags of `esr image`; its JSON is tested in test_cli.py."""

from __future__ import annotations

import json
import os
import subprocess
import threading
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from commands import esr, refusal
from networks import lively
from numpy.typing import NDArray

from esr_core import LABELS, ImageError
from esr_core.inference.metadata import ModelMetadata
from esr_core.inference.onnx_model import default_model
from esr_core.media.image import find_pictures, read_image
from esr_core.media.records import FaceRecord, read_csv
from esr_core.network import checkpoint
from esr_core.network.onnx_export import export_fp32


def without_id(face: FaceRecord) -> dict[str, Any]:
    return {name: value for name, value in face.as_json().items() if name != "face_id"}


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


#: The note of a command about the other files of ``photos``.
LEFT_OUT = "esr image: photos: left out, as no pictures: notes.txt, within.png\n"


@pytest.fixture
def photos(tmp_path: Path, rgb: NDArray[np.uint8]) -> Path:
    """A folder with a face, an empty picture, and files that are no pictures."""
    folder = tmp_path / "photos"
    (folder / "within.png").mkdir(parents=True)
    assert cv2.imwrite(str(folder / "b.png"), rgb[..., ::-1])
    assert cv2.imwrite(str(folder / "a.JPG"), np.full((99, 99, 3), 128, np.uint8))
    (folder / ".hidden.png").touch()
    (folder / "notes.txt").touch()
    return folder


def test_pictures_of_a_folder_by_name(photos: Path) -> None:
    pictures, others = find_pictures(photos)
    assert [path.name for path in pictures] == ["a.JPG", "b.png"]
    assert [path.name for path in others] == ["notes.txt", "within.png"]
    with pytest.raises(ImageError, match=r"within\.png: no pictures in this folder"):
        find_pictures(photos / "within.png")


def test_folder_as_json_and_csv(tmp_path: Path, photos: Path) -> None:
    done = esr(tmp_path, "image", "photos", "photos/b.png", "--json", "--csv", "new/x.csv")
    assert (done.returncode, done.stderr) == (0, LEFT_OUT)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [each["image"] for each in lines] == ["photos/a.JPG", "photos/b.png", "photos/b.png"]
    frames = list(read_csv(tmp_path / "new" / "x.csv"))
    assert [(f.source, f.number, f.stamp_s) for f in frames] == [
        (each["image"], number, 0.0) for number, each in enumerate(lines)
    ]
    assert [[without_id(face) for face in f.faces] for f in frames] == [e["faces"] for e in lines]
    assert [face.face_id for f in frames for face in f.faces] == [1, 1]  # counted in each picture


@pytest.mark.parametrize("suffix", [".png", ".tiff", ".pgm"])
@pytest.mark.parametrize("bits", [8, 12, 16])
def test_pictures_of_16_bits_of_which_fewer_are_used(
    tmp_path: Path, rgb: NDArray[np.uint8], suffix: str, bits: int
) -> None:
    grey = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
    wide = grey.astype(np.uint16) * 257 >> (16 - bits)
    assert cv2.imwrite(str(tmp_path / f"wide{suffix}"), wide)
    np.testing.assert_array_equal(read_image(tmp_path / f"wide{suffix}"), np.dstack([grey] * 3))


def test_picture_of_12_bits_is_answered_as_one_of_8(
    tmp_path: Path, photos: Path, rgb: NDArray[np.uint8]
) -> None:
    wide = rgb[..., ::-1].astype(np.uint16) * 257 >> 4
    assert cv2.imwrite(str(tmp_path / "wide.png"), wide)
    done = esr(tmp_path, "image", "photos/b.png", "wide.png", "--json")
    ordinary, found = (json.loads(line)["faces"] for line in done.stdout.splitlines())
    assert found == ordinary
    assert [face["label"] for face in found] == ["happy"]


def test_box_of_a_face_at_the_border_stays_inside(tmp_path: Path, rgb: NDArray[np.uint8]) -> None:
    """Of a face that reaches over the left border and over the upper one."""
    assert cv2.imwrite(str(tmp_path / "cut.png"), rgb[95:300, 200:512, ::-1])
    done = esr(tmp_path, "image", "cut.png", "--json", "--csv", "x.csv")
    (face,) = json.loads(done.stdout)["faces"]
    (frame,) = read_csv(tmp_path / "x.csv")
    assert list(frame.faces[0].box) == face["box"]
    assert face["box"][:2] == [0.0, 0.0]
    assert 40 < face["box"][2] < 80
    assert 50 < face["box"][3] < 100


def test_picture_of_a_camera_that_is_mounted_sideways(
    tmp_path: Path, rgb: NDArray[np.uint8]
) -> None:
    """All values are those of the upright picture; box and annotated picture are as it came."""
    upright = np.ascontiguousarray(rgb[:400, :, ::-1])
    assert cv2.imwrite(str(tmp_path / "upright.png"), upright)
    assert cv2.imwrite(
        str(tmp_path / "left.png"), cv2.rotate(upright, cv2.ROTATE_90_COUNTERCLOCKWISE)
    )
    more = ("--show-branches", "--saliency", "why", "--json")
    (expected,) = json.loads(esr(tmp_path, "image", "upright.png", *more).stdout)["faces"]
    done = esr(tmp_path, "image", "left.png", *more, "--rotate", 90, "--save", ".", "--overwrite")
    assert "--save would overwrite left.png, which is read" in refusal(done)
    done = esr(tmp_path, "image", "left.png", *more, "--rotate", 90, "--save", "new")
    assert (done.returncode, done.stderr) == (0, "")
    (face,) = json.loads(done.stdout)["faces"]
    x, y, width, height = expected.pop("box")
    assert face.pop("box") == pytest.approx([y, 512 - x - width, height, width], abs=0.11)
    why, why_upright = (tmp_path / each.pop("saliency") for each in (face, expected))
    assert why.name == "left-face1.png"
    assert np.abs(read_image(why).astype(int) - read_image(why_upright))[60:].max() <= 3
    assert face == expected
    assert read_image(tmp_path / "new" / "left.png").shape == (512, 400, 3)
    refused = esr(tmp_path, "image", "left.png", "--rotate", 45)
    assert refused.returncode == 2
    assert "argument --rotate: invalid choice: 45 (choose from 0, 90, 180, 270)" in refused.stderr


def test_pictures_of_floats_are_refused(tmp_path: Path) -> None:
    assert cv2.imwrite(str(tmp_path / "x.tiff"), np.zeros((9, 9, 3), np.float32))
    with pytest.raises(ImageError, match=r"x\.tiff: has pixels of type float32; colour and grey"):
        read_image(tmp_path / "x.tiff")


def test_pictures_of_every_kind_that_opencv_reads(tmp_path: Path, photos: Path) -> None:
    jpeg = (photos / "a.JPG").read_bytes()
    for name in ("c.jfif", "d.JPE", "e", "f.dat"):
        (photos / name).write_bytes(jpeg)
    bgr = cv2.imread(str(photos / "a.JPG"))
    for ending in (".jp2", ".bmp", ".tiff", ".webp", ".ppm"):
        assert cv2.imwrite(str(photos / f"g{ending}"), bgr)
    (photos / "h.HEIC").write_bytes(b"\0\0\0\x18ftypheic" + bytes(200))
    (photos / "i.svg").write_text("<svg/>", encoding="ascii")
    done = esr(tmp_path, "image", "photos", "--json")
    assert done.returncode == 2
    answered = [Path(json.loads(line)["image"]).name for line in done.stdout.splitlines()]
    others = ["g.bmp", "g.jp2", "g.ppm", "g.tiff", "g.webp"]
    assert answered == ["a.JPG", "b.png", "c.jfif", "d.JPE", "e", "f.dat", *others]
    fault = "not a picture that can be read, such as JPEG or PNG"
    lines = [f"esr image: photos/{name}: {fault}" for name in ("h.HEIC", "i.svg")]
    assert done.stderr.splitlines() == [LEFT_OUT.strip(), *lines]


def test_further_pictures_of_a_file_are_counted(tmp_path: Path, rgb: NDArray[np.uint8]) -> None:
    assert cv2.imwritemulti(str(tmp_path / "scan.tiff"), [rgb[..., ::-1]] * 3)
    done = esr(tmp_path, "image", "scan.tiff", "--json")
    assert done.returncode == 0
    assert json.loads(done.stdout)["faces"][0]["label"] == "happy"
    note = "the first of its 3 pictures is processed, no other"
    assert done.stderr == f"esr image: scan.tiff: {note}\n"


def test_all_faces_of_a_group_or_their_number(tmp_path: Path, rgb: NDArray[np.uint8]) -> None:
    face = cv2.resize(rgb[0:260, 100:360, ::-1], (120, 120))
    cv2.imwrite(str(tmp_path / "group.png"), np.tile(face, (5, 8, 1)))
    done = esr(tmp_path, "image", "group.png", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    answer = json.loads(done.stdout)
    assert len(answer["faces"]) == 40
    assert "left_out" not in answer
    note = "esr image: group.png: 24 faces left out in 1 picture; max_faces is 16\n"
    done = esr(tmp_path, "image", "group.png", "--json", "--max-faces", 16)
    answer = json.loads(done.stdout)
    assert (len(answer["faces"]), answer["left_out"], done.stderr) == (16, 24, note)
    done = esr(tmp_path, "image", "group.png", "--max-faces", 16)
    assert "group.png: 16 of 40 faces" in done.stdout
    assert (done.returncode, done.stderr) == (0, note)


def test_folder_without_pictures_does_not_stop_the_others(tmp_path: Path, photos: Path) -> None:
    done = esr(tmp_path, "image", "photos/within.png", "photos/b.png", "--json")
    assert "photos/within.png: no pictures in this folder" in refusal(done)
    assert len(done.stdout.splitlines()) == 1


def test_a_dangling_link_and_a_damaged_raw_picture_are_errors(tmp_path: Path, photos: Path) -> None:
    (photos / "q.jpg").symlink_to("gone.jpg")
    (photos / "raw.dng").write_bytes(b"II*\0damaged")
    (photos / "nowhere").symlink_to("gone")
    (photos / "cut.gif").write_bytes(b"GIF89a\x50\0\x3c\0\xf7\0\0\1\2\3")
    done = esr(tmp_path, "image", "photos", "--json")
    assert done.returncode == 2
    assert "photos/q.jpg: No such file or directory" in done.stderr
    for name in ("raw.dng", "cut.gif"):
        assert f"photos/{name}: not a picture that can be read" in done.stderr
    assert all(line.startswith("esr image: ") for line in done.stderr.splitlines()), done.stderr
    assert "left out, as no pictures: notes.txt, nowhere, within.png" in done.stderr
    assert len(done.stdout.splitlines()) == 2


def test_votes_of_the_branches(tmp_path: Path, photos: Path) -> None:
    command = ("image", "photos/b.png", "--show-branches", "--branches", 1)
    (face,) = json.loads(esr(tmp_path, *command, "--json").stdout)["faces"]
    assert len(face["branches"]) == 9
    votes = [branch["label"] for branch in face["branches"]]
    assert face["agreement"] == pytest.approx(votes.count("happy") / 9, abs=1e-4)
    assert all(1 / 8 < branch["confidence"] <= 1 for branch in face["branches"])
    mean = np.mean([branch["confidence"] for branch in face["branches"]])
    assert face["confidence"] == pytest.approx(mean, abs=1e-3)
    shown = esr(tmp_path, *command).stdout
    assert all(len(line) <= 80 for line in shown.splitlines())
    rows = [line.split("│")[1:3] for line in shown.splitlines() if line.count("│") == 4]
    assert [(int(number), vote.strip()) for number, vote in rows] == list(enumerate(votes, 1))


def test_saliency_is_a_picture_for_each_face(tmp_path: Path, photos: Path) -> None:
    command = ("image", "photos", "--saliency", "why", "--json")
    done = esr(tmp_path, *command)
    assert (done.returncode, done.stderr) == (0, LEFT_OUT)
    (face,) = json.loads(done.stdout.splitlines()[1])["faces"]
    assert face["saliency"] == "why/b-face1.png"
    assert [path.name for path in (tmp_path / "why").iterdir()] == ["b-face1.png"]
    drawn = {(tmp_path / "why/b-face1.png").read_bytes()}
    for more in (("--fine",), ("--explain", "sad")):
        line = refusal(esr(tmp_path, *command, *more))
        assert "why/b-face1.png already exists; add --overwrite" in line
        assert esr(tmp_path, *command, *more, "--overwrite").returncode == 0
        drawn.add((tmp_path / "why/b-face1.png").read_bytes())
    assert len(drawn) == 2, "below 96 px all maps are fine"
    plain = esr(tmp_path, "image", "photos", "--json").stdout.splitlines()[1]
    del face["saliency"]
    assert json.loads(plain)["faces"] == [face]


def test_saliency_of_another_network(tmp_path: Path, photos: Path) -> None:
    network, metadata = lively(2, True), ModelMetadata("ESR*-2", 2, True)
    checkpoint.save(tmp_path / "two", network, metadata)
    export_fp32(network, metadata, tmp_path / "two.onnx")
    command = ("image", "photos/b.png", "--model", "two.onnx", "--saliency", "why", "--json")
    assert "--saliency needs --weights FOLDER too" in refusal(esr(tmp_path, *command))
    done = esr(tmp_path, *command, "--weights", "two", "--show-branches")
    (face,) = json.loads(done.stdout)["faces"]
    assert face["label"] in LABELS
    assert len(face["branches"]) == 2
    coarse = (tmp_path / face["saliency"]).read_bytes()
    more = ("--weights", "two", "--overwrite")
    assert esr(tmp_path, *command, *more, "--fine").returncode == 0
    assert (tmp_path / face["saliency"]).read_bytes() != coarse


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("--fine",), "--fine is for --saliency FOLDER only"),
        (("--explain", "sad"), "--explain is for --saliency FOLDER only"),
        (("--saliency", "why", "--weights", "gone"), "gone: no such folder, so no checkpoint"),
        (("--saliency", "photos/b.png"), "photos/b.png"),
        (("--csv", "photos/b.png"), "--csv would overwrite photos/b.png"),
        (("--csv", "mine.csv"), "--csv: mine.csv already exists; add --overwrite"),
        (("--save", "mine"), "--save: mine/b.png already exists; add --overwrite"),
        (("--csv", "/dev/full"), "/dev/full: No space left on device"),
    ],
)
def test_error_names_the_fault_and_nothing_changes(
    tmp_path: Path, photos: Path, arguments: tuple[str, ...], text: str
) -> None:
    (tmp_path / "mine.csv").write_text("mine")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "b.png").write_text("mine")
    before = contents(tmp_path)
    line = refusal(esr(tmp_path, "image", "photos/b.png", *arguments))
    assert line.startswith("esr image: ")
    assert text in line
    assert contents(tmp_path) == before


def test_saliency_never_writes_over_a_picture(tmp_path: Path, photos: Path) -> None:
    (photos / "b.png").rename(photos / "b-face1.png")
    (photos / "a.JPG").rename(photos / "b.jpg")
    line = refusal(esr(photos, "image", ".", "--saliency", "."))
    assert "--saliency would overwrite b-face1.png" in line
    (photos / "b-face1.png").rename(photos / "b-face2.png")  # if b.jpg had two faces
    line = refusal(esr(photos, "image", ".", "--saliency", ".", "--overwrite"))
    assert "--saliency would overwrite b-face2.png" in line


@pytest.mark.parametrize(
    "arguments",
    [
        ("--model", "net.onnx", "--csv", "net.onnx"),
        ("--model", "net.onnx", "--csv", "link.onnx"),
        ("--model", "link.onnx", "--csv", "net.onnx"),
        ("--detector-model", "net.onnx", "--csv", "net.onnx"),
        ("--weights", "two", "--saliency", "why", "--csv", "two/Net-Branch_1.pt"),
        ("--weights", "two", "--saliency", "why", "--csv", "two/esr-star-2.json"),
        ("--csv", default_model()),
    ],
)
def test_networks_are_never_written_over(
    tmp_path: Path, photos: Path, arguments: tuple[object, ...]
) -> None:
    (tmp_path / "net.onnx").write_text("a network")
    (tmp_path / "link.onnx").symlink_to("net.onnx")
    checkpoint.save(tmp_path / "two", lively(2, True), ModelMetadata("ESR*-2", 2, True))
    before = contents(tmp_path)
    overwrite = () if default_model() in arguments else ("--overwrite",)  # must never be lost
    line = refusal(esr(tmp_path, "image", "photos/b.png", *arguments, *overwrite))
    assert f"--csv would overwrite {arguments[-1]}, which is read; name another" in line
    assert contents(tmp_path) == before


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("--csv", "new/b.png", "--save", "new"), "--csv and --save would both write new/b.png"),
        (("--csv", "new/b.png", "--save", "also"), "--csv and --save would both write also/b.png"),
        (("--csv", "more", "--save", "more"), "--csv: more would be a file and a folder"),
        (("--csv", "new"), "--csv: new is a folder; name another"),
        (("--csv", "x/b-face2.png", "--saliency", "x"), "--csv and --saliency would both write x"),
    ],
)
def test_no_file_is_written_twice(
    tmp_path: Path, photos: Path, arguments: tuple[str, ...], text: str
) -> None:
    (tmp_path / "new").mkdir()
    (tmp_path / "also").symlink_to("new")
    before = contents(tmp_path)
    assert text in refusal(esr(tmp_path, "image", "photos/b.png", *arguments))
    assert contents(tmp_path) == before


def test_file_named_like_a_temporary_one_stays(tmp_path: Path, photos: Path) -> None:
    (tmp_path / "x.csv.part").write_text("precious")
    assert esr(tmp_path, "image", "photos/b.png", "--csv", "x.csv").returncode == 0
    assert (tmp_path / "x.csv.part").read_text() == "precious"


def test_without_pytorch_saliency_names_what_to_install(tmp_path: Path, photos: Path) -> None:
    (tmp_path / "torch.py").write_text("raise ModuleNotFoundError('no torch', name='torch')")
    done = subprocess.run(
        ["esr", "image", "photos/b.png", "--saliency", "why"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": f"{tmp_path}:{os.environ['PYTHONPATH']}"},
        capture_output=True,
        text=True,
    )
    assert "esr image: torch is not installed; run 'make setup-test'" in refusal(done)
    assert not (tmp_path / "why").exists()


@pytest.mark.parametrize("place", ["/dev/stderr", "/dev/fd/2"])
def test_csv_into_an_open_stream(tmp_path: Path, photos: Path, place: str) -> None:
    log = tmp_path / "log"
    log.write_text("before\n")
    with open(log, "a", encoding="utf-8") as stream:
        command = ["esr", "image", "photos/b.png", "--csv", place]
        subprocess.run(command, cwd=tmp_path, stderr=stream, stdout=subprocess.DEVNULL, check=True)
        stream.write("after\n")
    first, heads, row, last = log.read_text(encoding="utf-8").splitlines()
    assert (first, last) == ("before", "after")
    assert heads.startswith("source,number")
    assert row.startswith("photos/b.png,0")


def test_named_pipe_is_read_once(tmp_path: Path, rgb: NDArray[np.uint8]) -> None:
    os.mkfifo(tmp_path / "pipe")
    content = cv2.imencode(".png", rgb)[1].tobytes()
    threading.Thread(target=lambda: (tmp_path / "pipe").write_bytes(content)).start()
    command = ["esr", "image", "pipe", "--json"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    assert json.loads(done.stdout)["image"] == "pipe"
