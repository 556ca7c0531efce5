"""What a provider has compiled for a network, kept for the next start.

TensorRT takes minutes to build an engine, which then fits one network, one device and one version
of its library. A folder of the user's cache holds each, with a note of what it is for and of its
files' checksums, so that none is used for something else, or after it was damaged.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Dict

from esr_core.atomic_write import replacing
from esr_core.errors import ModelError
from esr_core.hashing import digest

NOTE = "engine.json"


@dataclass(frozen=True)
class EngineKey:
    """What an engine was built for."""

    model_sha256: str
    provider: str  # with the version of the runtime
    device: str

    @property
    def folder(self) -> Path:
        """Where it is kept: in ``$XDG_CACHE_HOME``, or ``~/.cache``."""
        root = Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"))
        parts = (self.provider, self.device, self.model_sha256[:16])
        return root.joinpath("esr_ros", *(re.sub(r"[^\w.-]+", "_", part) for part in parts))


def prepare(folder: Path, key: EngineKey) -> None:
    """Make the folder ready: what is whole in it stays, what a build left half is removed.

    Raises:
        ModelError: what lies there is of another network, provider or device, or is damaged.
        OSError: it cannot be written.
    """
    note = folder / NOTE
    if not note.is_file():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        return
    known = _read(note)
    for name, value in asdict(key).items():
        if known.get(name) != value:
            raise ModelError(
                f"{folder}: the engine there is for {name} {known.get(name)}, not {value}; "
                "remove this folder, and it is built anew"
            )
    files = known.get("files")
    for name, sha256 in files.items() if isinstance(files, dict) else [(NOTE, "")]:
        if not (folder / name).is_file() or digest(folder / name) != sha256:
            raise ModelError(
                f"{folder / name}: damaged; remove its folder, and the engine is built anew"
            )


def seal(folder: Path, key: EngineKey) -> None:
    """Note what the files of the folder are for, once the provider has written them."""
    files = {
        str(path.relative_to(folder)): digest(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != NOTE
    }
    with replacing(folder / NOTE) as partial:
        partial.write_text(json.dumps({**asdict(key), "files": files}, indent=2), encoding="utf-8")


def _read(note: Path) -> Dict[str, Any]:
    try:
        known = json.loads(note.read_text(encoding="utf-8"))
    except ValueError:
        known = None
    if not isinstance(known, dict):
        raise ModelError(f"{note}: damaged; remove its folder, and the engine is built anew")
    return known
