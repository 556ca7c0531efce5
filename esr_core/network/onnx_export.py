"""Export of trained weights to ``.onnx`` files, in fp32, fp16 and INT8.

Files for GPUs, fp16 and symmetric INT8, always evaluate all branches. Files for CPUs have an early
exit: a nested ensemble can answer after its first branch already, which suffices for most faces.
There is no third step: few faces would be decided between one branch and all, and the branches of
ESR* are faster together (:mod:`esr_core.network.inference_graph`). Two optional inputs control the
exit; by default all branches are evaluated:

- ``branches``: int64, maximum number of branches to count; 1 evaluates only the first.
- ``lead``: float32, the exit margin. The first branch decides a face if the probability of its
  most probable emotion exceeds that of the second by at least this margin.

A branch that is not evaluated for a face, or not counted, has the vote -1 and zeros in the other
outputs.
"""

from __future__ import annotations

import copy
import tempfile
import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Dict, Iterator, List, Sequence, Tuple

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, compose, helper, numpy_helper
from onnx.utils import Extractor
from onnxruntime.quantization import QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process
from torch import Tensor, nn

from esr_core.atomic_write import replacing
from esr_core.emotions import LABELS
from esr_core.inference.metadata import NO_EARLY_EXIT, ModelMetadata
from esr_core.inference.onnx_model import BRANCHES, INPUT, LEAD, METADATA_KEY, BranchPrediction
from esr_core.network.esr import ESR, Calibration, Ensemble, derived_affect
from esr_core.network.inference_graph import FIRST, REST, SHARED, EarlyExitESR

UNDECIDED, ANY_UNDECIDED = "undecided", "any_undecided"
#: Number of training crops that calibrate the ranges of INT8.
CALIBRATION_FACES = 256
#: Small convolutions, of attention and of the heads, which 8 bits make slower.
_NOT_QUANTIZED = ("/squeeze/", "/both/", "/excite/", "/place/", "/emotions/", "/affect/")


def export_fp32(esr: ESR, metadata: ModelMetadata, path: Path, fold: bool = True) -> None:
    """Write the ensemble in float32, for any number of faces."""
    _write(_trace(esr, metadata, early_exit=True, fold=fold), metadata, path)


def export_fp16(esr: ESR, metadata: ModelMetadata, path: Path) -> None:
    """Write the ensemble in half precision, for GPUs; inputs and outputs stay float32."""
    from onnxruntime.transformers.float16 import convert_float_to_float16
    from onnxruntime.transformers.onnx_model import OnnxModel

    network = _trace(esr, metadata, early_exit=False)
    half = OnnxModel(convert_float_to_float16(network, keep_io_types=True))
    half.topological_sort()  # the conversion appends the casts of inputs and outputs at the end
    _write(half.model, metadata, path)


def export_int8(
    esr: ESR,
    metadata: ModelMetadata,
    faces: NDArray[np.float32],
    path: Path,
    symmetric: bool = False,
) -> None:
    """Quantize: QDQ, weights signed and per channel, activations unsigned.

    faces: (n, 3, size, size) in [0, 1], training crops that calibrate the activations.
    symmetric: signed activations around 0, the form for TensorRT.
    """
    network = _trace(esr, metadata, early_exit=not symmetric)
    batches = ({INPUT: batch} for batch in np.split(faces, range(32, len(faces), 32)))
    reader = SimpleNamespace(get_next=lambda: next(batches, None))
    with tempfile.TemporaryDirectory() as folder:
        prepared, quantized = f"{folder}/prepared.onnx", f"{folder}/quantized.onnx"
        quant_pre_process(network, prepared, skip_symbolic_shape=True)
        names = [node.name for node in onnx.load(prepared).graph.node]
        quantize_static(
            prepared,
            quantized,
            reader,
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QInt8 if symmetric else QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            op_types_to_quantize=["Conv", "MaxPool", "Relu", "GlobalAveragePool"],
            nodes_to_exclude=[n for n in names if any(part in n for part in _NOT_QUANTIZED)],
            extra_options={"ActivationSymmetric": symmetric},
        )
        _write(onnx.load(quantized), metadata, path)


def _trace(esr: ESR, metadata: ModelMetadata, early_exit: bool, fold: bool = True) -> ModelProto:
    """Return the graph of the ensemble, or of the parts that :func:`with_early_exit` joins."""
    size, esr = metadata.input.size_px, copy.deepcopy(esr).cpu()
    faces = {INPUT: torch.zeros(1, 3, size, size)}
    if early_exit and metadata.branches > 1:
        parts = EarlyExitESR(esr, with_affect=metadata.affect == "learned")
        return _onnx(parts, faces, (SHARED, FIRST, REST), fold)
    return _onnx(Ensemble(esr, metadata), faces, BranchPrediction._fields, fold)


def _onnx(
    module: nn.Module, inputs: Dict[str, Tensor], outputs: Sequence[str], fold: bool = True
) -> ModelProto:
    """Return the ONNX graph of a module; the first axis of all its tensors is dynamic (``n``).

    inputs: an example of each, in the order of ``forward``; scalars have no dynamic axis.
    """
    scalars = {name for name, example in inputs.items() if example.ndim == 0}
    with tempfile.NamedTemporaryFile(suffix=".onnx") as file, warnings.catch_warnings():
        # The newer exporter starts at opset 18, which JetPack 4.6 cannot read.
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        # Image sizes become constants on purpose.
        warnings.filterwarnings("ignore", "Converting a tensor to a Python integer")
        torch.onnx.export(
            module.eval(),
            tuple(inputs.values()),
            file.name,
            dynamo=False,
            do_constant_folding=fold,
            opset_version=16,  # readable by every ONNX Runtime from 1.11 (JetPack 4.6) on
            input_names=list(inputs),
            output_names=list(outputs),
            dynamic_axes={name: {0: "n"} for name in {*inputs, *outputs} - scalars},
        )
        return onnx.load(file.name)


def _write(network: ModelProto, metadata: ModelMetadata, path: Path) -> None:
    """Add the early exit and the metadata, check the graph, and write it."""
    if network.graph.output[0].name == SHARED:
        network = with_early_exit(network, metadata)
    network.ir_version = 8  # that of opset 16
    # An older ONNX Runtime refuses the versions of opsets without a node.
    used = set(_domains(network.graph))
    for opset in [each for each in network.opset_import if each.domain not in used]:
        network.opset_import.remove(opset)
    helper.set_model_props(network, {METADATA_KEY: metadata.to_json()})
    onnx.checker.check_model(network)
    with replacing(path) as partial:
        onnx.save(network, str(partial))


def _domains(graph: GraphProto) -> Iterator[str]:
    for node in graph.node:
        yield node.domain
        for attribute in node.attribute:
            yield from _domains(attribute.g)


class ExitGate(nn.Module):
    """Find the faces that the first branch leaves undecided."""

    def __init__(self, metadata: ModelMetadata) -> None:
        super().__init__()
        self.calibration = Calibration(metadata)

    def forward(self, first: Tensor, branches: Tensor, lead: Tensor) -> Tuple[Tensor, Tensor]:
        """Return a mask (n,) of the undecided faces, and whether it has any.

        first: (n, 1, 10) logits and affect, or (n, 1, 8). branches, lead: scalars, as above.
        """
        logits = self.calibration(first[:, 0, : len(LABELS)])
        top = logits.softmax(dim=1).topk(2, dim=1).values
        undecided = (top[:, 0] - top[:, 1] < lead) & (branches > 1)
        return undecided, undecided.any()


class Vote(nn.Module):
    """Average the evaluated branches of each face."""

    def __init__(self, metadata: ModelMetadata) -> None:
        super().__init__()
        self.branches, self.affect = metadata.branches, metadata.affect
        self.calibration = Calibration(metadata)

    def forward(
        self, first: Tensor, rest: Tensor, undecided: Tensor, branches: Tensor
    ) -> Tuple[Tensor, ...]:
        """Return the tensors of :class:`esr_core.inference.onnx_model.BranchPrediction`.

        first: (n, 1, 10), or (n, 1, 8) without affect. rest: (m, branches - 1, 10 or 8) of the m
        faces in ``undecided`` (n,).
        """
        row = undecided.long().cumsum(dim=0) * undecided  # 0, a row of zeros, for decided faces
        zeros = torch.zeros(1, self.branches - 1, first.shape[2])
        scores = torch.cat((first, torch.cat((zeros, rest))[row]), dim=1)  # (n, branches, 10)
        index = torch.arange(self.branches)
        evaluated = (undecided[:, None] | (index == 0)) & (index < branches)  # (n, branches)
        weight = evaluated.float()[:, :, None]
        logits = self.calibration(scores[:, :, : len(LABELS)])
        each, count = logits.softmax(dim=2) * weight, weight.sum(dim=1)
        probabilities, affect = each.sum(dim=1) / count, scores[:, :, len(LABELS) :] * weight
        if self.affect == "derived":
            affect = derived_affect(each)
        mean_affect = (affect.sum(dim=1) / count).clamp(-1.0, 1.0)
        votes = torch.where(evaluated, logits.argmax(dim=2), -1)
        return probabilities, mean_affect, votes, logits * weight, affect


def with_early_exit(network: ModelProto, metadata: ModelMetadata) -> ModelProto:
    """Add the early exit to a traced, possibly quantized ``EarlyExitESR`` of 2 or more branches."""
    branches = metadata.branches
    scores = len(LABELS) + (2 if metadata.affect == "learned" else 0)
    # Faces are selected among bytes where there are such; the dequantization stays beside the
    # convolution that ONNX Runtime fuses it with.
    (source,) = (node for node in network.graph.node if SHARED in node.output)
    shared = str(source.input[0]) if source.op_type == "DequantizeLinear" else SHARED
    cut = Extractor(onnx.shape_inference.infer_shapes(network)).extract_model
    first = cut([INPUT], [shared, FIRST]).graph
    rest = compose.add_prefix_graph(cut([shared], [REST]).graph, "rest/", rename_nodes=False)
    options = {BRANCHES: torch.tensor(branches), LEAD: torch.tensor(NO_EARLY_EXIT)}
    examples = {
        FIRST: torch.zeros(1, 1, scores),
        REST: torch.zeros(1, branches - 1, scores),
        UNDECIDED: torch.ones(1, dtype=torch.bool),
        **options,
    }

    def glue(module: nn.Module, inputs: Sequence[str], outputs: Sequence[str]) -> GraphProto:
        graph = _onnx(module, {name: examples[name] for name in inputs}, outputs).graph
        prefix = f"{type(module).__name__}/"
        return compose.add_prefix_graph(graph, prefix, rename_inputs=False, rename_outputs=False)

    gate = glue(ExitGate(metadata), (FIRST, BRANCHES, LEAD), (UNDECIDED, ANY_UNDECIDED))
    inputs = (FIRST, REST, UNDECIDED, BRANCHES)
    vote = glue(Vote(metadata), inputs, BranchPrediction._fields)
    defaults = [numpy_helper.from_array(value.numpy(), name) for name, value in options.items()]
    graph = helper.make_graph(
        [*first.node, *gate.node, _if_undecided(rest, shared, (branches - 1, scores)), *vote.node],
        "early_exit",
        [*first.input, *(each for each in gate.input if each.name in options)],
        vote.output,
        [*first.initializer, *gate.initializer, *vote.initializer, *defaults],
    )
    return helper.make_model(graph, opset_imports=network.opset_import, producer_name="esr")


def _if_undecided(rest: GraphProto, shared: str, shape: Tuple[int, int]) -> NodeProto:
    """Return the node that computes the ``rest`` of the undecided faces, each of a ``shape``."""

    def branch(nodes: List[NodeProto], weights: Sequence[TensorProto] = ()) -> GraphProto:
        # Without a shape, as the number of faces differs from that outside.
        output = helper.make_tensor_value_info(nodes[-1].output[0], TensorProto.FLOAT, None)
        return helper.make_graph(nodes, REST, [], [output], weights)

    select = helper.make_node("Compress", [shared, UNDECIDED], [rest.input[0].name], axis=0)
    empty = numpy_helper.from_array(np.zeros((0, *shape), np.float32))
    return helper.make_node(
        "If",
        [ANY_UNDECIDED],
        [REST],
        then_branch=branch([select, *rest.node], rest.initializer),
        else_branch=branch([helper.make_node("Constant", [], ["none"], value=empty)]),
    )
