"""The command `esr`, run as a process."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import threading
from pathlib import Path
from typing import Any, Callable

import cv2
import numpy as np
import pytest
import torch
from commands import esr, refusal
from networks import lively
from numpy.typing import NDArray

from esr_core import LABELS, load_model
from esr_core.evaluation.robustness import DISTURBANCES
from esr_core.inference.metadata import ModelMetadata
from esr_core.network import checkpoint
from esr_core.network.esr import ESR
from esr_core.perception.preprocessing import InputSpec

MakeFerPlus = Callable[[str, int], Path]


@pytest.fixture
def photo(tmp_path: Path, rgb: NDArray[np.uint8]) -> Path:
    path = tmp_path / "astronaut.png"
    assert cv2.imwrite(str(path), rgb[..., ::-1])
    return path


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    torch.manual_seed(1)
    network = ESR(1)
    metadata = ModelMetadata(network.name, 1, input=InputSpec(size_px=56))
    checkpoint.save(tmp_path / "weights", network, metadata)
    return tmp_path / "weights"


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
    line = refusal(done)
    assert "notes.txt: not a picture that can be read, such as JPEG or PNG" in line
    assert "gone.png: No such file or directory" in line
    assert "empty.jpg: not a picture" in line


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
        (("--detector", "opencv"), "face_detection_yunet_2023mar.onnx"),
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


def test_evaluate_as_json(tmp_path: Path, weights: Path, make_ferplus: MakeFerPlus) -> None:
    data = make_ferplus("valid.npz.xz", 16)
    assert esr(tmp_path, "export", weights, "net.onnx").returncode == 0
    done = esr(tmp_path, "evaluate", "--data", data, "--model", "net.onnx", "--json")
    assert done.returncode == 0
    answer = json.loads(done.stdout)
    assert answer["n"] == 16
    assert set(answer["recall"]) == set(LABELS)
    assert 0 <= answer["accuracy"] <= 1
    assert {"accuracy_vote", "ece"} <= set(answer)


def test_evaluate_counts_branches_and_robustness(tmp_path: Path, make_ferplus: MakeFerPlus) -> None:
    data = make_ferplus("valid.npz.xz", 8)
    torch.manual_seed(1)
    checkpoint.save(
        tmp_path / "two", ESR(2), ModelMetadata("ESR-2", 2, input=InputSpec(size_px=56))
    )
    assert esr(tmp_path, "export", "two", "net.onnx").returncode == 0
    for model in ("two", "net.onnx"):
        done = esr(tmp_path, "evaluate", "--data", data, "--model", model, "--robustness", "--json")
        assert done.returncode == 0, done.stderr
        answer = json.loads(done.stdout)
        assert len(answer["nested"]) == 2
        assert answer["nested"][1] == answer["accuracy"] == answer["robustness"]["accuracy"]
        assert set(DISTURBANCES) < set(answer["robustness"])
    shown = esr(tmp_path, "evaluate", "--data", data, "--model", "net.onnx").stdout
    assert "accuracy of the first 1, 2, … branches: " in shown
    assert shown.count("(without targets of 0)") == 2


def test_calibrate_notes_a_temperature_that_all_else_uses(
    tmp_path: Path, weights: Path, make_ferplus: MakeFerPlus
) -> None:
    data = make_ferplus("valid.npz.xz", 24)
    before = checkpoint.load(weights)
    done = esr(tmp_path, "calibrate", weights, "--data", data, "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    network, metadata = checkpoint.load(weights)
    assert metadata.temperature == told["temperature"] != 1.0
    assert metadata.record["calibration"] == {
        name: told[name] for name in ("ece_before", "ece", "faces", "branches_asked")
    }
    assert metadata.lead == told["lead"]
    for old, new in zip(before[0].to_state_dict(), network.to_state_dict()):
        assert all(torch.equal(old[key], new[key]) for key in old)
    assert esr(tmp_path, "export", weights, "net.onnx").returncode == 0
    assert load_model(tmp_path / "net.onnx").metadata.temperature == told["temperature"]
    for model in (weights, "net.onnx"):
        done = esr(tmp_path, "evaluate", "--data", data, "--model", model, "--json")
        assert json.loads(done.stdout)["ece"] == pytest.approx(told["ece"], abs=2e-4)
    again = json.loads(esr(tmp_path, "calibrate", weights, "--data", data, "--json").stdout)
    assert again == told  # not relative to the last one
    shown = esr(tmp_path, "calibrate", weights, "--data", data).stdout
    assert f"temperature {told['temperature']:.3f} saved in " in shown


def test_branches_take_turns(tmp_path: Path, make_ferplus: MakeFerPlus) -> None:
    network, data = lively(3, False), make_ferplus("valid.npz.xz", 24)
    checkpoint.save(
        tmp_path / "three",
        network,
        ModelMetadata("ESR-3", 3, input=InputSpec(size_px=56), lead=0.1),
    )
    assert esr(tmp_path, "export", "three", "net.onnx").returncode == 0

    def evaluated(*options: str) -> dict[str, Any]:
        done = esr(tmp_path, "evaluate", "--data", data, "--model", "net.onnx", "--json", *options)
        assert done.returncode == 0, done.stderr
        told: dict[str, Any] = json.loads(done.stdout)
        return told

    everyone = evaluated()
    assert evaluated("--branches", "1")["accuracy"] == everyone["nested"][0]
    assert evaluated("--branches", "2")["branches_asked"] == 2
    assert evaluated("--branches", "3")["branches_asked"] == 3
    done = esr(tmp_path, "evaluate", "--data", data, "--model", "net.onnx", "--branches", "4")
    line = "--branches must be adaptive, or from 1 to 3 for ESR-3, but got 4"
    assert refusal(done) == f"esr evaluate: {line}"
    adaptive = evaluated("--branches", "adaptive")
    assert 1 <= adaptive["branches_asked"] < 3
    shown = esr(
        tmp_path, "evaluate", "--data", data, "--model", "net.onnx", "--branches", "adaptive"
    ).stdout
    assert f"{adaptive['branches_asked']:.2f} of 3 branches evaluated per face" in shown
    assert esr(tmp_path, "card", "net.onnx", "--data", data).returncode == 0
    card = " ".join((tmp_path / "net.md").read_text(encoding="utf-8").split())
    assert f"(`branches: adaptive`), {adaptive['branches_asked']:.2f} of 3 branches" in card


@pytest.mark.parametrize(("model", "data"), [("net.md", "x.npz"), ("net.onnx", "net.md")])
def test_card_never_takes_the_place_of_what_it_is_of(tmp_path: Path, model: str, data: str) -> None:
    (tmp_path / "net.md").write_text("a network, or faces")
    line = refusal(esr(tmp_path, "card", model, "--data", data))
    assert "the card would overwrite net.md, which is read" in line
    assert (tmp_path / "net.md").read_text() == "a network, or faces"


@pytest.mark.parametrize("branches", ["0", "-1", "all", "1.5"])
def test_branches_that_cannot_be_asked(tmp_path: Path, branches: str) -> None:
    done = esr(tmp_path, "evaluate", "--data", "x.npz", "--branches", branches)
    assert done.returncode == 2
    assert "must be adaptive, or a whole number from 1 on" in done.stderr


def test_branches_of_a_folder_of_weights(
    tmp_path: Path, weights: Path, make_ferplus: MakeFerPlus
) -> None:
    data = make_ferplus("valid.npz.xz", 8)
    done = esr(tmp_path, "evaluate", "--data", data, "--model", weights, "--branches", "1")
    assert done.returncode == 2
    assert "--branches needs an .onnx file" in done.stderr


def test_card_says_what_evaluate_says(
    tmp_path: Path, weights: Path, make_ferplus: MakeFerPlus
) -> None:
    data = make_ferplus("valid.npz.xz", 24)
    assert esr(tmp_path, "calibrate", weights, "--data", data).returncode == 0
    assert esr(tmp_path, "export", weights, "net.onnx", "--int8", data).returncode == 0
    done = esr(tmp_path, "card", "net.onnx", "--data", data, "--fp32", weights, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"files": ["net.md", "net-confusion.png"]}
    card = (tmp_path / "net.md").read_text(encoding="utf-8")
    done = esr(tmp_path, "evaluate", "--data", data, "--model", "net.onnx", "--json")
    report = json.loads(done.stdout)
    fp32 = json.loads(
        esr(tmp_path, "evaluate", "--data", data, "--model", weights, "--json").stdout
    )
    assert f"| by vote | {report['accuracy_vote']:.2%} | {fp32['accuracy_vote']:.2%} |" in card
    for label, value in report["recall"].items():
        assert f"| {label} | 3 | {value:.1%} |" in card
    assert "targets of exactly 0 are excluded" in card
    for name in ("valence", "arousal"):
        affect = report[name]
        assert f"| {name} | {affect['rmse']:.3f} | {affect['sign_agreement']:.1%} |" in card
    assert "Derived, not annotated" in card
    assert "must not be used" in card
    picture = cv2.imread(str(tmp_path / "net-confusion.png"))
    assert picture is not None
    assert picture.shape[0] > 400
    assert "None" not in card
    assert "nan" not in card


def test_card_of_the_network_that_ships(tmp_path: Path, make_ferplus: MakeFerPlus) -> None:
    shutil.copy(load_model().path, tmp_path / "net.onnx")
    done = esr(tmp_path, "card", "net.onnx", "--data", make_ferplus("valid.npz.xz", 8))
    assert (done.returncode, done.stdout.split()) == (0, ["net.md", "net-confusion.png"])


def test_export_of_half_precision(tmp_path: Path, weights: Path) -> None:
    done = esr(tmp_path, "export", weights, "half", "--fp16", "--json")
    assert done.returncode == 0, done.stderr
    network, metadata = checkpoint.load(tmp_path / "half")
    exact, described = checkpoint.load(weights)
    assert metadata == described
    assert network.base.conv1.weight.dtype == torch.float32  # type: ignore[union-attr]
    for mine, theirs in zip(network.parameters(), exact.parameters()):
        torch.testing.assert_close(mine, theirs, atol=1e-3, rtol=1e-3)
    sizes = [
        sum(f.stat().st_size for f in folder.glob("*.pt"))
        for folder in (tmp_path / "half", weights)
    ]
    assert sizes[0] < 0.52 * sizes[1]
    assert esr(tmp_path, "export", "half", "net.onnx", "--fp16").returncode == 0
    assert load_model(tmp_path / "net.onnx").metadata == metadata


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("net.onnx", "--symmetric"), "--symmetric is a form of INT8; it needs --int8 DATA"),
        (("half",), "half must end in .onnx, or be a folder for weights with --fp16"),
        (("weights", "--fp16"), "OUT would overwrite weights/"),
        (("linked", "--fp16"), "OUT would overwrite linked/"),
        (("link.onnx", "--int8", "data.onnx"), "OUT would overwrite link.onnx, which is read"),
        (("data.onnx", "--int8", "data.onnx"), "OUT would overwrite data.onnx, which is read"),
        (("folder.onnx",), "OUT: folder.onnx is a folder"),
    ],
)
def test_export_of_what_makes_no_sense(
    tmp_path: Path, weights: Path, arguments: tuple[str, ...], text: str
) -> None:
    (tmp_path / "data.onnx").write_text("faces")
    (tmp_path / "link.onnx").symlink_to("data.onnx")
    (tmp_path / "folder.onnx").mkdir()
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked" / checkpoint.BASE_FILE).symlink_to(weights / checkpoint.BASE_FILE)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert text in refusal(esr(tmp_path, "export", "weights", *arguments))
    after = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert after == before


@pytest.mark.parametrize(
    ("content", "text"),
    [(None, "no such file; FER+ is not part"), (b"junk", "not a readable .npz")],
)
def test_evaluate_names_data_that_it_cannot_read(
    tmp_path: Path, content: bytes | None, text: str
) -> None:
    if content is not None:
        (tmp_path / "valid.npz").write_bytes(content)
    line = refusal(esr(tmp_path, "evaluate", "--data", "valid.npz", "--json"))
    assert line.startswith("esr evaluate: valid.npz: ")
    assert text in line


def test_evaluate_without_a_single_usable_image(tmp_path: Path) -> None:
    images, votes = np.zeros((2, 48, 48), np.uint8), np.zeros((2, 10), np.uint8)
    np.savez(tmp_path / "nobody.npz", images=images, votes=votes)
    line = refusal(esr(tmp_path, "evaluate", "--data", "nobody.npz", "--json"))
    assert "nobody.npz" in line


@pytest.fixture
def data(tmp_path: Path, make_ferplus: MakeFerPlus) -> Path:
    """A folder with FER+ in it."""
    for name in ("train.npz.xz", "valid.npz.xz"):
        make_ferplus(name, 24)
    return tmp_path


def trained(folder: Path, *more: object) -> subprocess.CompletedProcess[str]:
    tiny = ("--data", folder, "--branches", 1, "--stages", "54x1", "--batch-size", 8)
    return esr(folder, "train", *tiny, *more)


def test_train_evaluate_export(tmp_path: Path, data: Path) -> None:
    done = trained(tmp_path, "--out", "out", "--images", 16, "--json")
    assert done.returncode == 0, done.stderr
    report: dict[str, Any] = json.loads(done.stdout)
    assert report["n"] == 24
    _, metadata = checkpoint.load(tmp_path / "out")
    assert metadata.record["training_images"] == 16
    done = esr(tmp_path, "evaluate", "--data", data, "--model", "out", "--json")
    assert json.loads(done.stdout) == report
    calibration = data / "train.npz.xz"
    done = esr(tmp_path, "export", "out", "sub/net.onnx", "--int8", calibration, "--json")
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert answer["file"] == "sub/net.onnx"
    assert answer["name"] == "ESR-1-ferplus"
    assert answer["size_mb"] == pytest.approx((tmp_path / "sub/net.onnx").stat().st_size / 1e6)
    assert load_model(tmp_path / "sub/net.onnx").metadata == metadata
    assert [path.name for path in (tmp_path / "sub").iterdir()] == ["net.onnx"]


def test_train_by_a_file_that_flags_override(tmp_path: Path, data: Path) -> None:
    (tmp_path / "my.yaml").write_text(
        f"data: {data}\nout: out\nbranches: 1\nstages: [54x3]\nbatch_size: 8\nseed: 5\n"
        "method: affect\nheads_only: true\naugmentation: {flip: 0.25}\n",
        encoding="utf-8",
    )
    more = ("--stages", "54x1", "--heads-only", "false", "--blur", "0")
    done = esr(tmp_path, "train", "--config", "my.yaml", *more)
    assert done.returncode == 0, done.stderr
    recipe = checkpoint.load(tmp_path / "out")[1].record["recipe"]
    assert (recipe["seed"], recipe["stages"]) == (5, ["54x1"])
    assert (recipe["method"], recipe["heads_only"]) == ("affect", False)
    views = recipe["augmentation"]
    assert (views["flip"], views["blur"], views["erase"]) == (0.25, 0, 0.3)


def test_train_goes_on_or_begins_anew_only_when_told(tmp_path: Path, data: Path) -> None:
    assert trained(tmp_path, "--out", "out").returncode == 0
    line = refusal(trained(tmp_path, "--out", "out", "--seed", 9, "--json"))
    assert "another training (seed was 1, now 9); use another --out, or start over with" in line
    assert trained(tmp_path, "--out", "out", "--seed", 9, "--fresh").returncode == 0


def test_train_never_writes_over_what_it_starts_from(
    tmp_path: Path, data: Path, weights: Path
) -> None:
    before = {path: path.read_bytes() for path in weights.iterdir()}
    done = trained(tmp_path, "--start", "weights", "--out", weights, "--fresh")
    assert "--out would overwrite " in refusal(done)
    assert {path: path.read_bytes() for path in weights.iterdir()} == before


@pytest.mark.parametrize(
    ("more", "text"),
    [
        (
            ("--stages", "big"),
            "SIZExEPOCHS such as 56x4, with a size from 54 to 1024 px and 1 to 10000 epochs, "
            "but got 'big'",
        ),
        (("--branches", 0), "branches must be from 1 to 64, but got 0"),
        (("--batch-size", 0), "batch_size must be from 1"),
        (("--images", "none"), "images must be a whole number from 1 on, but got 'none'"),
        (("--config", "gone.yaml"), "gone.yaml: not a readable YAML file"),
        (("--data", "nowhere"), "nowhere: no such data folder"),
        (("--start", "nowhere"), "nowhere: no such folder, so no checkpoint"),
    ],
)
def test_train_says_what_is_wrong(
    tmp_path: Path, data: Path, more: tuple[object, ...], text: str
) -> None:
    done = trained(tmp_path, "--out", "out", *more)
    assert done.returncode == 2
    last = done.stderr.splitlines()[-1]
    assert last.startswith("esr train: ")
    assert text in last
    assert not (tmp_path / "out").exists()


def test_train_needs_data_and_a_place(tmp_path: Path) -> None:
    assert "--data is needed, or 'data:' in the --config file" in refusal(esr(tmp_path, "train"))


def test_export_of_a_folder_without_weights(tmp_path: Path) -> None:
    line = refusal(esr(tmp_path, "export", "nowhere", "net.onnx"))
    assert line == "esr export: nowhere: no such folder, so no checkpoint"
    assert list(tmp_path.iterdir()) == []


def test_export_onto_a_path_that_cannot_be(tmp_path: Path, weights: Path) -> None:
    (tmp_path / "file").touch()
    assert "file" in refusal(esr(tmp_path, "export", weights, "file/net.onnx"))


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


def test_download_with_another_hash_leaves_nothing(tmp_path: Path) -> None:
    there = tmp_path / "server/face_detection_yunet/face_detection_yunet_2023mar.onnx"
    there.parent.mkdir(parents=True)
    there.write_bytes(b"another file")
    url = f"file://{tmp_path}/server"
    line = refusal(esr(tmp_path, "download", "face_detector", "--to", "here", "--url", url))
    assert "does not match the known hash: expected 8f2383e4" in line
    assert [path for path in (tmp_path / "here").rglob("*") if path.is_file()] == []


@pytest.mark.parametrize("device", ["cuda", "gpu", "cuda:x", "meta"])
def test_device_that_is_not_here(tmp_path: Path, data: Path, device: str) -> None:
    if device == "cuda" and torch.cuda.is_available():
        device = "cuda:99"
    done = trained(data, "--out", "out", "--device", device)
    assert "device must be" in refusal(done)
