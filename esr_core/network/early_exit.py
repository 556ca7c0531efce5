"""An ONNX graph with early exit: the other branches are evaluated only where the first is unsure.

A nested ensemble can answer after its first branch already, which suffices for most faces. There
is no third step: few faces would be decided between one branch and all, and the branches of ESR*
are faster together (:mod:`esr_core.network.inference_graph`). Two optional inputs control the exit;
by default all branches are evaluated:

- ``branches``: int64, maximum number of branches to count; 1 evaluates only the first.
- ``lead``: float32, the exit margin. The first branch decides a face if the probability of its
  most probable emotion exceeds that of the second by at least this margin.

A branch that is not evaluated for a face, or not counted, has the vote -1 and zeros in the other
outputs.
"""

from __future__ import annotations

from typing import List, Sequence, Tuple

import numpy as np
import onnx
import torch
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, compose, helper, numpy_helper
from onnx.utils import Extractor
from torch import Tensor, nn

from esr_core.emotions import LABELS
from esr_core.inference.metadata import NO_EARLY_EXIT
from esr_core.inference.onnx_model import BRANCHES, INPUT, LEAD, BranchPrediction
from esr_core.network.inference_graph import FIRST, REST, SHARED, trace

UNDECIDED, ANY_UNDECIDED = "undecided", "any_undecided"
_SCORES = len(LABELS) + 2


class ExitGate(nn.Module):
    """Find the faces that the first branch leaves undecided."""

    def __init__(self, temperature: float) -> None:
        super().__init__()
        self.temperature = temperature

    def forward(self, first: Tensor, branches: Tensor, lead: Tensor) -> Tuple[Tensor, Tensor]:
        """Return a mask (n,) of the undecided faces, and whether it has any.

        first: (n, 1, 10) logits and affect. branches, lead: scalars, as above.
        """
        logits = first[:, 0, : len(LABELS)]
        top = (logits / self.temperature).softmax(dim=1).topk(2, dim=1).values
        undecided = (top[:, 0] - top[:, 1] < lead) & (branches > 1)
        return undecided, undecided.any()


class Vote(nn.Module):
    """Average the evaluated branches of each face."""

    def __init__(self, branches: int, temperature: float) -> None:
        super().__init__()
        self.branches = branches
        self.temperature = temperature

    def forward(
        self, first: Tensor, rest: Tensor, undecided: Tensor, branches: Tensor
    ) -> Tuple[Tensor, ...]:
        """Return the tensors of :class:`esr_core.inference.onnx_model.BranchPrediction`.

        first: (n, 1, 10). rest: (m, branches - 1, 10) of the m faces in ``undecided`` (n,).
        """
        row = undecided.long().cumsum(dim=0) * undecided  # 0, a row of zeros, for decided faces
        zeros = torch.zeros(1, self.branches - 1, _SCORES)
        scores = torch.cat((first, torch.cat((zeros, rest))[row]), dim=1)  # (n, branches, 10)
        index = torch.arange(self.branches)
        evaluated = (undecided[:, None] | (index == 0)) & (index < branches)  # (n, branches)
        weight = evaluated.float()[:, :, None]
        logits = scores[:, :, : len(LABELS)] / self.temperature
        affect = scores[:, :, len(LABELS) :] * weight
        count = weight.sum(dim=1)
        return (
            (logits.softmax(dim=2) * weight).sum(dim=1) / count,
            (affect.sum(dim=1) / count).clamp(-1.0, 1.0),
            torch.where(evaluated, logits.argmax(dim=2), -1),
            logits * weight,
            affect,
        )


def assemble(network: ModelProto, branches: int, temperature: float) -> ModelProto:
    """Add the early exit to a traced, possibly quantized ``EarlyExitESR``.

    branches: of the network, 2 or more. temperature: divides the logits.
    """
    shared = _quantized(network.graph, SHARED)
    cut = Extractor(onnx.shape_inference.infer_shapes(network)).extract_model
    first = cut([INPUT], [shared, FIRST]).graph
    rest = compose.add_prefix_graph(cut([shared], [REST]).graph, "rest/", rename_nodes=False)
    options = {BRANCHES: torch.tensor(branches), LEAD: torch.tensor(NO_EARLY_EXIT)}
    examples = {
        FIRST: torch.zeros(1, 1, _SCORES),
        REST: torch.zeros(1, branches - 1, _SCORES),
        UNDECIDED: torch.ones(1, dtype=torch.bool),
        **options,
    }

    def glue(module: nn.Module, inputs: Sequence[str], outputs: Sequence[str]) -> GraphProto:
        graph = trace(module, {name: examples[name] for name in inputs}, outputs).graph
        prefix = f"{type(module).__name__}/"
        return compose.add_prefix_graph(graph, prefix, rename_inputs=False, rename_outputs=False)

    gate = glue(ExitGate(temperature), (FIRST, BRANCHES, LEAD), (UNDECIDED, ANY_UNDECIDED))
    vote = glue(
        Vote(branches, temperature), (FIRST, REST, UNDECIDED, BRANCHES), BranchPrediction._fields
    )
    graph = helper.make_graph(
        [*first.node, *gate.node, _if_undecided(rest, shared, branches), *vote.node],
        "early_exit",
        [*first.input, *(each for each in gate.input if each.name in options)],
        vote.output,
        [
            *(*first.initializer, *gate.initializer, *vote.initializer),
            *(numpy_helper.from_array(value.numpy(), name) for name, value in options.items()),
        ],
    )
    return helper.make_model(graph, opset_imports=network.opset_import, producer_name="esr")


def _if_undecided(rest: GraphProto, shared: str, branches: int) -> NodeProto:
    """Return the node that evaluates the other branches for the undecided faces, if any."""

    def branch(nodes: List[NodeProto], weights: Sequence[TensorProto] = ()) -> GraphProto:
        # Without a shape, as the number of faces differs from that outside.
        output = helper.make_tensor_value_info(nodes[-1].output[0], TensorProto.FLOAT, None)
        return helper.make_graph(nodes, REST, [], [output], weights)

    select = helper.make_node("Compress", [shared, UNDECIDED], [rest.input[0].name], axis=0)
    empty = numpy_helper.from_array(np.zeros((0, branches - 1, _SCORES), np.float32))
    return helper.make_node(
        "If",
        [ANY_UNDECIDED],
        [REST],
        then_branch=branch([select, *rest.node], rest.initializer),
        else_branch=branch([helper.make_node("Constant", [], ["none"], value=empty)]),
    )


def _quantized(graph: GraphProto, name: str) -> str:
    """Return the name of the bytes that a tensor is dequantized from, or its own without any.

    Faces are selected among bytes, and the dequantization stays beside the convolution that ONNX
    Runtime fuses it with.
    """
    (source,) = (node for node in graph.node if name in node.output)
    return str(source.input[0]) if source.op_type == "DequantizeLinear" else name
