"""Options, declared once: name, default, bounds, description, and whether they can change live.

A frozen dataclass with fields of :func:`option` is the only list. The command line, the ROS
parameters, the check of YAML files and the documentation are made from it. Arguments of functions
are checked by ``as_number`` and the like, with errors of the same form.
"""

from __future__ import annotations

import dataclasses
import difflib
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Iterable, Iterator, Optional, Sequence, Tuple, Type, TypeVar

import numpy as np

from esr_core.errors import OptionError

T = TypeVar("T")
Number = TypeVar("Number", int, float)


def require(fits: bool, name: str, allowed: str, got: str) -> None:
    """Raise OptionError, with the allowed values and the given one, unless a value ``fits``."""
    if not fits:
        raise OptionError(f"{name} must be {allowed}, but got {got}")


def unknown_names(names: Iterable[str], known: Iterable[str]) -> str:
    """Return the names that are not known, each with the nearest known ones, and all of these."""
    known = sorted(known)
    parts = []
    for name in sorted(set(names) - set(known)):
        near = difflib.get_close_matches(name, known)
        parts.append(f"{name} (nearest: {', '.join(near)})" if near else name)
    return f"{', '.join(parts)}; known are {', '.join(known)}" if parts else ""


@dataclass(frozen=True)
class Option:
    """Name, type, bounds and description of one option."""

    name: str
    default: Any
    description: str
    low: Optional[float] = None
    high: Optional[float] = None
    choices: Tuple[Any, ...] = ()
    live: bool = False

    @property
    def word_or_number(self) -> bool:
        """True if the value is one of the choices or a whole number in the bounds."""
        return bool(self.choices) and self.low is not None

    def check(self, value: Any) -> None:
        """Raise OptionError unless ``value`` has the type of the default and lies in the bounds.

        With both choices and bounds, it is one of the choices or a whole number in the bounds.
        """
        kind, got = type(self.default), repr(value)
        words, low, high = ", ".join(map(str, self.choices)), self.low or 0, self.high or 0
        allowed, fits = f"from {low:g} to {high:g}", True
        if self.word_or_number:
            allowed = f"{words}, or a whole number {allowed}"
            fits = value in self.choices or (type(value) is int and low <= value <= high)
        elif kind is tuple:
            allowed, fits = "a list of one word or more", isinstance(value, (list, tuple))
            fits = fits and bool(value) and all(isinstance(each, str) and each for each in value)
        elif isinstance(value, bool) != (kind is bool) or not isinstance(
            value, (int, float) if kind is float else kind
        ):
            allowed, fits = f"{'an' if kind is int else 'a'} {kind.__name__}", False
            got += f" ({type(value).__name__})"
        elif self.choices:
            allowed, fits = f"one of {words}", value in self.choices
        elif self.low is not None:
            fits = low <= value <= high
        require(fits, self.name, allowed, got)


def option(
    default: T,
    description: str,
    bounds: Optional[Tuple[float, float]] = None,
    choices: Tuple[Any, ...] = (),
    live: bool = False,
) -> T:
    """Declare a dataclass field for :func:`options`."""
    low, high = bounds if bounds else (None, None)
    known = {"description": description, "low": low, "high": high, "choices": choices, "live": live}
    field: T = dataclasses.field(default=default, metadata=known)
    return field


#: Declares a field as :func:`option` does, of an option that can change live.
live_option = partial(option, live=True)


def options(cls: Any) -> Iterator[Option]:
    """Iterate over the options of a dataclass or of an instance of one."""
    for field in dataclasses.fields(cls):
        if field.metadata:
            yield Option(field.name, field.default, **field.metadata)


def check(instance: Any) -> None:
    """Check every option of an instance; call it from ``__post_init__``.

    Raises:
        OptionError: an option has the wrong type or is out of bounds; the first one is named.
    """
    for declared in options(instance):
        declared.check(getattr(instance, declared.name))


def as_number(name: str, value: Any, kind: Type[Number], low: float, high: float) -> Number:
    """Return ``value``, a number of Python or NumPy, as ``kind``, or raise OptionError."""
    whole: Tuple[type, ...] = (int, np.integer)
    kinds = whole if kind is int else (*whole, float, np.floating)
    allowed = "an int" if kind is int else "a number"
    fits = isinstance(value, kinds) and not isinstance(value, (bool, np.timedelta64))
    fits = fits and bool(low <= value <= high)
    require(fits, name, f"{allowed} from {low:g} to {high:g}", repr(value))
    return kind(value)


def as_flag(name: str, value: Any) -> bool:
    """Return ``value`` if it is a bool, or raise OptionError."""
    require(isinstance(value, bool), name, "True or False", repr(value))
    return bool(value)


def as_choice(name: str, value: Any, choices: Sequence[str]) -> str:
    """Return ``value`` if it is one of ``choices``, or raise OptionError."""
    fits = isinstance(value, str) and value in choices
    require(fits, name, f"one of {', '.join(choices)}", repr(value))
    return str(value)


def as_path(name: str, value: Any) -> Path:
    """Return ``value`` as a path, or raise OptionError."""
    fits = isinstance(value, (str, Path)) and str(value) != "" and "\0" not in str(value)
    require(fits, name, "a path", repr(value))
    return Path(value)


def as_folder(name: str, value: Any) -> Path:
    """Return ``value`` as the path of an existing or possible folder, or raise OptionError."""
    path = as_path(name, value)
    existing = next(each for each in (path, *path.parents, Path()) if each.exists())
    require(existing.is_dir(), name, "a folder", f"{str(path)!r}, and {existing} is a file")
    return path


def as_file_name(name: str, value: Any) -> str:
    """Return ``value`` if it is the name of a file without folders, or raise OptionError."""
    fits = isinstance(value, str) and value.isprintable() and value != ".."
    # Suffixes are appended to it, and file systems allow 255 bytes.
    fits = fits and Path(value).name == value and 0 < len(value.encode()) <= 200
    allowed = "the name of a file, without folders and of 200 bytes at most"
    require(fits, name, allowed, repr(value))
    return str(value)
