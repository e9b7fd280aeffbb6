"""One exchange: a request to each of some parties, and what came back from each in time.

This module knows nothing of Flower: a `Link` posts letters and fetches replies, `exchange` decides
what is sent again and when a party is lost. A message or reply that the server lost, and a node
that is away, are tried again until the time is over; every other error is an answer.
"""

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from aggregator.errors import AggregatorError
from aggregator.transport import FAILED, LATE, UNREACHABLE, UNREGISTERED
from policies.parties import PartyId

AWAY = frozenset({3, 4, 5})
"""Flower's codes for a lost message, a lost reply and an unavailable node."""
_REASONS = {2: FAILED, 403: "not an envelope"}
_ATTEMPT = 120.0
"""Seconds after which an unanswered message is taken for lost and sent again."""
_MARGIN = 2.0
_PAUSE = 0.1
_RETRY = 1.0


@dataclass(frozen=True, slots=True)
class Lost:
    """Nothing came back from a party, and why."""

    reason: str


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back to one posted letter: a payload, or the code of an error (0 without one)."""

    letter: str
    payload: bytes
    code: int = 0


class RunLostError(AggregatorError):
    """The server has forgotten the run: nothing of it can be fetched any more."""


class ServerSilentError(AggregatorError):
    """The server did not answer before the exchange's time was over."""


class NotAnEnvelopeError(AggregatorError):
    """A node's reply carries something else than one record of bytes."""


class Link(Protocol):
    """One run at the server."""

    outages: int
    """How often the server did not answer so far."""

    def post(
        self, payloads: Mapping[int, bytes], message_type: str, ttl: float, until: float
    ) -> Mapping[str, int]:
        """The letters are at the server: each letter's name, and the node it is for."""

    def fetch(self, letters: Collection[str], until: float) -> Sequence[Reply]:
        """The replies that are complete; the call may wait for one for a second or so."""

    def online(self, until: float) -> Collection[int]:
        """The nodes that are there."""


@dataclass(slots=True)
class Exchange:
    """The state of one exchange, by Flower's number of the node.

    payloads: what is still to be answered.
    letters:  what is under way.
    resend:   who is to be sent to (again), and not before when.
    sooner:   who is given up before the deadline, and when.
    """

    payloads: dict[int, bytes]
    message_type: str
    deadline: float
    replies: dict[int, bytes | Lost] = field(default_factory=dict)
    letters: dict[str, int] = field(default_factory=dict)
    resend: dict[int, float] = field(default_factory=dict)
    tried: set[int] = field(default_factory=set)
    sooner: Mapping[int, float] = field(default_factory=dict)

    def start_over(self) -> None:
        """Nothing is under way any more; every open request is to be sent as if never sent."""
        self.letters.clear()
        self.tried.clear()
        self.resend = dict.fromkeys(self.payloads, 0.0)

    def step(self, link: Link, now: float) -> bool:
        """What is due was sent and what is there was fetched; whether anything came."""
        due = {node for node, at in self.resend.items() if at <= now}
        if due:
            self._post(link, due, now)
        if not self.letters:
            return False
        replies = link.fetch(tuple(self.letters), self.deadline)
        for reply in replies:
            self._take(reply, now)
        return bool(replies)

    def _post(self, link: Link, due: set[int], now: float) -> None:
        there = due - self.tried
        if there != due:
            there |= due & set(link.online(self.deadline))
        self.tried |= due
        self.resend.update(dict.fromkeys(due - there, now + _RETRY))
        if there:
            ttl = min(self.deadline - now, _ATTEMPT) + _MARGIN
            payloads = {node: self.payloads[node] for node in sorted(there)}
            self.letters.update(link.post(payloads, self.message_type, ttl, self.deadline))
            for node in there:
                del self.resend[node]

    def _take(self, reply: Reply, now: float) -> None:
        node = self.letters.pop(reply.letter, None)
        if node is None or node not in self.payloads:
            return
        if reply.code in AWAY:
            self.resend[node] = now + _RETRY
            return
        error = _REASONS.get(reply.code, f"the transport reports error {reply.code}")
        self.replies[node] = Lost(error) if reply.code else reply.payload
        del self.payloads[node]

    def give_up(self) -> None:
        """Every open request is lost, for the reason that holds now."""
        for node in list(self.payloads):
            self._lose(node)

    def give_up_overdue(self, now: float) -> None:
        """Every request that was to be waited for until `now` or less long is lost."""
        for node, until in self.sooner.items():
            if until <= now and node in self.payloads:
                self._lose(node)

    def _lose(self, node: int) -> None:
        away = node in self.resend
        self.replies[node] = Lost(UNREACHABLE if away else LATE)
        del self.payloads[node]
        self.resend.pop(node, None)
        self.letters = {letter: to for letter, to in self.letters.items() if to != node}


def run_exchange(
    state: Exchange, link: Callable[[Link | None], Link], clock: Callable[[], float]
) -> None:
    """The exchange is over: every payload has a reply or is lost.

    A server that goes away while it hands a letter out has forgotten it when it is back, or keeps
    it for handed out; so what is open is sent again then. Whoever has it already answers the same.

    Args:
        state: what to send, and until when.
        link: the run to use, given the one that was lost, if any; waits until there is one.
        clock: monotonic seconds, on which the state's deadline is measured.
    """
    current: Link | None = None
    lost: Link | None = None
    state.start_over()
    while state.payloads and clock() < state.deadline:
        try:
            current = link(lost)
            lost = None
            before, outages = clock(), current.outages
            if not state.step(current, before) and clock() - before < _PAUSE:
                time.sleep(_PAUSE)
            if current.outages != outages:
                state.start_over()
            state.give_up_overdue(clock())
        except RunLostError:
            lost = current
            state.start_over()
        except ServerSilentError:
            break
    state.give_up()


def by_party(
    replies: Mapping[int, bytes | Lost], nodes: Mapping[PartyId, int], parties: Collection[PartyId]
) -> dict[PartyId, bytes | Lost]:
    """The replies under their parties' names; a party without a node is lost."""
    return {
        party: replies[nodes[party]] if party in nodes else Lost(UNREGISTERED) for party in parties
    }
