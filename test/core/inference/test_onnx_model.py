"""Inference with ONNX Runtime."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from esr_core import LABELS, Model, ModelError, load_model
from esr_core.inference.onnx_model import ADAPTIVE, METADATA_KEY, default_model
from esr_core.perception.preprocessing import crop, whole

INPUT = load_model().metadata.input
SIDE = INPUT.size_px


def noise(count: int) -> NDArray[np.float32]:
    faces = np.random.default_rng(5).integers(0, 256, (count, 48, 48)).astype(np.uint8)
    return whole(faces, INPUT)


def test_model_that_ships_is_installed_with_the_package(model: Model) -> None:
    assert model.path == default_model()
    assert model.metadata.labels == LABELS
    assert model.provider.endswith("ExecutionProvider")


def test_astronaut_smiles(model: Model, rgb: NDArray[np.uint8]) -> None:
    face = np.array([[178, 63, 267, 175]], np.float32)
    prediction = model.predict(crop(rgb, face, model.metadata.input))
    assert LABELS[int(prediction.probabilities[0].argmax())] == "happy"
    assert prediction.affect[0, 0] > 0.2


def test_outputs_have_their_shapes_types_and_ranges(model: Model) -> None:
    probabilities, affect, votes = model.predict(noise(5))
    assert (probabilities.shape, probabilities.dtype) == ((5, 8), np.float32)
    assert (affect.shape, affect.dtype) == ((5, 2), np.float32)
    assert (votes.shape, votes.dtype) == ((5, model.metadata.branches), np.int64)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-5)
    assert probabilities.min() >= 0
    assert np.abs(affect).max() <= 1
    assert set(votes.ravel().tolist()) <= set(range(8))


def test_model_that_ships_has_an_early_exit(model: Model) -> None:
    batch = noise(6)
    assert model.has_early_exit
    assert 0 < model.metadata.lead < 1
    assert (model.predict(batch, 2).votes[:, 2:] == -1).all()
    complete, adaptive = model.predict(batch), model.predict(batch, ADAPTIVE)
    evaluated = (adaptive.votes >= 0).sum(axis=1)
    assert evaluated.min() >= 1
    for row in np.flatnonzero(evaluated == model.metadata.branches):
        np.testing.assert_allclose(
            adaptive.probabilities[row], complete.probabilities[row], atol=1e-3
        )


def test_no_faces_have_an_empty_output(model: Model) -> None:
    probabilities, affect, votes = model.predict(np.zeros((0, 3, SIDE, SIDE), np.float32))
    full = model.predict(noise(1))
    assert (probabilities.shape, affect.shape) == ((0, 8), (0, 2))
    assert votes.shape == (0, model.metadata.branches)
    assert [a.dtype for a in (probabilities, affect, votes)] == [a.dtype for a in full]


def test_faces_in_one_batch_do_not_influence_each_other(model: Model) -> None:
    batch = noise(3)
    together = model.predict(batch)
    alone = [model.predict(batch[i : i + 1]) for i in range(3)]
    for i, single in enumerate(alone):
        np.testing.assert_allclose(together.probabilities[i], single.probabilities[0], atol=1e-3)
        np.testing.assert_allclose(together.affect[i], single.affect[0], atol=1e-3)


def test_one_thread_has_the_same_outputs_as_all(model: Model) -> None:
    batch = noise(2)
    single = load_model(threads=1).predict(batch)
    np.testing.assert_allclose(single.probabilities, model.predict(batch).probabilities, atol=1e-3)


def test_batch_may_be_a_view(model: Model) -> None:
    batch = noise(4)
    view = model.predict(batch[::2, :, :, ::-1])
    copy = model.predict(np.ascontiguousarray(batch[::2, :, :, ::-1]))
    np.testing.assert_array_equal(view.probabilities, copy.probabilities)


@pytest.mark.parametrize(
    ("shape", "dtype"),
    [
        ((1, 3, SIDE - 1, SIDE), np.float32),
        ((1, 1, SIDE, SIDE), np.float32),
        ((3, SIDE, SIDE), np.float32),
        ((1, SIDE, SIDE, 3), np.float32),
        ((1, 3, SIDE, SIDE), np.float64),
        ((1, 3, SIDE, SIDE), np.uint8),
    ],
)
def test_error_of_a_wrong_batch_names_the_expected_shape(
    model: Model, shape: tuple[int, ...], dtype: type
) -> None:
    with pytest.raises(ValueError, match=rf"must be \(n, 3, {SIDE}, {SIDE}\) float32, but got \("):
        model.predict(np.zeros(shape, dtype))


def test_warm_up_does_not_change_the_outputs(model: Model) -> None:
    before = model.predict(noise(1)).probabilities
    model.warm_up(faces=2)
    np.testing.assert_array_equal(model.predict(noise(1)).probabilities, before)


def test_cpu_can_be_selected_by_name() -> None:
    assert load_model(provider="cpu").provider == "CPUExecutionProvider"


def test_unknown_provider_names_the_allowed_ones() -> None:
    with pytest.raises(ModelError, match="auto, tensorrt, cuda, openvino, cpu, but got 'tpu'"):
        load_model(provider="tpu")


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"nothing\.onnx: no such model file"):
        load_model(tmp_path / "nothing.onnx")


def test_folder_is_no_model(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no such model file"):
        load_model(tmp_path)


@pytest.mark.parametrize("kept", [0, 30, 1_000_000])
def test_file_that_breaks_off_is_named(tmp_path: Path, kept: int) -> None:
    path = tmp_path / "short.onnx"
    path.write_bytes(default_model().read_bytes()[:kept])
    with pytest.raises(ModelError, match=r"short\.onnx: "):
        load_model(path)


def test_file_that_is_not_onnx_is_named(tmp_path: Path) -> None:
    path = tmp_path / "page.onnx"
    path.write_text("<html>404 Not Found</html>", encoding="utf-8")
    with pytest.raises(ModelError, match=r"page\.onnx: ONNX Runtime does not load it"):
        load_model(str(path))


def strange_network(path: Path, metadata: dict[str, str]) -> Path:
    """A valid ONNX file whose output is its input."""
    helper = onnx.helper
    ends = [
        helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["n", 3, 96, 96])
        for name in ("faces", "same")
    ]
    node = helper.make_node("Identity", ["faces"], ["same"])
    network = helper.make_model(
        helper.make_graph([node], "strange", ends[:1], ends[1:]),
        opset_imports=[helper.make_opsetid("", 16)],
        ir_version=8,
    )
    helper.set_model_props(network, metadata)
    onnx.save(network, str(path))
    return path


def test_network_of_another_project_is_refused(tmp_path: Path) -> None:
    path = strange_network(tmp_path / "other.onnx", {})
    with pytest.raises(ModelError, match=r"other\.onnx: not a network of this project"):
        load_model(path)


def test_network_with_damaged_metadata_is_refused(tmp_path: Path) -> None:
    path = strange_network(tmp_path / "odd.onnx", {METADATA_KEY: "{"})
    with pytest.raises(ModelError, match=r"odd\.onnx: its metadata is not readable"):
        load_model(path)
