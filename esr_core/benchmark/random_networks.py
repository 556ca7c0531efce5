"""Networks of the published forms that nobody trained, for how fast such a network is.

Time does not depend on what the weights are, but for branches that take turns: there it depends on
how many faces the first one leaves open. Here that is the share of the network that ships.
"""

from __future__ import annotations

from pathlib import Path
from typing import Dict, Sequence, cast

import numpy as np
import torch
from numpy.typing import NDArray

from esr_core.inference.metadata import ModelMetadata
from esr_core.network.complexity import METHODS
from esr_core.network.esr import ESR
from esr_core.network.onnx_export import export_fp16, export_fp32, export_int8

#: Share of FER+'s validation faces that the first branch of the network that ships leaves open.
UNDECIDED = 0.11
#: Faces that are made to calibrate INT8, and to set the share above.
FACES = 100
SIZE_PX = 96


def faces(count: int = FACES, seed: int = 0) -> NDArray[np.float32]:
    """Return blots, (count, 3, 96, 96) in [0, 1]: like faces, and unlike noise, they differ."""
    generator = torch.Generator().manual_seed(seed)
    blots = torch.rand(count, 1, 6, 6, generator=generator)
    grey = torch.nn.functional.interpolate(blots, (SIZE_PX, SIZE_PX), mode="bilinear")
    drawn: NDArray[np.float32] = grey.expand(-1, 3, -1, -1).contiguous().numpy()
    return drawn


def make(method: str, folder: Path, forms: Sequence[str] = ("fp32", "INT8")) -> Dict[str, Path]:
    """Write an untrained network of one of the published methods to ``folder``; return its files.

    forms: of fp32, fp16, INT8 and symmetric, which is INT8 as TensorRT takes it.
    """
    branches, diversified = METHODS[method]
    torch.manual_seed(0)
    esr = ESR(branches, diversified)
    shown = faces()
    metadata = ModelMetadata(
        method, branches, diversified, lead=_settle(esr, torch.from_numpy(shown))
    )
    files = {}
    for form in forms:
        files[form] = folder / f"{method.replace('*', '-star')}-{form.lower()}.onnx"
        if form == "fp32":
            export_fp32(esr, metadata, files[form])
        elif form == "fp16":
            export_fp16(esr, metadata, files[form])
        else:
            export_int8(esr, metadata, shown[:32], files[form], form == "symmetric")
    return files


def _settle(esr: ESR, shown: torch.Tensor) -> float:
    """Let its answers differ from face to face; return the lead that leaves some of them open."""
    for module in esr.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 1.0  # one pass sets the statistics, or answers would hardly differ
    with torch.inference_mode():
        esr.train()(shown[:32])
        scores = esr.eval()(shown).emotions[0]  # (n, 8)
        mean, spread = scores.mean(dim=0), scores.std(dim=0).mean()
        first = cast(torch.nn.Linear, esr.convolutional_branches[0].get_submodule("fc"))
        first.weight.div_(spread)
        first.bias.sub_(mean).div_(spread)
        probable = esr(shown).emotions[0].softmax(dim=1)
    best, second = probable.topk(2, dim=1).values.T
    return float(np.quantile((best - second).numpy(), UNDECIDED))
