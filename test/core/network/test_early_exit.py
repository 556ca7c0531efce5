"""Early exit: the outputs of the whole ensemble, or of the first branch where it suffices."""

from __future__ import annotations

from pathlib import Path
from typing import Iterable

import numpy as np
import onnx
import pytest
import torch
from networks import faces, lively
from numpy.typing import NDArray
from onnx import numpy_helper

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
    rest = _rest(graph)
    assert _features(rest) == 4 * (BRANCHES - 1)
    assert _features(node for node in graph.node if node not in rest) == 4 + 4


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
    graph = onnx.load(str(path)).graph
    assert _features(_rest(graph)) == 4 + 4, "grouped, and their spatial gates"
    model = load_model(path)
    complete, first = model.predict_branches(batch), model.predict(batch, 1)  # of none the rest
    np.testing.assert_array_equal(first.votes[:, 0], complete.votes[:, 0])
    logits = torch.from_numpy(complete.branch_emotions[:, 0])
    np.testing.assert_allclose(first.probabilities, logits.softmax(1), atol=1e-5)


def _selection(graph: onnx.GraphProto) -> onnx.NodeProto:
    """Return the node that selects the undecided faces for all branches but the first."""
    (rows,) = [node for node in graph.node if node.op_type == "NonZero"]
    after = _after(graph, rows)
    return next(n for n in after if n.op_type == "Gather" and not _made_by(n.input[0], after))


def _rest(graph: onnx.GraphProto) -> list[onnx.NodeProto]:
    """Return the nodes of all branches but the first, and those that need their outputs."""
    return _after(graph, _selection(graph))


def _after(graph: onnx.GraphProto, first: onnx.NodeProto) -> list[onnx.NodeProto]:
    """Return the nodes that need the output of a node."""
    after: list[onnx.NodeProto] = []
    for node in graph.node:  # in the order of the computation
        if any(name in first.output or _made_by(name, after) for name in node.input):
            after.append(node)
    return after


def _made_by(name: str, nodes: list[onnx.NodeProto]) -> bool:
    return any(name in node.output for node in nodes)


def _features(nodes: Iterable[onnx.NodeProto]) -> int:
    """Return the number of convolutions with kernels of more than 1x1."""
    sizes = [
        attribute.ints
        for node in nodes
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
    select = _selection(graph)
    (before,) = [node for node in graph.node if select.input[0] in node.output]
    if _is_fp32(model):
        assert before.op_type == "MaxPool"
        return
    (after,) = [node for node in graph.node if select.output[0] in node.input]
    assert (before.op_type, after.op_type) == ("DequantizeLinear", "QuantizeLinear")
    values = {each.name: numpy_helper.to_array(each) for each in graph.initializer}
    for one, other in zip(before.input[1:], after.input[1:]):
        assert values[one] == values[other], "equal, so ONNX Runtime drops both nodes"


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
