"""Checkpoints as the published learner writes them, and its forward pass written out.

The network is written down a second time, in plain functions, so that the two can be compared.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

Weights = dict[str, Tensor]

_BASE = [("conv1", 3, 64, 5), ("conv2", 64, 128, 3), ("conv3", 128, 128, 3), ("conv4", 128, 128, 3)]
_BRANCH = [
    ("conv1", 128, 128, 3),
    ("conv2", 128, 256, 3),
    ("conv3", 256, 256, 3),
    ("conv4", 256, 512, 3),
]


def random_part(layers: list[tuple[str, int, int, int]], diversified: bool, seed: int) -> Weights:
    """Random weights of the base or of a branch, under the published names."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int, scale: float = 1.0) -> Tensor:
        return torch.randn(*shape, generator=generator) * scale

    def norm(name: str, channels: int) -> Weights:
        return {
            f"{name}.weight": 1 + normal(channels, scale=0.1),
            f"{name}.bias": normal(channels, scale=0.1),
            f"{name}.running_mean": normal(channels, scale=0.1),
            f"{name}.running_var": 0.5 + torch.rand(channels, generator=generator),
            f"{name}.num_batches_tracked": torch.tensor(7),
        }

    weights: Weights = {}
    for i, (name, inputs, outputs, kernel) in enumerate(layers, start=1):
        scale = (2 / (inputs * kernel * kernel)) ** 0.5
        weights[f"{name}.weight"] = normal(outputs, inputs, kernel, kernel, scale=scale)
        weights[f"{name}.bias"] = normal(outputs, scale=0.1)
        weights.update(norm(f"bn{i}", outputs))
        if diversified:
            gate, hidden = f"cbam{i}.ChannelGate.mlp", outputs // 16
            weights[f"{gate}.1.weight"] = normal(hidden, outputs, scale=outputs**-0.5)
            weights[f"{gate}.1.bias"] = normal(hidden, scale=0.1)
            weights[f"{gate}.3.weight"] = normal(outputs, hidden, scale=hidden**-0.5)
            weights[f"{gate}.3.bias"] = normal(outputs, scale=0.1)
            spatial = f"cbam{i}.SpatialGate.spatial"
            weights[f"{spatial}.conv.weight"] = normal(1, 2, 7, 7, scale=0.1)
            weights.update(norm(f"{spatial}.bn", 1))
    if layers is _BRANCH:
        weights["fc.weight"], weights["fc.bias"] = normal(8, 512, scale=0.1), normal(8, scale=0.1)
        weights["fc_dimensional.weight"] = normal(2, 8, scale=0.2)
        weights["fc_dimensional.bias"] = normal(2, scale=0.1)
    return weights


def write(folder: Path, branches: int, diversified: bool, name: str = "esr_9") -> list[Weights]:
    """Write a folder of random weights in the published form; return them."""
    parts = [random_part(_BASE, diversified, seed=0)]
    parts += [random_part(_BRANCH, diversified, seed=k) for k in range(1, branches + 1)]
    folder.mkdir(parents=True)
    torch.save(parts[0], folder / "Net-Base-Shared_Representations.pt")
    for k, part in enumerate(parts[1:], start=1):
        torch.save(part, folder / f"Net-Branch_{k}.pt")
    description = {
        "model_paths": [str(folder)],
        "framework": "pytorch",
        "format": "pt",
        "has_data": False,
        "inference_params": {},
        "optimized": False,
        "optimizer_info": {},
    }
    (folder / f"{name}.json").write_text(json.dumps(description), encoding="utf-8")
    return parts


def forward(parts: list[Weights], x: Tensor) -> tuple[Tensor, Tensor]:
    """What the published network answers: logits (branches, n, 8) and affect (branches, n, 2)."""
    shared = _stack(parts[0], x, pooled=(2, 4), padded=())
    emotions, affect = [], []
    for weights in parts[1:]:
        features = _stack(weights, shared, pooled=(2,), padded=(4,)).mean(dim=(2, 3))
        scores = features @ weights["fc.weight"].T + weights["fc.bias"]
        emotions.append(scores)
        hidden = scores.clamp(min=0)
        affect.append(hidden @ weights["fc_dimensional.weight"].T + weights["fc_dimensional.bias"])
    return torch.stack(emotions), torch.stack(affect)


def _stack(weights: Weights, x: Tensor, pooled: tuple[int, ...], padded: tuple[int, ...]) -> Tensor:
    for i in range(1, 5):
        padding = 1 if i in padded else 0
        x = F.conv2d(x, weights[f"conv{i}.weight"], weights[f"conv{i}.bias"], padding=padding)
        x = _norm(weights, f"bn{i}", x).clamp(min=0)
        if i in pooled:
            x = F.max_pool2d(x, 2)
        if f"cbam{i}.ChannelGate.mlp.1.weight" in weights:
            x = _attend(weights, f"cbam{i}", x)
    return x


def _norm(weights: Weights, name: str, x: Tensor) -> Tensor:
    mean, variance = (weights[f"{name}.running_{what}"][:, None, None] for what in ("mean", "var"))
    scale, shift = (weights[f"{name}.{what}"][:, None, None] for what in ("weight", "bias"))
    return (x - mean) / (variance + 1e-5).sqrt() * scale + shift


def _attend(weights: Weights, name: str, x: Tensor) -> Tensor:
    first, second = (f"{name}.ChannelGate.mlp.{i}" for i in (1, 3))
    gate = torch.zeros(x.shape[:2])
    for pooled in (x.mean(dim=(2, 3)), x.amax(dim=(2, 3))):
        hidden = (pooled @ weights[f"{first}.weight"].T + weights[f"{first}.bias"]).clamp(min=0)
        gate = gate + hidden @ weights[f"{second}.weight"].T + weights[f"{second}.bias"]
    x = x * torch.sigmoid(gate)[:, :, None, None]
    spatial = f"{name}.SpatialGate.spatial"
    seen = torch.stack([x.amax(dim=1), x.mean(dim=1)], dim=1)
    place = F.conv2d(seen, weights[f"{spatial}.conv.weight"], padding=3)
    return x * torch.sigmoid(_norm(weights, f"{spatial}.bn", place))
