"""Requests under way at a node, and where their answers go.

A request that comes again while it is worked on, over the same stream or the next, is not worked
on twice and takes no second worker: its answer goes to everybody who asked. A request that nobody
waits for any more and that no worker took is forgotten; whoever wants it asks again.
"""

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from clients.inbox import request_key


class Asker(Protocol):
    """Whoever brings requests: a stream."""

    def send(self, number: int, answer: bytes | None) -> None:
        """The answer to its request of that number, None when there is none, is on its way."""


@dataclass(frozen=True, slots=True)
class _Address:
    asker: Asker
    number: int


class Desk:
    """Threads share it; nobody waits here but those who have nothing to do.

    named: gives the name under which a request is known again.
    """

    def __init__(self, named: Callable[[bytes], str] = request_key) -> None:
        self._named = named
        self._names: dict[bytes, str] = {}
        self._wake = threading.Condition()
        self._waiting: deque[bytes] = deque()
        self._addresses: dict[str, list[_Address]] = {}
        self._came: dict[str, float] = {}
        self._closed = False

    def bring(self, request: bytes, asker: Asker, number: int) -> None:
        """The request is waiting, or the answer that is being made goes to this asker too."""
        at = time.monotonic()  # its name may have to wait for the node that knows it
        named, address = self._named(request), _Address(asker, number)
        with self._wake:
            key = self._names.get(request, named)  # what is under way keeps its name
            if key in self._addresses:
                self._addresses[key].append(address)
                return
            self._addresses[key] = [address]
            self._names[request] = key
            self._came[key] = at
            self._waiting.append(request)
            self._wake.notify()

    def take(self) -> bytes | None:
        """Return a request to work on, waiting for one; None once the desk is closed."""
        with self._wake:
            self._wake.wait_for(lambda: self._waiting or self._closed)
            return None if self._closed else self._waiting.popleft()

    def came(self, request: bytes) -> float:
        """Return when a request that is under way was first brought, monotonic seconds."""
        with self._wake:
            return self._came[self._names[request]]

    def done(self, request: bytes, answer: bytes | None) -> None:
        """The answer is on its way to whoever asked until now."""
        with self._wake:
            name = self._names.pop(request)
            addresses = self._addresses.pop(name)
            del self._came[name]
        for address in addresses:
            address.asker.send(address.number, answer)

    def leave(self, asker: Asker) -> None:
        """This asker waits for nothing any more."""
        with self._wake:
            for addresses in self._addresses.values():
                addresses[:] = [address for address in addresses if address.asker is not asker]
            for request in [r for r in self._waiting if not self._addresses[self._names[r]]]:
                self._waiting.remove(request)
                name = self._names.pop(request)
                del self._addresses[name], self._came[name]

    def close(self) -> None:
        """Nobody is given anything any more."""
        with self._wake:
            self._closed = True
            self._wake.notify_all()
