"""Empty databases made before they are needed: laying one out takes as long as a small table.

    ahead = Ahead(make, later)
    with ahead.take() as connection: …    # the one that lay ready, else a new one
    ahead.keep_ready()                    # from now on one lies ready, some time after each take

Each is given once: whoever takes one locks it to what may be read there, for good.
"""

import threading
from collections.abc import Callable
from typing import Final, Generic, TypeVar

T = TypeVar("T")

WAIT_SECONDS: Final = 2.0
"""How long after one was taken the next is made: what it was taken for is over by then."""


def _later(work: Callable[[], None]) -> None:
    timer = threading.Timer(WAIT_SECONDS, work)
    timer.daemon = True
    timer.start()


class Ahead(Generic[T]):
    """Makes one ahead; threads may share it.

    Args:
        make:  makes an empty one.
        later: has something done a little later, by whoever has time then.
    """

    def __init__(
        self, make: Callable[[], T], later: Callable[[Callable[[], None]], None] = _later
    ) -> None:
        self._make = make
        self._later = later
        self._lock = threading.Lock()
        self._kept = False
        self._ready: list[T] = []

    def keep_ready(self) -> None:
        """One lies ready from now on; without this each is made when it is taken."""
        self._kept = True
        self._fill()

    def let_go(self) -> None:
        """Nothing lies ready any more, as before a process ends: some libraries want all back."""
        with self._lock:
            self._kept = False
            self._ready.clear()

    def take(self) -> T:
        """Return one that nobody else has or had."""
        with self._lock:
            found = self._ready.pop() if self._ready else None
        if self._kept:
            self._later(self._fill)
        return self._make() if found is None else found

    def _fill(self) -> None:
        with self._lock:
            if self._kept and not self._ready:
                self._ready.append(self._make())
