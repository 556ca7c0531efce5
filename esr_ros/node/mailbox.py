"""A queue for each camera's images: the newest win, and what they displace is counted."""

from __future__ import annotations

import threading
from collections import deque
from typing import Deque, Dict, Generic, Hashable, TypeVar

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")


class Mailbox(Generic[K, T]):
    """A mailbox between the executor and the worker thread; no sender takes another's places."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._items: Dict[K, Deque[T]] = {}
        self._closed = False

    def put(self, sender: K, item: T, places: int = 1) -> bool:
        """Leave an item; returns True if that displaced the sender's oldest, all places taken."""
        with self._changed:
            items = self._items.setdefault(sender, deque())
            items.append(item)
            displaced = len(items) > places
            if displaced:
                items.popleft()
            self._changed.notify()
            return displaced

    def take(self) -> Dict[K, T]:
        """Wait until something is here and take the oldest of each sender; nothing once closed."""
        with self._changed:
            self._changed.wait_for(lambda: bool(self._items) or self._closed)
            if self._closed:
                return {}
            taken = {sender: items.popleft() for sender, items in self._items.items()}
            self._items = {sender: items for sender, items in self._items.items() if items}
            return taken

    def drop(self, sender: K) -> int:
        """Throw away what a sender left; returns how much that was."""
        with self._changed:
            return len(self._items.pop(sender, ()))

    def close(self) -> None:
        """Let the one who waits go; nothing can be taken any more."""
        with self._changed:
            self._closed = True
            self._changed.notify()
