"""An ESR as it is exported: batch norm folded, and branches that are asked together side by side.

Side by side they are one stack of grouped convolutions, so that a layer, and what the attention of
ESR* does in it, is as many nodes for nine branches as for one. Answers stay those of the branches.
"""

from __future__ import annotations

from typing import Sequence, Tuple, Union

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from esr_core.model import ESR, Branch, ConvStack

Layer = Union[nn.Conv2d, nn.Linear]


class SideBySide(nn.Module):
    """Stacks that read one input: (n, c, h, w) → (n, k * c', h', w'), one after another."""

    def __init__(self, stacks: Sequence[ConvStack]) -> None:
        super().__init__()
        self.pooled = stacks[0].pooled
        self.convs = nn.ModuleList(
            _joined([_folded(stack, i) for stack in stacks], one_input=i == 1) for i in range(1, 5)
        )
        self.gates = nn.ModuleList()
        if stacks[0].diversified:
            for i in range(1, 5):
                self.gates.append(Gates([stack.get_submodule(f"cbam{i}") for stack in stacks]))

    def forward(self, x: Tensor) -> Tensor:
        for i, conv in enumerate(self.convs, start=1):
            x = F.relu(conv(x))
            if i in self.pooled:
                x = F.max_pool2d(x, 2)
            if self.gates:
                x = self.gates[i - 1](x)
        return x


class Gates(nn.Module):
    """The attention of each stack on its own channels."""

    def __init__(self, cbams: Sequence[nn.Module]) -> None:
        super().__init__()
        channel = [cbam.get_submodule("ChannelGate.mlp") for cbam in cbams]
        spatial = [cbam.get_submodule("SpatialGate.spatial") for cbam in cbams]
        self.count = len(cbams)
        self.squeeze = _joined([mlp.get_submodule("1") for mlp in channel])
        self.excite = _of_sum(_joined([mlp.get_submodule("3") for mlp in channel]))
        self.place = _dense(
            _joined(
                [fuse_conv_bn_eval(s.get_submodule("conv"), s.get_submodule("bn")) for s in spatial]
            )
        )

    def forward(self, x: Tensor) -> Tensor:
        # Plain numbers, or the graph would work them out again at each run.
        channels, height, width = (int(length) for length in x.shape[1:])
        # Both as poolings, since those exist in 8 bits.
        mean, peak = F.adaptive_avg_pool2d(x, 1), F.max_pool2d(x, (height, width))
        hidden = F.relu(self.squeeze(torch.cat((mean, peak), dim=2)))  # (n, hidden, 2, 1)
        which = torch.sigmoid(self.excite(hidden.sum(dim=2, keepdim=True)))
        # Channels last from here on, as 8-bit convolutions leave and take them.
        x = x.permute(0, 2, 3, 1) * which.permute(0, 2, 3, 1)
        if self.count > 1:
            x = x.reshape(-1, height, width, self.count, channels // self.count)
            pooled = torch.cat((x.amax(dim=4), x.mean(dim=4)), dim=3)  # (n, h, w, 2k)
        else:
            pooled = torch.cat((x.amax(dim=3, keepdim=True), x.mean(dim=3, keepdim=True)), dim=3)
        where = torch.sigmoid(self.place(pooled.permute(0, 3, 1, 2))).permute(0, 2, 3, 1)
        if self.count > 1:
            x = (x * where.unsqueeze(4)).reshape(-1, height, width, channels)
        else:  # the same without nodes that only reshape
            x = x * where
        return x.permute(0, 3, 1, 2)


class Voters(nn.Module):
    """Branches asked together: (n, 128, 20, 20) → (n, k, 8) logits and (n, k, 2) affect."""

    def __init__(self, branches: Sequence[Branch]) -> None:
        super().__init__()
        self.count = len(branches)
        self.features = SideBySide(branches)
        self.emotions = _joined([branch.fc for branch in branches])
        self.affect = _joined([branch.fc_dimensional for branch in branches])

    def forward(self, shared: Tensor) -> Tuple[Tensor, Tensor]:
        x = F.adaptive_avg_pool2d(self.features(shared), 1)  # (n, k * 512, 1, 1)
        emotions = self.emotions(x)  # (n, k * 8, 1, 1)
        affect = self.affect(F.relu(emotions))
        return emotions.reshape(-1, self.count, 8), affect.reshape(-1, self.count, 2)


class Turns(nn.Module):
    """An ESR that answers twice: its first branch, then all others side by side."""

    outputs = ("first_emotions", "first_affect", "rest_emotions", "rest_affect")

    def __init__(self, esr: ESR) -> None:
        super().__init__()
        first, *rest = esr.convolutional_branches
        self.base = SideBySide([esr.base])
        self.first = Voters([first])
        self.rest = Voters(rest)

    def forward(self, x: Tensor) -> Tuple[Tensor, Tensor, Tensor, Tensor]:
        shared = self.base(x)
        return (*self.first(shared), *self.rest(shared))


def _folded(stack: ConvStack, i: int) -> nn.Conv2d:
    folded: nn.Conv2d = fuse_conv_bn_eval(
        stack.get_submodule(f"conv{i}"), stack.get_submodule(f"bn{i}")
    )
    return folded


def _joined(layers: Sequence[Layer], one_input: bool = False) -> nn.Conv2d:
    """Return layers of the same form as one convolution.

    one_input: all read the same channels; else each reads its own.
    """
    first, count = layers[0], len(layers)
    convs = [layer for layer in layers if isinstance(layer, nn.Conv2d)]
    groups = 1 if one_input else count
    weight = torch.cat([layer.weight.detach() for layer in layers])
    weight = weight if convs else weight[:, :, None, None]  # a linear layer, of one place
    joined = nn.Conv2d(
        weight.shape[1] * groups,
        weight.shape[0],
        tuple(weight.shape[2:]),
        padding=first.padding if isinstance(first, nn.Conv2d) else 0,
        groups=groups,
    )
    biases = [layer.bias.detach() for layer in layers if layer.bias is not None]
    joined.load_state_dict({"weight": weight, "bias": torch.cat(biases)})
    return joined


def _of_sum(excite: nn.Conv2d) -> nn.Conv2d:
    """Return a layer that says of the sum of two inputs what ``excite`` says of each, summed."""
    assert excite.bias is not None
    excite.bias.data *= 2
    return excite


def _dense(place: nn.Conv2d) -> nn.Conv2d:
    """Return grouped ``place`` for all its groups' first channels, then all their second ones."""
    count = place.groups
    dense = nn.Conv2d(2 * count, count, place.kernel_size, padding=place.padding)
    weight = torch.zeros_like(dense.weight)
    for i, own in enumerate(place.weight.detach()):
        weight[i, i], weight[i, count + i] = own
    assert place.bias is not None
    dense.load_state_dict({"weight": weight, "bias": place.bias.detach()})
    return dense
