"""Training an ESR on vote distributions, from scratch.

All branches train together on the shared base, each with its own loss. Sizes grow in stages: a
pass at 56 px costs a quarter of one at 96 px and teaches most of what there is to learn from
48x48 faces; the last stage must be the size in use, since weights do not carry over by themselves.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Callable, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from esr_core import checkpoint
from esr_core.augment import Augmentation, augment
from esr_core.crop import InputSpec
from esr_core.data.ferplus import FerPlus
from esr_core.emotions import affect_of
from esr_core.errors import OptionError
from esr_core.evaluate import Report, evaluate, torch_predictor
from esr_core.metadata import Metadata
from esr_core.model import ESR


@dataclass(frozen=True)
class Stage:
    """So many epochs at one size; written ``56x4`` on the command line."""

    size_px: int
    epochs: int

    @classmethod
    def parse(cls, text: str) -> Stage:
        try:
            size, epochs = (int(part) for part in text.split("x"))
        except ValueError as error:
            raise OptionError(
                f"a stage must be SIZExEPOCHS such as 56x4, but got {text!r}"
            ) from error
        if size < 54 or epochs < 1:
            raise OptionError(f"a stage needs a size from 54 px and an epoch or more: {text!r}")
        return cls(size, epochs)


@dataclass(frozen=True)
class Recipe:
    """Everything that decides how a training goes; it is written into the metadata."""

    branches: int = 4
    diversified: bool = False
    stages: tuple[Stage, ...] = (Stage(56, 3), Stage(72, 1), Stage(96, 2))
    batch_size: int = 64
    learning_rate: float = 0.05  # the peak of the one-cycle schedule (Smith and Topin, 2018)
    warm_up: float = 0.1  # share of all steps
    momentum: float = 0.9
    weight_decay: float = 5e-4
    average: float = 0.995  # decay of the running average of the weights, per step
    validate_on: int = 1000  # images after each epoch; the last epoch takes them all
    seed: int = 1
    augmentation: Augmentation = field(default_factory=Augmentation)


@dataclass(frozen=True)
class Progress:
    """Reported after each step; ``report`` only at the end of an epoch."""

    step: int
    steps: int
    epoch: int
    size_px: int
    loss: float
    report: Report | None = None


def train(
    training: FerPlus,
    validation: FerPlus,
    recipe: Recipe,
    folder: Path,
    on_progress: Callable[[Progress], None] = lambda progress: None,
) -> Report:
    """Train, keep a checkpoint of the averaged weights after each epoch, return the last report."""
    torch.manual_seed(recipe.seed)
    generator = torch.Generator().manual_seed(recipe.seed)
    esr = ESR(recipe.branches, recipe.diversified).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.SGD(
        _decayed(esr, recipe.weight_decay),
        lr=recipe.learning_rate,
        momentum=recipe.momentum,
        nesterov=True,
    )
    average = torch.optim.swa_utils.AveragedModel(
        esr, avg_fn=_running_average(recipe.average), use_buffers=True
    )
    per_epoch = len(training) // recipe.batch_size
    steps = per_epoch * sum(stage.epochs for stage in recipe.stages)
    if steps == 0:
        raise OptionError(f"{len(training)} images do not fill one batch of {recipe.batch_size}")
    step, began = 0, time.monotonic()
    for epoch, size_px in enumerate(_sizes(recipe.stages), start=1):
        last_of_all = step + per_epoch == steps
        esr.train()
        for images, emotions, affect in _batches(training, recipe.batch_size, generator):
            views = augment(images, size_px, recipe.augmentation, generator)
            rate = recipe.learning_rate * one_cycle(step / steps, recipe.warm_up)
            for group in optimizer.param_groups:
                group["lr"] = rate
            loss = loss_of(esr, views, emotions, affect)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            average.update_parameters(esr)
            step += 1
            on_progress(Progress(step, steps, epoch, size_px, loss.item()))
        averaged: ESR = average.module  # type: ignore[assignment]
        report = evaluate(
            torch_predictor(averaged.eval()),
            validation if last_of_all else validation.subset(recipe.validate_on),
            InputSpec(size_px=size_px),
        )
        record = _record(recipe, training, report, epoch, time.monotonic() - began)
        name = f"{averaged.name}-ferplus"
        metadata = Metadata(
            name, recipe.branches, recipe.diversified, InputSpec(size_px=size_px), record=record
        )
        checkpoint.save(folder, averaged, metadata)
        on_progress(Progress(step, steps, epoch, size_px, loss.item(), report))
    return report


def loss_of(esr: ESR, views: Tensor, emotions: Tensor, affect: Tensor) -> Tensor:
    """Cross entropy to the vote distribution, and the squared error of affect, over branches.

    views: (n, 1, s, s) in [0, 1]. emotions: (n, 8), rows sum to 1. affect: (n, 2) in [-1, 1].
    Affect is read off the emotions without pushing back on them: its targets are derived from
    the same votes, so it could only disturb.
    """
    n, _, height, width = views.shape
    rgb = views.expand(n, 3, height, width).contiguous(memory_format=torch.channels_last)
    with torch.autocast("cpu", torch.bfloat16):
        shared = esr.base(rgb)
        scores = [branch(shared)[0] for branch in esr.convolutional_branches]
    loss = torch.zeros(())
    for branch, score in zip(esr.convolutional_branches, scores):
        score = score.float()
        estimate = branch.fc_dimensional(F.relu(score.detach()))  # type: ignore[operator]
        loss = loss + F.cross_entropy(score, emotions) + F.mse_loss(estimate, affect)
    return loss / len(scores)


def one_cycle(progress: float, warm_up: float) -> float:
    """Share of the peak rate at ``progress`` in [0, 1): a linear rise, then a cosine to 0."""
    if progress < warm_up:
        return 0.1 + 0.9 * progress / warm_up
    return 0.5 * (1 + math.cos(math.pi * (progress - warm_up) / (1 - warm_up)))


def _running_average(decay: float) -> Callable[[Tensor, Tensor, Any], Tensor]:
    def update(average: Tensor, current: Tensor, count: Any) -> Tensor:
        if not average.is_floating_point():
            return current
        # Early on the plain mean, or the random start would weigh in for hundreds of steps.
        now = min(decay, (1 + int(count)) / (10 + int(count)))
        return average * now + current * (1 - now)

    return update


def _decayed(esr: ESR, weight_decay: float) -> list[dict[str, Any]]:
    """Decay the weights of convolutions and linear layers, not biases and batch norms."""
    weights = [p for p in esr.parameters() if p.ndim > 1]
    others = [p for p in esr.parameters() if p.ndim <= 1]
    return [
        {"params": weights, "weight_decay": weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]


def _sizes(stages: tuple[Stage, ...]) -> Iterator[int]:
    for stage in stages:
        yield from [stage.size_px] * stage.epochs


def _batches(
    data: FerPlus, batch_size: int, generator: torch.Generator
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    images = torch.from_numpy(data.images)[:, None]
    emotions = torch.from_numpy(data.distribution)
    affect = torch.from_numpy(affect_of(data.distribution))
    order = torch.randperm(len(data), generator=generator)
    for rows in order[: len(data) // batch_size * batch_size].reshape(-1, batch_size):
        yield images[rows].float() / 255, emotions[rows], affect[rows]


def _record(
    recipe: Recipe, training: FerPlus, report: Report, epoch: int, seconds: float
) -> dict[str, Any]:
    return {
        "data": "FER+ (FER2013 images, ten votes each), training split",
        "training_images": len(training),
        "stages": [f"{stage.size_px}x{stage.epochs}" for stage in recipe.stages],
        "epochs_done": epoch,
        "batch_size": recipe.batch_size,
        "learning_rate": recipe.learning_rate,
        "seed": recipe.seed,
        "minutes": round(seconds / 60, 1),
        "validation": report.summary(),
    }
