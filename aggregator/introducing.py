"""Tells every node who is in: when it connects, and whenever that changed.

A node is told which epoch is the newest, is sent the chain if it works with another, and says
which one it works with. It takes a newer one up after its answer, so it is asked again.
A node may bring a longer chain itself: one in which it leaves, or what this aggregator had before
its own folder was put back. It is verified like any other.
"""

import logging
import time
from collections.abc import Callable, Mapping
from typing import Final

from aggregator.asking import Asking, Question
from aggregator.rosters import adopt
from aggregator.settings import AggregatorSettings
from federation.envelopes import Envelope
from federation.errors import FederationError
from federation.membership import Roster
from federation.messages import Kind
from federation.roster_chain import open_roster
from policies.parties import PartyId
from secure_compute.canonical import JSON

log = logging.getLogger(__name__)

LOOK_SECONDS: Final = 1.0
"""How often it is looked who is there."""

AGAIN_SECONDS: Final = 30.0
"""How long until a node is told again that went on with an older epoch after `TRIES`."""

TRIES: Final = 10

SETTLE_SECONDS: Final = 20.0
"""How long an order waits for nodes that take a newer epoch up."""


class Introducing:
    """What one coordinator tells nodes; `roster` is the epoch that it works with itself."""

    def __init__(
        self,
        settings: AggregatorSettings,
        asking: Asking,
        roster: Roster,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        lines: Callable[[], Mapping[PartyId, int]] = dict,
    ) -> None:
        """lines: the number of each party's stream, another one whenever it came anew."""
        self._settings = settings
        self._asking = asking
        self._roster = roster
        self._clock = clock
        self._sleep = sleep
        self._lines = lines
        self._seen: Mapping[PartyId, int] = {}
        self._chain = settings.chain.read_bytes()
        self._late = open_roster(self._chain, settings.pin).digest != roster.digest
        self._works: set[PartyId] = set()
        self._tries: dict[PartyId, int] = {}
        self._due: dict[PartyId, float] = {}
        self._away: dict[PartyId, float] = {}
        self._look_at = 0.0

    def is_over(self) -> bool:
        """Return whether the folder has another chain than this one works with.

        It may have had one already when this began, since `roster` is read before.
        """
        return self._late or self._settings.chain.read_bytes() != self._chain

    def look(self) -> None:
        """Tell whoever is there and was not told yet; now and then, for it costs a look."""
        if self._clock() >= self._look_at:
            self._look_at = self._clock() + LOOK_SECONDS
            self.tell()

    def settle(self) -> None:
        """Tell everybody, and wait a little for those that take a newer epoch up."""
        until = self._clock() + SETTLE_SECONDS
        self.tell()
        while self._awaited() and self._clock() < until and not self.is_over():
            self._sleep(LOOK_SECONDS / 5)
            self.tell()

    def tell(self) -> None:
        """Tell every node that is there, and is not known to work with this epoch, of it."""
        there, now, lines = set(self._asking.there()), self._clock(), self._lines()
        # Whoever comes back is told again: its folder may be an older one, or it wants to leave.
        self._works &= {p for p in there if lines.get(p) == self._seen.get(p)}
        self._seen = lines
        behind = sorted(p for p in there - self._works if self._due.get(p, 0.0) <= now)
        newest: dict[str, JSON] = {"epoch": self._roster.epoch, "digest": self._roster.digest}
        self._show(behind, Question(Kind.ROSTER_SHOW, {}, newest))
        if self.is_over():  # somebody brought a longer one
            return
        late = [party for party in behind if party not in self._works]
        self._show(late, Question(Kind.ROSTER_SHOW, {"roster": self._chain}, newest))
        for party in late:
            self._wait_for(party, now)

    def _awaited(self) -> bool:
        return any(
            party not in self._works and until > self._clock()
            for party, until in self._away.items()
        )

    def _show(self, parties: list[PartyId], question: Question) -> None:
        if not parties:
            return
        answers = self._asking.ask("", 0, dict.fromkeys(parties, question), LOOK_SECONDS * 5)
        for party, answer in answers.items():
            self._take(party, answer.envelope)

    def _take(self, party: PartyId, reply: Envelope) -> None:
        if reply.body.get("digest") == self._roster.digest:
            self._works.add(party)
            for known in (self._tries, self._due, self._away):
                known.pop(party, None)
        if "roster" in reply.blobs:
            try:
                found = adopt(self._settings, reply.blobs["roster"])
                log.info("epoch %d of the roster came from %s", found.epoch, party)
            except FederationError as why:
                log.warning("a roster that %s offers is refused: %s", party, why)

    def _wait_for(self, party: PartyId, now: float) -> None:
        if party in self._works:
            return
        self._away.setdefault(party, now + SETTLE_SECONDS)
        self._tries[party] = self._tries.get(party, 0) + 1
        if self._tries[party] >= TRIES:
            self._due[party] = now + AGAIN_SECONDS
