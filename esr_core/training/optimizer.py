"""The optimizer of a phase, and the moving average of the weights."""

from __future__ import annotations

import torch
from torch import nn

from esr_core.network.esr import ESR
from esr_core.training.config import Phase, TrainingConfig


def make_optimizer(esr: ESR, phase: Phase, config: TrainingConfig) -> torch.optim.SGD:
    """Return SGD for the parameters that a phase trains; freeze all others.

    ``share`` of a parameter group is its share of the learning rate: ``older_rate`` for
    parameters older than the newest branch. Biases and batch norms have no weight decay.
    """
    newest = esr.convolutional_branches[-1] if phase.newest else esr
    fast = {id(parameter) for parameter in newest.parameters()}
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for name, parameter in esr.named_parameters():
        head = "fc_dimensional" in name
        trained = phase.learns != "emotions" if head else not phase.heads_only
        parameter.requires_grad_(trained)
        if trained:
            group = (id(parameter) in fast, parameter.ndim > 1)
            groups.setdefault(group, []).append(parameter)
    return torch.optim.SGD(
        [
            {
                "params": parameters,
                "share": 1.0 if is_fast else config.older_rate,
                "weight_decay": config.weight_decay if decayed else 0.0,
            }
            for (is_fast, decayed), parameters in groups.items()
        ],
        lr=config.learning_rate,
        momentum=config.momentum,
        nesterov=config.momentum > 0,
    )


@torch.no_grad()
def update_average(average: ESR, esr: ESR, decay: float, step: int) -> None:
    """Move the running average of the weights one step towards them.

    Early steps have a smaller decay, so that the random initial weights do not last. PyTorch's
    AveragedModel with an EMA function has one decay for all steps.
    """
    weight = 1 - min(decay, step / (9 + step))
    for mean, value in zip(average.state_dict().values(), esr.state_dict().values()):
        if mean.is_floating_point():
            mean.lerp_(value, weight)
        else:
            mean.copy_(value)
