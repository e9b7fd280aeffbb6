"""Who is in the federation, as a chain of epochs that its members signed.

    [{"signatures": {"warehouse-cn": "9f…", …}, "statement": {"roster": "founding", …}},
     {"signatures": {"keyholder-ch": "07…", …}, "statement": {"roster": "change", …}}, …]

The file says everything again each time and is believed for what it holds, whoever hands it over:
its first statement is the one whose SHA-256 this party pinned, and every founding member signed it;
each further one names the one before by its SHA-256, and those signed it who may (`roster_rules`).
There is no founder's key, and no certificate counts for anything.

A party's own signature under a change is that of the key it has afterwards, as a proof that it has
it; behind it stands that of the key it had, where it gives one up itself.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from federation.errors import (
    ForkedRosterError,
    MalformedMessageError,
    OlderRosterError,
    UntrustedRosterError,
)
from federation.membership import Member, Roster
from federation.roster_changes import (
    Admit,
    Change,
    Founding,
    Rekey,
    Remove,
    Restore,
    Suspend,
    change_statement,
    founding_statement,
    read_change,
    read_founding,
)
from federation.roster_rules import applied, require_allowed, require_founding, require_signed
from policies.parties import PartyId
from secure_compute import canonical
from secure_compute.canonical import JSON
from secure_compute.errors import BadSignatureError, LocalProtocolError, NotCanonicalError
from secure_compute.primitives.signature import SIGNATURE_SIZE, VerifyKey

__all__ = [
    "Admit",
    "Change",
    "Epoch",
    "Founding",
    "Rekey",
    "Remove",
    "Restore",
    "Suspend",
    "change_statement",
    "extended",
    "found_roster",
    "founding_statement",
    "history",
    "open_roster",
    "pin_of",
    "require_pin",
    "require_successor",
]

_PIN: Final = re.compile(r"[0-9a-f]{64}", re.ASCII)

_NO_CHAIN: Final = "the roster is no chain of epochs that members signed; restore it from a copy"
_EARLIER: Final = (
    "the roster is of an earlier version, in which one founder's key signed it; no member agreed "
    "to it, so it is not converted: found the federation anew, beside this folder"
)

MOST_BYTES: Final = 8 << 20
"""A chain of 50 members that changed 10,000 times has about half of that."""

_REMEMBERED: Final = 8
"""How many chains stay verified in memory; a party reads one, and the longer one offered."""


@dataclass(frozen=True, slots=True)
class Epoch:
    """One verified link: what it made of the roster, by which change (None: founding), by whom.

    by_itself: whether the party in question signed with the key that it had before.
    """

    roster: Roster
    change: Change | None
    signers: tuple[PartyId, ...]
    by_itself: bool = False


@dataclass(frozen=True, slots=True)
class _Link:
    """A statement's canonical bytes and the signatures over them, by party."""

    signed: bytes
    signatures: Mapping[PartyId, bytes]

    @property
    def digest(self) -> str:
        return canonical.digest_bytes(self.signed)

    @property
    def statement(self) -> JSON:
        return canonical.decode(self.signed)

    def to_json(self) -> dict[str, JSON]:
        return {
            "statement": self.statement,
            "signatures": {party: word.hex() for party, word in self.signatures.items()},
        }


def open_roster(wire: bytes, pin: str) -> Roster:
    """Verify a chain from the founding that was pinned to its end, and return its last epoch.

    pin: the SHA-256 of the founding, as `node.toml` has it since this party joined.

    Raises:
        UntrustedRosterError: it is of another founding, or a signature is missing or wrong.
        MalformedMessageError: it is no chain of this version.
    """
    return history(wire, pin)[-1].roster


@lru_cache(_REMEMBERED)
def history(wire: bytes, pin: str) -> tuple[Epoch, ...]:
    """Return every epoch of a chain, the founding first, each verified; errors: `open_roster`.

    The same bytes under the same pin are verified once: a chain is read far more often than it
    grows. One that is not good is verified each time.
    """
    first, *further = _links(wire)
    epochs = [_founded(first, pin)]
    for link in further:
        epochs.append(_changed(epochs[-1].roster, link))
    return tuple(epochs)


def pin_of(data: bytes) -> str:
    """Return the pin of a chain, or of a founding statement that nobody signed yet.

    Raises:
        MalformedMessageError: it is neither.
    """
    value = _decoded(data)
    return _links(data)[0].digest if isinstance(value, list) else canonical.digest_bytes(data)


def require_pin(value: object) -> str:
    """Return what a file has as its pin, if it is one.

    Raises:
        LocalProtocolError: it is no SHA-256.
    """
    if not isinstance(value, str) or not _PIN.fullmatch(value):
        raise LocalProtocolError("the pin is 64 lower-case hexadecimal digits of the founding")
    return value


def found_roster(statement: bytes, signatures: Mapping[PartyId, bytes]) -> bytes:
    """Return the chain of a federation that was just founded.

    statement: of `founding_statement`; signatures: over it, of every founding member.

    Raises:
        UntrustedRosterError: a signature is missing or wrong, or nobody may found so.
    """
    _decoded(statement)
    wire = _encode([_Link(statement, signatures)])
    open_roster(wire, canonical.digest_bytes(statement))
    return wire


def extended(wire: bytes, pin: str, change: Change, signatures: Mapping[PartyId, bytes]) -> bytes:
    """Return the chain with one epoch more.

    signatures: over `change_statement` of its last epoch; the party's own as this module has it.

    Raises:
        RosterChangeError: the change is none, or those who signed are too few to make it.
        UntrustedRosterError: a signature is wrong, or the chain itself is.
    """
    statement = change_statement(open_roster(wire, pin), change)
    longer = _encode([*_links(wire), _Link(statement, signatures)])
    open_roster(longer, pin)
    return longer


def require_successor(old: bytes, new: bytes, pin: str) -> Roster:
    """Return the last epoch of `new`, which begins with all of `old` or is as long.

    Raises:
        OlderRosterError: `new` ends before `old` does.
        ForkedRosterError: they part ways.
        UntrustedRosterError, MalformedMessageError: as `open_roster` has it, of `new`.
    """
    here, there = _links(old), history(new, pin)
    shared = min(len(here), len(there))
    if here[shared - 1].digest != there[shared - 1].roster.digest:
        raise ForkedRosterError(
            f"the roster offered has another epoch {_parted(here, there)} than this one, and both "
            "are signed: keep both files and ask the members that signed them"
        )
    if len(there) < len(here):
        raise OlderRosterError(
            f"the roster offered ends at epoch {len(there)} and this party is at {len(here)} "
            "already; whoever offers it holds something back, or is late"
        )
    return there[-1].roster


def _parted(here: Sequence[_Link], there: Sequence[Epoch]) -> int:
    pairs = enumerate(zip(here, there, strict=False), 1)
    return next(place for place, (a, b) in pairs if a.digest != b.roster.digest)


def _founded(link: _Link, pin: str) -> Epoch:
    if link.digest != pin:
        raise UntrustedRosterError(
            f"the roster begins with the founding {link.digest[:16]}… and this party pinned "
            f"{pin[:16]}… when it joined: it is of another federation, or somebody founded it anew"
        )
    founding = read_founding(link.statement)
    require_founding(founding)
    for member in founding.members:
        _require_signature(link, member.party, member.identity)
    _require_nobody_else(link, founding.members)
    roster = Roster(founding.federation, 1, founding.members, link.digest, founding.colluding)
    return Epoch(roster, None, tuple(sorted(link.signatures)))


def _changed(roster: Roster, link: _Link) -> Epoch:
    change = read_change(link.statement)
    if link.signed != change_statement(roster, change):
        raise UntrustedRosterError(
            f"what follows epoch {roster.epoch} of {roster.federation} was signed for another "
            "place: of another federation, after another epoch, or out of order"
        )
    require_allowed(roster, change)
    others = [party for party in sorted(link.signatures) if party != change.party]
    for party in others:
        _require_signature(link, party, _key_of(roster, party))
    by_itself = _is_by_itself(roster, change, link)
    require_signed(roster, change, others, by_itself=by_itself)
    made = applied(roster, change, link.digest)
    return Epoch(made, change, tuple(sorted(link.signatures)), by_itself)


def _is_by_itself(roster: Roster, change: Change, link: _Link) -> bool:
    """Whether the party signed with the key it has on `roster`; every signature of its is checked.

    Raises:
        UntrustedRosterError: one is wrong, or that of a new key is missing.
    """
    match change:
        case Admit(member):
            _require_signature(link, member.party, member.identity)
            return False
        case Rekey(party, identity, _):
            both = link.signatures.get(party, b"")
            new, old = both[:SIGNATURE_SIZE], both[SIGNATURE_SIZE:]
            _require(new, party, identity, link)
            if old:
                _require(old, party, _key_of(roster, party), link)
            return bool(old)
        case Remove(party) | Suspend(party) | Restore(party):
            if party in link.signatures:
                _require_signature(link, party, _key_of(roster, party))
            return party in link.signatures


def _key_of(roster: Roster, party: PartyId) -> VerifyKey:
    for member in roster.members:
        if member.party == party:
            return member.identity
    raise UntrustedRosterError(
        f"epoch {roster.epoch + 1} is signed by {party!r}, who is no member at epoch {roster.epoch}"
    )


def _require_nobody_else(link: _Link, members: Sequence[Member]) -> None:
    strangers = sorted(link.signatures.keys() - {member.party for member in members})
    if strangers:
        raise UntrustedRosterError(f"the founding is signed by {strangers[0]!r}, who is not in it")


def _require_signature(link: _Link, party: PartyId, key: VerifyKey) -> None:
    if party not in link.signatures:
        raise UntrustedRosterError(f"a statement of the roster lacks the signature of {party}")
    _require(link.signatures[party], party, key, link)


def _require(signature: bytes, party: PartyId, key: VerifyKey, link: _Link) -> None:
    try:
        key.verify(signature, link.signed)
    except BadSignatureError as why:
        raise UntrustedRosterError(
            f"a statement of the roster is not signed by the key that {party} has there"
        ) from why


def _encode(links: Sequence[_Link]) -> bytes:
    return canonical.encode([link.to_json() for link in links])


def _links(wire: bytes) -> list[_Link]:
    value = _decoded(wire)
    if not isinstance(value, list) or not value:
        raise MalformedMessageError(_NO_CHAIN)
    return [_link(link) for link in value]


def _link(value: JSON) -> _Link:
    if isinstance(value, Mapping) and value.keys() == {"statement", "signatures"}:
        statement, signatures = value["statement"], value["signatures"]
        if isinstance(statement, Mapping) and isinstance(signatures, Mapping):
            words = {PartyId(party): _bytes(word) for party, word in signatures.items()}
            return _Link(canonical.encode(statement), words)
    raise MalformedMessageError("an epoch of the roster is no statement with signatures")


def _bytes(word: JSON) -> bytes:
    try:
        read = bytes.fromhex(word) if isinstance(word, str) else b""
    except ValueError:
        read = b""
    if read.hex() != word or len(read) not in {SIGNATURE_SIZE, 2 * SIGNATURE_SIZE}:
        raise MalformedMessageError("a signature of the roster is no signature")
    return read


def _decoded(data: bytes) -> JSON:
    if len(data) > MOST_BYTES:
        raise MalformedMessageError(f"the roster is larger than {MOST_BYTES >> 20} MiB")
    try:
        return canonical.decode(data)
    except NotCanonicalError as why:
        if data[SIGNATURE_SIZE:].startswith(b'{"epoch":'):
            raise UntrustedRosterError(_EARLIER) from why
        raise MalformedMessageError(_NO_CHAIN) from why
