"""One at a time for each name, and no memory of names that nobody waits for."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Turns:
    """Locks by name; a lock is there as long as somebody holds it or waits for it."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._locks: dict[str, tuple[threading.Lock, int]] = {}

    def __len__(self) -> int:
        return len(self._locks)

    @contextmanager
    def of(self, name: str) -> Iterator[None]:
        """Nobody else is within `of(name)` at the same time."""
        lock = self._enter(name)
        try:
            with lock:
                yield
        finally:
            self._leave(name)

    @contextmanager
    def if_free(self, name: str) -> Iterator[bool]:
        """Whether nobody is within `of(name)`; if so, nobody else is until this is left."""
        lock = self._enter(name)
        free = lock.acquire(blocking=False)
        try:
            yield free
        finally:
            if free:
                lock.release()
            self._leave(name)

    def _enter(self, name: str) -> threading.Lock:
        with self._guard:
            lock, users = self._locks.get(name, (threading.Lock(), 0))
            self._locks[name] = (lock, users + 1)
            return lock

    def _leave(self, name: str) -> None:
        with self._guard:
            lock, users = self._locks.pop(name)
            if users > 1:
                self._locks[name] = (lock, users - 1)
