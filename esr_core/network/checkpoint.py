"""Weights on disk: a folder in the published layout, with metadata that says how to feed them.

``Net-Base-Shared_Representations.pt``, ``Net-Branch_1.pt`` … ``Net-Branch_n.pt`` and one JSON
file. What this project knows more than the published one stands under ``inference_params`` there,
so each side reads the other's folders.
"""

from __future__ import annotations

import json
import pickle
import warnings
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from esr_core.atomic_write import replacing
from esr_core.errors import ModelError
from esr_core.inference.metadata import PUBLISHED_INPUT, ModelMetadata
from esr_core.network.esr import ESR

BASE_FILE = "Net-Base-Shared_Representations.pt"
BRANCH_FILE = "Net-Branch_{}.pt"
#: There only while files of one save take the places of the last one's.
UNFINISHED = "unfinished-save"
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
_FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
_WHOLE = (torch.int32, torch.int64)


def file_name(name: str) -> str:
    """The name of a network as the name of its files: ``ESR*-9`` becomes ``esr-star-9``."""
    return name.lower().replace("*", "-star")


def save(folder: Path, esr: ESR, metadata: ModelMetadata, name: str = "") -> None:
    """Write weights and metadata; see :func:`save_weights`."""
    save_weights(folder, esr.to_state_dict(), metadata, name)


def save_weights(
    folder: Path, state_dicts: list[dict[str, Tensor]], metadata: ModelMetadata, name: str = ""
) -> None:
    """Write the weights of the base and of each branch, and ``<name>.json``.

    All are written beside their places first, so that a full disk or a kill leaves what was there.

    Raises:
        ModelError: these are not the weights of the network that the metadata describes.
    """
    esr = ESR(metadata.branches, metadata.diversified)
    parts = [esr.base, *esr.convolutional_branches]
    if len(state_dicts) != len(parts):
        raise ModelError(
            f"{metadata.name} has {len(parts)} state dicts (base and {metadata.branches} "
            f"branches), but got {len(state_dicts)}"
        )
    files = [BASE_FILE, *(BRANCH_FILE.format(i + 1) for i in range(metadata.branches))]
    for file, part, weights in zip(files, parts, state_dicts):
        _check(weights, part, f"{folder / file} cannot be written")
    folder.mkdir(parents=True, exist_ok=True)
    unfinished = folder / UNFINISHED
    with ExitStack() as all_or_none:
        for file, weights in zip(files, state_dicts):
            partial = all_or_none.enter_context(replacing(folder / file))
            with open(partial, "wb") as target:
                torch.save({key: value.cpu() for key, value in weights.items()}, target)
        write_description(folder, metadata, name or file_name(metadata.name))
        unfinished.touch()  # from here on a kill leaves some files of this save, some of the last
    _remove_strays(folder, metadata.branches, name or file_name(metadata.name))
    unfinished.unlink()


def _remove_strays(folder: Path, branches: int, name: str) -> None:
    """Remove branches and descriptions of a network whose base is no longer there."""
    branch = branches + 1
    while (folder / BRANCH_FILE.format(branch)).is_file():
        (folder / BRANCH_FILE.format(branch)).unlink()
        branch += 1
    for path in folder.glob("*.json"):
        try:
            stray = path.stem != name and not read_description(path)["optimized"]
        except ModelError:
            continue  # somebody else's
        if stray:
            path.unlink()


def write_description(folder: Path, metadata: ModelMetadata, name: str, onnx: str = "") -> None:
    """Write ``<name>.json``; ``onnx`` names the file of an optimized network, relative to it."""
    description = {
        "model_paths": [onnx or "."],
        "framework": "pytorch",
        "format": "onnx" if onnx else "pt",
        "has_data": False,
        "inference_params": json.loads(metadata.to_json()),
        "optimized": bool(onnx),
        "optimizer_info": {},
    }
    with replacing(folder / (name + ".json")) as partial:
        partial.write_text(json.dumps(description, indent=2) + "\n", encoding="utf-8")


def files(folder: Path) -> list[Path]:
    """Return the files of a folder that :func:`load` reads, or may read."""
    return [each for each in folder.glob("*") if each.suffix in (".pt", ".json")]


def find_description(folder: Path, name: str = "") -> Path:
    """Return where ``<name>.json`` lies, or the only JSON file there, whatever its name.

    Raises:
        ModelError: there is none, or there are several of other names.
    """
    if not folder.is_dir():
        raise ModelError(f"{folder}: no such folder, so no checkpoint")
    there = sorted(folder.glob("*.json"))
    path = folder / f"{name}.json"
    if path not in there:
        if len(there) != 1:
            others = f"; there are {', '.join(p.name for p in there)}" if there else ""
            which = path.name if name else "one .json file"
            raise ModelError(f"{folder}: no checkpoint here; {which} must describe it{others}")
        path = there[0]
    return path


def read_description(path: Path) -> dict[str, Any]:
    """Read what :func:`write_description` or the published learner wrote.

    Raises:
        ModelError: it is not such a description.
    """
    try:
        description = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"{path}: its metadata is not readable ({error})") from error
    if not isinstance(description, dict) or not isinstance(description.get("optimized"), bool):
        raise ModelError(f"{path}: not the description of a network (it lacks 'optimized')")
    return description


def load(
    folder: Path,
    name: str = "",
    branches: int | None = None,
    base_file: str = BASE_FILE,
    branch_file: str = BRANCH_FILE,
) -> tuple[ESR, ModelMetadata]:
    """Read a folder that :func:`save` or the published learner wrote, on the CPU, to evaluate.

    ``branches`` takes only the first so many; without it, all.

    Raises:
        ModelError: a file is missing, damaged, or belongs to another network.
    """
    described = find_description(folder, name)
    description = read_description(described)
    if description["optimized"]:
        raise ModelError(f"{folder}: holds an optimized network (.onnx), but weights are needed")
    if (folder / UNFINISHED).exists():
        raise ModelError(
            f"{folder}: its files are of two saves, since the last was cut off; save again, or "
            "let the training go on"
        )
    base = _read(folder / base_file)
    there = 0
    while (folder / branch_file.format(there + 1)).is_file():
        there += 1
    if there == 0 or there < (branches or 0):
        missing = folder / branch_file.format(there + 1)
        raise ModelError(
            f"{missing}: no such file; {branches or 1} branches are needed, {there} here"
        )
    params = description.get("inference_params")
    metadata = _metadata(params, base, there, str(described))
    if metadata.branches > there:
        raise ModelError(
            f"{folder / branch_file.format(there + 1)}: no such file; "
            f"{metadata.name} has {metadata.branches} branches"
        )
    metadata = metadata.with_branches(branches or metadata.branches)
    esr = ESR(metadata.branches, metadata.diversified)
    fill(esr.base, base, folder / base_file)
    for i, branch in enumerate(esr.convolutional_branches, start=1):
        path = folder / branch_file.format(i)
        fill(branch, _read(path), path)
    return esr.eval(), metadata


def _metadata(params: Any, base: Any, branches: int, where: str) -> ModelMetadata:
    """What the description says, or what the weights show if it is a published one."""
    if isinstance(params, dict) and "format" in params:
        return ModelMetadata.from_json(json.dumps(params), where)
    diversified = isinstance(base, dict) and any(str(key).startswith("cbam") for key in base)
    name = f"ESR{'*' if diversified else ''}-{branches}"
    return ModelMetadata(name, branches, diversified, PUBLISHED_INPUT)


def _read(path: Path) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of torch, about what the error then says
            # weights_only: a downloaded file must not be able to run code.
            return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise ModelError(f"{path}: no such file") from error
    except _DAMAGED as error:
        reason = "it is cut short, damaged, or holds other things than tensors"
        if isinstance(error, OSError):
            reason = error.strerror or str(error)
        raise ModelError(f"{path}: not the weights of a network; {reason}") from error


def fill(module: torch.nn.Module, weights: Any, path: Path) -> None:
    """Give a module the weights that were read from a file.

    Raises:
        ModelError: names, shapes or values do not fit.
    """
    _check(weights, module, f"{path}: not the weights of this network")
    module.load_state_dict(weights)


def _check(weights: Any, module: torch.nn.Module, what: str) -> None:
    wanted = module.state_dict()
    if not isinstance(weights, dict) or not all(isinstance(v, Tensor) for v in weights.values()):
        raise ModelError(f"{what} (a dict of tensors is expected, but it is {_kind(weights)})")
    missing, strange = wanted.keys() - weights.keys(), weights.keys() - wanted.keys()
    if missing or strange:
        raise ModelError(
            f"{what} ({_some('lacks', missing)}{_some('has unknown', strange)}"
            f"expected are the {len(wanted)} names of {type(module).__name__})"
        )
    for key, value in wanted.items():
        if weights[key].shape != value.shape:
            raise ModelError(
                f"{what} ({key} must be {tuple(value.shape)}, but is {tuple(weights[key].shape)})"
            )
        given = weights[key]
        plain = given.layout is torch.strided and not given.is_meta
        if not plain or given.dtype not in (_FLOATS if value.is_floating_point() else _WHOLE):
            raise ModelError(f"{what} ({key} must hold {value.dtype}, but is {given.dtype})")
        # Converted first: what is finite in float64 need not be in float32.
        if not bool(torch.isfinite(given.to(value.dtype)).all()):
            raise ModelError(f"{what} ({key} holds values that are not finite)")
        if key.endswith("running_var") and bool((given < 0).any()):
            raise ModelError(f"{what} ({key} is a variance, and negative)")


def _kind(value: Any) -> str:
    return "a dict of other things" if isinstance(value, dict) else f"a {type(value).__name__}"


def _some(verb: str, names: Any) -> str:
    first = sorted(map(str, names))
    if not first:
        return ""
    more = f" and {len(first) - 3} more" if len(first) > 3 else ""
    return f"it {verb} {', '.join(first[:3])}{more}; "
