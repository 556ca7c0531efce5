"""Bounded queue per camera: a new image displaces the oldest one."""

from __future__ import annotations

import threading
from collections import deque
from typing import Deque, Dict, Generic, Hashable, TypeVar

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")


class Mailbox(Generic[K, T]):
    """Queues between the executor and the worker thread, one per sender."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._items: Dict[K, Deque[T]] = {}
        self._closed = False

    def put(self, sender: K, item: T, depth: int = 1) -> bool:
        """Add an item; return True if it displaced the oldest of ``depth`` items of the sender."""
        with self._changed:
            items = self._items.setdefault(sender, deque())
            items.append(item)
            displaced = len(items) > depth
            if displaced:
                items.popleft()
            self._changed.notify()
            return displaced

    def wait(self) -> bool:
        """Block until there is an item and return True, or False once closed."""
        with self._changed:
            self._changed.wait_for(lambda: bool(self._items) or self._closed)
            return not self._closed

    def take(self) -> Dict[K, T]:
        """Remove and return the oldest item of each sender, without blocking."""
        with self._changed:
            taken = {sender: items.popleft() for sender, items in self._items.items()}
            self._items = {sender: items for sender, items in self._items.items() if items}
            return taken

    def drop(self, sender: K) -> int:
        """Remove all items of a sender and return their number."""
        with self._changed:
            return len(self._items.pop(sender, ()))

    def close(self) -> None:
        """Make :meth:`wait` return False from now on."""
        with self._changed:
            self._closed = True
            self._changed.notify()
