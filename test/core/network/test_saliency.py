"""Saliency maps of the branches."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from networks import faces, lively
from numpy.typing import NDArray

from esr_core import EmotionPipeline, Model, PipelineOptions
from esr_core.errors import ModelError
from esr_core.inference.metadata import ModelMetadata
from esr_core.network import checkpoint
from esr_core.network.esr import ESR, Branch
from esr_core.network.saliency import Explainer, default_weights, draw, grad_cam, heated, layer_cam
from esr_core.perception.preprocessing import crop, squares

HAPPY = 1


def network(kind: str) -> ESR:
    if kind == "ships":
        return checkpoint.load(default_weights(), branches=3)[0]
    return lively(3, diversified=kind == "attention")


@pytest.mark.parametrize("kind", ["ships", "plain", "attention"])
def test_grad_cam_equals_the_equations(kind: str) -> None:
    """Equations 1 and 2 of the paper, at the features before the last pooling."""
    esr = network(kind)
    batch, emotions = torch.from_numpy(faces(4, 96)), torch.tensor([0, 1, 3, 7])
    maps = grad_cam(esr, batch, emotions)
    assert maps.shape == (3, 4, 6, 6)
    assert maps.amax() > 0
    shared = esr.base(batch).detach()
    for k, branch in enumerate(esr.convolutional_branches):
        assert isinstance(branch, Branch)
        features = branch.features(shared)[0].detach().requires_grad_()
        logits = branch.fc(features.mean(dim=(2, 3)))
        torch.testing.assert_close(logits, branch(shared)[0])  # so these are what is pooled
        for i, emotion in enumerate(emotions):
            (gradient,) = torch.autograd.grad(logits[i, emotion], features, retain_graph=True)
            alpha = gradient[i].mean(dim=(1, 2))
            expected = (alpha[:, None, None] * features[i]).sum(dim=0).relu()
            torch.testing.assert_close(maps[k, i], expected.detach(), rtol=1e-4, atol=1e-6)


def test_layer_cam_of_a_face_does_not_depend_on_the_batch() -> None:
    # In float64: kernels for another batch size round differently, and a ReLU may switch.
    esr, batch = lively(3, True).double(), torch.from_numpy(faces(2, 96)).double()
    maps = layer_cam(esr, batch, torch.tensor([0, 3]))
    assert maps.shape == (3, 2, 20, 20)
    assert maps.amin() >= 0
    for i, emotion in enumerate([0, 3]):
        alone = layer_cam(esr, batch[i : i + 1], torch.tensor([emotion]))
        torch.testing.assert_close(maps[:, i : i + 1], alone, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("fine", [False, True])
def test_smile_has_its_maximum_in_the_face(
    model: Model, rgb: NDArray[np.uint8], fine: bool
) -> None:
    (face,) = EmotionPipeline(PipelineOptions(branches=9), model).step(rgb, 0.0)
    (explanation,) = Explainer(default_weights(), fine).explain(rgb, face.box[None], [face.emotion])
    assert explanation.emotion == HAPPY
    assert explanation.face.shape == (224, 224, 3)
    np.testing.assert_array_equal(explanation.maps.max(axis=(1, 2)), 1)
    assert explanation.maps.min() >= 0
    np.testing.assert_array_equal(explanation.probabilities.argmax(axis=1), face.votes)
    x, y, side_px = squares(face.box[None], model.metadata.input)[0]
    corner = np.array([x, y]) - side_px / 2
    for each in explanation.maps:
        heat = cv2.resize(each, (224, 224))
        border = np.concatenate([heat[:30].ravel(), heat[-30:].ravel()]).mean()
        assert heat[60:180, 50:175].mean() > 3 * border
        row, column = np.unravel_index(heat.argmax(), heat.shape)
        mouth = 224 * (face.landmarks[3:] - corner) / side_px
        # Two positions of the map: the cheek beside a corner of the mouth rises in a smile.
        assert np.linalg.norm(mouth - [column, row], axis=1).min() < 2 * 224 / each.shape[1]
        assert np.abs(mouth[:, 1] - row).min() < 25


def test_explanations_are_of_the_network_that_ships(model: Model, rgb: NDArray[np.uint8]) -> None:
    boxes = np.array([[178, 63, 267, 175], [20, 20, 200, 200]], np.float32)
    explanations = Explainer(default_weights()).explain(rgb, boxes, [HAPPY, 0])
    logits = model.predict_branches(crop(rgb, boxes, model.metadata.input)).branch_emotions
    expected = torch.from_numpy(logits).softmax(dim=2).numpy()
    for explanation, probabilities in zip(explanations, expected):
        np.testing.assert_allclose(explanation.probabilities, probabilities, atol=0.2)  # INT8
        np.testing.assert_allclose(explanation.probabilities.sum(axis=1), 1, atol=1e-5)


def test_picture_of_all_branches(tmp_path: Path, rgb: NDArray[np.uint8]) -> None:
    checkpoint.save(tmp_path / "weights", lively(5, True), ModelMetadata("ESR*-5", 5, True))
    pictures = []
    for name in ("a.png", "b.png"):
        (explanation,) = Explainer(tmp_path / "weights").explain(
            rgb, np.array([[178, 63, 267, 175]], np.float32), [HAPPY]
        )
        draw(tmp_path / name, explanation, "a face")
        pictures.append((tmp_path / name).read_bytes())
    assert pictures[0] == pictures[1]
    picture = cv2.imread(str(tmp_path / "a.png"))
    assert picture.shape[0] > 400
    assert picture.shape[1] > 800
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.png", "b.png", "weights"]


def test_map_of_zero_is_transparent(rgb: NDArray[np.uint8]) -> None:
    heat = np.zeros((6, 6), np.float32)
    np.testing.assert_array_equal(heated(rgb, heat), rgb)
    heat[1, 4] = 1
    shown = heated(rgb, heat)
    changed = np.argwhere((shown != rgb).any(axis=2))
    centre = changed.mean(axis=0) / 512 * 6 - 0.5
    np.testing.assert_allclose(centre, [1, 4], atol=0.2)


def test_folder_without_weights(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no checkpoint here"):
        Explainer(tmp_path)
