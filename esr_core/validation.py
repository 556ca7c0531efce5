"""Checks of arguments; each error names the argument, its value and the allowed ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Sequence, TypeVar

import numpy as np

from esr_core.errors import OptionError

T = TypeVar("T", int, float)


def as_number(name: str, value: Any, kind: type[T], low: float, high: float) -> T:
    """Return ``value``, a number of Python or NumPy, as ``kind``, or raise OptionError."""
    kinds: tuple[type, ...] = (int, np.integer)
    if kind is float:
        kinds = (*kinds, float, np.floating)
    fits = isinstance(value, kinds)
    if not fits or isinstance(value, (bool, np.timedelta64)) or not low <= value <= high:
        allowed = "an int" if kind is int else "a number"
        raise OptionError(f"{name} must be {allowed} from {low:g} to {high:g}, but got {value!r}")
    return kind(value)


def as_flag(name: str, value: Any) -> bool:
    """Return ``value`` if it is a bool, or raise OptionError."""
    if not isinstance(value, bool):
        raise OptionError(f"{name} must be True or False, but got {value!r}")
    return value


def as_choice(name: str, value: Any, choices: Sequence[str]) -> str:
    """Return ``value`` if it is one of ``choices``, or raise OptionError."""
    if not isinstance(value, str) or value not in choices:
        raise OptionError(f"{name} must be one of {', '.join(choices)}, but got {value!r}")
    return value


def as_path(name: str, value: Any) -> Path:
    """Return ``value`` as a path, or raise OptionError."""
    if not isinstance(value, (str, Path)) or not str(value) or "\0" in str(value):
        raise OptionError(f"{name} must be a path, but got {value!r}")
    return Path(value)


def as_folder(name: str, value: Any) -> Path:
    """Return ``value`` as the path of an existing or possible folder, or raise OptionError."""
    path = as_path(name, value)
    existing = next(each for each in (path, *path.parents, Path()) if each.exists())
    if not existing.is_dir():
        raise OptionError(
            f"{name} must be a folder, but got {str(path)!r}, and {existing} is a file"
        )
    return path


def as_file_name(name: str, value: Any) -> str:
    """Return ``value`` if it is the name of a file without folders, or raise OptionError."""
    fits = isinstance(value, str) and value.isprintable() and value != ".."
    # Suffixes are appended to it, and file systems allow 255 bytes.
    if not fits or Path(value).name != value or not 0 < len(value.encode()) <= 200:
        raise OptionError(
            f"{name} must be the name of a file, without folders and of 200 bytes at most, "
            f"but got {value!r}"
        )
    return str(value)
