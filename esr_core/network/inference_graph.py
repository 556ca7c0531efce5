"""An ESR as it is exported: batch norm folded, branches of ESR* grouped.

Grouped branches are one stack of grouped convolutions, so that a layer and its attention take as
many nodes for nine branches as for one. The outputs are those of the separate branches.
"""

from __future__ import annotations

from typing import Sequence, Tuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from esr_core.network.esr import ESR, ConvStack

#: Names of the outputs of :class:`EarlyExitESR` in an ONNX graph.
SHARED, FIRST, REST = "shared", "first", "rest"


class GroupedStack(nn.Module):
    """Stacks with one input: (n, c, h, w) → (n, k * c', h', w'), the channels of each in turn."""

    def __init__(self, stacks: Sequence[nn.Module]) -> None:
        """stacks: bases only, or branches only, of the same form."""
        super().__init__()
        form = cast(ConvStack, stacks[0])
        self.pooled = form.pooled
        self.convs = nn.ModuleList(
            _grouped([_folded(s, f"conv{i}", f"bn{i}") for s in stacks], one_input=i == 1)
            for i in range(1, 5)
        )
        self.gates = nn.ModuleList(
            GroupedCBAM([stack.get_submodule(f"cbam{i}") for stack in stacks])
            for i in range(1, 5)
            if form.diversified
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return the features of all stacks, concatenated along the channels."""
        for i, conv in enumerate(self.convs, start=1):
            x = F.relu(conv(x))
            if i in self.pooled:
                x = F.max_pool2d(x, 2)
            if self.gates:
                x = self.gates[i - 1](x)
        return x


class GroupedCBAM(nn.Module):
    """The attention of each stack over its own channels."""

    def __init__(self, cbams: Sequence[nn.Module]) -> None:
        super().__init__()
        channel = [cbam.get_submodule("ChannelGate.mlp") for cbam in cbams]
        spatial = [cbam.get_submodule("SpatialGate.spatial") for cbam in cbams]
        self.count = len(cbams)
        self.squeeze = _grouped([_as_conv(mlp, "1") for mlp in channel])
        self.both = nn.AdaptiveAvgPool2d(1)  # half of their sum; faster between convolutions
        self.excite = _grouped([_as_conv(mlp, "3") for mlp in channel])
        for parameter in self.excite.parameters():
            parameter.data *= 2
        self.place = _dense([_folded(each, "conv", "bn") for each in spatial])

    def forward(self, x: Tensor) -> Tensor:
        """Return the features, weighted by channel, then by place."""
        # Plain numbers, or the graph would compute them at each run.
        channels, height, width = (int(length) for length in x.shape[1:])
        # Both as poolings, since those exist in 8 bits.
        mean, peak = F.adaptive_avg_pool2d(x, 1), F.max_pool2d(x, (height, width))
        hidden = F.relu(self.squeeze(torch.cat((mean, peak), dim=2)))  # (n, hidden, 2, 1)
        channel = torch.sigmoid(self.excite(self.both(hidden)))
        # Channels last from here on: the layout of 8-bit convolutions.
        x = x.permute(0, 2, 3, 1) * channel.permute(0, 2, 3, 1)
        if self.count > 1:
            x = x.reshape(-1, height, width, self.count, channels // self.count)
            pooled = torch.cat((x.amax(dim=4), x.mean(dim=4)), dim=3)  # (n, h, w, 2k)
        else:
            pooled = torch.cat((x.amax(dim=3, keepdim=True), x.mean(dim=3, keepdim=True)), dim=3)
        spatial = torch.sigmoid(self.place(pooled.permute(0, 3, 1, 2))).permute(0, 2, 3, 1)
        if self.count > 1:
            x = (x * spatial.unsqueeze(4)).reshape(-1, height, width, channels)
        else:  # the same without nodes that only reshape
            x = x * spatial
        return x.permute(0, 3, 1, 2)


class GroupedBranches(nn.Module):
    """Branches with grouped heads: (n, 128, 20, 20) → (n, k, 10), 8 logits and 2 of affect."""

    def __init__(self, branches: Sequence[nn.Module]) -> None:
        super().__init__()
        self.count = len(branches)
        # Attention is faster grouped. Plain convolutions are not, and with several faces they are
        # slower: the weights of all branches are read for each face.
        grouped = cast(ConvStack, branches[0]).diversified
        groups = [branches] if grouped else [[branch] for branch in branches]
        self.features = nn.ModuleList(GroupedStack(group) for group in groups)
        self.emotions = _grouped([_as_conv(branch, "fc") for branch in branches])
        self.affect = _grouped([_as_conv(branch, "fc_dimensional") for branch in branches])

    def forward(self, shared: Tensor) -> Tensor:
        """Return the logits and the affect of k branches, concatenated."""
        pooled = [F.adaptive_avg_pool2d(features(shared), 1) for features in self.features]
        emotions = self.emotions(torch.cat(pooled, dim=1))  # (n, k * 8, 1, 1)
        affect = self.affect(F.relu(emotions)).reshape(-1, self.count, 2)
        return torch.cat((emotions.reshape(-1, self.count, 8), affect), dim=2)


class EarlyExitESR(nn.Module):
    """An ESR of 2 or more branches, with the first apart from the others."""

    def __init__(self, esr: ESR) -> None:
        super().__init__()
        first, *rest = esr.eval().convolutional_branches
        self.base = GroupedStack([esr.base])
        self.first = GroupedBranches([first])
        self.rest = GroupedBranches(rest)

    def forward(self, x: Tensor) -> Tuple[Tensor, Tensor, Tensor]:
        """Return the shared features, the scores of the first branch, and those of the others."""
        shared = self.base(x)
        return shared, self.first(shared), self.rest(shared)


def _as_conv(module: nn.Module, name: str) -> nn.Conv2d:
    """Return a linear layer as a 1x1 convolution."""
    layer = cast(nn.Linear, module.get_submodule(name))
    conv = nn.Conv2d(layer.in_features, layer.out_features, 1)
    weight = layer.weight.detach()[:, :, None, None]
    conv.load_state_dict({"weight": weight, "bias": layer.bias.detach()})
    return conv


def _folded(module: nn.Module, conv: str, norm: str) -> nn.Conv2d:
    """Return a convolution with its batch norm folded in."""
    layers = module.get_submodule(conv), module.get_submodule(norm)
    return fuse_conv_bn_eval(cast(nn.Conv2d, layers[0]), cast(nn.BatchNorm2d, layers[1]))


def _grouped(convs: Sequence[nn.Conv2d], one_input: bool = False) -> nn.Conv2d:
    """Return convolutions of the same form as one.

    one_input: all read the same channels; else each reads its own.
    """
    weight = torch.cat([conv.weight.detach() for conv in convs])
    return _joined(convs, weight, groups=1 if one_input else len(convs))


def _dense(convs: Sequence[nn.Conv2d]) -> nn.Conv2d:
    """Return convolutions of two channels as one of all first channels, then all second ones."""
    count = len(convs)
    weight = torch.zeros(count, 2 * count, *convs[0].kernel_size)
    for i, conv in enumerate(convs):
        weight[i, i], weight[i, count + i] = conv.weight.detach()[0]
    return _joined(convs, weight)


def _joined(convs: Sequence[nn.Conv2d], weight: Tensor, groups: int = 1) -> nn.Conv2d:
    """Return a convolution with this weight, and with the padding and the biases of ``convs``."""
    joined = nn.Conv2d(
        weight.shape[1] * groups,
        weight.shape[0],
        cast(Tuple[int, int], convs[0].kernel_size),
        padding=cast(Tuple[int, int], convs[0].padding),
        groups=groups,
    )
    bias = torch.cat([cast(Tensor, conv.bias).detach() for conv in convs])
    joined.load_state_dict({"weight": weight, "bias": bias})
    return joined
