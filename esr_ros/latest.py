"""A place for one image of each camera: the newest wins, and what it displaces is counted."""

from __future__ import annotations

import threading
from typing import Dict, Generic, Hashable, TypeVar

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")


class Latest(Generic[K, T]):
    """A mailbox between the executor and the worker thread, with one place for each sender."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._items: Dict[K, T] = {}
        self._closed = False

    def put(self, sender: K, item: T) -> bool:
        """Leave an item; returns True if that displaced one that nobody had taken."""
        with self._changed:
            displaced = sender in self._items
            self._items[sender] = item
            self._changed.notify()
            return displaced

    def take(self) -> Dict[K, T]:
        """Wait until something is here and take all of it; nothing once the mailbox is closed."""
        with self._changed:
            self._changed.wait_for(lambda: bool(self._items) or self._closed)
            items, self._items = self._items, {}
            return {} if self._closed else items

    def close(self) -> None:
        """Let the one who waits go; what lies here is dropped."""
        with self._changed:
            self._closed = True
            self._changed.notify()
