"""``esr export``."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from esr_core.cli import output_files
from esr_core.cli.command import command
from esr_core.data.dataset import open_training
from esr_core.errors import OptionError
from esr_core.perception.preprocessing import whole


def add(commands: Any) -> None:
    """Declare the command."""
    export = command(commands, "export", run)
    flag = export.add_argument
    flag("checkpoint", type=Path, metavar="FOLDER")
    flag("out", type=Path, metavar="OUT", help="an .onnx file, or a folder")
    kind = export.add_mutually_exclusive_group()
    int8 = "quantize, calibrated on DATA, see 'esr train'"
    kind.add_argument("--int8", type=Path, metavar="DATA", help=int8)
    kind.add_argument("--fp16", action="store_true", help="half precision")
    symmetric = "INT8 for TensorRT: signed activations around 0; slower on CPUs"
    flag("--symmetric", action="store_true", help=symmetric)
    flag("--json", action="store_true")


def run(arguments: argparse.Namespace) -> None:
    """Export trained weights to an .onnx file, or to a smaller folder of weights.

    examples:
      esr export checkpoints/esr-9 esr-9.onnx
      esr export checkpoints/esr-9 esr-9-int8.onnx --int8 train.npz.xz
      esr export checkpoints/esr-9 esr-9-tensorrt.onnx --int8 train.npz.xz --symmetric
      esr export checkpoints/esr-9 models/esr-9 --fp16
    """
    from esr_core.network import checkpoint

    out: Path = arguments.out
    as_weights = out.suffix != ".onnx"
    if arguments.symmetric and not arguments.int8:
        raise OptionError("--symmetric is a form of INT8; it needs --int8 DATA")
    if as_weights and not arguments.fp16:
        raise OptionError(f"{out} must end in .onnx, or be a folder for weights with --fp16")
    written = checkpoint.files(out) if as_weights else [out]
    read = [*checkpoint.files(arguments.checkpoint), *filter(None, [arguments.int8])]
    output_files.check([("OUT", each) for each in written], read)
    from esr_core.network import onnx_export  # takes seconds, which errors need not wait for

    esr, metadata = checkpoint.load(arguments.checkpoint)
    out.parent.mkdir(parents=True, exist_ok=True)
    if as_weights:
        checkpoint.save(out, esr.half(), metadata)
    elif arguments.int8:
        data = open_training(arguments.int8, metadata.input).subset(onnx_export.CALIBRATION_FACES)
        faces = whole(data.load(range(len(data))), metadata.input)
        onnx_export.export_int8(esr, metadata, faces, out, arguments.symmetric)
    elif arguments.fp16:
        onnx_export.export_fp16(esr, metadata, out)
    else:
        onnx_export.export_fp32(esr, metadata, out)
    files = checkpoint.files(out) if as_weights else [out]
    size_mb = sum(file.stat().st_size for file in files) / 1e6
    if arguments.json:
        print(json.dumps({"file": str(out), "name": metadata.name, "size_mb": size_mb}))
    else:
        print(f"{out}: {metadata.name}, {size_mb:.1f} MB")
