"""Where a training has come to: the file that a killed one goes on from."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import torch

from esr_core.atomic import replacing
from esr_core.errors import AnotherTraining, TrainingError

FILE = "state.pt"
#: Options that change how often something is written, not what comes out.
_WITHOUT_EFFECT = ("save_every_steps",)


def write(path: Path, identity: dict[str, Any], place: dict[str, Any]) -> None:
    """Save where a training is, and which one; the file before it stays until this is whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as partial, open(partial, "wb") as file:
        torch.save({"identity": identity, **place}, file)


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
        theirs = dict(state["identity"])
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


def _differences(ours: dict[str, Any], theirs: dict[str, Any]) -> list[str]:
    """Say what differs, as 'name: there, now here'; nested options by their own names."""
    found = []
    for name in [*ours, *(name for name in theirs if name not in ours)]:
        mine, their = ours.get(name), theirs.get(name)
        if isinstance(mine, dict) and isinstance(their, dict):
            found += _differences(mine, their)
        elif mine != their and name not in _WITHOUT_EFFECT:
            found.append(f"{name} was {their}, now {mine}")
    return found


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
