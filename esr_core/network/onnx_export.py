"""Export of trained weights to ``.onnx`` files, in fp32, fp16 and INT8.

Files for GPUs, fp16 and symmetric INT8, always evaluate all branches. Files for CPUs have an early
exit (:mod:`esr_core.network.inference_graph`): the first branch suffices for most faces. There is
no third step: few faces would be decided between one branch and all, and the branches of ESR* are
faster together. Two optional inputs control the exit; by default all branches are evaluated:

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
from typing import Any, Dict

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import ModelProto, helper, numpy_helper
from onnxruntime.quantization import QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process
from torch import Tensor, nn

from esr_core.atomic_write import replacing
from esr_core.inference.metadata import NO_EARLY_EXIT, ModelMetadata
from esr_core.inference.onnx_model import BRANCHES, INPUT, LEAD, METADATA_KEY, BranchPrediction
from esr_core.network.esr import ESR, Ensemble
from esr_core.network.inference_graph import EarlyExitESR

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
    options = _defaults(network, metadata)
    batches = ({INPUT: each, **options} for each in np.split(faces, range(32, len(faces), 32)))
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
    """Return the graph for any number of faces ``n``; an early exit takes two more inputs."""
    size, esr = metadata.input.size_px, copy.deepcopy(esr).cpu()
    inputs, outputs = {INPUT: torch.zeros(1, 3, size, size)}, BranchPrediction._fields
    module: nn.Module = Ensemble(esr, metadata)
    if early_exit and metadata.branches > 1:
        module = EarlyExitESR(esr, metadata)
        inputs.update(_options(metadata))
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
            dynamic_axes={name: {0: "n"} for name in (INPUT, *outputs)},
        )
        return onnx.load(file.name)


def _options(metadata: ModelMetadata) -> Dict[str, Tensor]:
    """Return the optional inputs with their defaults, with which all branches are evaluated."""
    return {BRANCHES: torch.tensor(metadata.branches), LEAD: torch.tensor(NO_EARLY_EXIT)}


def _defaults(network: ModelProto, metadata: ModelMetadata) -> Dict[str, NDArray[Any]]:
    """Return the defaults of the optional inputs that a network has: both or none."""
    options = _options(metadata)
    return {each.name: options[each.name].numpy() for each in network.graph.input[1:]}


def _write(network: ModelProto, metadata: ModelMetadata, path: Path) -> None:
    """Add the defaults of optional inputs and the metadata, check the graph, and write it."""
    for name, value in _defaults(network, metadata).items():
        network.graph.initializer.append(numpy_helper.from_array(value, name))
    network.ir_version = 8  # that of opset 16
    # An older ONNX Runtime refuses the versions of opsets without a node.
    used = {node.domain for node in network.graph.node}
    for opset in [each for each in network.opset_import if each.domain not in used]:
        network.opset_import.remove(opset)
    helper.set_model_props(network, {METADATA_KEY: metadata.to_json()})
    onnx.checker.check_model(network)
    with replacing(path) as partial:
        onnx.save(network, str(partial))
