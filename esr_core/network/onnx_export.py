"""Export of trained weights to ``.onnx`` files, in fp32, fp16 and INT8.

Files for CPUs have an early exit (:mod:`esr_core.network.early_exit`). Files for GPUs, fp16 and
symmetric INT8, always evaluate all branches.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnxruntime.quantization import QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

from esr_core.atomic_write import replacing
from esr_core.inference.metadata import ModelMetadata
from esr_core.inference.onnx_model import INPUT, METADATA_KEY, BranchPrediction
from esr_core.network import early_exit
from esr_core.network.esr import ESR, Ensemble
from esr_core.network.inference_graph import FIRST, REST, SHARED, EarlyExitESR, trace

#: Number of training crops that calibrate the ranges of INT8.
CALIBRATION_FACES = 256
#: Small convolutions, of attention and of the heads, which 8 bits make slower.
_NOT_QUANTIZED = ("/squeeze/", "/both/", "/excite/", "/place/", "/emotions/", "/affect/")


def export_fp32(
    esr: ESR, metadata: ModelMetadata, path: Path, do_constant_folding: bool = True
) -> None:
    """Write the ensemble in float32, for any number of faces."""
    exits = metadata.branches > 1
    _write(_trace(esr, metadata, exits, do_constant_folding), metadata, path, exits)


def export_fp16(esr: ESR, metadata: ModelMetadata, path: Path) -> None:
    """Write the ensemble in half precision, for GPUs; inputs and outputs stay float32."""
    from onnxruntime.transformers.float16 import convert_float_to_float16
    from onnxruntime.transformers.onnx_model import OnnxModel

    half = OnnxModel(convert_float_to_float16(_trace(esr, metadata), keep_io_types=True))
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
    exits = metadata.branches > 1 and not symmetric
    batches = ({INPUT: batch} for batch in np.split(faces, range(32, len(faces), 32)))
    reader = SimpleNamespace(get_next=lambda: next(batches, None))
    with tempfile.TemporaryDirectory() as folder:
        prepared, quantized = f"{folder}/prepared.onnx", f"{folder}/quantized.onnx"
        quant_pre_process(_trace(esr, metadata, exits), prepared, skip_symbolic_shape=True)
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
        _write(onnx.load(quantized), metadata, path, exits)


def _trace(
    esr: ESR, metadata: ModelMetadata, exits: bool = False, do_constant_folding: bool = True
) -> onnx.ModelProto:
    size = metadata.input.size_px
    faces = {INPUT: torch.zeros(1, 3, size, size)}
    if exits:
        return trace(EarlyExitESR(esr), faces, (SHARED, FIRST, REST), do_constant_folding)
    ensemble = Ensemble(esr, metadata.temperature)
    return trace(ensemble, faces, BranchPrediction._fields, do_constant_folding)


def _write(
    network: onnx.ModelProto, metadata: ModelMetadata, path: Path, exits: bool = False
) -> None:
    """Add the early exit and the metadata, check the graph, and write it."""
    if exits:
        network = early_exit.assemble(network, metadata.branches, metadata.temperature)
    network.ir_version = 8  # that of opset 16
    onnx.helper.set_model_props(network, {METADATA_KEY: metadata.to_json()})
    onnx.checker.check_model(network)
    with replacing(path) as partial:
        onnx.save(network, str(partial))
