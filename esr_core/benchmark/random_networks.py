"""Untrained networks of the published architectures, for timing.

The time of a network does not depend on its weights, except with an early exit: there it depends on
the share of faces that the first branch leaves undecided.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Dict, Sequence, Tuple, cast

import numpy as np
import torch
from numpy.typing import NDArray

from esr_core.inference.metadata import PUBLISHED_INPUT, ModelMetadata
from esr_core.network.esr import ESR, Branch
from esr_core.network.onnx_export import export_fp16, export_fp32, export_int8

#: Share of the faces that the first branch leaves undecided.
UNDECIDED = 0.05
#: Number of synthetic faces, which calibrate INT8 and set the share above.
FACES = 100
SIZE_PX = 96


def faces(size_px: int = SIZE_PX, count: int = FACES, seed: int = 0) -> NDArray[np.float32]:
    """Return smooth random images, (count, 3, size, size) in [0, 1]; noise gives equal answers."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(count, 1, 6, 6, generator=generator)
    grey = torch.nn.functional.interpolate(coarse, (size_px, size_px), mode="bilinear")
    images: NDArray[np.float32] = grey.expand(-1, 3, -1, -1).contiguous().numpy()
    return images


def make(
    architecture: Tuple[int, bool, int], folder: Path, forms: Sequence[str] = ("fp32", "INT8")
) -> Dict[str, Path]:
    """Export an untrained network to ``folder``; return its files by form.

    architecture: branches, diversified, side of the input in px. forms: of fp32, fp16, INT8 and
    symmetric (INT8 for TensorRT).
    """
    branches, diversified, size_px = architecture
    torch.manual_seed(0)
    esr, images = ESR(branches, diversified), faces(size_px)
    margin = _calibrate(esr, torch.from_numpy(images))
    name = f"ESR{'-star' * diversified}-{branches}"
    spec = replace(PUBLISHED_INPUT, size_px=size_px)
    metadata = ModelMetadata(name, branches, diversified, spec, lead=margin)
    files = {}
    for form in forms:
        files[form] = folder / f"{name}-{size_px}-{form.lower()}.onnx"
        if form == "fp32":
            export_fp32(esr, metadata, files[form])
        elif form == "fp16":
            export_fp16(esr, metadata, files[form])
        else:
            export_int8(esr, metadata, images[:8], files[form], form == "symmetric")
    return files


def _calibrate(esr: ESR, images: torch.Tensor) -> float:
    """Spread the answers of the first branch; return the exit margin for UNDECIDED."""
    for module in esr.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 1.0  # one pass sets the statistics
    with torch.inference_mode():
        features = esr.train().base(images)
        for branch in esr.convolutional_branches:
            branch(features[:16])
        first = cast(Branch, esr.eval().convolutional_branches[0])
        scores = first(features)[0]  # (n, 8)
        mean, spread = scores.mean(dim=0), scores.std(dim=0).mean()
        first.fc.weight.div_(spread)
        first.fc.bias.sub_(mean).div_(spread)
        probabilities = ((scores - mean) / spread).softmax(dim=1)
    best, second = probabilities.topk(2, dim=1).values.T
    return float(np.quantile((best - second).numpy(), UNDECIDED))
