"""Where a training has come to: the file that a killed one goes on from."""

from __future__ import annotations

import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from esr_core.atomic_write import replacing
from esr_core.errors import AnotherTraining, TrainingError
from esr_core.evaluation.metrics import EvaluationReport
from esr_core.inference.metadata import ModelMetadata
from esr_core.training.config import TrainingConfig

FILE = "state.pt"
#: Counts what an older version would misread.
FORMAT = 2
#: What a training needs to go on.
_PLACE = {
    *("phase", "epoch", "step", "sums", "weights", "average", "optimizer"),
    *("best", "history", "spent_s"),
}
#: Options that change how often something is written, not what comes out.
_WITHOUT_EFFECT = ("save_every_steps",)


@dataclass(frozen=True)
class BestModel:
    """The best weights so far; those of a new phase or size are always better than the last's."""

    place: tuple[str, int]  # phase, size in px
    figure: float  # of merit there; more is better
    weights: list[dict[str, Tensor]]
    metadata: ModelMetadata
    report: EvaluationReport | None = None  # None in a training that goes on after a kill

    def to_dict(self) -> dict[str, Any]:
        """As what a state file may hold."""
        return {
            "place": list(self.place),
            "figure": self.figure,
            "weights": self.weights,
            "metadata": self.metadata.to_json(),
        }

    @classmethod
    def of(cls, saved: dict[str, Any] | None) -> BestModel | None:
        """What :meth:`to_dict` gave."""
        if saved is None:
            return None
        phase, size_px = saved["place"]
        metadata = ModelMetadata.from_json(saved["metadata"], FILE)
        return cls((phase, size_px), saved["figure"], saved["weights"], metadata)


def write(path: Path, identity: dict[str, Any], place: dict[str, Any]) -> None:
    """Save where a training is, and which one; the file before it stays until this is whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as partial, open(partial, "wb") as file:
        torch.save({"format": FORMAT, "identity": identity, **place}, file)


def read(path: Path, identity: dict[str, Any]) -> dict[str, Any] | None:
    """Return what :func:`write` saved; None if there is nothing.

    Raises:
        TrainingError: the file is damaged.
        AnotherTraining: it is of a training by another recipe, or from other data.
    """
    if not path.exists():
        return None
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        if state["format"] != FORMAT:
            raise ValueError("written by another version")
        missing = _PLACE - state.keys()
        if missing:
            raise ValueError(f"it lacks {', '.join(sorted(missing))}")
        theirs = _completed(dict(state["identity"]))
    except (
        OSError,
        EOFError,
        RuntimeError,
        LookupError,
        TypeError,
        ValueError,
        pickle.UnpicklingError,
    ) as error:
        raise TrainingError(
            f"{path}: not the state of a training ({_first_line(error)}); take another "
            "folder, or remove it to begin anew"
        ) from error
    others = _differences(identity, theirs)
    if others:
        raise AnotherTraining(f"{path.parent} holds another training ({'; '.join(others)})")
    return state


def _completed(identity: dict[str, Any]) -> dict[str, Any]:
    """Give options that came later than this training the defaults, which change nothing."""
    defaults = TrainingConfig().to_dict()
    recipe = {**defaults, **identity["recipe"]}
    recipe["augmentation"] = {**defaults["augmentation"], **recipe["augmentation"]}
    return {**identity, "recipe": recipe}


def _differences(ours: dict[str, Any], theirs: dict[str, Any]) -> list[str]:
    """Say what differs, as 'name: there, now here'; nested options by their own names."""
    found = []
    for name in [*ours, *(name for name in theirs if name not in ours)]:
        mine, their = ours.get(name), theirs.get(name)
        if isinstance(mine, dict) and isinstance(their, dict):
            found += _differences(mine, their)
        elif mine != their and name not in _WITHOUT_EFFECT:
            found.append(f"{name} was {_short(their)}, now {_short(mine)}")
    return found


def _short(value: Any) -> str:
    """A value as people want to read it; of a hash its beginning."""
    text = str(value)
    return text if len(text) <= 40 else f"{text[:8]}…"


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
