"""Early exit: the outputs of the whole ensemble, or of the first branch where it suffices."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from networks import faces, lively
from numpy.typing import NDArray

from esr_core import Model, OptionError, load_model
from esr_core.evaluation.calibration import exit_early
from esr_core.inference.metadata import ModelMetadata
from esr_core.inference.onnx_model import ADAPTIVE
from esr_core.network.esr import ESR, Ensemble
from esr_core.network.onnx_export import export_fp16, export_fp32, export_int8
from esr_core.perception.preprocessing import InputSpec

LEAD, TEMPERATURE, BRANCHES = 0.05, 1.6, 4
BIAS = (0.0, 0.02, -0.03, 0.0, 0.05, 0.04, -0.01, 0.02)


@pytest.fixture(scope="module")
def esr() -> ESR:
    return lively(BRANCHES, False)


@pytest.fixture(scope="module", params=["fp32", "int8", "fp32 derived"])
def model(
    request: pytest.FixtureRequest, esr: ESR, tmp_path_factory: pytest.TempPathFactory
) -> Model:
    path = tmp_path_factory.mktemp("early_exit") / "net.onnx"
    form, *derived = request.param.split()
    metadata = ModelMetadata(
        esr.name,
        BRANCHES,
        input=InputSpec(size_px=56),
        temperature=TEMPERATURE,
        bias=BIAS,
        affect="derived" if derived else "learned",
        lead=LEAD,
    )
    if form == "fp32":
        export_fp32(esr, metadata, path)
    else:
        export_int8(esr, metadata, faces(40, 56), path)
    return load_model(path)


@pytest.fixture(scope="module")
def batch() -> NDArray[np.float32]:
    return faces(24, 56)


def test_all_branches_have_the_outputs_of_pytorch(
    model: Model, esr: ESR, batch: NDArray[np.float32]
) -> None:
    with torch.inference_mode():
        expected = Ensemble(esr, model.metadata)(torch.from_numpy(batch))
    tolerance = 3e-4 if _is_fp32(model) else 0.6  # of logits that spread over several units
    for output, exact in zip(model.predict_branches(batch), expected):
        assert output.shape == exact.shape
        if output.dtype == np.float32:
            np.testing.assert_allclose(output, exact.numpy(), atol=tolerance)
    assert model.has_early_exit


@pytest.mark.parametrize("count", [1, 2, 3, BRANCHES, BRANCHES + 3])
def test_first_branches_are_an_ensemble(
    model: Model, batch: NDArray[np.float32], count: int
) -> None:
    complete = model.predict_branches(batch)
    prediction = model.predict(batch, count)
    logits = torch.from_numpy(complete.branch_emotions[:, :count])
    np.testing.assert_allclose(prediction.probabilities, logits.softmax(2).mean(1), atol=1e-5)
    affect = complete.branch_affect[:, :count].mean(axis=1).clip(-1, 1)
    np.testing.assert_allclose(prediction.affect, affect, atol=1e-5)
    np.testing.assert_array_equal(prediction.votes[:, :count], complete.votes[:, :count])
    assert (prediction.votes[:, count:] == -1).all()


def test_other_branches_are_evaluated_for_undecided_faces_only(
    model: Model, batch: NDArray[np.float32]
) -> None:
    complete = model.predict_branches(batch)
    prediction = model.predict(batch, ADAPTIVE)
    # The logits are calibrated already.
    expected, evaluated = exit_early(complete.branch_emotions, LEAD)
    np.testing.assert_array_equal((prediction.votes >= 0).sum(axis=1), evaluated)
    np.testing.assert_allclose(prediction.probabilities, expected, atol=1e-5)
    assert set(evaluated.tolist()) == {1, BRANCHES}, "the faces must be of both kinds"


def test_face_has_the_same_outputs_alone_and_in_a_batch(
    model: Model, batch: NDArray[np.float32]
) -> None:
    together = model.predict(batch, ADAPTIVE)
    for i in range(len(batch)):
        alone = model.predict(batch[i : i + 1], ADAPTIVE)
        np.testing.assert_allclose(alone.probabilities[0], together.probabilities[i], atol=1e-4)
        np.testing.assert_array_equal(alone.votes[0], together.votes[i])


def test_base_is_run_once_and_only_the_first_branch_unconditionally(model: Model) -> None:
    graph = onnx.load(str(model.path)).graph
    assert _features(graph) == 4 + 4
    assert _features(_rest(graph)) == 4 * (BRANCHES - 1)


@pytest.mark.parametrize("quantized", [False, True])
def test_branches_with_attention_are_grouped(
    tmp_path: Path, batch: NDArray[np.float32], quantized: bool
) -> None:
    esr, path = lively(BRANCHES, True), tmp_path / "net.onnx"
    metadata = ModelMetadata(esr.name, BRANCHES, diversified=True, input=InputSpec(size_px=56))
    if quantized:
        export_int8(esr, metadata, faces(40, 56), path)
    else:
        export_fp32(esr, metadata, path)
        with torch.inference_mode():
            expected = Ensemble(esr)(torch.from_numpy(batch))
        for output, exact in zip(load_model(path).predict_branches(batch), expected):
            np.testing.assert_allclose(output, exact.numpy(), atol=3e-4)
    assert _features(_rest(onnx.load(str(path)).graph)) == 4 + 4, "grouped, and their spatial gates"


def _rest(graph: onnx.GraphProto) -> onnx.GraphProto:
    """Return the subgraph of all branches but the first."""
    (condition,) = [node for node in graph.node if node.op_type == "If"]
    return next(a.g for a in condition.attribute if a.name == "then_branch")


def _features(graph: onnx.GraphProto) -> int:
    """Return the number of convolutions with kernels of more than 1x1."""
    sizes = [
        attribute.ints
        for node in graph.node
        if node.op_type == "Conv"
        for attribute in node.attribute
        if attribute.name == "kernel_shape"
    ]
    return sum(min(size) > 1 for size in sizes)


@pytest.mark.parametrize("count", [-1, "all", 1.5])
def test_invalid_number_of_branches(
    model: Model, batch: NDArray[np.float32], count: int | str
) -> None:
    with pytest.raises(OptionError, match="branches must be adaptive, or 0 for all, or more"):
        model.predict(batch, count)


def test_faces_are_selected_among_bytes(model: Model) -> None:
    graph = onnx.load(str(model.path)).graph
    (select,) = [node for node in _rest(graph).node if node.op_type == "Compress"]
    (shared,) = [node for node in graph.node if select.input[0] in node.output]
    assert shared.op_type == ("MaxPool" if _is_fp32(model) else "QuantizeLinear")


@pytest.mark.parametrize("branches", [0, 1, ADAPTIVE])
def test_files_without_early_exit_evaluate_all_branches(
    tmp_path: Path, esr: ESR, batch: NDArray[np.float32], branches: int | str
) -> None:
    path = tmp_path / "net.onnx"
    export_fp16(esr, ModelMetadata(esr.name, BRANCHES, input=InputSpec(size_px=56), lead=0.0), path)
    model = load_model(path)
    assert not model.has_early_exit
    assert (model.predict(batch, branches).votes >= 0).all()


def test_one_branch_has_no_early_exit(tmp_path: Path, batch: NDArray[np.float32]) -> None:
    esr, path = lively(1, False), tmp_path / "net.onnx"
    export_fp32(esr, ModelMetadata(esr.name, 1, input=InputSpec(size_px=56), lead=0.1), path)
    model = load_model(path)
    assert not model.has_early_exit
    assert model.predict(batch, ADAPTIVE).votes.shape == (len(batch), 1)


def _is_fp32(model: Model) -> bool:
    graph = onnx.load(str(model.path)).graph
    return all(node.op_type != "QuantizeLinear" for node in graph.node)
