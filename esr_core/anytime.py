"""An ONNX graph that asks one branch after another, and each only about faces that are not decided.

A nested ensemble can answer after its first branch already, so one file serves every size of it.
Two inputs that may be left out say how far to go; left out, all branches answer:

- ``branches``: int64, at most so many are asked.
- ``lead``: float32; a face is decided once the mean probability of its likeliest emotion leads that
  of the next by so much.

What a branch was not asked about a face has the vote -1 and zeros in the other outputs.
"""

from __future__ import annotations

from typing import Dict, List, Set, Tuple

import onnx
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper, parser
from torch import Tensor, nn

from esr_core.emotions import LABELS
from esr_core.infer import BRANCHES, INPUT, LEAD, BranchPrediction
from esr_core.metadata import NEVER
from esr_core.model import ESR

# What is known before the first branch: nothing, and every face is open.
_BEGIN = """
    n = Shape <end = 1> ({faces})
    n_answers = Concat <axis = 0> (n, answers)
    n_labels = Concat <axis = 0> (n, labels)
    nothing = ConstantOfShape (n_answers)
    total_0 = ConstantOfShape (n_labels)
    decided = ConstantOfShape <value = bool[1] {{0}}> (n)
    open_0 = ConstantOfShape <value = bool[1] {{1}}> (n)
"""
# Is there anything left to ask branch i?
_WANTED = """
    flags_{i} = Cast <to = 6> (open_{i})
    most_{i} = ReduceMax <keepdims = 0> (flags_{i})
    wanted_{i} = Cast <to = 9> (most_{i})
"""
# Branch i sees the rows of the faces that are open ...
_ASK = """
    places = NonZero (open_{i})
    rows = Transpose <perm = [1, 0]> (places)
    row = Squeeze (places, axis_0)
    asked = Gather <axis = 0> (shared, row)
"""
# ... and what it says of them joins what the others said.
_TELL = """
    answer = Concat <axis = 1> (emotions_{i}, affect_{i})
    said = ScatterND (nothing, rows, answer)
    cool = Div (emotions_{i}, temperature)
    probable = Softmax <axis = 1> (cool)
    before = Gather <axis = 0> (total_{i}, row)
    sum = Add (before, probable)
    total = ScatterND (total_{i}, rows, sum)
    top, top_at = TopK (sum, two)
    first, second = Split <axis = 1> (top)
    ahead = Sub (first, second)
    ahead_row = Squeeze (ahead, axis_1)
    needed = Mul (lead, count_{next})
    unclear = Less (ahead_row, needed)
    more = Less (number_{next}, branches)
    on = And (unclear, more)
    open = ScatterND (decided, rows, on)
"""
_PASS = """
    same_nothing = Identity (nothing)
    same_total = Identity (total_{i})
    same_decided = Identity (decided)
"""
# The answers of all branches side by side, (n, branches, 10), and who was asked, (n, branches, 1).
_COLUMN = """
    said_column_{i} = Unsqueeze (said_{i}, axis_1)
    asked_{i} = Cast <to = 1> (open_{i})
    asked_column_{i} = Unsqueeze (asked_{i}, axes_1_2)
"""
_END = """
    answers_of_all = Concat <axis = 1> ({said})
    was_asked = Concat <axis = 1> ({asked})
    times = ReduceSum <keepdims = 0> (was_asked, axis_1)
    emotions, branch_affect = Split <axis = 2> (answers_of_all, widths)
    branch_emotions = Div (emotions, temperature)
    probabilities = Div (total_{n}, times)
    affect_total = ReduceSum <keepdims = 0> (branch_affect, axis_1)
    affect_mean = Div (affect_total, times)
    affect = Clip (affect_mean, lowest, highest)
    best = ArgMax <axis = 2, keepdims = 0> (branch_emotions)
    was_asked_row = Squeeze (was_asked, axis_2)
    voted = Cast <to = 9> (was_asked_row)
    votes = Where (voted, best, no_vote)
"""


class Branches(nn.Module):
    """An ESR with an output for each answer of each branch: emotions, then affect."""

    def __init__(self, esr: ESR) -> None:
        super().__init__()
        self.esr = esr
        self.outputs = [
            f"{what}_{i}" for i in range(esr.get_ensemble_size()) for what in ("emotions", "affect")
        ]

    def forward(self, x: Tensor) -> List[Tensor]:
        shared = self.esr.base(x)
        each = [branch(shared)[:2] for branch in self.esr.convolutional_branches]
        return [answer for answers in each for answer in answers]


def assemble(traced: ModelProto, temperature: float) -> ModelProto:
    """Let the branches of a traced, and maybe quantized, :class:`Branches` take turns.

    temperature: the emotions' logits are divided by it. The outputs are those of
    :class:`esr_core.infer.BranchPrediction`, of two branches or more.
    """
    count = len(traced.graph.output) // 2
    base, turns = _parted(traced.graph, count)
    weights = {tensor.name: tensor for tensor in traced.graph.initializer}
    nodes = [*base, *_parsed(_BEGIN.format(faces=INPUT))]
    columns: List[NodeProto] = []
    for i, turn in enumerate(turns):
        nodes += [*_parsed(_WANTED.format(i=i)), _turn(i, turn, weights)]
        columns += _parsed(_COLUMN.format(i=i))
    said = ", ".join(f"said_column_{i}" for i in range(count))
    asked = ", ".join(f"asked_column_{i}" for i in range(count))
    nodes += [*columns, *_parsed(_END.format(said=said, asked=asked, n=count))]
    graph = helper.make_graph(
        nodes,
        "anytime",
        [
            *traced.graph.input,
            helper.make_tensor_value_info(BRANCHES, TensorProto.INT64, []),
            helper.make_tensor_value_info(LEAD, TensorProto.FLOAT, []),
        ],
        [_output(name, count) for name in BranchPrediction._fields],
        [*_read_by(base, weights), *_constants(count, temperature)],
    )
    return helper.make_model(
        graph, opset_imports=traced.opset_import, ir_version=traced.ir_version, producer_name="esr"
    )


def _parted(graph: GraphProto, count: int) -> Tuple[List[NodeProto], List[List[NodeProto]]]:
    """Return the nodes that all branches need, and those of each branch, which read ``shared``."""
    maker = {output: i for i, node in enumerate(graph.node) for output in node.output}
    needed = [_ancestors(graph, maker, [f"emotions_{i}", f"affect_{i}"]) for i in range(count)]
    common = set.intersection(*needed)
    # Every branch undoes the quantization of its input itself, so that its first convolution is
    # one with that, and rows are picked of bytes.
    common -= {
        i
        for i in common
        if graph.node[i].op_type == "DequantizeLinear" and graph.node[i].input[0] in maker
        if not any(graph.node[i].output[0] in graph.node[j].input for j in common)
    }
    crossing = {
        name
        for own in needed
        for i in own - common
        for name in graph.node[i].input
        if maker.get(name) in common
    }
    (shared,) = crossing
    base = [_renamed(graph.node[i], shared, "shared") for i in sorted(common)]
    turns = [
        [_renamed(graph.node[i], shared, "asked") for i in sorted(own - common)] for own in needed
    ]
    return base, turns


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


def _renamed(node: NodeProto, old: str, new: str) -> NodeProto:
    node = NodeProto.FromString(node.SerializeToString())
    for names in (node.input, node.output):
        names[:] = [new if name == old else name for name in names]
    return node


def _turn(i: int, nodes: List[NodeProto], weights: Dict[str, TensorProto]) -> NodeProto:
    """Ask branch i, if there is a face to ask it about."""
    ask = helper.make_graph(
        [*_parsed(_ASK.format(i=i)), *nodes, *_parsed(_TELL.format(i=i, next=i + 1))],
        f"branch_{i}",
        [],
        [helper.make_empty_tensor_value_info(name) for name in ("said", "total", "open")],
        _read_by(nodes, weights),
    )
    skip = helper.make_graph(
        _parsed(_PASS.format(i=i)),
        f"no_branch_{i}",
        [],
        [
            helper.make_empty_tensor_value_info(name)
            for name in ("same_nothing", "same_total", "same_decided")
        ],
    )
    outputs = [f"said_{i}", f"total_{i + 1}", f"open_{i + 1}"]
    return helper.make_node("If", [f"wanted_{i}"], outputs, then_branch=ask, else_branch=skip)


def _read_by(nodes: List[NodeProto], weights: Dict[str, TensorProto]) -> List[TensorProto]:
    names = dict.fromkeys(name for node in nodes for name in node.input)
    return [weights[name] for name in names if name in weights]


def _constants(count: int, temperature: float) -> List[TensorProto]:
    labels = len(LABELS)
    whole = {
        "answers": [labels + 2],
        "labels": [labels],
        "widths": [labels, 2],
        "two": [2],
        "axis_0": [0],
        "axis_1": [1],
        "axis_2": [2],
        "axes_1_2": [1, 2],
        "no_vote": -1,
        BRANCHES: count,
        **{f"number_{i}": i for i in range(1, count + 1)},
    }
    real = {
        "temperature": temperature,
        "lowest": -1.0,
        "highest": 1.0,
        LEAD: NEVER,
        **{f"count_{i}": float(i) for i in range(1, count + 1)},
    }
    return [
        helper.make_tensor(
            name,
            kind,
            [len(value)] if isinstance(value, list) else [],
            value if isinstance(value, list) else [value],
        )
        for kind, values in ((TensorProto.INT64, whole), (TensorProto.FLOAT, real))
        for name, value in values.items()
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
