"""The state of a running training, and the file from which a killed training resumes."""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from esr_core.atomic_write import replacing
from esr_core.data import own_faces
from esr_core.data.faces import FaceDataset
from esr_core.errors import AnotherTraining, TrainingError
from esr_core.evaluation.metrics import EvaluationReport
from esr_core.inference.metadata import ModelMetadata
from esr_core.network.checkpoint import DAMAGED, load_tensors
from esr_core.network.esr import ESR
from esr_core.training.config import AUTO, TrainingConfig
from esr_core.training.teachers import digest

FILE = "state.pt"
#: Raised when the content changes such that an older version would misread it.
FORMAT = 2


@dataclass(frozen=True)
class BestModel:
    """The best weights so far; each phase and each size starts without one."""

    stage: tuple[str, int]  # phase, size in px
    score: float  # higher is better; comparable within a stage only
    weights: list[dict[str, Tensor]]
    metadata: ModelMetadata
    report: EvaluationReport | None = None  # None after a resume


@dataclass
class TrainState:
    """The state of a running training; phase, epoch and step count from 0."""

    phase: int
    esr: ESR
    average: ESR | None  # of the weights over the steps
    optimizer: torch.optim.Optimizer
    objective: nn.Module
    sums: Tensor  # (1 + 2 * branches,) over the steps of the epoch: total, losses, accuracies
    epoch: int = 0  # of the phase
    step: int = 0  # of the epoch
    history: list[dict[str, Any]] = field(default_factory=list)  # a row per epoch, of all phases
    best: BestModel | None = None
    began_s: float = field(default_factory=time.monotonic)  # less the time of earlier runs

    @property
    def spent_s(self) -> float:
        """Time since the training began, without the time between a kill and its resume."""
        return time.monotonic() - self.began_s

    def state_dict(self) -> dict[str, Any]:
        """Return the state as plain values and tensors."""
        best: dict[str, Any] | None = None
        if self.best:
            best = {
                "place": list(self.best.stage),
                "figure": self.best.score,
                "weights": self.best.weights,
                "metadata": self.best.metadata.to_json(),
            }
        return {
            "phase": self.phase,
            "epoch": self.epoch,
            "step": self.step,
            "sums": self.sums,
            "weights": self.esr.to_state_dict(),
            "average": self.average.to_state_dict() if self.average else None,
            "optimizer": self.optimizer.state_dict(),
            "best": best,
            "history": self.history,
            "spent_s": self.spent_s,
        }

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Take over a state of the same phase."""
        self.esr.reload(saved["weights"])
        if self.average:
            self.average.reload(saved["average"])
        self.optimizer.load_state_dict(saved["optimizer"])
        self.epoch, self.step, self.sums = saved["epoch"], saved["step"], saved["sums"]
        self.history = saved["history"]
        self.began_s -= saved["spent_s"]
        best = saved["best"]
        if best:
            metadata = ModelMetadata.from_json(best["metadata"], FILE)
            stage = tuple(best["place"])
            self.best = BestModel(stage, best["figure"], best["weights"], metadata)


def identify(
    config: TrainingConfig, training: FaceDataset, validation: FaceDataset, start: ESR | None
) -> dict[str, Any]:
    """Return the values that must be equal for a training to resume."""
    weights = hashlib.sha256()
    for tensor in start.state_dict().values() if start else ():
        weights.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    identity = {
        "recipe": config.to_dict(),
        "data": training.name,
        "training_images": len(training),
        "validation_images": len(validation),
        "start": weights.hexdigest() if start else "",
    }
    if training.teachers:
        identity["teachers"] = training.teachers
    if training.name == own_faces.NAME:  # pictures are added, removed and sorted again
        faces = hashlib.sha256()
        for split in (training, validation):
            faces.update(digest(split).encode())
            faces.update(split.emotions.tobytes() + split.affect.tobytes())
        identity["faces"] = faces.hexdigest()[:16]
    return identity


def write(path: Path, identity: dict[str, Any], state: TrainState) -> None:
    """Save a training; an existing file stays until the new one is complete."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as partial, open(partial, "wb") as file:
        torch.save({"format": FORMAT, "identity": identity, **state.state_dict()}, file)


def read(path: Path, identity: dict[str, Any]) -> dict[str, Any] | None:
    """Return the content of a file of :func:`write`, or None if there is no file.

    An option of ``auto`` in ``identity`` fits any value in the file.

    Raises:
        TrainingError: the file is damaged, or of another format.
        AnotherTraining: the file is of a training with other options, data or initial weights.
    """
    if not path.exists():
        return None
    try:
        state: dict[str, Any] = load_tensors(path)
        if state["format"] != FORMAT:
            raise ValueError(f"its format is {state['format']}, but must be {FORMAT}")
        differences = _differences(identity, state["identity"])
    except DAMAGED as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise TrainingError(
            f"{path}: not the state of a training ({reason}); use another folder, or remove the "
            "file to start over"
        ) from error
    if differences:
        raise AnotherTraining(f"{path.parent} holds another training ({'; '.join(differences)})")
    return state


def _differences(now: dict[str, Any], saved: dict[str, Any]) -> list[str]:
    # Options that did not exist at the time had no effect, as their defaults have none.
    now, saved = _flat(now), {**_flat(TrainingConfig().to_dict()), **_flat(saved)}
    return [
        f"{name} was {saved.get(name)!s:.40}, now {now.get(name)!s:.40}"
        for name in {**now, **saved}
        if now.get(name) not in (saved.get(name), AUTO)
        and name != "save_every_steps"  # it changes how often a file is written and nothing else
    ]


def _flat(values: dict[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in values.items():
        flat.update(_flat(value) if isinstance(value, dict) else {name: value})
    return flat
