"""What the aggregator carries between the parties' ledgers and their witnesses.

It holds the latest head of every log and the cosignatures on their way to the log they are about,
and puts both into letters that leave anyway. It proves nothing and forges nothing: nodes check
every signature themselves. All of it is in memory; a node that still lacks a word after a restart
says so (`ledger.unsure`), and the word is fetched again.
"""

from collections.abc import Iterable, Mapping
from typing import Final

from aggregator.record import Record
from federation.envelopes import Envelope
from federation.errors import FederationError
from federation.ledger import notes
from federation.ledger.notes import origin_of
from federation.membership import Roster
from federation.messages import Kind
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
from secure_compute.canonical import digest_bytes

MOST_WANTED: Final = 16


class Relay:
    """Heads and cosignatures under way; the aggregator's own log is one of the logs."""

    def __init__(self, roster: Roster, record: Record) -> None:
        self._owners = {origin_of(roster.federation, m.party): m.party for m in roster.members}
        self._record = record
        self._heads: dict[PartyId, bytes] = {}
        self._shown: dict[PartyId, dict[PartyId, str]] = {}
        self._lines: dict[PartyId, dict[str, dict[str, str]]] = {}
        self._wanted: dict[PartyId, set[int]] = {}

    def take(self, reply: Envelope) -> None:
        """Read what rides in a reply; what cannot be read is as good as absent."""
        if HEAD in reply.blobs:
            self._heads[reply.sender] = reply.blobs[HEAD]
        match reply.body.get("missing"):
            case dict(missing) if reply.kind is Kind.LEDGER_COSIGNED:
                for owner, size in missing.items():
                    if type(size) is int and size > 0:
                        self._wanted.setdefault(PartyId(owner), set()).add(size)
        try:
            cosigned = unpack_cosigned(reply.blobs[COSIGNED]) if COSIGNED in reply.blobs else {}
            for note, lines in cosigned.items():
                self._deliver(note, lines)
        except FederationError:
            return

    def _deliver(self, note: str, lines: Mapping[str, str]) -> None:
        owner = self._owners.get(notes.read(note).checkpoint.origin)
        if owner == self._record.party:
            self._record.keep(note, lines)
        elif owner is not None:
            self._lines.setdefault(owner, {}).setdefault(note, {}).update(lines)

    def parts(self, party: PartyId) -> dict[str, bytes]:
        """Return the blobs for a letter to `party`: heads that it has not seen, and its lines."""
        own = self._record.party
        self._heads[own] = self._record.request(self.wanted(own))
        shown = self._shown.get(party, {})
        heads = {
            str(owner): head
            for owner, head in self._heads.items()
            if owner != party and shown.get(owner) != digest_bytes(head)
        }
        parts = {HEADS: pack(heads)} if heads else {}
        return parts | self.lines(party)

    def lines(self, party: PartyId) -> dict[str, bytes]:
        """Return the blob with the cosignatures that wait for `party`, if any do."""
        waiting = self._lines.get(party)
        return {COSIGNED: pack_cosigned(waiting)} if waiting else {}

    def wanted(self, party: PartyId) -> list[int]:
        """Return the sizes from which witnesses lacked a proof by `party`, the latest."""
        return sorted(self._wanted.get(party, ()))[-MOST_WANTED:]

    def arrived(self, party: PartyId, letter: Mapping[str, bytes]) -> None:
        """A letter with these blobs was answered by `party`: none of it is shown again."""
        shown = self._shown.setdefault(party, {})
        for owner, head in unpack(letter.get(HEADS, pack({}))).items():
            shown[PartyId(owner)] = digest_bytes(head)
        waiting = self._lines.get(party, {})
        for note, lines in unpack_cosigned(letter.get(COSIGNED, pack_cosigned({}))).items():
            left = {name: line for name, line in waiting.pop(note, {}).items() if name not in lines}
            if left:
                waiting[note] = left


def statements(replies: Iterable[Envelope], party: PartyId) -> dict[str, bytes]:
    """Return the blob with what witnesses have said about `party`."""
    words: dict[str, bytes] = {}
    for reply in replies:
        try:
            said = unpack(reply.blobs.get(SEEN, b""))
        except FederationError:
            continue
        if party in said:
            words[reply.sender] = said[party]
    return {SEEN: pack(words)}
