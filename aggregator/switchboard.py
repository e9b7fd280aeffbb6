"""Which party is on the line, what is asked of it, and who waits for the answer.

    board = Switchboard()
    line = board.connect(party)            # a stream's thread: this party is there now
    while (asked := board.next(line)) is not None: …          # sends what is due on the line
    board.answer(line, asked.id, reply)    # the stream's other thread
    board.disconnect(line, "…")
    board.ask(requests, timeout, sooner)   # whoever asks: blocks until all is answered or lost

It knows neither gRPC nor sockets. A request stays open until it is answered or its asker's time is
over; whenever its party comes (back) on the line it is sent there, once a line. Requests are
numbered in the order in which they were asked, so on one line the numbers rise. A party has one
line, the newest. Between the streams and the askers there is no queue that could grow: what is open
is what askers wait for, and no more than `unanswered` requests are out on one line.
"""

import itertools
import threading
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

from aggregator.errors import AggregatorError
from aggregator.transport import LATE, UNREACHABLE
from federation.control.wire import OPEN
from policies.parties import PartyId


class ForeignReplyError(AggregatorError):
    """A reply names a request that was not asked on its line, or was answered there before."""


@dataclass(slots=True, eq=False)
class Line:
    """One party's stream as the switchboard sees it.

    number: no other line has it.
    asked:  the requests that were sent on this line and not answered on it.
    newest: the highest number that was sent on it.
    ended:  why the line is over, or "".
    end:    called when the line is over, for whoever cannot see that it ended.
    shown:  the certificate that it was opened with, which whoever opened it looks at again.
    since:  what `Switchboard.recheck` was told when it was last looked at.
    """

    party: PartyId
    wake: threading.Condition
    end: Callable[[], object]
    number: int
    asked: set[int] = field(default_factory=set)
    newest: int = 0
    ended: str = ""
    shown: bytes = b""
    since: object = None


@dataclass(slots=True, eq=False)
class _Asking:
    """One call of `ask`: until when it waits for whom, and what it has."""

    wake: threading.Condition
    until: dict[PartyId, float]
    replies: dict[PartyId, bytes | str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class Asked:
    """One open request to one party."""

    id: int
    payload: bytes = field(repr=False)
    asking: _Asking = field(repr=False)


class Switchboard:
    """Threads share it: one lock, held for moments only."""

    def __init__(self, clock: Callable[[], float] = time.monotonic, unanswered: int = OPEN) -> None:
        self._clock = clock
        self._unanswered = unanswered
        self._lock = threading.Lock()
        self._lines: dict[PartyId, Line] = {}
        self._left: dict[PartyId, float] = {}
        self._open: dict[PartyId, dict[int, Asked]] = {}
        self._numbers = itertools.count(1)
        self._arrivals = itertools.count(1)

    def connect(
        self,
        party: PartyId,
        end: Callable[[], object] = lambda: None,
        shown: bytes = b"",
        since: object = None,
    ) -> Line:
        """Return the party's new line; the one it had is over. shown, since: see `Line`."""
        with self._lock:
            wake, number = threading.Condition(self._lock), next(self._arrivals)
            line = Line(party, wake, end, number, shown=shown, since=since)
            old = self._lines.pop(party, None)
            self._lines[party] = line
            if old is not None:
                self._end(old, "replaced by a newer stream of this party")
        if old is not None:
            old.end()
        return line

    def disconnect(self, line: Line, why: str) -> None:
        """The line is over; what was asked on it stays open."""
        with self._lock:
            if self._lines.get(line.party) is line:
                del self._lines[line.party]
                self._left[line.party] = self._clock()
            self._end(line, why)
        line.end()

    def retain(self, parties: Collection[PartyId], why: str = "not registered any more") -> None:
        """The lines of all other parties are over."""
        with self._lock:
            lines = [line for party, line in self._lines.items() if party not in parties]
        for line in lines:
            self.disconnect(line, why)

    def recheck(self, now: object, why: Callable[[PartyId, bytes], str]) -> None:
        """Lines that were looked at when it was not `now` are over where there is a reason why."""
        with self._lock:
            lines = [line for line in self._lines.values() if line.since != now]
        for line in lines:
            if reason := why(line.party, line.shown):
                self.disconnect(line, reason)
            line.since = now

    def connected(self) -> frozenset[PartyId]:
        """Return the parties that are on the line."""
        with self._lock:
            return frozenset(self._lines)

    def lines(self) -> dict[PartyId, int]:
        """Return the number of each party's line: another one whenever it came anew."""
        with self._lock:
            return {party: line.number for party, line in self._lines.items()}

    def left(self, seconds: float) -> frozenset[PartyId]:
        """Return the parties whose last line ended at most so long ago."""
        with self._lock:
            since = self._clock() - seconds
            return frozenset(p for p, at in self._left.items() if at >= since) - self._lines.keys()

    def next(self, line: Line) -> Asked | None:
        """Return what is to be sent on the line now, waiting for it; None: the line is over."""
        with self._lock:
            while not line.ended:
                if (due := self._due(line)) is not None:
                    line.asked.add(due.id)
                    line.newest = due.id
                    return due
                line.wake.wait()
            return None

    def _due(self, line: Line) -> Asked | None:
        if len(line.asked) >= self._unanswered:
            return None
        open_ = self._open.get(line.party, {})
        return next((asked for number, asked in open_.items() if number > line.newest), None)

    def awaits(self, line: Line, number: int) -> bool:
        """Return whether a reply to this request may come on the line."""
        with self._lock:
            return number in line.asked

    def answer(self, line: Line, number: int, reply: bytes | str) -> None:
        """What came on a line is with whoever asked, or nobody waits for it any more.

        reply: an envelope, or a sentence that says why there is none.

        Raises:
            ForeignReplyError: it is no answer to anything asked on this line.
        """
        with self._lock:
            if number not in line.asked:
                raise ForeignReplyError(f"a reply to {number}, which is not open on this stream")
            line.asked.remove(number)
            line.wake.notify_all()
            asked = self._open.get(line.party, {}).pop(number, None)
            if asked is not None:
                asked.asking.replies[line.party] = reply
                asked.asking.wake.notify_all()

    def ask(
        self, requests: Mapping[PartyId, bytes], timeout: float, sooner: Mapping[PartyId, float]
    ) -> dict[PartyId, bytes | str]:
        """Return each party's reply, or why there is none; see `transport.Transport`."""
        begun = self._clock()
        until = {party: begun + min(timeout, sooner.get(party, timeout)) for party in requests}
        asking = _Asking(threading.Condition(self._lock), until)
        with self._lock:
            numbers = self._post(requests, asking)
            try:
                self._wait(asking)
            finally:
                for party, number in numbers.items():
                    self._open[party].pop(number, None)
        return {party: asking.replies[party] for party in requests}

    def _post(self, requests: Mapping[PartyId, bytes], asking: _Asking) -> Mapping[PartyId, int]:
        numbers = {}
        for party, payload in requests.items():
            numbers[party] = number = next(self._numbers)
            self._open.setdefault(party, {})[number] = Asked(number, payload, asking)
            if (line := self._lines.get(party)) is not None:
                line.wake.notify_all()
        return numbers

    def _wait(self, asking: _Asking) -> None:
        while waited := {p: at for p, at in asking.until.items() if p not in asking.replies}:
            now = self._clock()
            overdue = [party for party, at in waited.items() if at <= now]
            for party in overdue:
                asking.replies[party] = LATE if party in self._lines else UNREACHABLE
            if not overdue:
                asking.wake.wait(min(waited.values()) - now)

    def _end(self, line: Line, why: str) -> None:
        line.ended = line.ended or why
        line.wake.notify_all()
