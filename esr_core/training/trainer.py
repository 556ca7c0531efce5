"""Training an ESR by a recipe, in a folder that a killed training goes on from.

The folder holds the best weights so far (see :mod:`esr_core.network.checkpoint`),
``history.csv`` and ``curves.png``, and ``state.pt``, from which the same command goes on to the
same result.
"""

from __future__ import annotations

import copy
import hashlib
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Callable

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from esr_core.data.dataset import FaceDataset
from esr_core.errors import (
    DataError,
    EsrError,
    ModelError,
    OptionError,
    TrainingError,
)
from esr_core.evaluation.metrics import EvaluationReport, evaluate, torch_predictor
from esr_core.inference.metadata import ModelMetadata
from esr_core.network import checkpoint
from esr_core.network.esr import ESR
from esr_core.training import history, resume_state
from esr_core.training.config import Phase, TrainingConfig
from esr_core.training.data_loader import Batches, seeded
from esr_core.training.distributed import (
    Group,
    device_name,
    join,
    leave,
    own_device,
    share_batch_norms,
)
from esr_core.training.losses import Objective
from esr_core.training.malloc import keep_pages
from esr_core.training.progress import TrainingProgress
from esr_core.training.resume_state import BestModel


def train(
    training: FaceDataset,
    validation: FaceDataset,
    recipe: TrainingConfig,
    folder: Path,
    on_progress: Callable[[TrainingProgress], None] = lambda progress: None,
    device: str = "cpu",
    start: ESR | None = None,
    name: str = "",
    fresh: bool = False,
) -> EvaluationReport:
    """Train, or go on with the training in ``folder``; return the report of the best weights.

    start: what to train on from; without it a new network. name: of the JSON file in the folder.
    fresh: begin anew, whatever the folder holds. Under ``torchrun`` the processes train together
    and the first of them validates and writes.

    Raises:
        AnotherTraining: the folder holds a training by another recipe, or from other data.
        OptionError: the recipe does not fit the data.
        TrainingError: the loss is no longer a number.
    """
    where = own_device(device)
    keep_pages()
    group = join(where)
    try:
        run = _Training(training, validation, recipe, folder, on_progress, where, group, name)
        return run.until_done(start, fresh)
    finally:
        leave(group)


class _Training:
    """A recipe on its way."""

    def __init__(
        self,
        training: FaceDataset,
        validation: FaceDataset,
        recipe: TrainingConfig,
        folder: Path,
        on_progress: Callable[[TrainingProgress], None],
        device: torch.device,
        group: Group,
        name: str,
    ) -> None:
        if len(training) < group.size or len(validation) < 1:
            raise DataError("a training needs a face or more per process, and some to validate on")
        if recipe.batch_size % group.size:
            raise OptionError(
                f"batch_size {recipe.batch_size} cannot be shared evenly by {group.size} processes"
            )
        self.training, self.validation, self.recipe = training, validation, recipe
        self.folder, self.on_progress, self.device, self.group = folder, on_progress, device, group
        self.title = f"ESR{'*' if recipe.diversified else ''}-{recipe.branches}-{training.name}"
        self.name = name or checkpoint.file_name(self.title)
        self.batches = Batches(
            training,
            recipe.batch_size,
            recipe.augmentation,
            recipe.seed,
            group,
            recipe.repeat_rare,
        )
        self.phases = recipe.phases()
        self.history: list[dict[str, Any]] = []
        self.best: BestModel | None = None
        self.began_s = time.monotonic()

    def until_done(self, start: ESR | None, fresh: bool) -> EvaluationReport:
        self.identity = self._identify(start)
        saved = None if fresh else self._resume()
        for index in range(saved["phase"] if saved else 0, len(self.phases)):
            if saved:
                esr = ESR(self.phases[index].branches, self.recipe.diversified)
            elif index > 0:
                esr = self._with_new_branch(self._best_network(), index)
            else:
                esr = copy.deepcopy(start) if start else self._new_network()
            self._learn(index, esr, saved)
            saved = None
        report = self.group.tell(self.best.report if self.best else None)
        if report is None:  # it had been killed after the best epoch
            best = self._best_network().to(self.device)
            report = self.group.tell(self._evaluate(best, None) if self.group.leads else None)
        assert report is not None
        return report

    def _new_network(self) -> ESR:
        with torch.random.fork_rng():
            torch.manual_seed(self.recipe.seed)
            return ESR(self.phases[0].branches, self.recipe.diversified)

    def _with_new_branch(self, esr: ESR, phase: int) -> ESR:
        with torch.random.fork_rng():
            torch.manual_seed(seeded(self.recipe.seed, phase).initial_seed())
            esr.add_branch()
        return esr

    def _best_network(self) -> ESR:
        """The best weights so far, in every process; only the leader has seen them."""
        weights = self.group.tell(self.best.weights if self.best else None)
        assert weights is not None
        esr = ESR(len(weights) - 1, self.recipe.diversified)
        esr.reload(weights)
        return esr

    def _learn(self, index: int, esr: ESR, saved: dict[str, Any] | None) -> None:
        """Go through one phase, or the rest of it."""
        phase, recipe = self.phases[index], self.recipe
        average = copy.deepcopy(esr) if recipe.average else None
        if self.group.size > 1:
            share_batch_norms(esr, self.group)
        for network in (esr, average) if average else (esr,):
            network.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        optimizer = _optimizer(esr, phase, recipe)
        epoch, step, sums = 0, 0, torch.zeros(1 + 2 * phase.branches, dtype=torch.float64)
        if saved:
            esr.reload(saved["weights"])
            if average:
                average.reload(saved["average"])
            optimizer.load_state_dict(saved["optimizer"])
            epoch, step, sums = saved["epoch"], saved["step"], saved["sums"]
            self.best, self.history = BestModel.of(saved["best"]), saved["history"]
            self.began_s -= saved["spent_s"]
            self._export(weights=True)  # the kill may have come in the middle of it
        objective: nn.Module = Objective(esr, recipe, phase, self.group)
        if self.group.size > 1:
            objective = DistributedDataParallel(objective)
        steps = len(self.batches) * len(phase.sizes)
        told = self._teller(index)

        def save() -> None:
            self._save_state(
                phase=index,
                epoch=epoch,
                step=step,
                sums=sums,
                weights=esr.to_state_dict(),
                average=average.to_state_dict() if average else None,
                optimizer=optimizer.state_dict(),
            )

        while epoch < len(phase.sizes):
            size_px = phase.sizes[epoch]
            esr.train(not phase.heads_only)
            for batch in self.batches.epoch(index, epoch, step):
                done = epoch * len(self.batches) + step
                rate = recipe.rate(done, steps, epoch)
                for group in optimizer.param_groups:
                    group["lr"] = rate * group["share"]
                losses = objective(*batch.to(self.device, size_px))
                optimizer.zero_grad()
                losses.total.backward()
                optimizer.step()
                if average:
                    _follow(average, esr, recipe.average, done)
                figures = self.group.mean(torch.cat([losses.total.detach()[None], *losses[1:]]))
                sums += figures.double().cpu()
                step += 1
                told(epoch, step, float(figures[0]))
                if not torch.isfinite(figures[0]):
                    raise self._diverged(phase, epoch)
                if step % recipe.save_every_steps == 0 and step < len(self.batches):
                    save()
            report, tell = None, partial(told, epoch, step, float(sums[0] / step))
            last = epoch + 1 == len(phase.sizes)
            if self.group.leads and (last or (epoch + 1) % recipe.validation_interval == 0):
                report = self._validate(average or esr, phase, epoch, tell)
            self._record(phase, size_px, rate, sums / step, report)
            tell(report=report)
            epoch, step, sums = epoch + 1, 0, torch.zeros_like(sums)
            save()
            self._export(weights=self.best is not None and self.best.report is report)

    def _teller(self, index: int) -> Callable[..., None]:
        """Return what reports progress within a phase, counted over the whole training."""
        phase, per_epoch = self.phases[index], len(self.batches)
        before = sum(len(earlier.sizes) for earlier in self.phases[:index])
        epochs = sum(len(each.sizes) for each in self.phases)

        def tell(epoch: int, step: int, loss: float, **more: Any) -> None:
            done = (before + epoch) * per_epoch + step
            place = (before + epoch + 1, epochs, done, epochs * per_epoch)
            if self.group.leads:
                size_px = phase.sizes[epoch]
                self.on_progress(TrainingProgress(phase.name, *place, size_px, loss, **more))

        return tell

    def _validate(
        self, esr: ESR, phase: Phase, epoch: int, tell: Callable[..., None]
    ) -> EvaluationReport:
        """Measure, and keep the weights if none were better at this size in this phase."""
        size_px = phase.sizes[epoch]
        final = size_px == phase.sizes[-1]
        try:
            count = None if final else self.recipe.validate_on
            report = self._evaluate(esr, count, size_px, lambda share: tell(validated=share))
        except ModelError as error:
            raise self._diverged(phase, epoch) from error
        figure = report.accuracy
        if phase.learns == "affect":
            figure = -report.valence.rmse - report.arousal.rmse
        # Nothing carries over between sizes, neither weights nor what they are worth.
        place = (phase.name, size_px)
        if self.best is None or self.best.place != place or figure > self.best.figure:
            metadata = ModelMetadata(
                f"{esr.name}-{self.training.name}",
                phase.branches,
                self.recipe.diversified,
                replace(self.training.spec, size_px=size_px),
                record={
                    **self.identity,
                    "epochs_done": len(self.history) + 1,
                    "device": device_name(self.device),
                    "minutes": round((time.monotonic() - self.began_s) / 60, 1),
                    "validation": report.summary(),
                },
            )
            weights = [
                {key: value.cpu().clone() for key, value in part.items()}
                for part in esr.to_state_dict()
            ]
            self.best = BestModel(place, figure, weights, metadata, report)
        return report

    def _diverged(self, phase: Phase, epoch: int) -> TrainingError:
        return TrainingError(
            f"the loss is no longer a number in {phase.name}, epoch {epoch + 1}; try a "
            f"learning rate below {self.recipe.learning_rate:g}"
        )

    def _evaluate(
        self,
        esr: ESR,
        count: int | None,
        size_px: int | None = None,
        on_share: Callable[[float], None] = lambda share: None,
    ) -> EvaluationReport:
        faces = self.validation.subset(count) if count else self.validation
        spec = replace(self.training.spec, size_px=size_px or self.phases[-1].sizes[-1])
        return evaluate(
            torch_predictor(esr.eval()),
            faces,
            spec,
            on_progress=lambda done: on_share(done / len(faces)),
        )

    def _record(
        self,
        phase: Phase,
        size_px: int,
        rate: float,
        means: torch.Tensor,
        report: EvaluationReport | None,
    ) -> None:
        losses, correct = means[1:].reshape(2, phase.branches).tolist()
        row: dict[str, Any] = {
            "phase": phase.name,
            "epoch": len(self.history) + 1,
            "size_px": size_px,
            "learning_rate": rate,
            "loss": float(means[0]),
            **{f"loss_{k}": value for k, value in enumerate(losses, start=1)},
            **{f"accuracy_{k}": value for k, value in enumerate(correct, start=1)},
        }
        if report:
            row.update(_validation_columns(report, phase))
        self.history.append(row)

    def _identify(self, start: ESR | None) -> dict[str, Any]:
        """What must be the same for a training to go on."""
        weights = hashlib.sha256()
        for tensor in start.state_dict().values() if start else ():
            weights.update(tensor.detach().cpu().contiguous().numpy().tobytes())
        return {
            "recipe": self.recipe.to_dict(),
            "data": self.training.name,
            "training_images": len(self.training),
            "validation_images": len(self.validation),
            "start": weights.hexdigest() if start else "",
        }

    def _save_state(self, **place: Any) -> None:
        if self.group.leads:
            spent_s = time.monotonic() - self.began_s
            best = self.best.to_dict() if self.best else None
            place.update(best=best, history=self.history, spent_s=spent_s)
            resume_state.write(self.folder / resume_state.FILE, self.identity, place)

    def _export(self, weights: bool) -> None:
        """Write what the state holds to where people look for it."""
        if not self.group.leads:
            return
        best = self.best
        if weights and best:
            checkpoint.save_weights(self.folder, best.weights, best.metadata, self.name)
        if self.history:
            history.write_csv(self.folder / "history.csv", self.history)
            history.draw(self.folder / "curves.png", self.history, self.title)

    def _resume(self) -> dict[str, Any] | None:
        """Return where this training had come to, and raise the same error, in all processes."""
        saved, error = None, None
        if self.group.leads:
            try:
                saved = resume_state.read(self.folder / resume_state.FILE, self.identity)
            except EsrError as found:
                error = found
        saved, error = self.group.tell((saved, error))
        if error:
            raise error
        return saved


def _optimizer(esr: ESR, phase: Phase, recipe: TrainingConfig) -> torch.optim.SGD:
    """Let learn what this phase teaches; what is older than the newest branch learns slower."""
    newest = esr.convolutional_branches[-1] if phase.newest else esr
    fast = {id(parameter) for parameter in newest.parameters()}
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for name, parameter in esr.named_parameters():
        head = "fc_dimensional" in name
        parameter.requires_grad_(head or not phase.heads_only)
        if head and phase.learns == "emotions":
            parameter.requires_grad_(False)
        if parameter.requires_grad:
            # Biases and batch norms are not decayed.
            group = (id(parameter) in fast, parameter.ndim > 1)
            groups.setdefault(group, []).append(parameter)
    return torch.optim.SGD(
        [
            {
                "params": parameters,
                "share": 1.0 if is_fast else recipe.older_rate,
                "weight_decay": recipe.weight_decay if decayed else 0.0,
            }
            for (is_fast, decayed), parameters in groups.items()
        ],
        lr=recipe.learning_rate,
        momentum=recipe.momentum,
        nesterov=recipe.momentum > 0,
    )


@torch.no_grad()
def _follow(average: ESR, esr: ESR, decay: float, step: int) -> None:
    """Move the running average one step towards the weights."""
    # Early on the plain mean, or the random start would weigh in for hundreds of steps.
    towards = 1 - min(decay, step / (9 + step))
    for mean, now in zip(average.state_dict().values(), esr.state_dict().values()):
        if mean.is_floating_point():
            mean.lerp_(now, towards)
        else:
            mean.copy_(now)


def _validation_columns(report: EvaluationReport, phase: Phase) -> dict[str, float]:
    columns = {"valid_loss": report.loss, "valid_accuracy": report.accuracy}
    if phase.learns != "emotions":
        columns["valid_valence_rmse"] = report.valence.rmse
        columns["valid_arousal_rmse"] = report.arousal.rmse
    assert report.branches is not None
    each = zip(report.branches.loss, report.branches.correct, report.branches.rmse)
    for k, (loss, correct, (valence, arousal)) in enumerate(each, start=1):
        columns[f"valid_loss_{k}"] = loss
        columns[f"valid_accuracy_{k}"] = correct / report.n
        if phase.learns != "emotions":
            columns[f"valid_valence_rmse_{k}"] = valence
            columns[f"valid_arousal_rmse_{k}"] = arousal
    return columns
