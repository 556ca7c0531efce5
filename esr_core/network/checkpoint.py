"""Checkpoints: a folder of weights in the published layout, with metadata.

``Net-Base-Shared_Representations.pt``, ``Net-Branch_1.pt`` … ``Net-Branch_n.pt`` and one JSON
file. Metadata beyond the published format is under ``inference_params`` there, so each side reads
the other's folders.
"""

from __future__ import annotations

import json
import warnings
from contextlib import ExitStack, suppress
from dataclasses import replace
from itertools import count
from pathlib import Path
from pickle import UnpicklingError
from typing import Any
from zipfile import BadZipFile, ZipFile, is_zipfile

import torch
from torch import Tensor

from esr_core.atomic_write import replacing
from esr_core.errors import ModelError
from esr_core.hashing import digest
from esr_core.inference.metadata import PUBLISHED_INPUT, ModelMetadata
from esr_core.network.esr import ESR, Weights

BASE_FILE = "Net-Base-Shared_Representations.pt"
BRANCH_FILE = "Net-Branch_{}.pt"
#: Marks a folder while the files of a save replace those of the previous one.
UNFINISHED = "unfinished-save"
#: Exceptions of :func:`load_tensors` for damaged files and other content.
DAMAGED = (
    *(EOFError, LookupError, OSError, RuntimeError, TypeError, ValueError, UnpicklingError),
    BadZipFile,
)
_FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
_WHOLE = (torch.int32, torch.int64)


def file_name(name: str) -> str:
    """Return the file name of a network without ending: ``ESR*-9`` becomes ``esr-star-9``."""
    return name.lower().replace("*", "-star")


def save(folder: Path, esr: ESR, metadata: ModelMetadata, name: str = "") -> None:
    """Write weights and metadata; see :func:`save_weights`."""
    save_weights(folder, esr.to_state_dict(), metadata, name)


def save_weights(
    folder: Path, state_dicts: list[Weights], metadata: ModelMetadata, name: str = ""
) -> None:
    """Write the weights of the base and of each branch, and ``<name>.json``.

    All files are written before the first replaces an old one, so a full disk leaves the folder as
    it was. A process that is killed while they are replaced leaves a folder that does not load.
    ModelError is raised for weights of another network than the metadata describes.
    """
    pairs = ESR(metadata.branches, metadata.diversified).pairs(state_dicts)
    names = _weight_files(metadata.branches)
    for file, (part, weights) in zip(names, pairs):
        _check(weights, part, f"{folder / file} cannot be written")
    folder.mkdir(parents=True, exist_ok=True)
    name = name or file_name(metadata.name)
    with ExitStack() as replaced_together:
        digests = {}
        for file, weights in zip(names, state_dicts):
            partial = replaced_together.enter_context(replacing(folder / file))
            with open(partial, "wb") as target:
                torch.save({key: value.cpu() for key, value in weights.items()}, target)
            digests[file] = digest(partial)
        partial = replaced_together.enter_context(replacing(folder / f"{name}.json"))
        partial.write_text(_description(metadata, digests), encoding="utf-8")
        (folder / UNFINISHED).touch()
    _remove_strays(folder, metadata.branches, name)
    (folder / UNFINISHED).unlink()


def _remove_strays(folder: Path, branches: int, name: str) -> None:
    """Remove branches and descriptions of the previous network."""
    for path in folder.glob(BRANCH_FILE.format("*")):
        number = path.stem.rpartition("_")[2]
        if number.isdecimal() and int(number) > branches:
            path.unlink()
    for path in folder.glob("*.json"):
        with suppress(ModelError):  # not a description
            if path.stem != name and not read_description(path)["optimized"]:
                path.unlink()


def write_description(folder: Path, metadata: ModelMetadata, name: str, onnx: str = "") -> None:
    """Write ``<name>.json``; ``onnx`` is the relative path of an optimized network's file."""
    names = [onnx] if onnx else _weight_files(metadata.branches)
    digests = {file: digest(folder / file) for file in names if (folder / file).is_file()}
    with replacing(folder / f"{name}.json") as partial:
        partial.write_text(_description(metadata, digests, onnx), encoding="utf-8")


def _weight_files(branches: int) -> list[str]:
    return [BASE_FILE, *(BRANCH_FILE.format(i + 1) for i in range(branches))]


def _description(metadata: ModelMetadata, digests: dict[str, str], onnx: str = "") -> str:
    description = {
        "model_paths": [onnx or "."],
        "framework": "pytorch",
        "format": "onnx" if onnx else "pt",
        "has_data": False,
        "inference_params": json.loads(metadata.to_json()),
        "optimized": bool(onnx),
        "optimizer_info": {},
        "sha256": digests,
    }
    return json.dumps(description, indent=2) + "\n"


def files(folder: Path) -> list[Path]:
    """Return the files of a folder that :func:`load` may read."""
    return [each for each in folder.glob("*") if each.suffix in (".pt", ".json")]


def find_description(folder: Path, name: str = "") -> Path:
    """Return ``<name>.json``, or else the only JSON file of the folder, or raise ModelError."""
    if not folder.is_dir():
        raise ModelError(f"{folder}: no such folder, so no checkpoint")
    found = sorted(folder.glob("*.json"))
    path = folder / f"{name}.json"
    if path in found or len(found) == 1:
        return path if path in found else found[0]
    others = f"; there are {', '.join(p.name for p in found)}" if found else ""
    required = path.name if name else "one .json file"
    raise ModelError(f"{folder}: no checkpoint here; {required} must describe it{others}")


def read_description(path: Path) -> dict[str, Any]:
    """Read a description, also of the published learner; ModelError if the file is none."""
    try:
        description = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"{path}: its metadata is not readable ({error})") from error
    if not isinstance(description, dict) or not isinstance(description.get("optimized"), bool):
        raise ModelError(f"{path}: not the description of a network (it lacks 'optimized')")
    return description


def check_digest(description: dict[str, Any], path: Path) -> None:
    """Raise ModelError if a file is not the one that its description has a SHA-256 of."""
    digests = description.get("sha256")  # not in those of other programs
    noted = digests.get(path.name) if isinstance(digests, dict) else None
    if noted and noted != digest(path):
        raise ModelError(
            f"{path}: damaged or replaced: its SHA-256 is not that in the .json file beside it; "
            "save or download it again"
        )


def load(
    folder: Path,
    name: str = "",
    branches: int | None = None,
    base_file: str = BASE_FILE,
    branch_file: str = BRANCH_FILE,
) -> tuple[ESR, ModelMetadata]:
    """Load a folder of :func:`save` or of the published learner, on the CPU, in eval mode.

    branches: number of branches to load, the first ones; by default all.

    Raises:
        ModelError: a file is missing, damaged, or belongs to another network.
    """
    described = find_description(folder, name)
    description = read_description(described)
    if description["optimized"]:
        raise ModelError(f"{folder}: holds an optimized network (.onnx), but weights are needed")
    if (folder / UNFINISHED).exists():
        raise ModelError(
            f"{folder}: its files are of two saves, since the last was interrupted; save again, or "
            "resume the training"
        )
    found = next(i for i in count() if not (folder / branch_file.format(i + 1)).is_file())
    params = description.get("inference_params")
    if isinstance(params, dict) and "format" in params:
        metadata = ModelMetadata.from_json(json.dumps(params), str(described))
    else:
        metadata = _published(_read(folder / base_file), found or 1)
    branches = branches or metadata.branches
    required = max(branches, metadata.branches)
    if found < required:
        missing = folder / branch_file.format(found + 1)
        raise ModelError(f"{missing}: no such file; {required} branches are needed, {found} here")
    if branches > metadata.branches:
        raise ModelError(f"{metadata.name} has {metadata.branches} branches, not {branches}")
    name = metadata.name.replace(f"-{metadata.branches}", f"-{branches}", 1)
    metadata = replace(metadata, name=name, branches=branches)
    esr = ESR(metadata.branches, metadata.diversified)
    for i, part in enumerate(esr.parts()):
        path = folder / (branch_file.format(i) if i else base_file)
        weights = _read(path)
        _check(weights, part, f"{path}: not the weights of this network")
        check_digest(description, path)
        part.load_state_dict(weights)
    return esr.eval(), metadata


def _published(base: Any, branches: int) -> ModelMetadata:
    """Return the metadata of a network of the published learner, derived from its weights."""
    diversified = isinstance(base, dict) and any(str(key).startswith("cbam") for key in base)
    name = f"ESR{'*' if diversified else ''}-{branches}"
    return ModelMetadata(name, branches, diversified, PUBLISHED_INPUT)


def load_tensors(path: Path) -> Any:
    """Return the content of a file of ``torch.save``, on the CPU; DAMAGED if it cannot be read."""
    if is_zipfile(path):  # older files are none
        with ZipFile(path) as file:
            damaged = file.testzip()  # torch does not compare the checksums
        if damaged:
            raise BadZipFile(f"{damaged} in it is not as written")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch repeats them in its error
        # weights_only: a downloaded file must not be able to run code.
        return torch.load(path, map_location="cpu", weights_only=True)


def _read(path: Path) -> Any:
    try:
        return load_tensors(path)
    except FileNotFoundError as error:
        raise ModelError(f"{path}: no such file") from error
    except DAMAGED as error:
        reason = "it is cut short, damaged, or holds other things than tensors"
        if isinstance(error, OSError):
            reason = error.strerror or str(error)
        raise ModelError(f"{path}: not the weights of a network; {reason}") from error


def _check(weights: Any, part: torch.nn.Module, error: str) -> None:
    """Check the names, shapes, types and values of a part's weights."""
    expected = part.state_dict()
    if not isinstance(weights, dict) or not all(isinstance(v, Tensor) for v in weights.values()):
        kind = "dict of other things" if isinstance(weights, dict) else type(weights).__name__
        raise ModelError(f"{error} (a dict of tensors is expected, but it is a {kind})")
    missing, unknown = expected.keys() - weights.keys(), weights.keys() - expected.keys()
    if missing or unknown:
        raise ModelError(
            f"{error} ({_some('lacks', missing)}{_some('has unknown', unknown)}"
            f"expected are the {len(expected)} names of {type(part).__name__})"
        )
    for key, value in expected.items():
        given = weights[key]
        plain = given.layout is torch.strided and not given.is_meta
        fault = ""
        if given.shape != value.shape:
            fault = f"must be {tuple(value.shape)}, but is {tuple(given.shape)}"
        elif not plain or given.dtype not in (_FLOATS if value.is_floating_point() else _WHOLE):
            fault = f"must hold {value.dtype}, but is {given.dtype}"
        # Converted first: finite in float64 may be infinite in float32.
        elif not given.to(value.dtype).isfinite().all():
            fault = "holds values that are not finite"
        elif key.endswith("running_var") and (given < 0).any():
            fault = "is a variance, and negative"
        if fault:
            raise ModelError(f"{error} ({key} {fault})")


def _some(verb: str, names: Any) -> str:
    first = sorted(map(str, names))
    if not first:
        return ""
    more = f" and {len(first) - 3} more" if len(first) > 3 else ""
    return f"it {verb} {', '.join(first[:3])}{more}; "
