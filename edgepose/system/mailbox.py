"""Passes items from one thread to another through a bounded queue, and counts those that it displaces."""

from __future__ import annotations

import threading
from collections import deque
from typing import Generic, TypeVar

T = TypeVar("T")


class Mailbox(Generic[T]):
    """A bounded queue between two threads. When it is full, `put` waits, or displaces the oldest item.

    Attributes:
        displaced: how many items were displaced, with `newest_wins`.
    """

    def __init__(self, size: int, *, newest_wins: bool) -> None:
        self.displaced = 0
        self._items: deque[T] = deque()
        self._size = size
        self._newest_wins = newest_wins
        self._closed = False
        self._changed = threading.Condition()

    def put(self, item: T) -> bool:
        """Puts an item in. Returns False when the mailbox is closed, so that nobody will take the item."""
        with self._changed:
            while not self._closed and len(self._items) >= self._size:
                if self._newest_wins:
                    self._items.popleft()
                    self.displaced += 1
                else:
                    self._changed.wait()
            if self._closed:
                return False
            self._items.append(item)
            self._changed.notify_all()
            return True

    def get(self, seconds: float | None = None) -> T | None:
        """Takes the oldest item, and waits for one. Returns None once all is closed and empty. Raises TimeoutError."""
        with self._changed:
            if not self._changed.wait_for(lambda: self._items or self._closed, seconds):
                raise TimeoutError
            if not self._items:
                return None
            item = self._items.popleft()
            self._changed.notify_all()
            return item

    def close(self) -> None:
        """Refuses new items; those inside can still be taken."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
