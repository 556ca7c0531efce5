"""What a network costs, by its form alone: parameters, and multiplications for one face."""

from __future__ import annotations

from typing import Dict, Iterator, List, NamedTuple, Tuple

from esr_core.emotions import LABELS

#: The published networks: branches, and whether they are diversified.
METHODS = {
    "ESR-9": (9, False),
    "ESR-15": (15, False),
    "ESR*-9": (9, True),
    "ESR*-15": (15, True),
}
Layers = Tuple[Tuple[int, int, int, int, int], ...]
#: Channels in and out, kernel, padding, pooling; as in :mod:`esr_core.network.esr`.
_BASE = ((3, 64, 5, 0, 1), (64, 128, 3, 0, 2), (128, 128, 3, 0, 1), (128, 128, 3, 0, 2))
_BRANCH = ((128, 128, 3, 0, 1), (128, 256, 3, 0, 2), (256, 256, 3, 0, 1), (256, 512, 3, 1, 1))
_REDUCTION = 16  # of the channel gates of ESR*
_PLACE_KERNEL = 7  # of their spatial gates


class Cost(NamedTuple):
    """Of a network, or a part of it."""

    parameters: int
    macs: int  # multiply-accumulate operations of its convolutions and linear layers

    def __add__(self, other: object) -> Cost:
        assert isinstance(other, Cost)
        return Cost(self.parameters + other.parameters, self.macs + other.macs)


def cost(branches: int, diversified: bool, size_px: int = 96) -> Cost:
    """Return what an ESR of this form costs for one face of ``size_px`` by ``size_px``."""
    base, shared_px = _stack(_BASE, size_px, diversified)
    branch, _ = _stack(_BRANCH, shared_px, diversified)
    labels = len(LABELS)
    heads = Cost(512 * labels + labels + labels * 2 + 2, 512 * labels + labels * 2)
    total = base
    for _ in range(branches):
        total += branch + heads
    return total


def convolutions(size_px: int = 96) -> Dict[str, List[int]]:
    """Return the multiplications of the four layers of the base, and of those of one branch."""
    base = list(_layers(_BASE, size_px))
    shared_px = base[-1][1]
    return {
        "base": [layer.macs for layer, _ in base],
        "branch": [layer.macs for layer, _ in _layers(_BRANCH, shared_px)],
    }


def _stack(layers: Layers, size_px: int, diversified: bool) -> Tuple[Cost, int]:
    """Return what four layers cost, and the side of what comes out."""
    total, side_px = Cost(0, 0), size_px
    for (layer, side_px), (_, outputs, *_) in zip(_layers(layers, size_px), layers):
        total += layer
        if diversified:
            for part in _gates(outputs, side_px):
                total += part
    return total, side_px


def _layers(layers: Layers, size_px: int) -> Iterator[Tuple[Cost, int]]:
    """Yield what each convolution costs with its batch norm, and the side of what is handed on."""
    for inputs, outputs, kernel, padding, pooling in layers:
        size_px += 2 * padding - kernel + 1
        weights = inputs * outputs * kernel**2
        yield Cost(weights + outputs + 2 * outputs, weights * size_px**2), size_px // pooling
        size_px //= pooling


def _gates(channels: int, size_px: int) -> Iterator[Cost]:
    hidden = channels // _REDUCTION
    weights = 2 * channels * hidden
    yield Cost(weights + hidden + channels, 2 * weights)  # for the mean and for the maximum
    place = 2 * _PLACE_KERNEL**2
    yield Cost(place + 2, place * size_px**2)
