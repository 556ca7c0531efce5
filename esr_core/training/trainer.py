"""Training of an ESR in a folder from which a killed training resumes.

The folder holds the best weights so far (see :mod:`esr_core.network.checkpoint`),
``history.csv``, ``curves.png``, and ``state.pt``, from which the same call resumes to the same
result.
"""

from __future__ import annotations

import copy
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Callable

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from esr_core.atomic_write import replacing
from esr_core.data.faces import FaceDataset
from esr_core.errors import DataError, EsrError, ModelError, OptionError, TrainingError
from esr_core.evaluation.metrics import EvaluationReport, evaluate, torch_predictor
from esr_core.inference.metadata import ModelMetadata
from esr_core.network import checkpoint
from esr_core.network.esr import ESR, Weights
from esr_core.training import history, resume_state
from esr_core.training.config import Phase, TrainingConfig
from esr_core.training.data_loader import Batch, Batches, seeded
from esr_core.training.device import device_name, resolve_precision, select_device
from esr_core.training.distributed import Group, join, leave, share_batch_norms
from esr_core.training.losses import Objective
from esr_core.training.progress import TrainingProgress


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


#: Attributes of a training that ``state.pt`` holds under their names.
_STATE = ("phase", "epoch", "step", "sums", "history", "best")


@dataclass
class _Trainer:
    """A training and its state, see _STATE; phase, epoch and step count from 0."""

    training: FaceDataset
    validation: FaceDataset
    config: TrainingConfig
    folder: Path
    on_progress: Callable[[TrainingProgress], None]
    device: torch.device
    group: Group
    name: str
    epoch: int = 0  # of the phase
    step: int = 0  # of the epoch
    history: list[dict[str, Any]] = field(default_factory=list)  # a row per epoch, of all phases
    #: ``weights`` and ``metadata`` (JSON), and what they are compared by: ``place`` (phase, size in
    #: px; each starts without a best model) and ``figure`` (higher is better).
    best: dict[str, Any] | None = None
    report: EvaluationReport | None = None  # of the best model; None after a resume
    began_s: float = field(default_factory=time.monotonic)  # less the time of earlier runs

    def __post_init__(self) -> None:
        processes, batch_size = self.group.size, self.config.batch_size
        if len(self.training) < processes or len(self.validation) < 1:
            raise DataError("a training needs a face or more per process, and some to validate on")
        if batch_size % processes:
            raise OptionError(
                f"batch_size {batch_size} cannot be shared evenly by {processes} processes"
            )
        self.family = "ESR*" if self.config.diversified else "ESR"
        self.title = f"{self.family}-{self.config.branches}-{self.training.name}"
        self.phases = self.config.phases()
        self.batches = Batches(self.training, self.config, self.group)
        self.start: list[Weights] = []

    def run(self, start: ESR | None, fresh: bool) -> EvaluationReport:
        name, config = f"{self.family}-{self.phases[0].branches}", self.config
        if start and start.name != name:
            smaller = start.get_ensemble_size() < config.branches
            same_kind = start.diversified == config.diversified
            if not (config.method == "joint" and smaller and same_kind):
                raise OptionError(
                    f"start is an {start.name}, but the config trains an {name} first"
                )
        self._begin(start, fresh)
        try:
            for index in range(self.phase, len(self.phases)):
                if index > self.phase:
                    self._begin_phase(index, continues=True)
                while self.epoch < len(self.phases[index].sizes):
                    self._run_epoch()
        except ModelError as error:
            raise TrainingError(
                f"the loss is no longer a number in {self.phases[self.phase].name}, epoch "
                f"{self.epoch + 1}; try a learning rate below {config.learning_rate:g}"
            ) from error
        report = self.group.broadcast(self.report)
        if report is None:  # it resumed after the best epoch
            esr = self._best_network().to(self.device).eval()
            if self.best and self.group.leads:
                metadata = ModelMetadata.from_json(self.best["metadata"], resume_state.FILE)
                report = evaluate(torch_predictor(esr, metadata), self.validation, metadata.input)
            report = self.group.broadcast(report)
        assert report is not None
        return report

    def _begin(self, start: ESR | None, fresh: bool) -> None:
        """Begin the first phase, or resume from ``state.pt``; all processes raise one error."""
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
        index = saved["phase"] if saved else 0
        self._begin_phase(index, None if index else start)
        if saved:
            self._load(saved)
            self._export(weights=True)  # the process may have ended between two files

    def _begin_phase(self, index: int, start: ESR | None = None, continues: bool = False) -> None:
        """Begin a phase with ``start``, the best network so far (``continues``), or a new network.

        A training that resumes replaces the weights.
        """
        self.phase, self.epoch, self.step = index, 0, 0
        phase, config, group = self.phases[index], self.config, self.group
        with torch.random.fork_rng():
            known = self._best_network() if continues else start
            if known:
                esr = copy.deepcopy(known)
                torch.manual_seed(seeded(config.seed, index).initial_seed())
                while len(esr.convolutional_branches) < phase.branches:
                    esr.add_branch()
                    if start and config.new_branches == "copy":
                        first, *_, newest = esr.convolutional_branches
                        newest.load_state_dict(first.state_dict())
            else:
                torch.manual_seed(config.seed)
                esr = ESR(phase.branches, config.diversified)
        if config.start_share and known:
            self.start = esr.to_state_dict()
        self.esr, self.average = esr, copy.deepcopy(esr) if config.average else None
        if group.size > 1:
            share_batch_norms(esr, group)
        for network in filter(None, (esr, self.average)):
            form = layout(config, self.device)
            network.to(self.device, memory_format=form)  # type: ignore[call-overload]
        self.optimizer = make_optimizer(esr, phase, config)
        shares = self.batches.shares.to(self.device)
        self.objective: nn.Module = Objective(esr, config, phase, group, shares)
        if group.size > 1:
            self.objective = DistributedDataParallel(self.objective)
        #: Over the steps of the epoch: total, and loss and accuracy of each branch.
        self.sums = torch.zeros(1 + 2 * phase.branches, dtype=torch.float64)

    def _best_network(self) -> ESR:
        """Return the best weights so far, in every process; only the first one evaluates."""
        weights = self.group.broadcast(self.best["weights"] if self.best else None)
        assert weights is not None
        esr = ESR(len(weights) - 1, self.config.diversified)
        esr.reload(weights)
        return esr

    def _run_epoch(self) -> None:
        phase, rate, report = self.phases[self.phase], 0.0, None
        self.esr.train(not phase.heads_only)
        self.esr.base.train(self.esr.base.training and self.config.base_rate > 0)
        for batch in self.batches.epoch(self.phase, self.epoch, self.step):
            rate = self._step(batch)
            if self.step % self.config.save_every_steps == 0 and self.step < len(self.batches):
                self._save()
        means, done = self.sums / self.step, self.epoch + 1
        is_due = done == len(phase.sizes) or done % self.config.validation_interval == 0
        if self.group.leads and is_due:
            report = self._validate(float(means[0]))
        self._show(float(means[0]), report=report)
        number, size_px = len(self.history) + 1, phase.sizes[self.epoch]
        self.history.append(history.epoch_row(number, phase, size_px, rate, means, report))
        self.epoch, self.step, self.sums = done, 0, torch.zeros_like(self.sums)
        self._save()
        self._export(weights=self.report is report)

    def _step(self, batch: Batch) -> float:
        """Train on one batch; return the learning rate."""
        sizes, per_epoch = self.phases[self.phase].sizes, len(self.batches)
        done = self.epoch * per_epoch + self.step
        rate = self.config.rate(done, per_epoch * len(sizes), self.epoch)
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group["share"]
        losses = self.objective(*batch.to(self.device, sizes[self.epoch]))
        self.optimizer.zero_grad()
        losses.total.backward()
        self.optimizer.step()
        if self.average:
            update_average(self.average, self.esr, self.config.average, done)
        means = self.group.mean(torch.cat([losses.total.detach()[None], *losses[1:]]))
        self.sums += means.double().cpu()
        self.step += 1
        self._show(float(means[0]))
        if not torch.isfinite(means[0]):
            raise ModelError("the loss is not finite")
        return rate

    def _show(self, loss: float, **more: Any) -> None:
        """Report the progress, counted over all phases."""
        if self.group.leads:
            phase, epoch, per_epoch = self.phases[self.phase], len(self.history), len(self.batches)
            epochs = sum(len(each.sizes) for each in self.phases)
            step, size_px = epoch * per_epoch + self.step, phase.sizes[self.epoch]
            position = (epoch + 1, epochs, step, epochs * per_epoch, size_px)
            self.on_progress(TrainingProgress(phase.name, *position, loss, **more))

    def _validate(self, loss: float) -> EvaluationReport:
        """Evaluate; keep the weights if none were better at this size in this phase."""
        phase, esr = self.phases[self.phase], self._mixed(self.average or self.esr)
        size_px, faces = phase.sizes[self.epoch], self.validation
        if size_px != phase.sizes[-1]:
            faces = faces.subset(self.config.validate_on)
        spec = replace(self.training.spec, size_px=size_px)
        is_derived = self.training.derives_affect and phase.learns != "affect"
        name, affect = f"{esr.name}-{self.training.name}", "derived" if is_derived else "learned"
        metadata = ModelMetadata(name, phase.branches, esr.diversified, spec, affect=affect)
        predict = torch_predictor(esr.eval(), metadata)

        def show(done: int) -> None:
            self._show(loss, validated=done / len(faces))

        report = evaluate(predict, faces, spec, on_progress=show)
        score = report.accuracy
        if phase.learns == "affect":
            score = -report.valence.rmse - report.arousal.rmse
        # Weights do not carry over between sizes, nor do their scores.
        place, best = [phase.name, size_px], self.best
        if best is None or best["place"] != place or score > best["figure"]:
            record = {
                **self.identity,
                "epochs_done": len(self.history) + 1,
                "device": device_name(self.device),
                "minutes": round((time.monotonic() - self.began_s) / 60, 1),
                "validation": report.summary(),
            }
            weights = [{k: v.cpu() for k, v in part.items()} for part in esr.to_state_dict()]
            text = replace(metadata, record=record).to_json()
            self.best = {"place": place, "figure": score, "weights": weights, "metadata": text}
            self.report = report
        return report

    def _mixed(self, esr: ESR) -> ESR:
        """Return a network with the start's share of its weights; esr itself without one."""
        if not self.start:
            return esr
        mixed = copy.deepcopy(esr)
        for weights, first in zip(mixed.parts(), self.start):
            for name, value in weights.state_dict().items():
                if value.is_floating_point():
                    value.lerp_(first[name].to(value), self.config.start_share)
        return mixed

    def _save(self) -> None:
        """Write ``state.pt``; an existing one stays until the new one is complete."""
        if not self.group.leads:
            return
        state = {
            **{name: getattr(self, name) for name in _STATE},
            "format": resume_state.FORMAT,
            "identity": self.identity,
            "weights": self.esr.to_state_dict(),
            "average": self.average.to_state_dict() if self.average else None,
            "optimizer": self.optimizer.state_dict(),
            "spent_s": time.monotonic() - self.began_s,
        }
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / resume_state.FILE
        with replacing(path) as partial, open(partial, "wb") as file:
            torch.save(state, file)

    def _load(self, saved: dict[str, Any]) -> None:
        """Take over a state of :meth:`_save`, of the same phase."""
        self.esr.reload(saved["weights"])
        if self.average:
            self.average.reload(saved["average"])
        self.optimizer.load_state_dict(saved["optimizer"])
        vars(self).update({name: saved[name] for name in _STATE})
        self.began_s -= saved["spent_s"]

    def _export(self, weights: bool) -> None:
        """Write the history, and the best weights if ``weights``."""
        if self.group.leads:
            if weights and self.best:
                metadata = ModelMetadata.from_json(self.best["metadata"], resume_state.FILE)
                name = self.name or checkpoint.file_name(self.title)
                checkpoint.save_weights(self.folder, self.best["weights"], metadata, name)
            if self.history:
                history.write_csv(self.folder / "history.csv", self.history)
                history.draw(self.folder / "curves.png", self.history, self.title)


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
