"""Turning trained weights into ``.onnx`` files, in fp32, fp16 and INT8.

What a CPU runs asks its branches in turns (:mod:`esr_core.network.early_exit`); what a GPU
runs, fp16 and symmetric INT8, asks all of them at once.
"""

from __future__ import annotations

import tempfile
import warnings
from pathlib import Path
from typing import Dict, Iterator, List, Optional

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnxruntime.quantization import (
    CalibrationDataReader,
    QuantFormat,
    QuantType,
    quantize_static,
)
from onnxruntime.quantization.shape_inference import quant_pre_process

from esr_core.atomic_write import replacing
from esr_core.inference.metadata import ModelMetadata
from esr_core.inference.onnx_model import INPUT, METADATA_KEY
from esr_core.network import early_exit
from esr_core.network.esr import ESR, Counted, Ensemble
from esr_core.network.inference_graph import Turns

#: Read by every ONNX Runtime from 1.11 (JetPack 4.6) on.
OPSET = 16
IR_VERSION = 8
#: Training crops that set the ranges of INT8.
CALIBRATION_FACES = 256
OUTPUTS = list(Counted._fields)


def export_fp32(
    esr: ESR, metadata: ModelMetadata, path: Path, do_constant_folding: bool = True
) -> None:
    """Write the ensemble in float32, for any number of faces at once."""
    with replacing(path) as partial:
        _trace(esr, metadata, partial, do_constant_folding, turns=_takes_turns(esr))
        _finish(partial, metadata, turns=_takes_turns(esr))


def export_fp16(esr: ESR, metadata: ModelMetadata, path: Path) -> None:
    """Write the ensemble in half precision, for GPUs; it still takes and gives float32."""
    from onnxruntime.transformers.float16 import convert_float_to_float16
    from onnxruntime.transformers.onnx_model import OnnxModel

    with replacing(path) as partial, tempfile.TemporaryDirectory() as folder:
        fp32 = Path(folder) / "fp32.onnx"
        _trace(esr, metadata, fp32)
        half = OnnxModel(convert_float_to_float16(onnx.load(fp32), keep_io_types=True))
        half.topological_sort()  # the casts at the borders come last otherwise
        onnx.save(half.model, str(partial))
        _finish(partial, metadata)


def export_int8(
    esr: ESR,
    metadata: ModelMetadata,
    faces: NDArray[np.float32],
    path: Path,
    symmetric: bool = False,
) -> None:
    """Quantize: QDQ, weights signed and per channel, activations unsigned.

    faces: (n, 3, size, size) in [0, 1], training crops; their ranges calibrate the activations.
    symmetric: signed activations around 0, the form that TensorRT takes.
    """
    turns = _takes_turns(esr) and not symmetric
    with replacing(path) as partial, tempfile.TemporaryDirectory() as folder:
        fp32, prepared = Path(folder) / "fp32.onnx", Path(folder) / "prepared.onnx"
        _trace(esr, metadata, fp32, turns=turns)
        quant_pre_process(str(fp32), str(prepared), skip_symbolic_shape=True)
        quantize_static(
            str(prepared),
            str(partial),
            _Faces(faces),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QInt8 if symmetric else QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            op_types_to_quantize=["Conv", "MaxPool", "Relu", "GlobalAveragePool"],
            nodes_to_exclude=_gates(prepared),
            extra_options={"ActivationSymmetric": symmetric},
        )
        _finish(partial, metadata, turns)


def _takes_turns(esr: ESR) -> bool:
    return esr.get_ensemble_size() > 1


def _gates(path: Path) -> List[str]:
    """The small convolutions of attention and of the answers, which 8 bits make slower."""
    small = ("/squeeze/", "/both/", "/excite/", "/place/", "/emotions/", "/affect/")
    names = [node.name for node in onnx.load(str(path)).graph.node]
    return [name for name in names if any(part in name for part in small)]


def _trace(
    esr: ESR,
    metadata: ModelMetadata,
    path: Path,
    do_constant_folding: bool = True,
    turns: bool = False,
) -> None:
    """Write the network as it stands: an answer of the ensemble, or of each of its ``turns``."""
    size = metadata.input.size_px
    network = Turns(esr.eval()) if turns else Ensemble(esr, metadata.temperature)
    outputs = list(network.outputs) if isinstance(network, Turns) else OUTPUTS
    with warnings.catch_warnings():
        # The newer exporter starts at opset 18, which JetPack 4.6 cannot read.
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        # Sizes of images become constants, which is meant.
        warnings.filterwarnings("ignore", "Converting a tensor to a Python integer")
        torch.onnx.export(
            network.eval(),
            (torch.zeros(1, 3, size, size),),
            str(path),
            dynamo=False,
            do_constant_folding=do_constant_folding,
            opset_version=OPSET,
            input_names=[INPUT],
            output_names=outputs,
            dynamic_axes={name: {0: "n"} for name in (INPUT, *outputs)},
        )


class _Faces(CalibrationDataReader):  # type: ignore[misc]
    """Hands out calibration faces in batches."""

    def __init__(self, faces: NDArray[np.float32], batch_size: int = 32) -> None:
        self._batches: Iterator[NDArray[np.float32]] = iter(
            np.split(faces, range(batch_size, len(faces), batch_size))
        )

    def get_next(self) -> Optional[Dict[str, NDArray[np.float32]]]:
        batch = next(self._batches, None)
        return None if batch is None else {INPUT: batch}


def _finish(path: Path, metadata: ModelMetadata, turns: bool = False) -> None:
    model = onnx.load(str(path))
    if turns:
        model = early_exit.assemble(model, metadata.branches, metadata.temperature)
    model.ir_version = IR_VERSION
    del model.metadata_props[:]
    entry = model.metadata_props.add()
    entry.key, entry.value = METADATA_KEY, metadata.to_json()
    onnx.checker.check_model(model)
    onnx.save(model, str(path))
