"""Export of trained weights to .onnx files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from networks import faces, lively

from esr_core import load_model
from esr_core.emotions import affect_of
from esr_core.inference.metadata import ModelMetadata
from esr_core.inference.onnx_model import BranchPrediction
from esr_core.network.esr import Ensemble
from esr_core.network.onnx_export import export_fp16, export_fp32, export_int8
from esr_core.perception.preprocessing import InputSpec


@pytest.mark.parametrize(("branches", "diversified"), [(2, False), (1, True)])
def test_fp32_has_the_outputs_of_pytorch_for_any_number_of_faces(
    tmp_path: Path, branches: int, diversified: bool
) -> None:
    esr, path = lively(branches, diversified), tmp_path / "net.onnx"
    metadata = ModelMetadata(esr.name, branches, diversified, InputSpec(size_px=56))
    export_fp32(esr, metadata, path)
    model = load_model(path)
    assert model.metadata == metadata
    for count in (1, 3):
        batch = faces(count, 56)
        with torch.inference_mode():
            expected = Ensemble(esr)(torch.from_numpy(batch))
        prediction = model.predict(batch)
        probabilities, affect, votes = expected[:3]
        for part, exact in zip(model.predict_branches(batch), expected):
            np.testing.assert_allclose(part, exact.numpy(), atol=3e-4)
        np.testing.assert_allclose(prediction.probabilities, probabilities.numpy(), atol=1e-4)
        np.testing.assert_allclose(prediction.affect, affect.numpy(), atol=1e-4)
        np.testing.assert_array_equal(prediction.votes, votes.numpy())
    assert np.ptp(prediction.probabilities, axis=0).max() > 0.1
    assert [p.name for p in tmp_path.iterdir()] == ["net.onnx"]


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """One small network in fp32 and in INT8."""
    folder = tmp_path_factory.mktemp("pair")
    fp32, int8 = folder / "fp32.onnx", folder / "int8.onnx"
    esr = lively(1, False)
    metadata = ModelMetadata(esr.name, 1, False, InputSpec(size_px=56), record={"note": "kept"})
    export_fp32(esr, metadata, fp32)
    export_int8(esr, metadata, faces(40, 56), int8)
    return fp32, int8


def test_files_are_readable_by_onnx_runtime_1_11(pair: tuple[Path, Path]) -> None:
    for path in pair:
        network = onnx.load(str(path))
        assert network.ir_version == 8
        assert [(each.domain, each.version) for each in network.opset_import] == [("", 16)]


def test_first_axis_of_all_ends_is_free(pair: tuple[Path, Path]) -> None:
    for path in pair:
        graph = onnx.load(str(path)).graph
        ends = [*graph.input, *graph.output]
        assert [end.name for end in ends] == ["faces", *BranchPrediction._fields]
        assert [end.type.tensor_type.shape.dim[0].dim_param for end in ends] == ["n"] * 6


def test_int8_is_a_third_of_the_size_or_less(pair: tuple[Path, Path]) -> None:
    fp32, int8 = pair
    assert int8.stat().st_size < fp32.stat().st_size / 3


def test_int8_has_nearly_the_outputs_of_fp32(pair: tuple[Path, Path]) -> None:
    fp32, int8 = (load_model(path).predict(faces(6, 56)) for path in pair)
    np.testing.assert_allclose(int8.probabilities, fp32.probabilities, atol=0.1)
    assert np.ptp(fp32.probabilities, axis=0).max() > 0.2
    np.testing.assert_allclose(int8.affect, fp32.affect, atol=0.1)


@pytest.mark.parametrize("symmetric", [False, True])
def test_symmetric_activations_are_signed_and_around_zero(
    tmp_path: Path, pair: tuple[Path, Path], symmetric: bool
) -> None:
    esr, path = lively(1, False), tmp_path / "net.onnx"
    export_int8(
        esr, ModelMetadata(esr.name, 1, input=InputSpec(size_px=56)), faces(40, 56), path, symmetric
    )
    graph = onnx.load(str(path)).graph
    zeros = {
        tensor.name: onnx.numpy_helper.to_array(tensor)
        for tensor in graph.initializer
        if tensor.name.endswith("zero_point")
    }
    of_activations = [
        zeros[node.input[2]] for node in graph.node if node.op_type == "QuantizeLinear"
    ]
    assert of_activations
    expected = np.int8 if symmetric else np.uint8
    assert {zero.dtype.type for zero in of_activations} == {expected}
    assert not symmetric or not any(zero.any() for zero in of_activations)
    exact = load_model(pair[0]).predict(faces(6, 56)).probabilities
    quantized = load_model(path).predict(faces(6, 56)).probabilities
    # Behind a ReLU a signed range around 0 has only half the steps.
    np.testing.assert_allclose(quantized, exact, atol=0.25 if symmetric else 0.1)


def test_fp16_is_half_as_large_and_its_outputs_are_float32(
    tmp_path: Path, pair: tuple[Path, Path]
) -> None:
    esr, path = lively(1, False), tmp_path / "net.onnx"
    export_fp16(esr, ModelMetadata(esr.name, 1, input=InputSpec(size_px=56)), path)
    assert path.stat().st_size < 0.52 * pair[0].stat().st_size
    half, exact = (load_model(p).predict(faces(6, 56)) for p in (path, pair[0]))
    assert half.probabilities.dtype == np.float32
    np.testing.assert_allclose(half.probabilities, exact.probabilities, atol=0.02)


def test_temperature_is_in_the_file(tmp_path: Path, pair: tuple[Path, Path]) -> None:
    esr, path = lively(1, False), tmp_path / "net.onnx"
    export_fp32(esr, ModelMetadata(esr.name, 1, input=InputSpec(size_px=56), temperature=2.5), path)
    plain, cooled = (load_model(p).predict_branches(faces(6, 56)) for p in (pair[0], path))
    np.testing.assert_allclose(cooled.branch_emotions * 2.5, plain.branch_emotions, atol=1e-4)
    expected = torch.from_numpy(plain.branch_emotions / 2.5).softmax(dim=2).mean(dim=1)
    np.testing.assert_allclose(cooled.probabilities, expected, atol=1e-5)
    np.testing.assert_allclose(cooled.affect, plain.affect, atol=1e-6)
    np.testing.assert_array_equal(cooled.votes, plain.votes)
    assert load_model(path).metadata.temperature == 2.5


def test_bias_and_derived_affect_are_in_the_file(tmp_path: Path, pair: tuple[Path, Path]) -> None:
    esr, path = lively(1, False), tmp_path / "net.onnx"
    bias = (0.0, 0.5, -0.5, 1.0, 2.0, 3.0, 0.25, -1.0)
    metadata = ModelMetadata(
        esr.name, 1, input=InputSpec(size_px=56), temperature=2.0, bias=bias, affect="derived"
    )
    export_fp32(esr, metadata, path)
    plain, biased = (load_model(p).predict_branches(faces(6, 56)) for p in (pair[0], path))
    logits = plain.branch_emotions / 2.0 + np.float32(bias)
    np.testing.assert_allclose(biased.branch_emotions, logits, atol=1e-4)
    expected = torch.from_numpy(logits).softmax(dim=2).mean(dim=1).numpy()
    np.testing.assert_allclose(biased.probabilities, expected, atol=1e-5)
    np.testing.assert_array_equal(biased.votes, logits.argmax(axis=2))
    np.testing.assert_allclose(biased.affect, affect_of(expected), atol=1e-5)
    np.testing.assert_allclose(biased.branch_affect[:, 0], affect_of(expected), atol=1e-5)
    assert load_model(path).metadata == metadata


def test_metadata_is_in_the_file(pair: tuple[Path, Path]) -> None:
    for path in pair:
        metadata = load_model(path).metadata
        assert metadata.name == "ESR-1"
        assert metadata.input.size_px == 56
        assert metadata.record == {"note": "kept"}


def test_export_leaves_no_partial_files(pair: tuple[Path, Path]) -> None:
    assert sorted(p.name for p in pair[0].parent.iterdir()) == ["fp32.onnx", "int8.onnx"]
