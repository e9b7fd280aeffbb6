"""One node after another in one process, each with the epoch of the roster that it was built for.

    succession = Succession(build, stop)    # build(halt): a node, and what remembers for it
    serve_both(flower, stream, succession, stop)

A node that has a newer roster than it works with says that it is over. The next one is built from
the folder, as a new process would build it, once nothing is being answered and no order is under
way; what comes meanwhile waits for it, and the connections stay. Where it cannot be built nothing
is answered any more and the process ends: the next one finds the same and says it.
"""

import gc
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeVar

from clients.errors import NoSuccessorError
from clients.inbox import Inbox
from clients.once import Once
from clients.slots import received

Said = TypeVar("Said", bytes, str)

log = logging.getLogger(__name__)


class Node(Protocol):
    """What is known here of a node."""

    @property
    def ended(self) -> Exception | None:
        """Why no other may follow it."""

    def while_idle(self, act: Callable[[], None]) -> None:
        """Do something unless an order is under way."""


@dataclass(frozen=True, slots=True)
class Reign:
    """A node, and what answers for it what was answered before."""

    node: Node
    once: Once


class Succession:
    """Answers as the node of the moment does; threads may share it.

    Args:
        build: a node from what lies in the folder now; it calls what it is given once it is over.
        stop: set to end the process.
    """

    def __init__(self, build: Callable[[Callable[[], None]], Reign], stop: threading.Event) -> None:
        self._build = build
        self._stop = stop
        self._guard = threading.Lock()
        self._under_way = 0
        self._is_over = False
        self._reign: Reign | None = None
        first = self._reign = build(self._over)
        self.inbox: Inbox = first.once.inbox  # the memory of all of them

    @property
    def ended(self) -> Exception | None:
        """Why no process may follow this one by itself."""
        return None if self._reign is None else self._reign.node.ended

    def __call__(self, payload: bytes) -> bytes:
        """The answer to the request, the same for ever.

        Raises:
            NoSuccessorError: this process is about to end.
            ClientError, FederationError: see `clients.sealed.SealedOnce`.
        """
        with received(time.monotonic()):  # before it waits for the node that answers it
            return self._asked(lambda once: once(payload))

    def named(self, payload: bytes) -> str:
        """The name under which a request is known again; errors: as for the answer."""
        return self._asked(lambda once: once.named(payload))

    def _over(self) -> None:
        if self.ended is None:
            self._is_over = True
        else:
            self._stop.set()

    def _asked(self, ask: Callable[[Once], Said]) -> Said:
        """Return what it says that answers now; nobody follows it before."""
        with self._guard:
            if self._reign is None:
                raise NoSuccessorError("a newer roster could not be taken up; the log says why")
            self._under_way += 1
            once = self._reign.once
        try:
            return ask(once)
        finally:
            del once
            with self._guard:
                self._under_way -= 1
                if self._is_over and not self._under_way:
                    self._follow()

    def _follow(self) -> None:
        self._is_over = False  # where an order came in between, it is said again after that
        if self._reign is not None:
            self._reign.node.while_idle(self._replace)
            gc.collect()  # the one before goes, and its files are closed with it

    def _replace(self) -> None:
        if self.ended is not None or self._stop.is_set():
            return  # it was over for a newer roster, and then for good: nobody follows it
        self._reign = None  # whatever happens, the one before answers nothing any more
        try:
            self._reign = self._build(self._over)
            log.info("The newer roster is taken up.")
        except Exception as why:  # noqa: BLE001  the next process finds it again, and says it
            log.error("the newer roster is not taken up: %s", why)
            self._stop.set()
