"""Tracing of PyTorch modules to ONNX graphs."""

from __future__ import annotations

import tempfile
import warnings
from typing import Dict, Sequence

import onnx
import torch
from torch import Tensor, nn

#: Readable by every ONNX Runtime from 1.11 (JetPack 4.6) on.
OPSET = 16


def trace(
    module: nn.Module,
    inputs: Dict[str, Tensor],
    outputs: Sequence[str],
    do_constant_folding: bool = True,
) -> onnx.ModelProto:
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
            do_constant_folding=do_constant_folding,
            opset_version=OPSET,
            input_names=list(inputs),
            output_names=list(outputs),
            dynamic_axes={name: {0: "n"} for name in {*inputs, *outputs} - scalars},
        )
        return onnx.load(file.name)
