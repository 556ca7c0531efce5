"""Teachers: their outputs as a part of the targets, and the file that keeps them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from networks import lively
from numpy.typing import NDArray

from esr_core import AnotherTraining, ModelError, TrainingError, load_model
from esr_core.data.ferplus import FerPlus
from esr_core.inference.metadata import ModelMetadata
from esr_core.network import checkpoint
from esr_core.network.onnx_export import export_fp32
from esr_core.perception.preprocessing import InputSpec, whole
from esr_core.training.teachers import FILE, teach

SPEC = InputSpec(size_px=56)


@pytest.fixture(scope="module")
def faces() -> FerPlus:
    random = np.random.default_rng(2)
    images = random.integers(0, 256, (20, 48, 48), np.uint8)
    votes = random.dirichlet(np.ones(8), 20).astype(np.float32)
    return FerPlus(images, votes, votes.argmax(axis=1), "probability")


@pytest.fixture(scope="module")
def teachers(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """A file and a folder of weights, of different networks."""
    folder = tmp_path_factory.mktemp("teachers")
    one, two = lively(1, False), lively(2, False)
    export_fp32(one, ModelMetadata("ESR-1", 1, input=SPEC), folder / "one.onnx")
    checkpoint.save(folder / "two", two, ModelMetadata("ESR-2", 2, input=SPEC), "two")
    return [folder / "one.onnx", folder / "two"]


def expected(images: NDArray[np.uint8], teachers: list[Path]) -> NDArray[np.float32]:
    """Return the mean of the teachers over whole and middle, as they are and mirrored."""
    esr, _ = checkpoint.load(teachers[1])
    model, total = load_model(teachers[0]), np.zeros((len(images), 8))
    for views in (images, images[:, 2:46, 2:46]):
        crops = whole(list(views), SPEC)
        for batch in (crops, np.ascontiguousarray(crops[..., ::-1])):
            with torch.inference_mode():
                second = esr.eval()(torch.from_numpy(batch)).emotions.softmax(dim=2).mean(dim=0)
            total += model.predict(batch).probabilities + second.numpy()
    return (total / 8).astype(np.float32)


def test_targets_are_labels_and_outputs(
    tmp_path: Path, faces: FerPlus, teachers: list[Path]
) -> None:
    taught = teach(faces, teachers, 0.25, tmp_path)
    outputs = expected(faces.images, teachers)
    np.testing.assert_allclose(taught.emotions, 0.75 * faces.emotions + 0.25 * outputs, atol=1e-4)
    rows, generator = torch.tensor([3, 0, 7]), torch.Generator
    targets = taught.targets(rows, generator().manual_seed(1))
    drawn = faces.targets(rows, generator().manual_seed(1))
    torch.testing.assert_close(
        targets, 0.75 * drawn + 0.25 * torch.from_numpy(outputs)[rows], atol=1e-4, rtol=0
    )
    np.testing.assert_array_equal(taught.load([4]), faces.load([4]))
    few, mine = taught.subset(6), faces.subset(6)
    np.testing.assert_array_equal(few.load(range(6)), mine.images)
    by_image = {image.tobytes(): row for row, image in enumerate(faces.images)}
    same = [by_image[image.tobytes()] for image in mine.images]
    np.testing.assert_array_equal(few.emotions, taught.emotions[same])


def test_outputs_are_computed_once(tmp_path: Path, faces: FerPlus, teachers: list[Path]) -> None:
    first = teach(faces, teachers[:1], 0.5, tmp_path)
    written = (tmp_path / FILE).read_bytes()
    second = teach(faces, teachers[:1], 0.5, tmp_path)
    np.testing.assert_array_equal(first.emotions, second.emotions)
    assert first.teachers == second.teachers
    assert (tmp_path / FILE).read_bytes() == written
    for other in ((faces, teachers), (faces.subset(19), teachers[:1])):
        with pytest.raises(AnotherTraining, match=r"teachers\.npz is of other teachers, or for"):
            teach(*other, 0.5, tmp_path)
    assert (tmp_path / FILE).read_bytes() == written
    fresh = teach(faces, teachers, 0.5, tmp_path, fresh=True)
    assert fresh.teachers != first.teachers


def test_bad_files(tmp_path: Path, faces: FerPlus, teachers: list[Path]) -> None:
    (tmp_path / FILE).write_bytes(b"PK but no archive")
    with pytest.raises(TrainingError, match=r"not the outputs of teachers .* remove it"):
        teach(faces, teachers, 0.5, tmp_path)
    for teacher in ("none.onnx", FILE):
        with pytest.raises(ModelError, match=teacher):
            teach(faces, [tmp_path / teacher], 0.5, tmp_path / "out")
    assert not (tmp_path / "out").exists()
