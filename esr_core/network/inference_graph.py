"""An ESR as it is exported: batch norm folded, and the branches of ESR* side by side.

Side by side they are one stack of grouped convolutions, so that a layer, and what the attention of
ESR* does in it, is as many nodes for nine branches as for one. Answers stay those of the branches.
"""

from __future__ import annotations

from typing import Sequence, Tuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from esr_core.network.esr import ESR, ConvStack


class SideBySide(nn.Module):
    """Stacks that read one input: (n, c, h, w) → (n, k * c', h', w'), one after another."""

    def __init__(self, stacks: Sequence[nn.Module]) -> None:
        """stacks: all bases, or all branches, of the same form."""
        super().__init__()
        form = cast(ConvStack, stacks[0])
        self.pooled = form.pooled
        self.convs = nn.ModuleList(
            _joined([_folded(s, f"conv{i}", f"bn{i}") for s in stacks], one_input=i == 1)
            for i in range(1, 5)
        )
        self.gates = nn.ModuleList()
        if form.diversified:
            for i in range(1, 5):
                self.gates.append(Gates([stack.get_submodule(f"cbam{i}") for stack in stacks]))

    def forward(self, x: Tensor) -> Tensor:
        """Return the features of all branches, channel after channel."""
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
        self.squeeze = _joined([_layer(mlp, "1") for mlp in channel])
        self.both = nn.AdaptiveAvgPool2d(1)  # half of their sum; faster between convolutions
        self.excite = _of_half(_joined([_layer(mlp, "3") for mlp in channel]))
        self.place = _dense([_folded(each, "conv", "bn") for each in spatial])

    def forward(self, x: Tensor) -> Tensor:
        """Return the features, weighted by channel and by place."""
        # Plain numbers, or the graph would work them out again at each run.
        channels, height, width = (int(length) for length in x.shape[1:])
        # Both as poolings, since those exist in 8 bits.
        mean, peak = F.adaptive_avg_pool2d(x, 1), F.max_pool2d(x, (height, width))
        hidden = F.relu(self.squeeze(torch.cat((mean, peak), dim=2)))  # (n, hidden, 2, 1)
        which = torch.sigmoid(self.excite(self.both(hidden)))
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

    def __init__(self, branches: Sequence[nn.Module]) -> None:
        super().__init__()
        self.count = len(branches)
        # Gates are faster together. Convolutions are not, and with several faces they are slower:
        # all branches' weights pass by for each face.
        together = cast(ConvStack, branches[0]).diversified
        groups = [branches] if together else [[branch] for branch in branches]
        self.features = nn.ModuleList(SideBySide(group) for group in groups)
        self.emotions = _joined([_layer(branch, "fc") for branch in branches])
        self.affect = _joined([_layer(branch, "fc_dimensional") for branch in branches])

    def forward(self, shared: Tensor) -> Tuple[Tensor, Tensor]:
        """Return emotions (n, k, 8) and affect (n, k, 2) of k branches."""
        pooled = [F.adaptive_avg_pool2d(features(shared), 1) for features in self.features]
        x = torch.cat(pooled, dim=1)  # (n, k * 512, 1, 1)
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
        """Return emotions and affect of the first branch, then of the others."""
        shared = self.base(x)
        return (*self.first(shared), *self.rest(shared))


def _layer(module: nn.Module, name: str) -> nn.Conv2d:
    """Return a convolution, or a linear layer as one of a single place."""
    layer = module.get_submodule(name)
    if isinstance(layer, nn.Linear):
        conv = nn.Conv2d(layer.in_features, layer.out_features, 1)
        weight = layer.weight.detach()[:, :, None, None]
        conv.load_state_dict({"weight": weight, "bias": layer.bias.detach()})
        return conv
    return cast(nn.Conv2d, layer)


def _folded(module: nn.Module, conv: str, norm: str) -> nn.Conv2d:
    """Return a convolution that does what its batch norm does, too."""
    batch_norm = cast(nn.BatchNorm2d, module.get_submodule(norm))
    return fuse_conv_bn_eval(_layer(module, conv), batch_norm)


def _joined(convs: Sequence[nn.Conv2d], one_input: bool = False) -> nn.Conv2d:
    """Return convolutions of the same form as one.

    one_input: all read the same channels; else each reads its own.
    """
    first, groups = convs[0], 1 if one_input else len(convs)
    joined = nn.Conv2d(
        first.in_channels * groups,
        first.out_channels * len(convs),
        cast(Tuple[int, int], first.kernel_size),
        padding=cast(Tuple[int, int], first.padding),
        groups=groups,
    )
    weight = torch.cat([conv.weight.detach() for conv in convs])
    joined.load_state_dict({"weight": weight, "bias": _biases(convs)})
    return joined


def _of_half(excite: nn.Conv2d) -> nn.Conv2d:
    """Return a layer that says of the mean of two inputs what ``excite`` says of each, summed."""
    doubled = {"weight": 2 * excite.weight.detach(), "bias": 2 * _biases([excite])}
    excite.load_state_dict(doubled)
    return excite


def _dense(places: Sequence[nn.Conv2d]) -> nn.Conv2d:
    """Return convolutions of two channels as one, for all first channels, then all second ones."""
    count, form = len(places), places[0]
    dense = nn.Conv2d(
        2 * count,
        count,
        cast(Tuple[int, int], form.kernel_size),
        padding=cast(Tuple[int, int], form.padding),
    )
    weight = torch.zeros_like(dense.weight)
    for i, place in enumerate(places):
        weight[i, i], weight[i, count + i] = place.weight.detach()[0]
    dense.load_state_dict({"weight": weight, "bias": _biases(places)})
    return dense


def _biases(convs: Sequence[nn.Conv2d]) -> Tensor:
    return torch.cat([conv.bias.detach() for conv in convs if conv.bias is not None])
