"""Ensembles with Shared Representations.

ESR-n: Siqueira, Magg, Wermter, "Efficient Facial Feature Learning with Wide Ensemble-based
Convolutional Neural Networks", AAAI 2020. A base computes shared low and middle features; n
branches on top of it vote.
ESR*-n: Heidari, Iosifidis, "Learning Diversified Feature Representations for Facial Expression
Recognition in the Wild", arXiv:2210.09381. The same with attention (CBAM: Woo et al., ECCV 2018,
arXiv:1807.06521) after every layer.

Parameters have the names of the published checkpoints, which load with ``strict=True``.
"""

from __future__ import annotations

import copy
from collections import OrderedDict
from typing import Dict, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from esr_core.emotions import CIRCUMPLEX, LABELS
from esr_core.errors import ModelError
from esr_core.inference.metadata import ModelMetadata
from esr_core.network.complexity import BASE, BRANCH, Layers

Weights = Dict[str, Tensor]
_CIRCUMPLEX = torch.from_numpy(CIRCUMPLEX)


def widened(x: Tensor) -> Tensor:
    """Return half-precision values as float32, for exact sums."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


class ChannelGate(nn.Module):
    """Scale each channel by a function of its mean and its maximum (CBAM, section 3, eq. 2)."""

    def __init__(self, channels: int, reduction: int) -> None:
        super().__init__()
        hidden = channels // reduction
        self.mlp = nn.Sequential(
            nn.Flatten(), nn.Linear(channels, hidden), nn.ReLU(), nn.Linear(hidden, channels)
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return (n, c, h, w) weighted by channel, and the weights (n, c)."""
        mean = x.mean(dim=(2, 3))  # (n, c)
        peak = x.amax(dim=(2, 3))  # (n, c)
        gate = torch.sigmoid(self.mlp(mean) + self.mlp(peak))
        return x * gate[:, :, None, None], gate


class SpatialGate(nn.Module):
    """Scale each position by a function of its maximum and mean over channels (CBAM, eq. 3)."""

    def __init__(self) -> None:
        super().__init__()
        conv = nn.Conv2d(2, 1, kernel_size=7, padding=3, bias=False)
        self.spatial = nn.Sequential(OrderedDict(conv=conv, bn=nn.BatchNorm2d(1, momentum=0.01)))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return (n, c, h, w) weighted by position, and the weights (n, h, w)."""
        pooled = torch.cat((x.amax(dim=1, keepdim=True), x.mean(dim=1, keepdim=True)), dim=1)
        gate = torch.sigmoid(self.spatial(pooled))  # (n, 1, h, w)
        return x * gate, gate[:, 0]


class Attention(NamedTuple):
    """The weights of a CBAM, all in (0, 1)."""

    spatial: Tensor  # (n, h, w), or (branches, n, h, w)
    channel: Tensor  # (n, c), or (branches, n, c)


class CBAM(nn.Module):
    """Convolutional block attention: over channels, then over positions."""

    def __init__(self, channels: int, reduction: int = 16) -> None:
        super().__init__()
        self.ChannelGate = ChannelGate(channels, reduction)
        self.SpatialGate = SpatialGate()

    def forward(self, x: Tensor) -> tuple[Tensor, Attention]:
        """Return (n, c, h, w) weighted by channel, then by position, and both weights."""
        x, channel = self.ChannelGate(x)
        x, spatial = self.SpatialGate(x)
        return x, Attention(spatial, channel)


class ConvStack(nn.Module):
    """Four convolutions, each with batch norm and ReLU: the form of the base and of a branch."""

    def __init__(self, layers: Layers, diversified: bool) -> None:
        super().__init__()
        self.pooled = [i for i, (*_, pooling) in enumerate(layers, start=1) if pooling > 1]
        self.diversified = diversified
        convs = [nn.Conv2d(i, o, kernel, padding=padding) for i, o, kernel, padding, _ in layers]
        for i, conv in enumerate(convs, start=1):
            self.add_module(f"conv{i}", conv)
            self.add_module(f"bn{i}", nn.BatchNorm2d(conv.out_channels))
            if diversified:
                self.add_module(f"cbam{i}", CBAM(conv.out_channels))

    def features(self, x: Tensor) -> tuple[Tensor, Attention | None]:
        """Return the features, and the attention of the last layer of ESR*."""
        attention = None
        for i in range(1, 5):
            x = self.get_submodule(f"bn{i}")(self.get_submodule(f"conv{i}")(x))
            if self.training:  # the same numbers and gradients from a quarter of the ReLUs
                x = F.relu_(F.max_pool2d(x, 2) if i in self.pooled else x)
            else:
                x = F.max_pool2d(F.relu(x), 2) if i in self.pooled else F.relu(x)
            if self.diversified:
                x, attention = self.get_submodule(f"cbam{i}")(x)
        return x, attention


class Base(ConvStack):
    """The shared representations: (n, 3, 96, 96) → (n, 128, 20, 20)."""

    def __init__(self, diversified: bool = False) -> None:
        super().__init__(BASE, diversified)

    def forward(self, x: Tensor) -> Tensor:
        """Return the features of faces, which all branches share."""
        return self.features(x)[0]


class Branch(ConvStack):
    """One branch: (n, 128, 20, 20) → logits (n, 8), affect (n, 2), and the attention of ESR*."""

    def __init__(self, diversified: bool = False) -> None:
        super().__init__(BRANCH, diversified)
        self.fc = nn.Linear(512, len(LABELS))
        self.fc_dimensional = nn.Linear(len(LABELS), 2)

    def forward(self, shared: Tensor) -> tuple[Tensor, Tensor, Attention | None]:
        """Return logits, affect and attention for the features of the base."""
        x, attention = self.features(shared)  # (n, 512, 6, 6)
        scores = self.fc(x.mean(dim=(2, 3)))  # (n, 8)
        return scores, self.fc_dimensional(F.relu(scores)), attention


class Scores(NamedTuple):
    """The outputs of the branches: emotions are logits, affect is not clipped."""

    emotions: Tensor  # (branches, n, 8)
    affect: Tensor  # (branches, n, 2): valence, arousal
    attention: Attention | None  # of each branch's last layer; None for an ESR without CBAM


class ESR(nn.Module):
    """A base and n branches.

    Input: (n, 3, 96, 96) float32 in [0, 1]. The last pooling is global, so other sizes of 54 px or
    more are valid, but accurate only if the weights were trained at that size.
    """

    def __init__(self, branches: int = 9, diversified: bool = False) -> None:
        super().__init__()
        self.base = Base(diversified)
        self.convolutional_branches = nn.ModuleList(Branch(diversified) for _ in range(branches))
        self.diversified = diversified

    @property
    def name(self) -> str:
        """Return the name used in the papers: ``ESR-9``, ``ESR*-15``."""
        return f"ESR{'*' if self.diversified else ''}-{len(self.convolutional_branches)}"

    def add_branch(self) -> None:
        """Append a new, untrained branch."""
        device = next(self.parameters()).device
        self.convolutional_branches.append(Branch(self.diversified).to(device))

    def get_ensemble_size(self) -> int:
        """Return the number of branches."""
        return len(self.convolutional_branches)

    def to_device(self, device: torch.device | str = "cpu") -> None:
        """Move the network to a device; a method of the published class."""
        self.to(device)

    def to_state_dict(self) -> list[Weights]:
        """Return copies of the weights of the base, then of each branch."""
        return [copy.deepcopy(part.state_dict()) for part in self.parts()]

    def reload(self, state_dicts: list[Weights]) -> None:
        """Load the output of :meth:`to_state_dict`; ModelError for another number of parts."""
        for part, weights in self.pairs(state_dicts):
            part.load_state_dict(weights)

    def pairs(self, state_dicts: list[Weights]) -> list[tuple[nn.Module, Weights]]:
        """Return each of :meth:`parts` with its state dict, or raise as :meth:`reload`."""
        parts = self.parts()
        if len(state_dicts) != len(parts):
            raise ModelError(
                f"{self.name} has {len(parts)} state dicts (base and {len(parts) - 1} branches), "
                f"but got {len(state_dicts)}"
            )
        return list(zip(parts, state_dicts))

    def parts(self) -> list[nn.Module]:
        """Return the base, then each branch: the parts with files of their own."""
        return [self.base, *self.convolutional_branches]

    def forward(self, x: Tensor, kept: Tensor | None = None, balanced: bool = False) -> Scores:
        """Return the outputs of all branches for faces (n, 3, h, w) in [0, 1].

        kept: (branches, n, c) factors of the shared features. balanced: divide the gradient of the
        base by the number of branches.
        """
        shared, branches = self.base(x), self.convolutional_branches
        if balanced and shared.requires_grad:
            shared.register_hook(lambda gradient: gradient / len(branches))
        inputs = [shared] * len(branches)
        if kept is not None:
            inputs = [shared * factors.to(shared.dtype)[:, :, None, None] for factors in kept]
        emotions, affect, cbams = zip(*(f(features) for f, features in zip(branches, inputs)))
        attention = Attention(*map(torch.stack, zip(*cbams))) if self.diversified else None
        return Scores(torch.stack(emotions), torch.stack(affect), attention)


class Calibration(nn.Module):
    """The temperature and the bias of a network's logits."""

    def __init__(self, metadata: ModelMetadata) -> None:
        super().__init__()
        self.temperature = metadata.temperature
        self.bias = torch.tensor(metadata.bias) if metadata.bias else None

    def forward(self, logits: Tensor) -> Tensor:
        """Return calibrated logits, (..., 8)."""
        if self.temperature != 1.0:
            logits = logits / self.temperature
        return logits if self.bias is None else logits + self.bias.to(logits)


def derived_affect(probabilities: Tensor) -> Tensor:
    """Return the expected valence and arousal (..., 2) of emotions (..., 8)."""
    return probabilities @ _CIRCUMPLEX.to(probabilities)


class Ensemble(nn.Module):
    """An ESR with the mean over its branches, as exported without early exit."""

    def __init__(self, esr: ESR, metadata: ModelMetadata | None = None) -> None:
        """metadata: for its calibration and its source of affect; None: neither."""
        super().__init__()
        self.esr = esr
        metadata = metadata or ModelMetadata(esr.name, len(esr.convolutional_branches))
        self.calibration, self.affect = Calibration(metadata), metadata.affect

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Return the tensors of :class:`esr_core.inference.onnx_model.BranchPrediction`."""
        scores = self.esr(x)
        emotions = self.calibration(scores.emotions.transpose(0, 1))
        each = emotions.softmax(dim=2)
        probabilities, affect = each.mean(dim=1), scores.affect.transpose(0, 1)
        if self.affect == "derived":
            affect = derived_affect(each)
        mean_affect = affect.mean(dim=1).clamp(-1.0, 1.0)
        return probabilities, mean_affect, emotions.argmax(dim=2), emotions, affect
