"""An ONNX graph that asks its branches in two turns: one, then all others.

A nested ensemble can answer after its first branch already, which decides most faces; only what
leaves doubt is asked on. There is no third turn, since few faces would be decided between one and
all, and the branches of ESR* are faster together (:mod:`esr_core.network.inference_graph`).
Two inputs that may be left out say how far to go; left out, all branches answer:

- ``branches``: int64, at most so many are counted; with 1 no more are asked.
- ``lead``: float32; a face is decided once the probability of its likeliest emotion leads that of
  the next by so much.

What a branch was not asked about a face, or is not counted, has the vote -1 and zeros in the other
outputs.
"""

from __future__ import annotations

from typing import Any, Dict, List, Set, Tuple

import numpy as np
import onnx
import onnx.numpy_helper
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper, parser

from esr_core.emotions import LABELS
from esr_core.inference.metadata import NEVER
from esr_core.inference.onnx_model import BRANCHES, INPUT, LEAD, BranchPrediction

# After the first branch: who is to be asked about once more, and is there anybody?
_WANTED = """
    first_answer = Concat <axis = 2> (first_emotions, first_affect)
    cool = Div (first_emotions, temperature)
    probable_first = Softmax <axis = 2> (cool)
    top, top_at = TopK (probable_first, two)
    likeliest, next = Split <axis = 2> (top)
    ahead = Sub (likeliest, next)
    ahead_row = Squeeze (ahead, axes_1_2)
    unclear = Less (ahead_row, lead)
    more = Less (one, branches)
    open = And (unclear, more)
    flags = Cast <to = 6> (open)
    most = ReduceMax <keepdims = 0> (flags)
    wanted = Cast <to = 9> (most)
    n = Shape <end = 1> ({faces})
    n_answers = Concat <axis = 0> (n, answers)
    nothing = Expand (zero, n_answers)
"""
# The others see the rows of the faces that are open ...
_ASK = """
    places = NonZero (open)
    rows = Transpose <perm = [1, 0]> (places)
    row = Squeeze (places, axis_0)
    asked = Gather <axis = 0> (shared, row)
"""
# ... and what they say joins what the first one said.
_TELL = """
    rest_answer = Concat <axis = 2> (rest_emotions, rest_affect)
    rest_said = ScatterND (nothing, rows, rest_answer)
"""
_PASS = "same_nothing = Identity (nothing)"
_END = """
    answers_of_all = Concat <axis = 1> (first_answer, said)
    emotions, branch_affect_said = Split <axis = 2> (answers_of_all, widths)
    is_counted = Less (members, branches)
    open_column = Unsqueeze (open, axis_1)
    open_or_first = Or (open_column, is_first)
    voted = And (open_or_first, is_counted)
    was_asked_row = Cast <to = 1> (voted)
    was_asked = Unsqueeze (was_asked_row, axis_2)
    times = ReduceSum <keepdims = 0> (was_asked, axis_1)
    all_emotions = Div (emotions, temperature)
    all_probable = Softmax <axis = 2> (all_emotions)
    probable = Mul (all_probable, was_asked)
    probable_total = ReduceSum <keepdims = 0> (probable, axis_1)
    probabilities = Div (probable_total, times)
    branch_emotions = Mul (all_emotions, was_asked)
    branch_affect = Mul (branch_affect_said, was_asked)
    affect_total = ReduceSum <keepdims = 0> (branch_affect, axis_1)
    affect_mean = Div (affect_total, times)
    affect = Clip (affect_mean, lowest, highest)
    best = ArgMax <axis = 2, keepdims = 0> (all_emotions)
    votes = Where (voted, best, no_vote)
"""


def assemble(traced: ModelProto, count: int, temperature: float) -> ModelProto:
    """Add the early exit to a traced, and maybe quantized, inference graph.

    count: of its branches, 2 or more. temperature: the emotions' logits are divided by it. The
    outputs are those of :class:`esr_core.inference.onnx_model.BranchPrediction`.
    """
    weights = {tensor.name: tensor for tensor in traced.graph.initializer}
    for node in [node for node in traced.graph.node if node.op_type == "Constant"]:
        weights[node.output[0]] = _tensor(node)  # maybe of both turns
        traced.graph.node.remove(node)
    first, rest = _parted(traced.graph)
    ask = helper.make_graph(
        [*_parsed(_ASK), *rest, *_parsed(_TELL)],
        "rest",
        [],
        [helper.make_empty_tensor_value_info("rest_said")],
        _read_by(rest, weights),
    )
    skip = helper.make_graph(
        _parsed(_PASS), "nobody", [], [helper.make_empty_tensor_value_info("same_nothing")]
    )
    graph = helper.make_graph(
        [
            *first,
            *_parsed(_WANTED.format(faces=INPUT)),
            helper.make_node("If", ["wanted"], ["said"], then_branch=ask, else_branch=skip),
            *_parsed(_END),
        ],
        "anytime",
        [
            *traced.graph.input,
            helper.make_tensor_value_info(BRANCHES, TensorProto.INT64, []),
            helper.make_tensor_value_info(LEAD, TensorProto.FLOAT, []),
        ],
        [_output(name, count) for name in BranchPrediction._fields],
        [*_read_by(first, weights), *_constants(count, temperature)],
    )
    return helper.make_model(
        graph, opset_imports=traced.opset_import, ir_version=traced.ir_version, producer_name="esr"
    )


def _parted(graph: GraphProto) -> Tuple[List[NodeProto], List[NodeProto]]:
    """Return the nodes that make ``first_…`` and ``shared``, and those that make ``rest_…``."""
    maker = {output: i for i, node in enumerate(graph.node) for output in node.output}
    first = _ancestors(graph, maker, ["first_emotions", "first_affect"])
    rest = _ancestors(graph, maker, ["rest_emotions", "rest_affect"]) - first
    (shared,) = {name for i in rest for name in graph.node[i].input if maker.get(name) in first}
    nodes = [_copy(graph.node[i]) for i in sorted(rest)]
    source = graph.node[maker[shared]]
    if source.op_type == "DequantizeLinear":
        # The rest undoes the quantization of its input itself, so that its first convolution is one
        # with that, and rows are picked of bytes.
        nodes = [_copy(source), *_renamed(nodes, shared, "asked_exact")]
        nodes[0].output[0], shared = "asked_exact", source.input[0]
    firsts = [_copy(graph.node[i]) for i in sorted(first)]
    return _renamed(firsts, shared, "shared"), _renamed(nodes, shared, "asked")


def _ancestors(graph: GraphProto, maker: Dict[str, int], names: List[str]) -> Set[int]:
    """Return which nodes these tensors are made by, and what those need."""
    found: Set[int] = set()
    waiting = list(names)
    while waiting:
        node = maker.get(waiting.pop())
        if node is not None and node not in found:
            found.add(node)
            waiting += graph.node[node].input
    return found


def _copy(node: NodeProto) -> NodeProto:
    return NodeProto.FromString(node.SerializeToString())


def _renamed(nodes: List[NodeProto], old: str, new: str) -> List[NodeProto]:
    for node in nodes:
        for names in (node.input, node.output):
            names[:] = [new if name == old else name for name in names]
    return nodes


def _tensor(constant: NodeProto) -> TensorProto:
    tensor = TensorProto.FromString(constant.attribute[0].t.SerializeToString())
    tensor.name = constant.output[0]
    return tensor


def _read_by(nodes: List[NodeProto], weights: Dict[str, TensorProto]) -> List[TensorProto]:
    names = dict.fromkeys(name for node in nodes for name in node.input)
    return [weights[name] for name in names if name in weights]


def _constants(count: int, temperature: float) -> List[TensorProto]:
    labels = len(LABELS)
    values: Dict[np.dtype[Any], Dict[str, Any]] = {
        np.dtype(np.int64): {
            "answers": [count - 1, labels + 2],
            "widths": [labels, 2],
            "members": range(count),
            "one": 1,
            "two": [2],
            "axis_0": [0],
            "axis_1": [1],
            "axis_2": [2],
            "axes_1_2": [1, 2],
            "no_vote": -1,
            BRANCHES: count,
        },
        np.dtype(np.float32): {
            "zero": 0.0,
            "temperature": temperature,
            "lowest": -1.0,
            "highest": 1.0,
            LEAD: NEVER,
        },
        np.dtype(np.bool_): {"is_first": [True] + [False] * (count - 1)},
    }
    return [
        onnx.numpy_helper.from_array(np.asarray(value, kind), name)
        for kind, named in values.items()
        for name, value in named.items()
    ]


def _output(name: str, count: int) -> onnx.ValueInfoProto:
    shapes = {
        "probabilities": ["n", len(LABELS)],
        "affect": ["n", 2],
        "votes": ["n", count],
        "branch_emotions": ["n", count, len(LABELS)],
        "branch_affect": ["n", count, 2],
    }
    kind = TensorProto.INT64 if name == "votes" else TensorProto.FLOAT
    return helper.make_tensor_value_info(name, kind, shapes[name])


def _parsed(text: str) -> List[NodeProto]:
    return list(parser.parse_graph("turns () => () {" + text + "}").node)
