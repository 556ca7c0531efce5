"""Exact-time synchronisation of images and their external detections."""

from __future__ import annotations

from typing import Any, Dict, Generic, Optional, Tuple, TypeVar

A = TypeVar("A")
B = TypeVar("B")
Stamp = Tuple[int, int]  # seconds, nanoseconds


def stamp_of(message: Any) -> Stamp:
    """Return the stamp of a message that has a header."""
    return message.header.stamp.sec, message.header.stamp.nanosec


class StampSync(Generic[A, B]):
    """Pairs items of equal stamps in any order; queues the last ``depth`` items of each kind."""

    def __init__(self, depth: int = 20) -> None:
        self._depth = depth
        self._firsts: Dict[Stamp, A] = {}
        self._seconds: Dict[Stamp, B] = {}
        self.dropped = 0  # first items whose counterpart did not arrive in time

    def add_first(self, stamp: Stamp, item: A) -> Optional[Tuple[A, B]]:
        """Add an item of the first kind; return the pair if it is complete."""
        if stamp in self._seconds:
            return item, self._seconds.pop(stamp)
        self._firsts[stamp] = item
        if len(self._firsts) > self._depth:
            self._firsts.pop(next(iter(self._firsts)))
            self.dropped += 1
        return None

    def add_second(self, stamp: Stamp, item: B) -> Optional[Tuple[A, B]]:
        """Add an item of the second kind; return the pair if it is complete."""
        if stamp in self._firsts:
            return self._firsts.pop(stamp), item
        self._seconds[stamp] = item
        if len(self._seconds) > self._depth:
            self._seconds.pop(next(iter(self._seconds)))
        return None
