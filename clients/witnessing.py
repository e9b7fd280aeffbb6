"""This node's ledger among the others: who vouches for its head.

A copy of the folder put back later would give back what was spent since. So a process that has
just started spends nothing before a quorum of other organisations has said what it last saw of its
log, and nothing leaves before as many have put their names to the reservation: any two quorums have
an honest organisation in common. The aggregator carries all of it and can forge none of it:
statements answer a nonce of this very process, and every signature is checked here against the
roster. What this node says of the logs of others is in `vouching`.
"""

import logging
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from clients.books import Books
from clients.clock import Clock
from clients.errors import ClientError
from clients.settings import NodeSettings
from federation.envelopes import Envelope
from federation.errors import (
    ClockError,
    FederationError,
    GivenUpKeyError,
    RolledBackError,
    TooFewWitnessesError,
)
from federation.ledger import witness
from federation.ledger.notes import origin_of
from federation.ledger.trust import Trust, vouched_time
from federation.ledger.witness import Seen
from federation.membership import Roster
from federation.riding import COSIGNED, FORKED, HEAD, SEEN, unpack, unpack_cosigned
from policies.parties import Role
from secure_compute.entropy import Entropy

log = logging.getLogger(__name__)

GRACE_SECONDS: Final = 600.0
"""How long a node that is asked to spend goes on looking for witnesses before it gives up."""

IDLE_SECONDS: Final = 300.0
"""After how long without a question a node that lacked witnesses begins to wait anew."""

STEP_SECONDS: Final = 300
"""By how much the witnessed time advances before it is written down again."""

MAX_WANTED: Final = 48
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


class Witnessing:
    """What one process knows of its witnesses."""

    def __init__(
        self, settings: NodeSettings, roster: Roster, books: Books, clock: Clock, entropy: Entropy
    ) -> None:
        self._party = settings.party
        self._organisation = settings.organisation
        self._key = settings.identity
        self._old = settings.old_identity
        self._roster = roster
        self._books = books
        self._clock = clock
        self._entropy = entropy
        self._trust = Trust.of(roster)
        self._keys = books.succession()
        self._origin = origin_of(roster.federation, settings.party)
        self._nonce = entropy.bytes(16).hex()
        self._confirmed = False
        self._wanted: tuple[int, ...] = ()
        self._asked: float | None = None
        self._alone_since = 0.0
        self._far: set[str] = set()
        self._written = books.highest_time()
        self._quorum = max(1, witness.quorum(roster, settings.party))
        self._counted = {
            origin_of(roster.federation, party): organisation
            for party, organisation in witness.speakers(roster, settings.party).items()
        }
        self._active = {origin_of(roster.federation, m.party) for m in roster.active(*Role)}

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

        They are those that a witness saw last and whose cosignature never came back; what this log
        never had is nothing that a witness saw.
        """
        size = self._books.head().size
        known = sorted({each for each in sizes if each < size})
        if known:
            self._wanted = tuple(known[-MAX_WANTED:])

    def read(self, letter: Envelope) -> None:
        """Take what rides in a letter about this node's own log.

        Raises:
            RolledBackError: the log is shorter than, or another than, its witnesses have seen.
            AloneError: too few witnesses spoke, for ten minutes by now.
            ClockError: this machine's clock and a witness's disagree.
        """
        if COSIGNED in letter.blobs:
            self._keep(unpack_cosigned(letter.blobs[COSIGNED]))
        if FORKED in letter.blobs:
            self._require_continued(unpack(letter.blobs[FORKED]))
        if SEEN in letter.blobs and not self._is_sure():
            self._confirm(unpack(letter.blobs[SEEN]))

    def require_sure(self) -> None:
        """Accept a process whose head and clock its witnesses have confirmed.

        Raises:
            UnsureError: they have not yet; or the clock leapt since.
            AloneError: they have not for ten minutes, in which they were asked.
            ClockError: the clock is behind a time that was witnessed.
        """
        if not self._is_sure():
            if self._confirmed:  # an answer to the old nonce says nothing about the time now
                self._confirmed, self._nonce = False, self._entropy.bytes(16).hex()
            self._wait("too few witnesses speak")
            raise UnsureError("seen")
        self._clock.require_forward()

    def require_witnessed(self, order: str) -> None:
        """Accept an order whose reservation a quorum of organisations has put its names to.

        Raises:
            UnsureError: too few have.
        """
        if not self._books.is_witnessed(order, self._counted, self._quorum):
            raise UnsureError("witness")

    def require_entry_witnessed(self, number: int | None) -> None:
        """Accept an entry of the log that a quorum of organisations has put its names to.

        Raises:
            UnsureError: too few have, or there is none.
        """
        if not self._is_covered(number):
            raise UnsureError("witness")

    def _is_covered(self, number: int | None) -> bool:
        return number is not None and self._books.covers(number, self._counted, self._quorum)

    def _is_sure(self) -> bool:
        return self._confirmed and self._clock.is_steady()

    def _confirm(self, words: Mapping[str, bytes]) -> None:
        """Compare the own head with what its witnesses last saw of it."""
        seen = list(self._genuine(words))
        try:
            found = witness.confirm(
                roster=self._roster,
                party=self._party,
                size=self._books.head().size,
                root_at=self._books.root_at,
                seen=seen,
                now=int(self._clock.reading()),
            )
        except TooFewWitnessesError as why:
            self._wait(str(why))
            return
        except ClockError:
            self._asked = None  # they did speak
            raise
        self._clock.require_forward()
        self._advance(found.at)
        self._clock.agree()
        self._confirmed, self._asked = True, None
        self._far.clear()
        log.info("%d organisations vouch for this ledger", len(found.organisations))

    def _require_continued(self, heads: Mapping[str, bytes]) -> None:
        """Accept a log that continues every head it ever signed, whoever shows one.

        Raises:
            RolledBackError: it does not, or a key that it gave up signed a longer one.
        """
        for name, text in heads.items():
            try:
                head = self._keys.open(text.decode(), self._key.verify_key)
            except GivenUpKeyError as why:
                self._require_settled(why, name)
                continue
            except (FederationError, UnicodeDecodeError) as why:
                log.warning("what %s shows is no head of this ledger: %s", name, why)
                continue
            if self._is_settled(head.size):
                log.warning("what %s shows is of before this node's change of key", name)
                continue
            if head.size > self._books.head().size or self._books.root_at(head.size) != head.root:
                raise RolledBackError(
                    f"this ledger signed another head of {head.size} entries, which {name} has: it "
                    f"was put back and continued otherwise; restore the newest copy, nothing is "
                    f"spent from this"
                )

    def _genuine(self, words: Mapping[str, bytes]) -> Iterator[Seen]:
        for name, word in words.items():
            try:
                seen = witness.open_seen(word, self._roster, self._nonce, self._keys)
            except GivenUpKeyError as why:
                self._require_settled(why, name)
                continue
            except FederationError as why:
                log.warning("what %s saw last does not count: %s", name, why)
                continue
            is_own = seen.origin == self._origin and self._is_settled(seen.size)
            if is_own and self._books.root_at(seen.size) != seen.root:
                log.warning("what %s saw last is of before this node's change of key", name)
                continue
            yield seen

    def _is_settled(self, size: int) -> bool:
        """Whether a given-up key of this log signs heads so short, and all they say is decided.

        A quorum has cosigned a later change of key, so an honest one of any other quorum has
        compared what stands before it: another head of that size is of whoever has that key now.
        """
        after = (one.number for one in self._keys.changes if size <= one.number)
        return any(map(self._is_covered, after))

    def _require_settled(self, why: GivenUpKeyError, name: str) -> None:
        """Return if a quorum saw the change that gave the key up, before which `why` would matter.

        Raises:
            RolledBackError: too few saw it yet, so the head may be one that this log signed and
                lost when it was put back.
        """
        if not self._is_covered(why.number):
            raise RolledBackError(
                f"{why} ({name} has the head). Either this ledger was put back and changed its key "
                f"then, or its old key was stolen; restore the newest copy, nothing is spent from "
                f"this"
            ) from why
        log.warning("what %s shows is by a key that this node had given up: %s", name, why)

    def _wait(self, why: str) -> None:
        """Count the time since this process was first asked for what it lacks witnesses for."""
        now = self._clock.elapsed()
        if self._asked is None or now - self._asked > IDLE_SECONDS:
            self._alone_since = now
        self._asked = now
        if now - self._alone_since > GRACE_SECONDS:
            raise AloneError(
                f"{why}; for {GRACE_SECONDS / 60:.0f} minutes nobody vouched for this node's "
                f"ledger: see that the others run, then start it again"
            )

    def _keep(self, cosigned: Mapping[str, Mapping[str, str]]) -> None:
        """Keep the cosignatures of this log that are genuine; what is none is dropped."""
        for note, lines in cosigned.items():
            try:
                self._keys.open(note, self._key.verify_key)
                times = self._opened(note, lines)
                if times:
                    self._books.keep_cosignatures(note, {name: lines[name] for name in times})
            except FederationError as why:
                log.warning("cosignatures of what is no head of this ledger: %s", why)
            else:
                self._compare(times)
        self._forget_old_key()

    def _forget_old_key(self) -> None:
        """The key of before is gone once a quorum saw that this log gave it up; see `rotation`."""
        given_up = [o.number for o in self._keys.changes if o.identity == self._key.verify_key]
        if given_up and self._old.exists() and self._is_covered(given_up[-1]):
            self._old.unlink()
            log.info(
                "a quorum has seen the change of this node's identity key: the old one is gone"
            )

    def _opened(self, note: str, lines: Mapping[str, str]) -> dict[str, int]:
        """Return when each of the witnesses of other organisations has cosigned the head.

        What a suspended member, or one that left, puts its name to now counts for nothing, nor does
        what is signed now with a key that its member gave up.
        """
        times: dict[str, int] = {}
        for name, line in lines.items():
            try:
                by = self._trust.find(name)
                if by.organisation != self._organisation and name in self._active:
                    times[name] = witness.open_cosignature(note, line, name, by.keys[-1].key)
            except FederationError as why:
                log.warning("a cosignature by %s is none: %s", name, why)
        return times

    def _compare(self, times: Mapping[str, int]) -> None:
        """Times of more than c organisations that are not this clock's: they are asked once more.

        Up to c may lie, and stop nobody by that.
        """
        said = {self._counted[name]: at for name, at in times.items() if name in self._counted}
        near = {who: at for who, at in said.items() if self._clock.is_near(at)}
        self._far = (self._far | said.keys()) - near.keys()
        if len(self._far) > self._roster.colluding:
            self._clock.forget()
        elif near and self._is_sure():
            self._advance(vouched_time(near.values(), self._roster.colluding))

    def _advance(self, at: int) -> None:
        if at >= self._written + STEP_SECONDS:
            self._books.witnessed_time(at)
            self._written = at
        self._clock.never_before(at)
