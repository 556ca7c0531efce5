"""Options, declared once: name, default, bounds, description, and whether they can change live.

A frozen dataclass with fields of :func:`option` is the only list. The command line, the ROS
parameters, the check of YAML files and the documentation are made from it.
"""

from __future__ import annotations

import dataclasses
import difflib
from dataclasses import dataclass
from functools import partial
from typing import Any, Iterable, Iterator, Optional, Tuple, TypeVar

from esr_core.errors import OptionError

T = TypeVar("T")


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
        if self.word_or_number:
            self._check_word_or_number(value)
            return
        kind = type(self.default)
        if kind is tuple:
            self._check_words(value)
            return
        fits = isinstance(value, kind) or (kind is float and isinstance(value, int))
        if not fits or (isinstance(value, bool) and kind is not bool):
            raise OptionError(
                f"{self.name} must be {'an' if kind is int else 'a'} {kind.__name__}, but got "
                f"{value!r} ({type(value).__name__})"
            )
        if self.choices and value not in self.choices:
            raise OptionError(
                f"{self.name} must be one of {', '.join(map(str, self.choices))}, but got {value!r}"
            )
        if self.low is not None and self.high is not None and not self.low <= value <= self.high:
            raise OptionError(
                f"{self.name} must be from {self.low:g} to {self.high:g}, but got {value!r}"
            )

    def _check_words(self, value: Any) -> None:
        words = isinstance(value, (list, tuple)) and all(isinstance(each, str) for each in value)
        if not words or not all(value) or not value:
            raise OptionError(f"{self.name} must be a list of one word or more, but got {value!r}")

    def _check_word_or_number(self, value: Any) -> None:
        low, high = self.low or 0, self.high or 0
        if value not in self.choices and not (type(value) is int and low <= value <= high):
            raise OptionError(
                f"{self.name} must be {', '.join(self.choices)}, or a whole number from {low:g} to "
                f"{high:g}, but got {value!r}"
            )


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
