"""Complexity of a network: parameters, and multiply-accumulate operations for one face."""

from __future__ import annotations

from typing import Dict, Iterator, List, NamedTuple, Tuple

from esr_core.emotions import LABELS

#: The published networks: branches, diversified.
METHODS = {
    "ESR-9": (9, False),
    "ESR-15": (15, False),
    "ESR*-9": (9, True),
    "ESR*-15": (15, True),
}
Layers = Tuple[Tuple[int, int, int, int, int], ...]
#: The four convolutions of the base and of a branch: input and output channels, kernel, padding,
#: and max pooling of their output.
BASE = ((3, 64, 5, 0, 1), (64, 128, 3, 0, 2), (128, 128, 3, 0, 1), (128, 128, 3, 0, 2))
BRANCH = ((128, 128, 3, 0, 1), (128, 256, 3, 0, 2), (256, 256, 3, 0, 1), (256, 512, 3, 1, 1))
_REDUCTION = 16  # of the channel attention of ESR*
_SPATIAL_KERNEL = 7  # of its spatial attention


class Cost(NamedTuple):
    """The complexity of a network or of a part of it."""

    parameters: int
    macs: int  # multiply-accumulate operations of convolutions and linear layers

    def __add__(self, other: object) -> Cost:
        assert isinstance(other, Cost)
        return Cost(self.parameters + other.parameters, self.macs + other.macs)


def cost(branches: int, diversified: bool, size_px: int = 96) -> Cost:
    """Return the complexity of an ESR for one face of ``size_px`` by ``size_px``."""
    base, shared_px = _stack(BASE, size_px, diversified)
    branch, _ = _stack(BRANCH, shared_px, diversified)
    labels = len(LABELS)
    heads = Cost(512 * labels + labels + labels * 2 + 2, 512 * labels + labels * 2)
    return sum([branch + heads] * branches, base)


def convolutions(size_px: int = 96) -> Dict[str, List[int]]:
    """Return the operations of the four layers of the base, and of those of one branch."""
    base = list(_layers(BASE, size_px))
    branch = _layers(BRANCH, base[-1][1])
    return {"base": [each.macs for each, _ in base], "branch": [each.macs for each, _ in branch]}


def _stack(layers: Layers, size_px: int, diversified: bool) -> Tuple[Cost, int]:
    """Return the complexity of four layers, and the side of their output."""
    total, side_px = Cost(0, 0), size_px
    for (layer, side_px), (_, outputs, *_) in zip(_layers(layers, size_px), layers):
        total += layer
        if diversified:
            total += _attention(outputs, side_px)
    return total, side_px


def _layers(layers: Layers, size_px: int) -> Iterator[Tuple[Cost, int]]:
    """Yield the complexity of each convolution with its batch norm, and the side of its output."""
    for inputs, outputs, kernel, padding, pooling in layers:
        size_px += 2 * padding - kernel + 1
        weights = inputs * outputs * kernel**2
        yield Cost(weights + outputs + 2 * outputs, weights * size_px**2), size_px // pooling
        size_px //= pooling


def _attention(channels: int, size_px: int) -> Cost:
    hidden = channels // _REDUCTION
    weights = 2 * channels * hidden  # applied to the mean and to the maximum
    spatial = 2 * _SPATIAL_KERNEL**2
    channel = Cost(weights + hidden + channels, 2 * weights)
    return channel + Cost(spatial + 2, spatial * size_px**2)
