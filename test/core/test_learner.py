"""The learner, called as scripts for the published one call it."""

from __future__ import annotations

import inspect
import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, Callable

import cv2
import numpy as np
import onnx
import published
import pytest
import torch
from numpy.typing import NDArray

from esr_core import (
    DownloadError,
    EmotionPipeline,
    FacialEmotionLearner,
    Image,
    ImageError,
    ModelError,
    OptionError,
    PipelineOptions,
)
from esr_core.data.dataset import open_split, open_splits
from esr_core.inference.metadata import PUBLISHED_INPUT, ModelMetadata
from esr_core.network import checkpoint
from esr_core.network.esr import ESR
from esr_core.perception.preprocessing import InputSpec, crop

MakeFerPlus = Callable[[str, int], Path]

ARGUMENTS = {
    "lr": 0.1,
    "batch_size": 32,
    "temp_path": "temp",
    "device": "cuda",
    "device_ind": [0],
    "validation_interval": 1,
    "max_training_epoch": 2,
    "momentum": 0.9,
    "ensemble_size": 9,
    "base_path_experiment": "./experiments/",
    "name_experiment": "esr_9",
    "dimensional_finetune": True,
    "categorical_train": False,
    "base_path_to_dataset": "./data/AffectNet",
    "max_tuning_epoch": 1,
    "diversify": False,
}


@pytest.fixture
def affectnet(tmp_path: Path) -> Path:
    """A small tree in AffectNet's form: the colour stands for one of two emotions."""
    random = np.random.default_rng(0)
    for folder, count in (("Training_Labeled", 8), ("Validation", 6)):
        for i in range(count):
            face = random.integers(0, 60, (96, 96, 3)).astype(np.uint8)
            face[..., i % 2] += 150
            path = tmp_path / f"data/{folder}/0/{i:07d}s{1 + i % 2}s{500 - i % 2 * 900}s{100}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(path), face)
    return tmp_path / "data"


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., FacialEmotionLearner]:
    def learner(**changes: Any) -> FacialEmotionLearner:
        small = {
            "device": "cpu",
            "batch_size": 4,
            "temp_path": str(tmp_path / "temp"),
            "base_path_experiment": str(tmp_path / "experiments"),
            "base_path_to_dataset": str(tmp_path / "data"),
        }
        return FacialEmotionLearner(**{**small, **changes})

    return learner


Make = Callable[..., FacialEmotionLearner]


def faces(count: int) -> torch.Tensor:
    return torch.rand(count, 3, 96, 96, generator=torch.Generator().manual_seed(8))


def test_constructor_and_methods_have_the_published_arguments() -> None:
    parameters = inspect.signature(FacialEmotionLearner).parameters
    positional = {n: p.default for n, p in parameters.items() if p.kind is not p.KEYWORD_ONLY}
    assert list(positional.items()) == list(ARGUMENTS.items())

    def named(method: str) -> dict[str, Any]:
        parameters = inspect.signature(getattr(FacialEmotionLearner, method)).parameters
        return {n: p.default for n, p in parameters.items() if n != "self"}

    empty = inspect.Parameter.empty
    assert named("fit") == {"verbose": True}
    assert named("eval") == {"eval_type": "categorical", "current_branch_on_training": 0}
    assert named("init_model") == {"num_branches": empty}
    assert named("infer") == {"input_batch": empty, "boxes": None}
    assert list(named("save")) == ["state_dicts", "base_path_to_save_model", "verbose"]
    assert named("load") == {
        "ensemble_size": 9,
        "path_to_saved_network": "./trained_models/esr_9",
        "file_name_base_network": "Net-Base-Shared_Representations.pt",
        "file_name_conv_branch": "Net-Branch_{}.pt",
        "fix_backbone": True,
    }
    assert named("optimize") == {"do_constant_folding": False}
    assert list(named("download")) == ["path", "mode", "url"]


@pytest.mark.parametrize(
    ("branches", "diversified"), [(9, False), (15, False), (9, True), (15, True)]
)
def test_published_checkpoints_answer_as_the_published_network(
    tmp_path: Path, make: Make, branches: int, diversified: bool
) -> None:
    folder = tmp_path / "trained_models"
    parts = published.write(folder, branches, diversified)
    learner = make(ensemble_size=branches, diversify=diversified)
    learner.load(branches, str(folder))
    x = faces(3)
    with torch.inference_mode():
        emotions, affect = published.forward(parts, x)
        scores = learner.model.eval()(x)  # type: ignore[union-attr]
    torch.testing.assert_close(scores.emotions, emotions, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(scores.affect, affect, rtol=1e-5, atol=1e-5)
    mean = emotions.softmax(dim=2).mean(dim=0).numpy()
    for step in ("torch", "onnx"):
        if step == "onnx":
            learner.optimize(do_constant_folding=diversified)
            assert learner.ort_session is not None
        categories, va = learner.infer(x)
        probabilities = np.stack([category.probabilities for category in categories])
        np.testing.assert_allclose(probabilities, mean, atol=1e-5)
        np.testing.assert_allclose(va, affect.mean(dim=0).numpy(), atol=1e-5)
        for category, row in zip(categories, mean):
            assert category.prediction == category.data == row.argmax()
            assert category.confidence == pytest.approx(row.max(), abs=1e-5)
    assert np.ptp(mean, axis=1).min() > 0.003


def test_optimized_network_is_saved_and_loaded(tmp_path: Path, make: Make) -> None:
    learner = make()
    learner.init_model(num_branches=2)
    before = learner.infer(faces(2))
    learner.optimize()
    learner.save([], str(tmp_path / "saved"))
    assert sorted(p.name for p in (tmp_path / "saved").iterdir()) == ["esr_9.json", "esr_9.onnx"]
    description = json.loads((tmp_path / "saved/esr_9.json").read_text(encoding="utf-8"))
    assert (description["optimized"], description["format"]) == (True, "onnx")
    other = make()
    other.load(2, tmp_path / "saved")
    assert other.model is None
    assert other.ort_session is not None
    after = other.infer(faces(2))
    np.testing.assert_allclose(after[1], before[1], atol=1e-5)
    assert [c.description for c in after[0]] == [c.description for c in before[0]]
    onnx.checker.check_model(str(tmp_path / "saved/esr_9.onnx"))
    with pytest.raises(ModelError, match="has 2 branches, not 9"):
        other.load(9, tmp_path / "saved")
    with pytest.raises(ModelError, match="already optimized"):
        other.optimize()
    with open(tmp_path / "saved/esr_9.onnx", "ab") as file:
        file.write(b"\x32\0")  # an empty field more
    with pytest.raises(ModelError, match=r"esr_9\.onnx: damaged or replaced: its SHA-256"):
        other.load(2, tmp_path / "saved")


def test_saved_weights_come_back(tmp_path: Path, make: Make) -> None:
    learner = make(name_experiment="mine")
    learner.init_model(3)
    assert learner.model is not None
    learner.save(learner.model.to_state_dict(), tmp_path / "saved", verbose=False)
    other = make(name_experiment="mine")
    other.load(3, tmp_path / "saved")
    torch.testing.assert_close(other.model.state_dict(), learner.model.state_dict())  # type: ignore[union-attr]
    other.load(2, tmp_path / "saved")
    assert other.model.get_ensemble_size() == 2  # type: ignore[union-attr]
    with pytest.raises(ModelError, match="diversify=False, but this learner has diversify=True"):
        make(name_experiment="mine", diversify=True).load(3, tmp_path / "saved")


def as_inputs() -> dict[str, Any]:
    """The same two colour pictures in every form that infer takes."""
    random = np.random.default_rng(4)
    small = random.integers(0, 256, (2, 12, 12, 3)).astype(np.uint8)
    rgb = np.stack([cv2.resize(one, (96, 96)) for one in small])
    chw = np.moveaxis(rgb, 3, 1).copy()
    return {
        "list of images": [Image(one) for one in rgb],
        "array (n, h, w, 3)": rgb,
        "array (n, 3, h, w)": chw,
        "list of arrays": list(rgb),
        "tensor of bytes": torch.from_numpy(chw),
        "tensor of floats": torch.from_numpy(chw).float() / 255,
        "array of floats": (chw / 255).astype(np.float32),
        "list of tensors": list(torch.from_numpy(chw).float() / 255),
    }


@pytest.mark.parametrize("form", as_inputs())
def test_infer_takes_images_in_every_form(make: Make, form: str) -> None:
    learner = make()
    learner.init_model(2)
    expected_categories, expected = learner.infer(as_inputs()["tensor of floats"])
    categories, affect = learner.infer(as_inputs()[form])
    np.testing.assert_allclose(affect, expected, atol=1e-5)
    assert affect.shape == (2, 2)
    for category, other in zip(categories, expected_categories):
        np.testing.assert_allclose(category.probabilities, other.probabilities, atol=1e-5)
        assert category.probabilities.sum() == pytest.approx(1, abs=1e-5)
        assert category.confidence == category.probabilities[category.prediction]
        assert category.description in {
            "Neutral", "Happy", "Sad", "Surprise", "Fear", "Disgust", "Anger", "Contempt"
        }  # fmt: skip


def test_infer_with_boxes_crops_as_the_pipeline(
    tmp_path: Path, make: Make, rgb: NDArray[np.uint8]
) -> None:
    published.write(tmp_path / "net", 2, False)
    learner = make(ensemble_size=2)
    learner.load(2, tmp_path / "net")
    assert learner.metadata is not None
    learner.metadata = replace(learner.metadata, input=InputSpec(margin=1.22, shift_y=0.05))
    learner.optimize()
    options = PipelineOptions(smoothing_s=0.0, branches=2)
    (face,) = EmotionPipeline(options, model=learner.ort_session).step(rgb, 0.0)
    for image in (rgb, Image(rgb)):
        (category,), affect = learner.infer(image, boxes=[face.box])
        np.testing.assert_allclose(category.probabilities, face.probabilities, atol=1e-6)
        assert affect[0].tolist() == pytest.approx([face.valence, face.arousal], abs=1e-5)
    framed = crop(rgb, np.array([face.box]), learner.metadata.input)
    assert learner.infer(framed)[0][0].confidence == pytest.approx(category.confidence, abs=1e-6)
    x1, y1, x2, y2 = face.box.clip(0).astype(int)
    tight = learner.infer(rgb[y1:y2, x1:x2])[0][0]
    assert np.abs(tight.probabilities - category.probabilities).max() > 1e-4
    assert learner.infer(rgb, boxes=[])[0] == []
    assert len(learner.infer(rgb, boxes=np.stack([face.box] * 3))[0]) == 3


@pytest.mark.parametrize("boxes", [[1, 2, 3, 4], [[1, 2, 3]], [[0, 0, np.nan, 9]]])
def test_boxes_that_infer_refuses(make: Make, rgb: NDArray[np.uint8], boxes: Any) -> None:
    learner = make()
    learner.init_model(1)
    with pytest.raises(ImageError, match="boxes must be"):
        learner.infer(rgb, boxes=boxes)
    with pytest.raises(ImageError, match=r"the image uint8, but got \(1, 4\) and float64"):
        learner.infer(rgb / 255, boxes=[[0, 0, 9, 9]])


def test_one_image_and_none(tmp_path: Path, make: Make) -> None:
    learner = make()
    learner.init_model(1)
    cv2.imwrite(str(tmp_path / "x.png"), np.full((30, 40, 3), 90, np.uint8))
    for one in (Image.open(tmp_path / "x.png"), np.zeros((50, 60), np.uint8), faces(1)[0]):
        categories, affect = learner.infer(one)
        assert (len(categories), affect.shape) == (1, (1, 2))
    categories, affect = learner.infer([])
    assert (categories, affect.shape) == ([], (0, 2))


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (torch.full((1, 3, 96, 96), torch.nan), "image 1 of 1 holds values that are not finite"),
        ([faces(1)[0], faces(1)[0] * 255], "image 2 of 2 holds floats up to 25.*pass it as uint8"),
        (torch.rand(3, 48, 48), r"must be uint8, or \(3, 96, 96\) float"),
        (np.zeros((96, 96, 4), np.uint8), r"must be \(h, w\), \(h, w, 3\) or \(3, h, w\), but is"),
        (np.zeros((0, 9, 3), np.uint8), r"must be \(h, w\)"),
        (torch.zeros(3, 96, 96, dtype=torch.int64), "must be uint8, or"),
        ("face.jpg", "must be an Image, an array or a tensor, or a list of such, but is a str"),
        ([None], "but is a NoneType"),
    ],
)
def test_images_that_infer_refuses(make: Make, images: Any, message: str) -> None:
    learner = make()
    learner.init_model(1)
    with pytest.raises(ImageError, match=message):
        learner.infer(images)


@pytest.mark.parametrize("onnx_runtime", [False, True])
def test_eval_returns_the_published_keys_and_the_metrics(
    make: Make, affectnet: Path, onnx_runtime: bool
) -> None:
    learner = make()
    learner.init_model(3)
    if onnx_runtime:
        learner.optimize()
        learner.model = None  # what is measured can only be the optimized network
    result = learner.eval("categorical", current_branch_on_training=1)
    assert len(result["running_emotion_corrects"]) == 4
    assert len(result["running_emotion_loss"]) == 3
    assert result["running_emotion_corrects"][2] == 0
    assert all(0 <= count <= 6 for count in result["running_emotion_corrects"])
    assert min(result["running_emotion_loss"][:2]) > 0
    assert result["running_emotion_loss"][2] == 0
    assert result["valence_arousal_losses"] == [[], []]
    for key in ("accuracy", "accuracy_vote", "recall", "confusion", "macro_f1", "ece"):
        assert key in result
    result = learner.eval("dimensional", 2)
    for losses in result["valence_arousal_losses"]:
        assert len(losses) == 4
        assert min(losses) > 0
    for key in ("valence", "arousal"):
        assert set(result[key]) == {"rmse", "ccc", "pearson", "sign_agreement"}


def test_eval_against_explicit_formulas(tmp_path: Path, make: Make, affectnet: Path) -> None:
    parts = published.write(tmp_path / "net", 2, False)
    learner = make()
    learner.load(2, tmp_path / "net")
    split = open_split(affectnet, "validation", "categorical")
    x = torch.from_numpy(split.load(range(6))).permute(0, 3, 1, 2).float() / 255
    emotions, affect = published.forward(parts, x)
    labels = torch.from_numpy(split.emotions).argmax(1)
    result = learner.eval("categorical", 1)
    for k in range(2):
        loss = torch.nn.functional.cross_entropy(emotions[k], labels)
        assert result["running_emotion_loss"][k] == pytest.approx(float(loss), rel=1e-4)
        right = int((emotions[k].argmax(1) == labels).sum())
        assert result["running_emotion_corrects"][k] == right
    result = learner.eval("dimensional", 1)
    true = torch.from_numpy(split.affect)
    for d in range(2):
        estimates = [affect[0], affect[1], affect.mean(0)]
        expected = [float((one[:, d] - true[:, d]).square().mean().sqrt()) for one in estimates]
        assert result["valence_arousal_losses"][d] == pytest.approx(expected, rel=1e-4)


def test_fit_from_start_to_end(tmp_path: Path, make: Make, affectnet: Path) -> None:
    learner = make(categorical_train=True, ensemble_size=2, max_training_epoch=2, lr=0.01)
    figures = learner.fit(verbose=False)
    assert figures["n"] == 6
    experiment = tmp_path / "experiments/esr_9"
    for kind, columns in (
        ("categorical", {"loss_2", "accuracy_2", "valid_accuracy", "valid_loss_2"}),
        ("dimensional", {"valid_valence_rmse", "valid_arousal_rmse_2"}),
    ):
        header = (experiment / kind / "history.csv").read_text(encoding="utf-8").split("\n")[0]
        assert columns <= set(header.split(","))
        assert cv2.imread(str(experiment / kind / "curves.png")).std() > 10
    assert sorted(p.name for p in (experiment / "trained_models").iterdir()) == [
        "Net-Base-Shared_Representations.pt",
        "Net-Branch_1.pt",
        "Net-Branch_2.pt",
        "esr_9.json",
    ]
    # The dimensional stage trained the last layers of the categorical one's best, nothing else.
    first = checkpoint.load(experiment / "categorical", "esr_9")[0].state_dict()
    last = checkpoint.load(experiment / "trained_models", "esr_9")[0].state_dict()
    changed = {name for name in first if not torch.equal(first[name], last[name])}
    assert changed
    assert all("fc_dimensional" in name for name in changed)
    torch.testing.assert_close(dict(learner.model.state_dict()), dict(last))  # type: ignore[union-attr]
    again = make()
    again.load(2, experiment / "trained_models")
    assert again.eval("dimensional", 1)["n"] == 6


def test_fine_tuning_what_was_loaded_with_the_backbone(
    tmp_path: Path, make: Make, affectnet: Path
) -> None:
    parts = published.write(tmp_path / "net", 2, True)
    learner = make(diversify=True, max_training_epoch=1, lr=0.01)
    learner.load(2, tmp_path / "net", fix_backbone=False)
    learner.fit(verbose=False)
    after = learner.model.to_state_dict()  # type: ignore[union-attr]
    assert not torch.equal(after[0]["conv1.weight"], parts[0]["conv1.weight"])
    assert not torch.equal(after[1]["fc_dimensional.weight"], parts[1]["fc_dimensional.weight"])


def test_fine_tuning_keeps_the_input_of_what_was_loaded(
    tmp_path: Path, make: Make, affectnet: Path
) -> None:
    spec = InputSpec(size_px=64, grey=True, detail_px=48)
    checkpoint.save(tmp_path / "net", ESR(2), ModelMetadata("ESR-2", 2, input=spec), "esr_9")
    learner = make(max_training_epoch=1, lr=0.01)
    learner.load(2, tmp_path / "net")
    learner.fit(verbose=False)
    assert learner.metadata is not None
    framed = replace(spec, margin=PUBLISHED_INPUT.margin)  # as AffectNet's faces are
    assert (learner.metadata.input, learner.metadata.affect) == (framed, "learned")
    training, _ = open_splits(affectnet, spec, "dimensional")
    assert training.load([0, 1]).shape == (2, 48, 48)


def test_affect_that_was_not_trained_is_derived(make: Make, affectnet: Path) -> None:
    learner = make(
        categorical_train=True, dimensional_finetune=False, ensemble_size=1, max_training_epoch=1
    )
    learner.fit(verbose=False)
    assert learner.metadata is not None
    assert learner.metadata.affect == "derived"


FIT = {
    "batch_size": 4,
    "ensemble_size": 2,
    "categorical_train": True,
    "max_training_epoch": 1,
    "lr": 0.01,
}


def test_killed_fit_resumes_to_the_same_weights(
    tmp_path: Path, make: Make, affectnet: Path
) -> None:
    whole, broken = tmp_path / "whole/esr_9", tmp_path / "broken/esr_9"
    make(**FIT, base_path_experiment=str(whole.parent)).fit(verbose=False)
    paths = {"base_path_experiment": str(broken.parent), "base_path_to_dataset": str(affectnet)}
    program = (
        "from esr_core import FacialEmotionLearner;"
        f"FacialEmotionLearner(device='cpu', **{ {**FIT, **paths} }).fit(verbose=False)"
    )
    with subprocess.Popen([sys.executable, "-c", program]) as process:
        while not (broken / "categorical/state.pt").exists():
            assert process.poll() is None
            time.sleep(0.01)
        process.kill()
    assert not (broken / "trained_models").exists()
    make(**FIT, base_path_experiment=str(broken.parent)).fit(verbose=False)
    for kind in ("categorical", "dimensional", "trained_models"):
        one, two = (checkpoint.load(e / kind, "esr_9")[0].state_dict() for e in (whole, broken))
        torch.testing.assert_close(dict(two), dict(one), rtol=0, atol=0)


def test_fit_with_ferplus(tmp_path: Path, make: Make, make_ferplus: MakeFerPlus) -> None:
    for name in ("train.npz.xz", "valid.npz.xz"):
        make_ferplus(name, 16)
    learner = make(
        base_path_to_dataset=tmp_path,
        categorical_train=True,
        dimensional_finetune=False,
        ensemble_size=1,
        max_training_epoch=1,
        labels="probability",
    )
    learner.fit(verbose=False)
    assert learner.metadata is not None
    assert learner.metadata.input.grey
    assert learner.eval()["n"] == 16


def test_fit_without_a_stage_or_weights(tmp_path: Path, make: Make, affectnet: Path) -> None:
    with pytest.raises(OptionError, match="nothing to fit"):
        make(dimensional_finetune=False).fit()
    with pytest.raises(OptionError, match="dimensional_finetune needs trained weights"):
        make().fit()
    assert not (tmp_path / "experiments").exists()


def test_methods_that_need_a_network(tmp_path: Path, make: Make) -> None:
    learner = make()
    for call in (
        lambda: learner.infer(faces(1)),
        learner.eval,
        learner.optimize,
        lambda: learner.save([{}], tmp_path),
    ):
        with pytest.raises(ModelError, match=r"call init_model\(\), load\(\) or fit\(\) first"):
            call()


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [
        ("lr", 0, "a number from 1e-08 to 100"),
        ("lr", "fast", "a number"),
        ("lr", float("nan"), "a number"),
        ("batch_size", 0, "an int from 1"),
        ("batch_size", 2.5, "an int"),
        ("batch_size", True, "an int"),
        ("temp_path", "", "a path"),
        ("device", "tpu", "one of cpu, cuda"),
        ("device_ind", 1.5, "a list of GPU indices"),
        ("device_ind", [-1], "an int from 0"),
        ("name_experiment", "..", "without folders"),
        ("temp_path", "a\0b", "a path"),
        ("temp_path", __file__, "a folder"),
        ("base_path_experiment", __file__ + "/deeper", "a folder"),
        ("name_experiment", "n" * 201, "200 bytes"),
        ("lr", np.complex64(0.1), "a number"),
        ("validation_interval", 0, "an int from 1"),
        ("max_training_epoch", -1, "an int from 1"),
        ("momentum", 1.0, "a number from 0 to 0.9999"),
        ("ensemble_size", 0, "an int from 1 to 64"),
        ("base_path_experiment", None, "a path"),
        ("name_experiment", "a/b", "the name of a file, without folders"),
        ("dimensional_finetune", 1, "True or False"),
        ("categorical_train", "yes", "True or False"),
        ("base_path_to_dataset", 3, "a path"),
        ("max_tuning_epoch", 0, "an int from 1"),
        ("diversify", None, "True or False"),
        ("labels", "soft", "one of majority, probability, cross_entropy"),
        ("seed", -1, "an int from 0"),
    ],
)
def test_constructor_checks_its_arguments(make: Make, name: str, value: Any, allowed: str) -> None:
    with pytest.raises(ValueError, match=name) as caught:
        make(**{name: value})
    assert allowed in str(caught.value)
    assert repr(value) in str(caught.value) or repr(value[0]) in str(caught.value)


def test_cuda_without_a_device() -> None:
    program = """
from esr_core import FacialEmotionLearner
try:
    FacialEmotionLearner(device="cuda")
except ValueError as error:
    print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},  # so that there is none on any machine
        check=True,
    )
    assert "device must be 'cpu' here, but got 'cuda': no CUDA" in done.stdout


def test_methods_check_their_arguments_too(tmp_path: Path, make: Make, affectnet: Path) -> None:
    learner = make()
    learner.init_model(2)
    for call, message in (
        (lambda: learner.init_model(0), "num_branches must be an int from 1 to 64, but got 0"),
        (lambda: learner.eval("both"), "eval_type must be one of categorical, dimensional"),
        (lambda: learner.eval("categorical", 2), "current_branch_on_training must be an int from"),
        (lambda: learner.load("nine"), "ensemble_size must be an int"),  # type: ignore[arg-type]
        (lambda: learner.load(9, tmp_path, "a/b.pt"), "file_name_base_network must be the name"),
        (lambda: learner.load(9, tmp_path, "b.pt", "x.pt"), "file_name_conv_branch must hold {}"),
        (lambda: learner.load(9, tmp_path, fix_backbone=1), "fix_backbone must be True or False"),  # type: ignore[arg-type]
        (lambda: learner.optimize("yes"), "do_constant_folding must be True or False"),  # type: ignore[arg-type]
        (lambda: learner.fit(verbose=2), "verbose must be True or False"),  # type: ignore[arg-type]
        (lambda: learner.save("x", tmp_path), "returns it, but is a str"),  # type: ignore[arg-type]
        (lambda: learner.save([], tmp_path), "returns it, but is an empty list"),
        (lambda: learner.download(mode="all"), "mode must be one of data, pretrained"),
    ):
        with pytest.raises(ValueError, match=message.replace("{}", r"\{\}")):
            call()


def test_load_of_missing_or_damaged_files(tmp_path: Path, make: Make) -> None:
    with pytest.raises(ModelError, match="gone: no such folder"):
        make().load(9, tmp_path / "gone")
    published.write(tmp_path / "net", 2, False)
    learner = make()
    learner.init_model(2)
    before = learner.model
    with pytest.raises(ModelError, match=r"Net-Branch_3\.pt: no such file; 9 branches are needed"):
        learner.load(9, tmp_path / "net")
    (tmp_path / "net/Net-Branch_2.pt").write_bytes(b"cut")
    with pytest.raises(ModelError, match=r"Net-Branch_2\.pt: not the weights of a network"):
        learner.load(2, tmp_path / "net")
    assert learner.model is before


def test_download_of_each_kind(tmp_path: Path, make: Make) -> None:
    import zipfile

    server = tmp_path / "server"
    for name in ("data/AffectNet_micro.zip", "pretrained/esr_9.zip"):
        path = server / name
        path.parent.mkdir(parents=True)
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr(f"{path.stem}/inside.txt", "x")
    (server / "demo").mkdir()
    for name in ("sheldon.jpg", "big_bang.mp4"):
        (server / "demo" / name).write_bytes(name.encode())
    learner, url = make(), server.as_uri()
    for mode, place in (
        ("data", "data/AffectNet_micro"),
        ("pretrained", "pretrained/esr_9"),
        ("demo_image", "demo/sheldon.jpg"),
        ("demo_video", "demo/big_bang.mp4"),
    ):
        assert learner.download(tmp_path / "here", mode, url) == str(tmp_path / "here" / place)
        assert (tmp_path / "here" / place).exists()
    assert learner.download(mode="demo_image", url=url) == str(tmp_path / "temp/demo/sheldon.jpg")


def test_damaged_archive_reports_the_remedy(tmp_path: Path, make: Make) -> None:
    (tmp_path / "server/pretrained").mkdir(parents=True)
    (tmp_path / "server/pretrained/esr_9.zip").write_text("<html>Not here</html>")
    with pytest.raises(DownloadError, match=r"remove .*esr_9\.zip to download it again"):
        make().download(tmp_path / "here", "pretrained", (tmp_path / "server").as_uri())


def test_numpy_numbers_are_accepted(make: Make, affectnet: Path) -> None:
    learner = make(
        batch_size=np.int64(4), lr=np.float32(0.01), ensemble_size=np.int32(2), seed=np.uint8(3)
    )
    learner.init_model(np.int64(2))  # type: ignore[arg-type]
    assert type(learner.batch_size) is int
    make(categorical_train=True, max_training_epoch=np.int64(1), ensemble_size=np.int64(1)).fit()


def test_new_network_depends_on_the_seed_alone(make: Make) -> None:
    networks: list[ESR] = []
    for seed, noise in ((1, 3), (1, 4), (2, 3)):
        torch.manual_seed(noise)
        learner = make(seed=seed)
        learner.init_model(1)
        assert learner.model is not None
        networks.append(learner.model)
    first, same, other = (network.base.conv1.weight for network in networks)
    assert torch.equal(first, same)  # type: ignore[arg-type]
    assert not torch.equal(first, other)  # type: ignore[arg-type]
