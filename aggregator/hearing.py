"""Calls that have said nothing yet: how many are borne, and who makes room for whom.

    with hall.heard(said, place, context.cancel) as message:
        …                                        # one of at most so many calls that are answered

A call that was opened and says nothing holds a thread of the server, for as long as its connection
may last. Such calls have seats of their own, and what has spoken holds none. Where all are taken,
whoever comes is let in, and the call that has been silent longest goes, of the place that has most
of them: so who says nothing keeps out nobody, and least of all somebody from elsewhere.
"""

import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from aggregator.errors import AggregatorError


class SilentError(AggregatorError):
    """A call ended, or was ended, before it had said anything."""


@dataclass(frozen=True, slots=True, eq=False)
class _Seat:
    place: str
    end: Callable[[], None]


def first_to_go(places: Sequence[str]) -> int:
    """Return which of the silent calls, the longest silent first, makes room for another one."""
    most = Counter(places).most_common(1)[0][1]
    crowded = {place for place, count in Counter(places).items() if count == most}
    return next(at for at, place in enumerate(places) if place in crowded)


class Hall:
    """The calls of one server; threads share it.

    Args:
        seats: calls that may be silent at once. The server has threads for one more, and for those
            that are answered.
        at_once: calls that are answered at once; more of them wait.
    """

    def __init__(self, seats: int, at_once: int) -> None:
        self._seats = seats
        self._answered = threading.Semaphore(at_once)
        self._lock = threading.Lock()
        self._silent: list[_Seat] = []

    @contextmanager
    def heard(self, said: Iterator[bytes], place: str, end: Callable[[], None]) -> Iterator[bytes]:
        """Give the one message of a call, once it is here and may be answered.

        place: where the call comes from; end: ends it, whatever its caller does.

        Raises:
            SilentError: it ended without a message, or had to make room before it came.
        """
        message = self._message(said, _Seat(place, end))
        with self._answered:
            yield message

    def _message(self, said: Iterator[bytes], seat: _Seat) -> bytes:
        self._take(seat)
        try:
            message = next(said, None)
        finally:
            is_there = self._leave(seat)
        if message is None:
            raise SilentError("the call says nothing")
        if not is_there:
            raise SilentError("the call was silent for too long, and others came; call again")
        return message

    def _take(self, seat: _Seat) -> None:
        with self._lock:
            places = [one.place for one in self._silent]
            gone = self._silent.pop(first_to_go(places)) if len(places) >= self._seats else None
            self._silent.append(seat)
        if gone is not None:
            gone.end()

    def _leave(self, seat: _Seat) -> bool:
        """Return whether the call still had its seat."""
        with self._lock:
            if seat not in self._silent:
                return False
            self._silent.remove(seat)
            return True
