"""What this node says as a witness of the logs of others.

Each head is verified before anything is locked, then compared with the last one seen and written
down in one transaction, and only then cosigned: of two continuations shown at the same moment, at
most one gets this node's name.
"""

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from clients.books import Books
from clients.clock import Clock
from clients.settings import NodeSettings
from federation.envelopes import Envelope
from federation.errors import (
    FederationError,
    InconsistentLogError,
    OlderHeadError,
    UnknownPartyError,
    UnprovenHeadError,
)
from federation.ledger import notes, witness
from federation.ledger.notes import NamedKey, SignedHead, origin_of
from federation.ledger.witness import WitnessRequest
from federation.membership import Roster
from federation.riding import COSIGNED, FORKED, HEADS, SEEN, pack, pack_cosigned, unpack
from policies.parties import PartyId
from secure_compute.canonical import JSON

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Vouched:
    """What a witness says of the heads in a letter.

    blobs:   the one with its cosignatures, if there are any; and the one with heads that their logs
             once signed and do not continue, if any log showed such a thing.
    missing: by party, the size from which a head should have brought a proof and did not.
    """

    blobs: Mapping[str, bytes]
    missing: Mapping[str, int]


class Vouching:
    """One party as a witness."""

    def __init__(self, settings: NodeSettings, roster: Roster, books: Books, clock: Clock) -> None:
        self._party = settings.party
        self._organisation = settings.organisation
        self._key = settings.identity
        self._roster = roster
        self._books = books
        self._clock = clock
        self._origin = origin_of(roster.federation, settings.party)

    def vouch(self, letter: Envelope) -> Vouched:
        """Return what this node says of the heads in a letter; those it cosigns are written down.

        A head that cannot be cosigned is passed over and fails nothing.
        """
        shown = unpack(letter.blobs[HEADS]) if HEADS in letter.blobs else {}
        signed = dict(self._signed(shown))
        at = int(self._clock.now())
        found = self._books.vouch(signed, at) if signed else {}
        good = [signed[owner][0].note for owner, head in found.items() if _is_good(owner, head)]
        missing = {o: why.since for o, why in found.items() if isinstance(why, UnprovenHeadError)}
        return Vouched({**self._cosigned(good, at), **self._forked(found)}, missing)

    def _signed(
        self, shown: Mapping[str, bytes]
    ) -> Iterator[tuple[str, tuple[WitnessRequest, NamedKey]]]:
        """Yield the heads that the parties named beside them have signed."""
        for owner, head in shown.items():
            try:
                request, key = WitnessRequest.from_bytes(head), self._key_of(owner)
                notes.open_note(request.note, key)
                yield owner, (request, key)
            except FederationError as why:
                log.warning("the head of %s is not cosigned: %s", owner, why)

    def _key_of(self, owner: str) -> NamedKey:
        member = self._roster.find(PartyId(owner))
        if member.organisation == self._organisation:
            raise UnknownPartyError(f"{owner} is of this organisation, whose word does not count")
        return NamedKey(origin_of(self._roster.federation, member.party), member.identity)

    def _cosigned(self, shown: list[str], at: int) -> dict[str, bytes]:
        if not shown:
            return {}
        lines = {
            note: {self._origin: witness.cosign(note, self._origin, self._key, at)}
            for note in shown
        }
        return {COSIGNED: pack_cosigned(lines)}

    def _forked(self, found: Mapping[str, SignedHead | FederationError]) -> dict[str, bytes]:
        """Return the blob with what those logs signed before that now show something else."""
        forked = {}
        for owner, why in found.items():
            harmless = isinstance(why, OlderHeadError | UnprovenHeadError)
            if isinstance(why, InconsistentLogError) and not harmless:
                last = self._books.last_seen(self._key_of(owner).name)
                if last is not None:
                    forked[owner] = last.note.encode()
        return {FORKED: pack(forked)} if forked else {}

    def say_seen(self, about: Mapping[str, JSON]) -> dict[str, bytes]:
        """Return the blob with what this node saw last of each log in `about`, by its nonce."""
        words = {}
        for owner, nonce in about.items():
            member = self._roster.find(PartyId(owner))
            origin = origin_of(self._roster.federation, member.party)
            last, at = self._books.last_seen(origin), int(self._clock.now())
            words[owner] = witness.sign_seen(origin, last, str(nonce), at, self._party, self._key)
        return {SEEN: pack(words)}


def _is_good(owner: str, found: SignedHead | FederationError) -> bool:
    if not isinstance(found, FederationError):
        return True
    if not isinstance(found, OlderHeadError):  # that one was merely late
        log.warning("the head of %s is not cosigned: %s", owner, found)
    return False
