"""What the aggregator carries between the parties' ledgers and their witnesses.

It holds the latest head of every log and the cosignatures on their way to the log they are about,
and puts both into letters that leave anyway. It proves nothing and forges nothing: nodes check
every signature themselves. It checks them too, so that no witness can crowd out what another said.
What it holds is bounded, whoever sends what. All of it is in memory; a node that still lacks a word
after a restart says so (`ledger.unsure`), and the word is fetched again.
"""

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from aggregator.letters import UNREADABLE
from aggregator.record import Record
from federation.envelopes import Envelope
from federation.ledger import notes
from federation.ledger.notes import NamedKey, origin_of
from federation.ledger.witness import WitnessRequest, open_cosignature
from federation.membership import Member, Roster
from federation.messages import Kind
from federation.riding import (
    COSIGNED,
    FORKED,
    HEAD,
    HEADS,
    SEEN,
    pack,
    pack_cosigned,
    unpack,
    unpack_cosigned,
)
from policies.parties import PartyId

log = logging.getLogger(__name__)

MOST_WANTED: Final = 16
MOST_NOTES: Final = 4
"""Of how many heads of one log cosignatures wait; the latest cover whatever stands before them."""

MOST_BYTES: Final = 1 << 18
"""A head with proofs is smaller; a longer one is carried to nobody."""


@dataclass(frozen=True, slots=True)
class Head:
    """The latest head of one log: what is shown of it, its signed note, and its size."""

    wire: bytes
    note: str
    size: int


class Relay:
    """Heads and cosignatures under way; the aggregator's own log is one of the logs."""

    def __init__(self, roster: Roster, record: Record) -> None:
        self._members = {member.party: member for member in roster.members}
        self._keys = {
            m.party: NamedKey(origin_of(roster.federation, m.party), m.identity)
            for m in roster.members
        }
        self._owners = {key.name: party for party, key in self._keys.items()}
        self._record = record
        self._heads: dict[PartyId, Head] = {}
        self._vouched: dict[PartyId, dict[PartyId, str]] = {}
        self._lines: dict[PartyId, dict[str, dict[str, str]]] = {}
        self._wanted: dict[PartyId, dict[PartyId, int]] = {}
        self._forks: dict[PartyId, dict[PartyId, bytes]] = {}
        self._own: dict[str, dict[str, str]] = {}

    def take(self, reply: Envelope) -> None:
        """Read what rides in a reply; what cannot be read is as good as absent."""
        for part in (self._take_head, self._take_cosigned, self._take_missing, self._take_forked):
            try:
                part(reply)
            except UNREADABLE as why:
                log.warning("what %s says of ledgers cannot be read: %s", reply.sender, why)

    def keep(self) -> None:
        """What was taken about the aggregator's own log is in its ledger, all of it at once.

        What a crash loses before is said again: whoever cosigned a head is shown it once more.
        """
        for note in [*self._own]:
            self._record.keep(note, self._own.pop(note))

    def _take_head(self, reply: Envelope) -> None:
        if HEAD in reply.blobs and len(reply.blobs[HEAD]) <= MOST_BYTES:
            self._know(reply.sender, reply.blobs[HEAD])

    def _know(self, party: PartyId, wire: bytes) -> None:
        """Hold a head, unless a later one of the same log is known."""
        known = self._heads.get(party)
        if known is None or known.wire != wire:
            note = WitnessRequest.from_bytes(wire).note
            size = notes.open_note(note, self._keys[party]).size
            if known is None or size >= known.size:
                self._heads[party] = Head(wire, note, size)

    def _take_cosigned(self, reply: Envelope) -> None:
        """Take the sender's own lines, each over a head that its log signed."""
        cosigned = unpack_cosigned(reply.blobs[COSIGNED]) if COSIGNED in reply.blobs else {}
        name = self._keys[reply.sender].name
        for note, lines in cosigned.items():
            if name in lines:
                try:
                    self._deliver(reply.sender, note, lines[name])
                except UNREADABLE as why:
                    log.warning("a cosignature by %s is none: %s", reply.sender, why)

    def _deliver(self, witness: PartyId, note: str, line: str) -> None:
        key = self._keys[witness]
        owner = self._owners[notes.read(note).checkpoint.origin]
        open_cosignature(note, line, key.name, key.key)
        if owner == self._record.party:
            self._record.require_own(note)
            self._own.setdefault(note, {})[key.name] = line
        else:
            notes.open_note(note, self._keys[owner])
            waiting = self._lines.setdefault(owner, {})
            waiting.setdefault(note, {})[key.name] = line
            for old in sorted(waiting, key=_size)[:-MOST_NOTES]:
                del waiting[old]
        self._vouched.setdefault(witness, {})[owner] = note
        self._wanted.get(owner, {}).pop(witness, None)

    def _take_missing(self, reply: Envelope) -> None:
        """Remember from where a witness wants a proof; one size per witness and log."""
        match reply.body.get("missing"):
            case dict(missing) if reply.kind is Kind.LEDGER_COSIGNED:
                for owner, size in missing.items():
                    head = self._heads.get(PartyId(owner))
                    if head is not None and type(size) is int and 0 < size < head.size:
                        self._wanted.setdefault(PartyId(owner), {})[reply.sender] = size

    def _take_forked(self, reply: Envelope) -> None:
        """Carry a head that a log signed, and that the head it shows now does not continue."""
        forked = unpack(reply.blobs[FORKED]) if FORKED in reply.blobs else {}
        for name, note in forked.items():
            owner = PartyId(name)
            if owner == self._record.party:
                log.error("%s says that this aggregator's own ledger was put back", reply.sender)
            elif owner in self._keys and owner != reply.sender:
                self._record.forked(self._keys[owner], reply.sender, note.decode())
                self._forks.setdefault(owner, {})[reply.sender] = note

    def renew(self) -> None:
        """The head of the aggregator's own log is the one that is shown from now on."""
        own = self._record.party
        self._know(own, self._record.request(self.wanted(own)))

    def heads(self, party: PartyId) -> dict[str, bytes]:
        """Return the blob with the heads that `party` has not put its name to, if there are any."""
        vouched, organisation = self._vouched.get(party, {}), self._organisation(party)
        heads = {
            str(owner): head.wire
            for owner, head in self._heads.items()
            if self._organisation(owner) != organisation and vouched.get(owner) != head.note
        }
        return {HEADS: pack(heads)} if heads else {}

    def lines(self, party: PartyId) -> dict[str, bytes]:
        """Return the blobs with what witnesses said of `party`, if anything waits for it."""
        waiting, forks = self._lines.get(party), self._forks.get(party)
        return {
            **({COSIGNED: pack_cosigned(waiting)} if waiting else {}),
            **({FORKED: pack({str(w): note for w, note in forks.items()})} if forks else {}),
        }

    def wanted(self, party: PartyId) -> list[int]:
        """Return the sizes from which witnesses lacked a proof by `party`, the latest."""
        return sorted({*self._wanted.get(party, {}).values()})[-MOST_WANTED:]

    def arrived(self, party: PartyId, letter: Mapping[str, bytes]) -> None:
        """A letter with these blobs was answered by `party`: its lines wait no longer."""
        waiting = self._lines.get(party, {})
        for note, lines in unpack_cosigned(letter.get(COSIGNED, pack_cosigned({}))).items():
            left = {
                name: line
                for name, line in waiting.pop(note, {}).items()
                if lines.get(name) != line
            }
            if left:
                waiting[note] = left
        if FORKED in letter:
            self._forks.pop(party, None)

    def _organisation(self, party: PartyId) -> str:
        member: Member = self._members[party]
        return member.organisation


def _size(note: str) -> int:
    return notes.read(note).checkpoint.size


def statements(replies: Iterable[Envelope], party: PartyId) -> dict[str, bytes]:
    """Return the blob with what witnesses have said about `party`."""
    words: dict[str, bytes] = {}
    for reply in replies:
        try:
            said = unpack(reply.blobs.get(SEEN, b""))
        except UNREADABLE:
            continue
        if party in said:
            words[reply.sender] = said[party]
    return {SEEN: pack(words)}
