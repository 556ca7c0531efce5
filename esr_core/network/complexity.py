"""Complexity of a network: parameters, and multiply-accumulate operations for one face."""

from __future__ import annotations

from typing import Dict, Iterator, List, NamedTuple, Tuple

from esr_core.emotions import LABELS

#: The published networks: branches, diversified.
METHODS = {"ESR-9": (9, False), "ESR-15": (15, False), "ESR*-9": (9, True), "ESR*-15": (15, True)}
Layers = Tuple[Tuple[int, int, int, int, int], ...]
#: The four convolutions of a part: input and output channels, kernel, padding, and max pooling.
BASE = ((3, 64, 5, 0, 1), (64, 128, 3, 0, 2), (128, 128, 3, 0, 1), (128, 128, 3, 0, 2))
BRANCH = ((128, 128, 3, 0, 1), (128, 256, 3, 0, 2), (256, 256, 3, 0, 1), (256, 512, 3, 1, 1))


class Cost(NamedTuple):
    """The complexity of a network."""

    parameters: int
    macs: int  # multiply-accumulate operations of convolutions and linear layers


def cost(branches: int, diversified: bool, size_px: int = 96) -> Cost:
    """Return the complexity of an ESR for one face of ``size_px`` by ``size_px``."""
    macs = branches * (512 * len(LABELS) + len(LABELS) * 2)  # of the heads
    parameters = macs + branches * (len(LABELS) + 2)
    for part, outputs, weights, conv_px, side_px in _layers(size_px):
        count = branches if part == "branch" else 1
        parameters += count * (weights + outputs + 2 * outputs)  # with the batch norm
        macs += count * weights * conv_px**2
        if diversified:
            hidden = outputs // 16
            channel, spatial = 2 * outputs * hidden, 2 * 7**2
            parameters += count * (channel + hidden + outputs + spatial + 2)
            # The attention over channels is applied to the mean and to the maximum.
            macs += count * (2 * channel + spatial * side_px**2)
    return Cost(parameters, macs)


def convolutions(size_px: int = 96) -> Dict[str, List[int]]:
    """Return the operations of the four layers of the base, and of those of one branch."""
    macs: Dict[str, List[int]] = {"base": [], "branch": []}
    for part, _, weights, conv_px, _ in _layers(size_px):
        macs[part].append(weights * conv_px**2)
    return macs


def _layers(size_px: int) -> Iterator[Tuple[str, int, int, int, int]]:
    """Yield part, output channels, weights, side, and pooled side of each convolution."""
    for part, layers in (("base", BASE), ("branch", BRANCH)):
        for inputs, outputs, kernel, padding, pooling in layers:
            conv_px = size_px + 2 * padding - kernel + 1
            size_px = conv_px // pooling
            yield part, outputs, inputs * outputs * kernel**2, conv_px, size_px
