"""Answers leave when their slot ends: what is ready by then, or that nothing is. Never before.

    slots = Slots()
    with received(slots.now()):                  # a request is here
        said = slots.fill("an answer", 1.0, make)    # a second after that: made, or None

What is made from rows is made beside, in a thread of its own. Whoever waits outside learns neither
how long that took nor what went wrong: a cast, a division, memory, a file that changed or is gone,
and a table that takes too long are all None at the same moment. This node's log says which it was.

What is left: that it was None is seen, and with a slot too short for a table, or with a file that
cannot be read, that says something of the table. Reading takes processor time from whatever else is
asked meanwhile, and past the end of its slot from what comes next. Over Flower a request counts as
received when a worker takes it; none is pulled before there is one.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final, TypeVar

T = TypeVar("T")

log = logging.getLogger(__name__)

_RECEIVED: Final[ContextVar[float | None]] = ContextVar("received", default=None)


@contextmanager
def received(at: float) -> Iterator[None]:
    """Answer a request that came at `at`, monotonic seconds, if it is not known when it did."""
    known = _RECEIVED.get()
    token = _RECEIVED.set(at if known is None else known)
    try:
        yield
    finally:
        _RECEIVED.reset(token)


def _beside(work: Callable[[], None]) -> None:
    threading.Thread(target=work, daemon=True, name="slot").start()


class Slots:
    """The slots of one node; threads may share it.

    Args:
        now:   monotonic seconds.
        sleep: returns after so many of them.
        begin: begins work that nobody waits for.
    """

    def __init__(
        self,
        now: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        begin: Callable[[Callable[[], None]], None] = _beside,
    ) -> None:
        self.now = now
        self._running = 0
        self._guard = threading.Lock()
        self._sleep = sleep
        self._begin = begin

    @property
    def busy(self) -> bool:
        """Whether work of a slot goes on, one that is over included."""
        return self._running > 0

    def _count(self, by: int) -> None:
        with self._guard:
            self._running += by

    def fill(self, what: str, seconds: float, make: Callable[[], T]) -> T | None:
        """Return what `make` made, or None, `seconds` after the request at hand was received.

        what: its name in this node's log, which alone is told what `make` raised.
        """
        begun, asked = self.now(), _RECEIVED.get()
        until = (begun if asked is None else asked) + seconds
        made: list[T] = []

        def work() -> None:
            try:
                found = make()
            except Exception as why:  # noqa: BLE001  whatever it is, it stays here
                log.warning("%s could not be made: %s: %s", what, type(why).__name__, why)
                return
            finally:
                self._count(-1)
            if (after := self.now()) <= until:
                made.append(found)
            log.info("%s took %.3f s, by %+.3f s", what, after - begun, until - after)

        self._count(1)
        self._begin(work)
        while (left := until - self.now()) > 0:
            self._sleep(left)
        ready = made[:1]  # what comes from here on is late
        if not ready:
            log.warning("%s was not there when its slot of %g s ended: said late", what, seconds)
        return ready[0] if ready else None
