"""The aggregator's own ledger, in `ledger.sqlite`: what was proposed, refused and released.

It is a log like every party's, and the parties witness it like every other. The officer reads here
who declined and why; the data team is told that parties declined, and how many.
"""

import logging
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from sqlalchemy.engine import Connection

from federation.errors import FederationError, UntrustedNoteError
from federation.ledger import notes, sightings, witness
from federation.ledger.entries import Encoded, Entry, EntryKind, decode
from federation.ledger.epochs import news, require_known
from federation.ledger.export import LogExport
from federation.ledger.notes import NamedKey, SignedHead, origin_of
from federation.ledger.places import claim
from federation.ledger.store import Log, open_engine, reading, writing
from federation.ledger.trust import Trust
from federation.ledger.witness import WitnessRequest
from federation.membership import Roster
from federation.orders import WorkOrder
from policies.parties import PartyId
from policies.transfers import rule_for
from secure_compute.canonical import JSON, digest
from secure_compute.primitives.signature import SigningKey

log = logging.getLogger(__name__)


class Record:
    """The log of one aggregator; every process of it may write.

    Raises:
        ForeignLedgerError: the database is no ledger of this version, or another party's.
        SilentLedgerError: a server does not answer.
    """

    def __init__(
        self,
        where: Path | str,
        party: PartyId,
        key: SigningKey,
        roster: Roster,
        now: Callable[[], float],
    ) -> None:
        self.party = party
        self._roster = roster
        self._trust = Trust.of(roster)
        self._now = now
        origin = origin_of(roster.federation, party)
        self._named = NamedKey(origin, key.verify_key)
        self._log = Log(open_engine(where), origin, key)
        claim(self._log.engine, origin)
        self._lock = threading.Lock()
        self._read = 0
        self._known: set[str] = set()
        self._sighted: set[str] = set()

    def proposed(self, order_id: str, order: WorkOrder) -> None:
        """An order came onto the table; it is written down once."""
        body: dict[str, JSON] = {
            "proposer": order.proposer,
            "purpose": order.purpose,
            "contract": ", ".join(read.contract for read in order.reads),
            "epsilon": order.epsilon,
        }
        self._once(EntryKind.PROPOSED, order_id, body)

    def refused(self, order_id: str, party: PartyId, refusal: Mapping[str, JSON]) -> None:
        """A party declined, and why: the party's name stands before the ids of its reasons."""
        match refusal:
            case {"kind": str(kind), "reasons": list(reasons)}:
                found = [reason.get("id") for reason in reasons if isinstance(reason, Mapping)]
                ids = [id_ for id_ in found if isinstance(id_, str)]
                body: dict[str, JSON] = {"policy": "", "kind": kind, "reasons": [party, *ids]}
                self._once(EntryKind.REFUSED, order_id, body)

    def turned_away(self, law: str, words: Sequence[str]) -> None:
        """Somebody was refused at a door under this law; each kind of refusal is one entry.

        words: the method, what kind of caller and of which role, then the rules; no person.
        """
        body: dict[str, JSON] = {"policy": law, "kind": "access", "reasons": list(words)}
        self._once(EntryKind.REFUSED, "", body)

    def countersigned(self, order_id: str, party: PartyId, law: str) -> None:
        """A person put this party's name to an order, under this law of the doors; no person."""
        body: dict[str, JSON] = {"policy": law, "reasons": [f"countersigned={party}"]}
        self._once(EntryKind.APPROVED, order_id, body)

    def released(self, order_id: str, order: WorkOrder) -> None:
        """A result is about to leave for the order's recipients; once per order.

        Raises:
            NoMechanismError: no rule covers its way to one of them.
        """
        rules = {
            self._rule(recipient, order.unit != "commercial") for recipient in order.recipients
        }
        rule = ":".join(sorted(rules))
        body: dict[str, JSON] = {"recipients": list(order.recipients), "rule": rule}
        self._once(EntryKind.RELEASED, order_id, body)

    def delivered(self, order_id: str, past: str, recipients: Sequence[PartyId]) -> None:
        """The past release of the order `past` was given out again."""
        body: dict[str, JSON] = {"past": past, "recipients": [str(p) for p in recipients]}
        self._once(EntryKind.DELIVERED, order_id, body)

    def roster_changed(self, roster: Roster) -> None:
        """The federation is at this epoch; it is written down once, the founding never."""
        with self._lock, writing(self._log.engine) as connection:
            known = map(decode, self._log.entries(connection))
            self._log.append(connection, news(known, roster, int(self._now())))

    def require_known(self, epochs: Sequence[Roster]) -> None:
        """Return if the chain has every epoch that this ledger knows, and as it was.

        Raises:
            ForkedRosterError, OlderRosterError: see `ledger.epochs.require_known`.
        """
        require_known(self.entries(), epochs)

    def forked(self, owner: NamedKey, witness: PartyId, note: str) -> None:
        """A witness holds a signed head that, it says, the log of `owner` does not continue today.

        It is written down once per log, with its signature; who is right shows when logs are
        verified together.

        Raises:
            UntrustedNoteError: that log never signed it.
        """
        head = notes.open_note(note, owner)
        entry = sightings.entry_of(head, int(self._now()))
        with self._lock, writing(self._log.engine) as connection:
            self._catch_up(self._log.entries(connection, self._read))
            if head.origin in self._sighted:
                return
            self._log.append(connection, [entry])
        log.error(
            "%s says that the ledger of %s does not continue the head of %d entries that it "
            "signed before; the operators of both must say why",
            witness,
            head.origin,
            head.size,
        )

    def request(self, also: Iterable[int] = ()) -> bytes:
        """Return the head of this log with its proofs, for others to cosign.

        also: further sizes from which a witness wants a proof.
        """
        with writing(self._log.engine) as connection:
            note = self._log.checkpoint(connection)
            sizes = {*self._log.shown(connection), *also}
            proofs = self._log.proofs(connection, sorted(sizes)[-witness.MAX_PROOFS :])
        return WitnessRequest(note, proofs).to_bytes()

    def keep(self, note: str, lines: Mapping[str, str]) -> None:
        """Keep the cosignatures, by witness, of a head of this log; only those that are genuine.

        Raises:
            UntrustedNoteError: this log never signed that head, or it is not of this history.
        """
        head = notes.open_note(note, self._named)
        genuine = {name: line for name, line in lines.items() if self._is_genuine(note, line, name)}
        with writing(self._log.engine) as connection:
            self._require_own(connection, head)
            for name, line in genuine.items():
                self._log.keep_cosignature(connection, head.size, name, line)

    def require_own(self, note: str) -> None:
        """Return if this log signed that head and has it in its history; nothing is written.

        Raises:
            UntrustedNoteError: it did not, or it has not.
        """
        head = notes.open_note(note, self._named)
        with reading(self._log.engine) as connection:
            self._require_own(connection, head)

    def _require_own(self, connection: Connection, head: SignedHead) -> None:
        there = head.size <= self._log.size(connection)
        if not there or self._log.root(connection, head.size) != head.root:
            raise UntrustedNoteError(f"{head.origin} has no such head at {head.size} entries")

    def exported(self) -> LogExport | None:
        """Return the log up to the last head that it showed to others; None if it showed none."""
        with reading(self._log.engine) as connection:
            return self._log.exported(connection, self._trust)

    def entries(self) -> list[Entry]:
        """Return everything that was written down, in order."""
        with reading(self._log.engine) as connection:
            return [decode(entry) for entry in self._log.entries(connection)]

    def _rule(self, recipient: PartyId, personal: bool) -> str:
        here, there = (self._roster.find(p).jurisdiction for p in (self.party, recipient))
        return rule_for(here, there, personal).id

    def _is_genuine(self, note: str, line: str, name: str) -> bool:
        try:
            witness.open_cosignature(note, line, name, self._trust.find(name).keys[-1].key)
        except FederationError as why:
            log.warning("a cosignature by %s is none: %s", name, why)
            return False
        return True

    def _once(self, kind: EntryKind, order_id: str, body: Mapping[str, JSON]) -> None:
        entry = Entry(kind, int(self._now()), order_id, body)
        with self._lock, writing(self._log.engine) as connection:
            self._catch_up(self._log.entries(connection, self._read))
            if _said(entry) not in self._known:
                self._log.append(connection, [entry])

    def _catch_up(self, new: Sequence[Encoded]) -> None:
        """Take note of what was appended since, by whichever process; each entry is read once."""
        for entry in map(decode, new):
            self._known.add(_said(entry))
            if entry.kind is EntryKind.CHECKPOINT_SEEN:
                self._sighted.add(str(entry.body["origin"]))
        self._read += len(new)


def _said(entry: Entry) -> str:
    """Return the digest of what an entry says, whenever it was said."""
    return digest([entry.kind.value, entry.order, dict(entry.body)])
