"""Training of an ESR in a folder from which a killed training resumes.

The folder holds the best weights so far (see :mod:`esr_core.network.checkpoint`),
``history.csv``, ``curves.png``, and ``state.pt``, from which the same call resumes to the same
result.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Callable

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from esr_core.data.faces import FaceDataset
from esr_core.errors import DataError, EsrError, ModelError, OptionError, TrainingError
from esr_core.evaluation.metrics import EvaluationReport, evaluate, torch_predictor
from esr_core.inference.metadata import ModelMetadata
from esr_core.network import checkpoint
from esr_core.network.esr import ESR, Weights
from esr_core.training import history, resume_state
from esr_core.training.config import TWO_PIXELS_PX, Phase, TrainingConfig
from esr_core.training.data_loader import Batch, Batches, seeded
from esr_core.training.device import device_name, resolve_precision, select_device
from esr_core.training.distributed import Group, join, leave, share_batch_norms
from esr_core.training.losses import Objective
from esr_core.training.progress import TrainingProgress
from esr_core.training.resume_state import BestModel, TrainState


def train(
    training: FaceDataset,
    validation: FaceDataset,
    config: TrainingConfig,
    folder: Path,
    on_progress: Callable[[TrainingProgress], None] = lambda progress: None,
    device: str = "cpu",
    start: ESR | None = None,
    name: str = "",
    fresh: bool = False,
) -> EvaluationReport:
    """Train, or resume the training in ``folder``; return the evaluation of the best weights.

    start: the network to train further; None for a new one. name: of the JSON file in the folder.
    fresh: start over even if the folder holds a training. Under ``torchrun`` the processes train
    together; the first of them evaluates and writes the files. With the precision ``auto`` a
    training resumes in the precision that it began with.

    Raises:
        AnotherTraining: the folder holds a training with other options, data or initial weights.
        DataError: there are fewer faces than processes, or none to validate on.
        OptionError: the processes cannot share a batch evenly, there is no such device, or
            ``start`` has other branches than ``config``.
        TrainingError: the loss is not finite, or ``state.pt`` is damaged.
    """
    where = select_device(device)
    group = join(where)
    try:
        trainer = _Trainer(training, validation, config, folder, on_progress, where, group, name)
        return trainer.run(start, fresh)
    finally:
        leave(group)


@dataclass
class _Trainer:
    training: FaceDataset
    validation: FaceDataset
    config: TrainingConfig
    folder: Path
    on_progress: Callable[[TrainingProgress], None]
    device: torch.device
    group: Group
    name: str

    def __post_init__(self) -> None:
        processes, batch_size = self.group.size, self.config.batch_size
        if len(self.training) < processes or len(self.validation) < 1:
            raise DataError("a training needs a face or more per process, and some to validate on")
        if batch_size % processes:
            raise OptionError(
                f"batch_size {batch_size} cannot be shared evenly by {processes} processes"
            )
        is_single = min(batch_size, len(self.training)) == 1
        is_trained = not all(phase.heads_only for phase in self.config.phases())
        if is_single and is_trained and min(self.config.sizes) < TWO_PIXELS_PX:
            raise OptionError(
                "batches of one face need inputs of at least "
                f"{TWO_PIXELS_PX} px, but one has {min(self.config.sizes)} px: below, batch norm "
                "has a single value for each channel"
            )
        self.family = "ESR*" if self.config.diversified else "ESR"
        self.title = f"{self.family}-{self.config.branches}-{self.training.name}"
        self.phases = self.config.phases()
        self.batches = Batches(self.training, self.config, self.group)
        self._start: list[Weights] = []

    def run(self, start: ESR | None, fresh: bool) -> EvaluationReport:
        name, method = f"{self.family}-{self.phases[0].branches}", self.config.method
        if start and start.name != name and not (method == "joint" and self._can_grow(start)):
            raise OptionError(f"start is an {start.name}, but the config trains an {name} first")
        if method == "affect" and not start:
            raise OptionError("method affect trains the affect layer of a start, but got none")
        state = self._begin(start, fresh)
        try:
            for index in range(state.phase, len(self.phases)):
                if index > state.phase:
                    state = self._begin_phase(index, state)
                while state.epoch < len(self.phases[index].sizes):
                    self._run_epoch(state)
        # The second is the diversity loss's, on CPUs.
        except (ModelError, torch.linalg.LinAlgError) as error:  # type: ignore[attr-defined]
            raise TrainingError(
                f"the loss is no longer a number in {self.phases[state.phase].name}, epoch "
                f"{state.epoch + 1}; try a learning rate below {self.config.learning_rate:g}"
            ) from error
        report = self.group.broadcast(state.best.report if state.best else None)
        if report is None:  # it resumed after the best epoch
            esr = self._best_network(state).to(self.device).eval()
            if self.group.leads:
                assert state.best is not None
                metadata = state.best.metadata
                predict = torch_predictor(esr, metadata)
                report = evaluate(predict, self.validation, metadata.input)
            report = self.group.broadcast(report)
        assert report is not None
        return report

    def _can_grow(self, start: ESR) -> bool:
        smaller = len(start.convolutional_branches) < self.config.branches
        return smaller and start.diversified == self.config.diversified

    def _begin(self, start: ESR | None, fresh: bool) -> TrainState:
        """Return the state in ``state.pt``, or a new one; all processes raise the same error."""
        self.identity = resume_state.identify(self.config, self.training, self.validation, start)
        saved: dict[str, Any] | EsrError | None = None
        if self.group.leads and not fresh:
            try:
                saved = resume_state.read(self.folder / resume_state.FILE, self.identity)
            except EsrError as error:
                saved = error
        saved = self.group.broadcast(saved)
        if isinstance(saved, EsrError):
            raise saved
        precision = resolve_precision(self.config.precision, self.device)
        if saved:
            precision = saved["identity"]["recipe"]["precision"]
        self.config = replace(self.config, precision=self.group.broadcast(precision))
        self.identity["recipe"] = self.config.to_dict()
        state = self._begin_phase(saved["phase"] if saved else 0, start=start)
        if saved:
            state.load_state_dict(saved)
            # The process may have ended between two files. Complete ones may be calibrated since.
            self._export(state, weights=not self._is_exported(state))
        return state

    def _is_exported(self, state: TrainState) -> bool:
        """The folder holds the best weights so far."""
        try:
            esr, _ = checkpoint.load(self.folder, self.name or checkpoint.file_name(self.title))
        except ModelError:
            return False
        best, known = state.best.weights if state.best else [], esr.to_state_dict()
        return len(best) == len(known) and all(
            torch.equal(part[name], value)
            for part, weights in zip(known, best)
            for name, value in weights.items()
        )

    def _begin_phase(
        self, index: int, before: TrainState | None = None, start: ESR | None = None
    ) -> TrainState:
        """Return the state of a phase's first step, with the best network so far and a new branch.

        In the first phase it is ``start`` or new; a training that resumes replaces its weights.
        """
        phase, config, group = self.phases[index], self.config, self.group
        with torch.random.fork_rng():
            known = self._best_network(before) if before else start if index == 0 else None
            if known:
                esr = copy.deepcopy(known)
                torch.manual_seed(seeded(config.seed, index).initial_seed())
                while len(esr.convolutional_branches) < phase.branches:
                    esr.add_branch()
                    if not before and config.new_branches == "copy":
                        first, *_, newest = esr.convolutional_branches
                        newest.load_state_dict(first.state_dict())
            else:
                torch.manual_seed(config.seed)
                esr = ESR(phase.branches, config.diversified)
        if config.start_share and known:
            # New branches with random weights have no start.
            self._start = (esr if config.new_branches == "copy" else known).to_state_dict()
        average = copy.deepcopy(esr) if config.average else None
        if group.size > 1:
            share_batch_norms(esr, group)
        for network in (esr, average) if average else (esr,):
            form = layout(config, self.device)
            network.to(self.device, memory_format=form)  # type: ignore[call-overload]
        optimizer = make_optimizer(esr, phase, config)
        objective: nn.Module = Objective(
            esr, config, phase, group, self.batches.shares.to(self.device)
        )
        if group.size > 1:
            objective = DistributedDataParallel(objective)
        sums = torch.zeros(1 + 2 * phase.branches, dtype=torch.float64)
        state = TrainState(index, esr, average, optimizer, objective, sums)
        if before:
            state.history, state.best, state.began_s = before.history, before.best, before.began_s
        return state

    def _best_network(self, state: TrainState) -> ESR:
        """Return the best weights so far, in every process; only the first one evaluates."""
        weights = self.group.broadcast(state.best.weights if state.best else None)
        assert weights is not None
        esr = ESR(len(weights) - 1, self.config.diversified)
        esr.reload(weights)
        return esr

    def _run_epoch(self, state: TrainState) -> None:
        phase, epoch, rate, report = self.phases[state.phase], state.epoch, 0.0, None
        state.esr.train(not phase.heads_only)
        state.esr.base.train(state.esr.base.training and self.config.base_rate > 0)
        for batch in self.batches.epoch(state.phase, epoch, state.step):
            rate = self._step(state, batch)
            if state.step % self.config.save_every_steps == 0 and state.step < len(self.batches):
                self._save(state)
        means = state.sums / state.step
        last = epoch + 1 == len(phase.sizes)
        if self.group.leads and (last or (epoch + 1) % self.config.validation_interval == 0):
            report = self._validate(state, float(means[0]))
        self._show(state, float(means[0]), report=report)
        number, size_px = len(state.history) + 1, phase.sizes[epoch]
        state.history.append(history.epoch_row(number, phase, size_px, rate, means, report))
        state.epoch, state.step, state.sums = epoch + 1, 0, torch.zeros_like(state.sums)
        self._save(state)
        self._export(state, weights=bool(report and state.best and state.best.report is report))

    def _step(self, state: TrainState, batch: Batch) -> float:
        """Train on one batch; return the learning rate."""
        phase, per_epoch = self.phases[state.phase], len(self.batches)
        done = state.epoch * per_epoch + state.step
        rate = self.config.rate(done, per_epoch * len(phase.sizes), state.epoch)
        for group in state.optimizer.param_groups:
            group["lr"] = rate * group["share"]
        losses = state.objective(*batch.to(self.device, phase.sizes[state.epoch]))
        state.optimizer.zero_grad()
        losses.total.backward()
        state.optimizer.step()
        if state.average:
            update_average(state.average, state.esr, self.config.average, done)
        means = self.group.mean(torch.cat([losses.total.detach()[None], *losses[1:]]))
        state.sums += means.double().cpu()
        state.step += 1
        self._show(state, float(means[0]))
        if not torch.isfinite(means[0]):
            raise ModelError("the loss is not finite")
        return rate

    def _show(self, state: TrainState, loss: float, **more: Any) -> None:
        """Report the progress, counted over all phases."""
        if self.group.leads:
            phase, epoch = self.phases[state.phase], len(state.history)
            epochs = sum(len(each.sizes) for each in self.phases)
            step, steps = epoch * len(self.batches) + state.step, epochs * len(self.batches)
            position = (epoch + 1, epochs, step, steps, phase.sizes[state.epoch])
            self.on_progress(TrainingProgress(phase.name, *position, loss, **more))

    def _validate(self, state: TrainState, loss: float) -> EvaluationReport:
        """Evaluate; keep the weights if none were better at this size in this phase."""
        phase, esr = self.phases[state.phase], self._mixed(state.average or state.esr)
        size_px, faces = phase.sizes[state.epoch], self.validation
        if size_px != phase.sizes[-1]:
            faces = faces.subset(self.config.validate_on)
        spec = replace(self.training.spec, size_px=size_px)
        # Without annotations the affect layer learns nothing new, and in "emotions" nothing at all.
        derives = self.training.derives_affect and phase.learns == "both"
        is_derived = derives or phase.learns == "emotions"
        metadata = ModelMetadata(
            f"{esr.name}-{self.training.name}",
            phase.branches,
            esr.diversified,
            spec,
            affect="derived" if is_derived else "learned",
        )
        predict = torch_predictor(esr.eval(), metadata)

        def show(done: int) -> None:
            self._show(state, loss, validated=done / len(faces))

        report = evaluate(predict, faces, spec, on_progress=show)
        score = report.accuracy
        if phase.learns == "affect":
            score = -report.valence.rmse - report.arousal.rmse
        # Weights do not carry over between sizes, nor do their scores.
        stage = (phase.name, size_px)
        if state.best is None or state.best.stage != stage or score > state.best.score:
            record = {
                **self.identity,
                "epochs_done": len(state.history) + 1,
                "device": device_name(self.device),
                "minutes": round(state.spent_s / 60, 1),
                "validation": report.summary(),
            }
            metadata = replace(metadata, record=record)
            weights = [{k: v.cpu() for k, v in part.items()} for part in esr.to_state_dict()]
            state.best = BestModel(stage, score, weights, metadata, report)
        return report

    def _mixed(self, esr: ESR) -> ESR:
        """Return a network with the start's share of its weights; esr itself without one."""
        if not self._start:
            return esr
        mixed = copy.deepcopy(esr)
        for weights, first in zip(mixed.parts(), self._start):
            for name, value in weights.state_dict().items():
                if value.is_floating_point():
                    value.lerp_(first[name].to(value), self.config.start_share)
        return mixed

    def _save(self, state: TrainState) -> None:
        if self.group.leads:
            resume_state.write(self.folder / resume_state.FILE, self.identity, state)

    def _export(self, state: TrainState, weights: bool) -> None:
        """Write the history, and the best weights if ``weights``."""
        if self.group.leads:
            best, name = state.best, self.name or checkpoint.file_name(self.title)
            if weights and best:
                checkpoint.save_weights(self.folder, best.weights, best.metadata, name)
            if state.history:
                history.write_csv(self.folder / "history.csv", state.history)
                history.draw(self.folder / "curves.png", state.history, self.title)


def layout(config: TrainingConfig, device: torch.device) -> torch.memory_format:
    """Return the layout of weights and features in which a training is fastest."""
    # In fp32 on a CPU the default layout is faster by a quarter.
    is_plain = config.precision == "fp32" and device.type == "cpu"
    return torch.contiguous_format if is_plain else torch.channels_last


def make_optimizer(esr: ESR, phase: Phase, config: TrainingConfig) -> torch.optim.SGD:
    """Return SGD for the parameters that a phase trains; freeze all others.

    ``share`` of a parameter group is its share of the learning rate: ``older_rate`` for
    parameters older than the newest branch, ``base_rate`` for the base. Biases and batch norms
    have no weight decay.
    """
    newest = esr.convolutional_branches[-1] if phase.newest else esr
    fast = {id(parameter) for parameter in newest.parameters()}
    groups: dict[tuple[float, bool], list[nn.Parameter]] = {}
    for name, parameter in esr.named_parameters():
        share = 1.0 if id(parameter) in fast else config.older_rate
        share *= config.base_rate if name.startswith("base.") else 1
        head = "fc_dimensional" in name
        trained = phase.learns != "emotions" if head else share > 0 and not phase.heads_only
        parameter.requires_grad_(trained)
        if trained:
            groups.setdefault((share, parameter.ndim > 1), []).append(parameter)
    return torch.optim.SGD(
        [
            {
                "params": parameters,
                "share": share,
                "weight_decay": config.weight_decay if decayed else 0.0,
            }
            for (share, decayed), parameters in groups.items()
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
