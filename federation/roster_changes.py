"""What may change about who is in a federation: five changes, as values that members sign.

    roster   federation   epoch   previous   change
    change   test         7       4be1…      {"admit": {"party": "warehouse-br", …}}

`previous` is the SHA-256 of the statement before, so that a signature fits one chain, one epoch of
it and one change. The first statement is the founding; its SHA-256 is the federation's pin.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from federation.errors import MalformedMessageError
from federation.membership import Member, Roster
from policies.parties import PartyId
from secure_compute import canonical
from secure_compute.canonical import JSON
from secure_compute.errors import LocalProtocolError
from secure_compute.primitives.hpke import SealingKey
from secure_compute.primitives.signature import VerifyKey

VERSION: Final = 2
_FIELDS: Final = 5


@dataclass(frozen=True, slots=True)
class Admit:
    """Somebody new is in."""

    member: Member

    @property
    def party(self) -> PartyId:
        """Who it is."""
        return self.member.party


@dataclass(frozen=True, slots=True)
class Rekey:
    """A member has other keys from now on.

    sealing: None: the one that it has, if any.
    """

    party: PartyId
    identity: VerifyKey
    sealing: SealingKey | None = None


@dataclass(frozen=True, slots=True)
class Remove:
    """A member is out for good; its name is never given again."""

    party: PartyId


@dataclass(frozen=True, slots=True)
class Suspend:
    """A member takes part in nothing until it is restored."""

    party: PartyId


@dataclass(frozen=True, slots=True)
class Restore:
    """A suspended member takes part again."""

    party: PartyId


Change: TypeAlias = Admit | Rekey | Remove | Suspend | Restore


@dataclass(frozen=True, slots=True)
class Founding:
    """The first link, read: who founded which federation, against how many colluders."""

    federation: str
    members: tuple[Member, ...]
    colluding: int


def founding_statement(federation: str, members: Sequence[Member], colluding: int) -> bytes:
    """Return what every founding member signs."""
    return canonical.encode(
        {
            "roster": "founding",
            "version": VERSION,
            "federation": federation,
            "colluding": colluding,
            "members": [member.to_json() for member in members],
        }
    )


def read_founding(value: JSON) -> Founding:
    """Read what `founding_statement` wrote.

    Raises:
        MalformedMessageError: it is no founding of this version.
    """
    if isinstance(value, Mapping) and len(value) == _FIELDS:
        match value:
            case {
                "roster": "founding",
                "version": 2,
                "federation": str(federation),
                "colluding": int(colluding),
                "members": list(members),
            }:
                return Founding(federation, tuple(map(read_member, members)), colluding)
    raise MalformedMessageError("the roster does not begin with a founding of this version")


def change_statement(roster: Roster, change: Change) -> bytes:
    """Return what those sign who make `change` to `roster`."""
    return canonical.encode(
        {
            "roster": "change",
            "version": VERSION,
            "federation": roster.federation,
            "epoch": roster.epoch + 1,
            "previous": roster.digest,
            "change": _spelt(change),
        }
    )


def read_change(value: JSON) -> Change:
    """Return the change of a statement; whether it fits its place is the chain's to say.

    Raises:
        MalformedMessageError: it is no change of this version.
    """
    match value:
        case {"roster": "change", "version": 2, "change": dict(change)} if len(change) == 1:
            word, about = next(iter(change.items()))
            return _change(word, about)
    raise MalformedMessageError("an epoch of the roster is no change of this version")


def read_member(value: object) -> Member:
    """Read a member as it stands in a statement.

    Raises:
        MalformedMessageError: it is none.
    """
    if not isinstance(value, Mapping):
        raise MalformedMessageError("a member of the roster is malformed")
    try:
        return Member.from_json(value)
    except (ValueError, LocalProtocolError) as why:
        raise MalformedMessageError("a member of the roster is malformed") from why


def _spelt(change: Change) -> dict[str, JSON]:
    match change:
        case Admit(member):
            return {"admit": member.to_json()}
        case Rekey(party, identity, sealing):
            also = {} if sealing is None else {"sealing": sealing.hex}
            return {"rekey": {"party": party, "identity": identity.hex, **also}}
        case Remove(party):
            return {"remove": party}
        case Suspend(party):
            return {"suspend": party}
        case Restore(party):
            return {"restore": party}


def _change(word: str, about: JSON) -> Change:
    match word, about:
        case "admit", {**member}:
            return Admit(read_member(member))
        case "rekey", {"party": str(party), "identity": str(identity), **rest}:
            return Rekey(PartyId(party), _key(identity), _sealing(rest))
        case "remove", str(party):
            return Remove(PartyId(party))
        case "suspend", str(party):
            return Suspend(PartyId(party))
        case "restore", str(party):
            return Restore(PartyId(party))
    raise MalformedMessageError(f"an epoch of the roster says {word[:20]!r}, which changes nothing")


def _sealing(rest: Mapping[object, object]) -> SealingKey | None:
    match rest:
        case {"sealing": str(key)} if len(rest) == 1:
            try:
                return SealingKey(key)
            except LocalProtocolError as why:
                raise MalformedMessageError("a new sealing key of the roster is none") from why
        case _ if rest:
            raise MalformedMessageError("a new key of the roster has other fields than a key has")
    return None


def _key(text: str) -> VerifyKey:
    try:
        return VerifyKey(text)
    except LocalProtocolError as why:
        raise MalformedMessageError("a new key of the roster is none") from why
