"""An ESR as it is exported: batch norm folded, branches of ESR* grouped, with an early exit.

Grouped branches are one stack of grouped convolutions, so that a layer and its attention take as
many nodes for nine branches as for one. The outputs are those of the separate branches.
"""

from __future__ import annotations

from typing import Any, List, Optional, Sequence, Tuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from esr_core.emotions import LABELS
from esr_core.inference.metadata import ModelMetadata
from esr_core.network.esr import CBAM, ESR, Branch, Calibration, ConvStack, derived_affect


class GroupedStack(nn.Module):
    """Stacks with one input: (n, c, h, w) → (n, k * c', h', w'), the channels of each in turn."""

    def __init__(self, stacks: Sequence[ConvStack]) -> None:
        """stacks: bases only, or branches only, of the same form."""
        super().__init__()
        self.pooled = stacks[0].pooled
        self.convs, self.gates = nn.ModuleList(), nn.ModuleList()
        for i in range(1, 5):
            layers = [(getattr(each, f"conv{i}"), getattr(each, f"bn{i}")) for each in stacks]
            folded = [fuse_conv_bn_eval(*pair) for pair in layers]
            # The first layers read the same channels, the others each their own.
            self.convs.append(_joined(folded, 1 if i == 1 else len(stacks)))
            if stacks[0].diversified:
                self.gates.append(GroupedCBAM([getattr(each, f"cbam{i}") for each in stacks]))

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

    def __init__(self, cbams: Sequence[CBAM]) -> None:
        super().__init__()
        self.count = len(cbams)
        self.squeeze = _joined([each.ChannelGate.mlp[1] for each in cbams], len(cbams))
        self.both = nn.AdaptiveAvgPool2d(1)  # half of their sum; faster between convolutions
        self.excite = _joined([each.ChannelGate.mlp[3] for each in cbams], len(cbams))
        for parameter in self.excite.parameters():
            parameter.data *= 2
        self.place = _dense([fuse_conv_bn_eval(*each.SpatialGate.spatial) for each in cbams])

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
        alone = self.count == 1  # needs no nodes that only reshape
        if not alone:
            x = x.reshape(-1, height, width, self.count, channels // self.count)
        last = x.dim() - 1
        pooled = torch.cat((x.amax(last, alone), x.mean(last, alone)), dim=3)  # (n, h, w, 2k)
        spatial = torch.sigmoid(self.place(pooled.permute(0, 3, 1, 2))).permute(0, 2, 3, 1)
        if alone:
            return (x * spatial).permute(0, 3, 1, 2)
        x = (x * spatial.unsqueeze(4)).reshape(-1, height, width, channels)
        return x.permute(0, 3, 1, 2)


class GroupedBranches(nn.Module):
    """Branches with grouped heads: (n, 128, 20, 20) → (n, k, 10), 8 logits and 2 of affect.

    Without the layers of affect (n, k, 8).
    """

    def __init__(self, branches: Sequence[Branch], with_affect: bool) -> None:
        super().__init__()
        self.count = count = len(branches)
        # Attention is faster grouped. Plain convolutions are not, and with several faces they are
        # slower: the weights of all branches are read for each face.
        groups = [branches] if branches[0].diversified else [[branch] for branch in branches]
        self.features = nn.ModuleList(GroupedStack(group) for group in groups)
        self.emotions = _joined([each.fc for each in branches], count)
        affect = [each.fc_dimensional for each in branches]
        self.affect = _joined(affect, count) if with_affect else None

    def forward(self, shared: Tensor) -> Tensor:
        """Return the logits of k branches, and their affect, concatenated."""
        pooled = [F.adaptive_avg_pool2d(features(shared), 1) for features in self.features]
        emotions = self.emotions(torch.cat(pooled, dim=1))  # (n, k * 8, 1, 1)
        logits: Tensor = emotions.reshape(-1, self.count, 8)
        if self.affect is None:
            return logits
        affect = self.affect(F.relu(emotions)).reshape(-1, self.count, 2)
        return torch.cat((logits, affect), dim=2)


class EarlyExitESR(nn.Module):
    """An ESR of 2 or more branches that can answer after the first one."""

    def __init__(self, esr: ESR, metadata: ModelMetadata) -> None:
        super().__init__()
        first, *rest = cast(List[Branch], list(esr.eval().convolutional_branches))
        self.branches, self.affect = metadata.branches, metadata.affect
        self.base = GroupedStack([esr.base])
        self.first = GroupedBranches([first], self.affect == "learned")
        self.rest = GroupedBranches(rest, self.affect == "learned")
        self.calibration = Calibration(metadata)

    def forward(self, faces: Tensor, branches: Tensor, lead: Tensor) -> Tuple[Tensor, ...]:
        """Return the tensors of :class:`esr_core.inference.onnx_model.BranchPrediction`.

        faces: (n, 3, size, size). branches: int64 scalar, maximum number of branches to count.
        lead: float32 scalar; the first branch decides a face if the probability of its most
        probable emotion exceeds that of the second by at least this margin.
        """
        shared = self.base(faces)
        first = self.first(shared)  # (n, 1, 10), or (n, 1, 8) without affect
        logits = self.calibration(first[:, 0, : len(LABELS)])
        top = logits.softmax(dim=1).topk(2, dim=1).values
        undecided = (top[:, 0] - top[:, 1] < lead) & (branches > 1)  # (n,)
        # The other branches get the rows of undecided faces, often none: their layers then have
        # nothing to compute.
        rest = self.rest(shared.index_select(0, undecided.nonzero()[:, 0]))
        return self._vote(first, rest, undecided, branches)

    def _vote(
        self, first: Tensor, rest: Tensor, undecided: Tensor, branches: Tensor
    ) -> Tuple[Tensor, ...]:
        """Average the evaluated branches of each face."""
        row = undecided.long().cumsum(dim=0) * undecided  # 0, a row of zeros, for decided faces
        zeros = torch.zeros(1, self.branches - 1, first.shape[2])
        scores = torch.cat((first, torch.cat((zeros, rest))[row]), dim=1)  # (n, branches, 10)
        index = torch.arange(self.branches)
        evaluated = (undecided[:, None] | (index == 0)) & (index < branches)  # (n, branches)
        weight = evaluated.float()[:, :, None]
        logits = self.calibration(scores[:, :, : len(LABELS)])
        each, count = logits.softmax(dim=2) * weight, weight.sum(dim=1)
        probabilities, affect = each.sum(dim=1) / count, scores[:, :, len(LABELS) :] * weight
        if self.affect == "derived":
            affect = derived_affect(each)
        mean_affect = (affect.sum(dim=1) / count).clamp(-1.0, 1.0)
        votes = torch.where(evaluated, logits.argmax(dim=2), -1)
        return probabilities, mean_affect, votes, logits * weight, affect


def _joined(layers: Sequence[Any], groups: int, weight: Optional[Tensor] = None) -> nn.Conv2d:
    """Return layers of the same form as one convolution, with their own weights or ``weight``."""
    if weight is None:
        weight = torch.cat([layer.weight.detach() for layer in layers])
    if weight.ndim == 2:  # of linear layers
        weight = weight[:, :, None, None]
    outputs, inputs, *kernel = weight.shape
    padding = getattr(layers[0], "padding", 0)
    joined = nn.Conv2d(inputs * groups, outputs, kernel[0], padding=padding, groups=groups)
    bias = torch.cat([layer.bias.detach() for layer in layers])
    joined.load_state_dict({"weight": weight, "bias": bias})
    return joined


def _dense(convs: Sequence[nn.Conv2d]) -> nn.Conv2d:
    """Return convolutions of two channels as one of all first channels, then all second ones."""
    count = len(convs)
    weight = torch.zeros(count, 2 * count, *convs[0].kernel_size)
    for i, conv in enumerate(convs):
        weight[i, i], weight[i, count + i] = conv.weight.detach()[0]
    return _joined(convs, 1, weight)
