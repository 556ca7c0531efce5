"""Checks of a method's arguments: each names the argument, its value and what is allowed."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Sequence, TypeVar

import numpy as np

from esr_core.errors import OptionError

T = TypeVar("T", int, float)


def as_number(name: str, value: Any, kind: type[T], low: float, high: float) -> T:
    """Return ``value`` as ``kind``, int or float, or raise OptionError; NumPy's numbers will do."""
    kinds: tuple[type, ...] = (int, np.integer)
    if kind is float:
        kinds = (*kinds, float, np.floating)
    fits = isinstance(value, kinds)
    if not fits or isinstance(value, (bool, np.timedelta64)) or not low <= value <= high:
        what = "an int" if kind is int else "a number"
        raise OptionError(f"{name} must be {what} from {low:g} to {high:g}, but got {value!r}")
    return kind(value)


def check_flag(name: str, value: Any) -> None:
    """Raise OptionError unless ``value`` is a bool."""
    if not isinstance(value, bool):
        raise OptionError(f"{name} must be True or False, but got {value!r}")


def check_choice(name: str, value: Any, choices: Sequence[str]) -> None:
    """Raise OptionError unless ``value`` is one of ``choices``."""
    if not isinstance(value, str) or value not in choices:
        raise OptionError(f"{name} must be one of {', '.join(choices)}, but got {value!r}")


def as_path(name: str, value: Any) -> Path:
    """Return ``value`` as a path, or raise OptionError."""
    if not isinstance(value, (str, Path)) or not str(value) or "\0" in str(value):
        raise OptionError(f"{name} must be a path, but got {value!r}")
    return Path(value)


def as_folder(name: str, value: Any) -> Path:
    """Return ``value`` as the path of a folder that is there or can be made, or OptionError."""
    path = as_path(name, value)
    there = next(place for place in (path, *path.parents, Path()) if place.exists())
    if not there.is_dir():
        raise OptionError(f"{name} must be a folder, but got {str(path)!r}, and {there} is a file")
    return path


def as_file_name(name: str, value: Any) -> str:
    """Return ``value`` if it names a file without folders, or raise OptionError."""
    fits = isinstance(value, str) and value.isprintable() and value != ".."
    # Endings are put behind it, and file systems take 255 bytes.
    if not fits or Path(value).name != value or not 0 < len(value.encode()) <= 200:
        raise OptionError(
            f"{name} must be the name of a file, without folders and of 200 bytes at most, "
            f"but got {value!r}"
        )
    return str(value)
