"""Branches that take turns: the answers of the ensemble, or of as much of it as is needed."""

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


@pytest.fixture(scope="module")
def esr() -> ESR:
    return lively(BRANCHES, False)


@pytest.fixture(scope="module", params=["fp32", "int8"])
def model(
    request: pytest.FixtureRequest, esr: ESR, tmp_path_factory: pytest.TempPathFactory
) -> Model:
    path = tmp_path_factory.mktemp("anytime") / "net.onnx"
    metadata = ModelMetadata(
        esr.name, BRANCHES, input=InputSpec(size_px=56), temperature=TEMPERATURE, lead=LEAD
    )
    if request.param == "fp32":
        export_fp32(esr, metadata, path)
    else:
        export_int8(esr, metadata, faces(40, 56), path)
    return load_model(path)


@pytest.fixture(scope="module")
def batch() -> NDArray[np.float32]:
    return faces(24, 56)


def test_asked_all_they_answer_like_pytorch(
    model: Model, esr: ESR, batch: NDArray[np.float32]
) -> None:
    with torch.inference_mode():
        expected = Ensemble(esr, TEMPERATURE)(torch.from_numpy(batch))
    tolerance = 3e-4 if _is_fp32(model) else 0.6  # of logits that spread over several units
    for told, exact in zip(model.predict_branches(batch), expected):
        assert told.shape == exact.shape
        if told.dtype == np.float32:
            np.testing.assert_allclose(told, exact.numpy(), atol=tolerance)
    assert model.takes_turns


@pytest.mark.parametrize("count", [1, 2, 3, BRANCHES, BRANCHES + 3])
def test_first_branches_are_an_ensemble(
    model: Model, batch: NDArray[np.float32], count: int
) -> None:
    everyone = model.predict_branches(batch)
    told = model.predict(batch, count)
    logits = torch.from_numpy(everyone.branch_emotions[:, :count])
    np.testing.assert_allclose(told.probabilities, logits.softmax(2).mean(1), atol=1e-5)
    affect = everyone.branch_affect[:, :count].mean(axis=1).clip(-1, 1)
    np.testing.assert_allclose(told.affect, affect, atol=1e-5)
    np.testing.assert_array_equal(told.votes[:, :count], everyone.votes[:, :count])
    assert (told.votes[:, count:] == -1).all()


def test_a_face_is_asked_about_until_it_is_decided(
    model: Model, batch: NDArray[np.float32]
) -> None:
    everyone = model.predict_branches(batch)
    told = model.predict(batch, ADAPTIVE)
    # The logits are divided by the temperature already.
    expected, asked = exit_early(everyone.branch_emotions, LEAD)
    np.testing.assert_array_equal((told.votes >= 0).sum(axis=1), asked)
    np.testing.assert_allclose(told.probabilities, expected, atol=1e-5)
    assert set(asked.tolist()) == {1, BRANCHES}, "faces of one kind show nothing"


def test_a_face_is_judged_alike_alone_and_among_others(
    model: Model, batch: NDArray[np.float32]
) -> None:
    together = model.predict(batch, ADAPTIVE)
    for i in range(len(batch)):
        alone = model.predict(batch[i : i + 1], ADAPTIVE)
        np.testing.assert_allclose(alone.probabilities[0], together.probabilities[i], atol=1e-4)
        np.testing.assert_array_equal(alone.votes[0], together.votes[i])


def test_base_is_run_once_and_only_the_first_branch_outside_of_its_turn(model: Model) -> None:
    graph = onnx.load(str(model.path)).graph
    (turn,) = [node for node in graph.node if node.op_type == "If"]
    assert _features(graph) == 4 + 4
    rest = next(a.g for a in turn.attribute if a.name == "then_branch")
    assert _features(rest) == 4 * (BRANCHES - 1)


@pytest.mark.parametrize("quantized", [False, True])
def test_branches_with_attention_stand_side_by_side(
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
        for told, exact in zip(load_model(path).predict_branches(batch), expected):
            np.testing.assert_allclose(told, exact.numpy(), atol=3e-4)
    (turn,) = [node for node in onnx.load(str(path)).graph.node if node.op_type == "If"]
    rest = next(a.g for a in turn.attribute if a.name == "then_branch")
    assert _features(rest) == 4 + 4, "grouped convolutions, and their spatial gates"


def _features(graph: onnx.GraphProto) -> int:
    """How many convolutions there are that see more than one place."""
    sizes = [
        attribute.ints
        for node in graph.node
        if node.op_type == "Conv"
        for attribute in node.attribute
        if attribute.name == "kernel_shape"
    ]
    return sum(min(size) > 1 for size in sizes)


@pytest.mark.parametrize("count", [-1, "all", 1.5])
def test_number_of_branches_that_cannot_be(
    model: Model, batch: NDArray[np.float32], count: int | str
) -> None:
    with pytest.raises(OptionError, match="branches must be adaptive, or 0 for all, or more"):
        model.predict(batch, count)


def test_bytes_are_what_rows_are_picked_of(model: Model) -> None:
    graph = onnx.load(str(model.path)).graph
    shared = next(node for node in graph.node if "shared" in node.output)
    assert shared.op_type == ("MaxPool" if _is_fp32(model) else "QuantizeLinear")


@pytest.mark.parametrize("branches", [0, 1, ADAPTIVE])
def test_files_that_ask_all_at_once_say_so(
    tmp_path: Path, esr: ESR, batch: NDArray[np.float32], branches: int | str
) -> None:
    path = tmp_path / "net.onnx"
    export_fp16(esr, ModelMetadata(esr.name, BRANCHES, input=InputSpec(size_px=56), lead=0.0), path)
    model = load_model(path)
    assert not model.takes_turns
    assert (model.predict(batch, branches).votes >= 0).all()


def test_one_branch_has_no_turns_to_take(tmp_path: Path, batch: NDArray[np.float32]) -> None:
    esr, path = lively(1, False), tmp_path / "net.onnx"
    export_fp32(esr, ModelMetadata(esr.name, 1, input=InputSpec(size_px=56), lead=0.1), path)
    model = load_model(path)
    assert not model.takes_turns
    assert model.predict(batch, ADAPTIVE).votes.shape == (len(batch), 1)


def _is_fp32(model: Model) -> bool:
    graph = onnx.load(str(model.path)).graph
    return all(node.op_type != "QuantizeLinear" for node in graph.node)
