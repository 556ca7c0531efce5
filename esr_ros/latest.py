"""One place for one image: the newest wins, and the one that it displaces is counted."""

from __future__ import annotations

import threading
from typing import Generic, Optional, TypeVar

T = TypeVar("T")


class Latest(Generic[T]):
    """A mailbox of size one between the executor and the worker thread."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._item: Optional[T] = None
        self._closed = False

    def put(self, item: T) -> bool:
        """Leave an item; returns True if that displaced one that nobody had taken."""
        with self._changed:
            displaced = self._item is not None
            self._item = item
            self._changed.notify()
            return displaced

    def take(self) -> Optional[T]:
        """Wait for an item and take it; None once the mailbox is closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._item is not None or self._closed)
            item, self._item = self._item, None
            return None if self._closed else item

    def close(self) -> None:
        """Let the one who waits go; what lies here is dropped."""
        with self._changed:
            self._closed = True
            self._changed.notify()
