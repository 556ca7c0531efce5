"""The file from which a killed training resumes, and the check that it is of the same training."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from esr_core.data import own_faces
from esr_core.data.faces import FaceDataset
from esr_core.errors import AnotherTraining, TrainingError
from esr_core.network.checkpoint import DAMAGED, load_tensors
from esr_core.network.esr import ESR
from esr_core.training.config import AUTO, TrainingConfig
from esr_core.training.teachers import digest

FILE = "state.pt"
#: Raised when the content changes such that an older version would misread it.
FORMAT = 2


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


def read(path: Path, identity: dict[str, Any]) -> dict[str, Any] | None:
    """Return the state of a training, or None if there is no file.

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
