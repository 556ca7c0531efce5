"""Weights on disk: a folder in the published layout, with metadata that says how to feed them.

``Net-Base-Shared_Representations.pt``, ``Net-Branch_1.pt`` … ``Net-Branch_n.pt`` and
``metadata.json``.
"""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import torch

from esr_core.errors import ModelError
from esr_core.metadata import Metadata
from esr_core.model import ESR

BASE_FILE = "Net-Base-Shared_Representations.pt"
BRANCH_FILE = "Net-Branch_{}.pt"
METADATA_FILE = "metadata.json"
#: What torch raises for files that are not the weights of a network, by what is wrong with them.
_DAMAGED = (
    EOFError,
    LookupError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
    pickle.UnpicklingError,
)


def save(folder: Path, esr: ESR, metadata: Metadata) -> None:
    """Write weights and metadata; each file appears whole or not at all, the metadata last."""
    folder.mkdir(parents=True, exist_ok=True)
    _save_weights(folder / BASE_FILE, esr.base.state_dict())
    for i, branch in enumerate(esr.convolutional_branches, start=1):
        _save_weights(folder / BRANCH_FILE.format(i), branch.state_dict())
    partial = folder / (METADATA_FILE + ".part")
    partial.write_text(metadata.to_json() + "\n", encoding="utf-8")
    os.replace(partial, folder / METADATA_FILE)


def load(folder: Path) -> tuple[ESR, Metadata]:
    """Read what :func:`save` wrote, on the CPU, ready to evaluate.

    Raises:
        ModelError: a file is missing, damaged, or belongs to another network.
    """
    path = folder / METADATA_FILE
    try:
        metadata = Metadata.from_json(path.read_text(encoding="utf-8"), str(path))
    except OSError as error:
        raise ModelError(f"{folder}: no checkpoint here ({METADATA_FILE} is missing)") from error
    except UnicodeDecodeError as error:
        raise ModelError(f"{path}: its metadata is not readable ({error})") from error
    esr = ESR(metadata.branches, metadata.diversified)
    _load_weights(folder / BASE_FILE, esr.base)
    for i, branch in enumerate(esr.convolutional_branches, start=1):
        _load_weights(folder / BRANCH_FILE.format(i), branch)
    return esr.eval(), metadata


def _save_weights(path: Path, weights: dict[str, Any]) -> None:
    partial = path.with_name(path.name + ".part")
    torch.save(weights, partial)
    os.replace(partial, path)


def _load_weights(path: Path, module: torch.nn.Module) -> None:
    try:
        # weights_only: a downloaded file must not be able to run code.
        module.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    except FileNotFoundError as error:
        raise ModelError(f"{path}: no such file") from error
    except _DAMAGED as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ModelError(f"{path}: not the weights of this network ({reason})") from error
