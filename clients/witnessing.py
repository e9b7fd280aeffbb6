"""This node's ledger among the others: who vouches for its head, and for whose head it vouches.

A copy of the folder put back later would give back what was spent since. So a process that has
just started spends nothing before other organisations have said what they last saw of its log, and
nothing leaves before one of them has put its name to the reservation. The aggregator carries all
of it and can forge none of it: statements answer a nonce of this very process, and every signature
is checked here against the roster.
"""

import logging
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from clients.books import Books
from clients.clock import Clock
from clients.errors import ClientError
from clients.settings import NodeSettings
from federation.envelopes import Envelope
from federation.errors import FederationError, TooFewWitnessesError, UnknownPartyError
from federation.ledger import notes, witness
from federation.ledger.merkle import EMPTY_ROOT
from federation.ledger.notes import Checkpoint, NamedKey, origin_of
from federation.ledger.trust import Trust
from federation.ledger.witness import Seen, WitnessRequest
from federation.membership import Roster
from federation.riding import (
    COSIGNED,
    HEAD,
    HEADS,
    SEEN,
    pack,
    pack_cosigned,
    unpack,
    unpack_cosigned,
)
from policies.parties import PartyId
from secure_compute.canonical import JSON
from secure_compute.entropy import Entropy

log = logging.getLogger(__name__)

GRACE_SECONDS: Final = 600.0
"""How long a node that is asked to spend goes on looking for witnesses before it gives up."""


STEP_SECONDS: Final = 30
"""By how much the witnessed time advances before it is written down again."""

MAX_WANTED: Final = 16
"""From how many sizes that witnesses asked about a head brings proofs."""


class UnsureError(ClientError):
    """This process lacks a word of its witnesses; with it the same request may be granted.

    lacks: "seen", statements about its head; or "witness", a cosignature over its reservation.
    """

    def __init__(self, lacks: str) -> None:
        super().__init__(f"the witnesses of this node's ledger have not spoken yet ({lacks})")
        self.lacks = lacks


class AloneError(ClientError):
    """No witnesses could be reached for longer than a node may wait."""


@dataclass(frozen=True, slots=True)
class Vouched:
    """What a witness says of the heads in a letter.

    blobs:   the one with its cosignatures, if there are any.
    missing: by party, the size from which a head should have brought a proof and did not.
    """

    blobs: Mapping[str, bytes]
    missing: Mapping[str, int]


class Witnessing:
    """What one process knows of its witnesses, and what it says as a witness of others."""

    def __init__(
        self, settings: NodeSettings, roster: Roster, books: Books, clock: Clock, entropy: Entropy
    ) -> None:
        self._party = settings.party
        self._organisation = settings.organisation
        self._key = settings.identity
        self._roster = roster
        self._books = books
        self._clock = clock
        self._entropy = entropy
        self._trust = Trust.of(roster)
        self._origin = origin_of(roster.federation, settings.party)
        self._nonce = entropy.bytes(16).hex()
        self._confirmed = False
        self._wanted: set[int] = set()
        self._alone_since: float | None = None
        self._written = 0

    # -- this node's own log ---------------------------------------------------------------------

    @property
    def nonce(self) -> str:
        """What statements must answer now; every process has its own."""
        return self._nonce

    def head(self) -> dict[str, bytes]:
        """Return the blob with the head of this node's log, for others to cosign.

        None before witnesses have confirmed the log: to sign the head of an old copy would be to
        sign a second history.
        """
        return {HEAD: self._books.request(self._wanted).to_bytes()} if self._is_sure() else {}

    def show_from(self, sizes: Iterable[int]) -> None:
        """Let the heads of this process prove that they continue these sizes too.

        They are those that a witness saw last and whose cosignature never came back.
        """
        self._wanted = set(sorted({*self._wanted, *sizes})[-MAX_WANTED:])

    def read(self, letter: Envelope) -> None:
        """Take what rides in a letter about this node's own log.

        Raises:
            RolledBackError: the log is shorter than, or another than, its witnesses have seen.
            AloneError: too few witnesses spoke, for ten minutes by now.
            ClockError: this machine's clock and a witness's disagree.
        """
        if COSIGNED in letter.blobs:
            self._keep(unpack_cosigned(letter.blobs[COSIGNED]))
        if SEEN in letter.blobs and not self._is_sure():
            self._confirm(unpack(letter.blobs[SEEN]))

    def require_sure(self) -> None:
        """Accept a process whose head and clock its witnesses have confirmed.

        Raises:
            UnsureError: they have not yet; or the clock leapt since.
            ClockError: the clock is behind a time that was witnessed.
        """
        if not self._is_sure():
            if self._confirmed:  # an answer to the old nonce says nothing about the time now
                self._confirmed, self._nonce = False, self._entropy.bytes(16).hex()
            raise UnsureError("seen")
        self._clock.require_forward()

    def require_witnessed(self, order: str) -> None:
        """Accept an order whose reservation another organisation has put its name to.

        Raises:
            UnsureError: none has.
        """
        if not self._books.is_witnessed(order):
            raise UnsureError("witness")

    def _is_sure(self) -> bool:
        return self._confirmed and self._clock.is_steady()

    def _confirm(self, words: Mapping[str, bytes]) -> None:
        """Compare the own head with what its witnesses last saw of it."""
        seen = list(self._genuine(words))
        try:
            found = witness.confirm(
                origin=self._origin,
                size=self._books.head().size,
                root_at=self._books.root_at,
                organisation=self._organisation,
                seen=seen,
                now=int(self._clock.reading()),
            )
        except TooFewWitnessesError as why:
            self._wait(why)
            return
        self._clock.require_forward()
        self._advance(found.at)
        self._clock.agree()
        self._confirmed, self._alone_since = True, None
        log.info("%d organisations vouch for this ledger", len(found.organisations))

    def _genuine(self, words: Mapping[str, bytes]) -> Iterator[Seen]:
        for name, word in words.items():
            try:
                yield witness.open_seen(word, self._roster, self._nonce)
            except FederationError as why:
                log.warning("what %s saw last does not count: %s", name, why)

    def _wait(self, why: TooFewWitnessesError) -> None:
        now = self._clock.elapsed()
        self._alone_since = now if self._alone_since is None else self._alone_since
        if now - self._alone_since > GRACE_SECONDS:
            raise AloneError(
                f"{why}; for {GRACE_SECONDS / 60:.0f} minutes nobody vouched for this node's "
                f"ledger: see that the others run, then start it again"
            ) from why

    def _keep(self, cosigned: Mapping[str, Mapping[str, str]]) -> None:
        """Keep the cosignatures of this log that are genuine; what is none is dropped."""
        for note, lines in cosigned.items():
            try:
                notes.open_note(note, NamedKey(self._origin, self._key.verify_key))
                times = self._opened(note, lines)
                if times:
                    self._books.keep_cosignatures(note, {name: lines[name] for name in times})
            except FederationError as why:
                log.warning("cosignatures of what is no head of this ledger: %s", why)
            else:
                self._compare(times.values())

    def _opened(self, note: str, lines: Mapping[str, str]) -> dict[str, int]:
        """Return when each of the witnesses of other organisations has cosigned the head."""
        times: dict[str, int] = {}
        for name, line in lines.items():
            try:
                if self._trust.find(name).organisation != self._organisation:
                    times |= witness.cosigners(note, [line], self._trust)
            except FederationError as why:
                log.warning("a cosignature by %s is none: %s", name, why)
        return {name: at for name, at in times.items() if name in lines}

    def _compare(self, times: Collection[int]) -> None:
        """A cosignature's time that is not this clock's: the witnesses are asked once more."""
        if not all(map(self._clock.is_near, times)):
            self._clock.forget()
        elif times and self._is_sure():
            self._advance(max(times))

    def _advance(self, at: int) -> None:
        if at >= self._written + STEP_SECONDS:
            self._books.witnessed_time(at)
            self._written = at
        self._clock.never_before(at)

    # -- the logs of others ----------------------------------------------------------------------

    def vouch(self, letter: Envelope) -> Vouched:
        """Return what this node says of the heads in a letter.

        Each head is compared with the last one seen, and all of them are written down durably
        before the first cosignature is made.
        """
        shown = unpack(letter.blobs[HEADS]) if HEADS in letter.blobs else {}
        examined: dict[str, Checkpoint] = {}
        missing: dict[str, int] = {}
        for owner, head in shown.items():
            try:
                request = WitnessRequest.from_bytes(head)
                last = self._books.last_seen(self._origin_of(owner))
                if last is not None and last.size and last.size not in request.proofs:
                    missing[owner] = last.size
                examined[request.note] = self._examined(PartyId(owner), last, request)
                missing.pop(owner, None)
            except FederationError as why:
                log.warning("the head of %s is not cosigned: %s", owner, why)
        return Vouched(self._cosigned(examined), missing)

    def _origin_of(self, owner: str) -> str:
        return origin_of(self._roster.federation, self._roster.find(PartyId(owner)).party)

    def _examined(
        self, owner: PartyId, last: Checkpoint | None, request: WitnessRequest
    ) -> Checkpoint:
        member = self._roster.find(owner)
        if member.organisation == self._organisation:
            raise UnknownPartyError(f"{owner} is of this organisation, whose word does not count")
        return witness.examine(last, request, NamedKey(self._origin_of(owner), member.identity))

    def _cosigned(self, examined: Mapping[str, Checkpoint]) -> dict[str, bytes]:
        if not examined:
            return {}
        at = int(self._clock.now())
        self._books.remember_all(examined.values(), at)
        lines = {
            note: {self._origin: witness.cosign(note, self._origin, self._key, at)}
            for note in examined
        }
        return {COSIGNED: pack_cosigned(lines)}

    def say_seen(self, about: Mapping[str, JSON]) -> dict[str, bytes]:
        """Return the blob with what this node saw last of each log in `about`, by its nonce."""
        words = {}
        for owner, nonce in about.items():
            origin = self._origin_of(owner)
            last = self._books.last_seen(origin) or Checkpoint(origin, 0, EMPTY_ROOT)
            at = int(self._clock.now())
            words[owner] = witness.sign_seen(
                origin, last.size, last.root, str(nonce), at, self._party, self._key
            )
        return {SEEN: pack(words)}
