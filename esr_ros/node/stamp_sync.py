"""An image and what somebody else found in it, brought together by their stamps."""

from __future__ import annotations

from typing import Any, Dict, Generic, Optional, Tuple, TypeVar

A = TypeVar("A")
B = TypeVar("B")
Stamp = Tuple[int, int]  # seconds, nanoseconds


def stamp_of(message: Any) -> Stamp:
    """Return the stamp of a message that has a header."""
    return message.header.stamp.sec, message.header.stamp.nanosec


class StampSync(Generic[A, B]):
    """Keeps the last ``depth`` of each kind until its counterpart comes, in whatever order."""

    def __init__(self, depth: int = 20) -> None:
        self._depth = depth
        self._firsts: Dict[Stamp, A] = {}
        self._seconds: Dict[Stamp, B] = {}
        self.forgotten = 0  # firsts whose counterpart did not come in time

    def add_first(self, stamp: Stamp, item: A) -> Optional[Tuple[A, B]]:
        """Return the pair if the second one is here already."""
        if stamp in self._seconds:
            return item, self._seconds.pop(stamp)
        self._firsts[stamp] = item
        if len(self._firsts) > self._depth:
            self._firsts.pop(next(iter(self._firsts)))
            self.forgotten += 1
        return None

    def add_second(self, stamp: Stamp, item: B) -> Optional[Tuple[A, B]]:
        """Return the pair if the first one is here already."""
        if stamp in self._firsts:
            return self._firsts.pop(stamp), item
        self._seconds[stamp] = item
        if len(self._seconds) > self._depth:
            self._seconds.pop(next(iter(self._seconds)))
        return None
