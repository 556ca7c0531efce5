"""``esr export``."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from esr_core.cli import output_files
from esr_core.cli.command import command
from esr_core.cli.output_files import Output
from esr_core.errors import OptionError
from esr_core.inference.metadata import ModelMetadata
from esr_core.perception.preprocessing import whole


def add(commands: Any) -> None:
    """Declare the command."""
    export = command(
        commands,
        "export",
        "Export trained weights to an .onnx file, or to a smaller folder of weights.",
        "esr export checkpoints/esr-9 esr-9.onnx\n"
        "  esr export checkpoints/esr-9 esr-9-int8.onnx --int8 train.npz.xz\n"
        "  esr export checkpoints/esr-9 esr-9-tensorrt.onnx --int8 train.npz.xz --symmetric\n"
        "  esr export checkpoints/esr-9 models/esr-9 --fp16",
        run,
    )
    export.add_argument("checkpoint", type=Path, metavar="FOLDER")
    export.add_argument("out", type=Path, metavar="OUT", help="an .onnx file, or a folder")
    kind = export.add_mutually_exclusive_group()
    kind.add_argument("--int8", type=Path, metavar="DATA", help="quantize, calibrated on DATA")
    kind.add_argument("--fp16", action="store_true", help="half precision")
    export.add_argument(
        "--symmetric",
        action="store_true",
        help="INT8 for TensorRT: signed activations around 0; slower on CPUs",
    )
    export.add_argument("--json", action="store_true")


def run(arguments: argparse.Namespace) -> None:
    """Export the checkpoint and print a summary."""
    from esr_core.network import checkpoint
    from esr_core.network.onnx_export import export_fp16, export_fp32, export_int8

    out: Path = arguments.out
    as_weights = out.suffix != ".onnx"
    if arguments.symmetric and not arguments.int8:
        raise OptionError("--symmetric is a form of INT8; it needs --int8 DATA")
    if as_weights and not arguments.fp16:
        raise OptionError(f"{out} must end in .onnx, or be a folder for weights with --fp16")
    written = checkpoint.files(out) if as_weights else [out]
    read = [*checkpoint.files(arguments.checkpoint), *filter(None, [arguments.int8])]
    output_files.check([Output("OUT", each) for each in written], read, True)
    esr, metadata = checkpoint.load(arguments.checkpoint)
    out.parent.mkdir(parents=True, exist_ok=True)
    if as_weights:
        checkpoint.save(out, esr.half(), metadata)
    elif arguments.int8:
        export_int8(esr, metadata, _calibration(arguments.int8, metadata), out, arguments.symmetric)
    elif arguments.fp16:
        export_fp16(esr, metadata, out)
    else:
        export_fp32(esr, metadata, out)
    files = out.iterdir() if as_weights else [out]
    size_mb = sum(file.stat().st_size for file in files) / 1e6
    if arguments.json:
        print(json.dumps({"file": str(out), "name": metadata.name, "size_mb": size_mb}))
    else:
        print(f"{out}: {metadata.name}, {size_mb:.1f} MB")


def _calibration(path: Path, metadata: ModelMetadata) -> NDArray[np.float32]:
    """Return training faces as input of the network."""
    from esr_core.data import ferplus
    from esr_core.network.onnx_export import CALIBRATION_FACES

    faces = ferplus.read(path, "cross_entropy").subset(CALIBRATION_FACES)
    return whole(faces.images, metadata.input)
