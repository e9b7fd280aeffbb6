"""Who is in the federation. Nothing unverified is ever inside a `Roster`."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from federation.errors import MalformedMessageError, UnknownPartyError, UntrustedRosterError
from policies.parties import Jurisdiction, PartyId, Role
from secure_compute import canonical
from secure_compute.canonical import JSON
from secure_compute.errors import BadSignatureError, LocalProtocolError, NotCanonicalError
from secure_compute.primitives.signature import SIGNATURE_SIZE, SigningKey, VerifyKey

VERSION: Final = 1


@dataclass(frozen=True, slots=True)
class Member:
    """One party: who it is, where its data lives, and the key its words are checked with."""

    party: PartyId
    organisation: str
    role: Role
    jurisdiction: Jurisdiction
    identity: VerifyKey

    def to_json(self) -> dict[str, JSON]:
        """Return the canonical form."""
        return {
            "party": self.party,
            "organisation": self.organisation,
            "role": self.role.value,
            "jurisdiction": self.jurisdiction.value,
            "identity": self.identity.hex,
        }

    @classmethod
    def from_json(cls, value: Mapping[str, JSON]) -> "Member":
        """Read what `to_json` wrote."""
        match value:
            case {
                "party": str(party),
                "organisation": str(organisation),
                "role": str(role),
                "jurisdiction": str(jurisdiction),
                "identity": str(identity),
            } if len(value) == 5:
                return cls(
                    PartyId(party),
                    organisation,
                    Role(role),
                    Jurisdiction(jurisdiction),
                    VerifyKey(identity),
                )
        raise MalformedMessageError("a member of the roster is malformed")


@dataclass(frozen=True, slots=True)
class Roster:
    """The membership at one moment, as the federation's key signed it."""

    federation: str
    epoch: int
    members: tuple[Member, ...]

    def __post_init__(self) -> None:
        names = [member.party for member in self.members]
        if len(set(names)) != len(names):
            raise MalformedMessageError("a party stands twice on the roster")

    def find(self, party: PartyId) -> Member:
        """Return the member called `party`.

        Raises:
            UnknownPartyError: nobody is called so.
        """
        for member in self.members:
            if member.party == party:
                return member
        raise UnknownPartyError(f"{party!r} is not on the roster of {self.federation}")

    def with_role(self, *roles: Role) -> tuple[Member, ...]:
        """Return the members that hold one of `roles`, in roster order."""
        return tuple(member for member in self.members if member.role in roles)

    def to_json(self) -> dict[str, JSON]:
        """Return the canonical form."""
        return {
            "version": VERSION,
            "federation": self.federation,
            "epoch": self.epoch,
            "members": [member.to_json() for member in self.members],
        }


def sign_roster(roster: Roster, key: SigningKey) -> bytes:
    """Return the roster's canonical bytes behind the federation's signature."""
    body = canonical.encode(roster.to_json())
    return key.sign(body) + body


def open_roster(wire: bytes, pin: VerifyKey) -> Roster:
    """Verify a roster against the pinned federation key, then read it.

    Raises:
        UntrustedRosterError: another key signed it, or the bytes were altered.
        MalformedMessageError: it is signed, but it is no roster of this version.
    """
    signature, body = wire[:SIGNATURE_SIZE], wire[SIGNATURE_SIZE:]
    try:
        pin.verify(signature, body)
    except BadSignatureError as why:
        raise UntrustedRosterError(
            "the roster is not signed by the federation key this node pinned; "
            "ask the aggregator for the roster it sent you when you joined"
        ) from why
    return _read(body)


def _read(body: bytes) -> Roster:
    try:
        match canonical.decode(body):
            case {
                "version": 1,
                "federation": str(federation),
                "epoch": int(epoch),
                "members": list(members),
            } if all(isinstance(member, dict) for member in members):
                read = (Member.from_json(member) for member in members if isinstance(member, dict))
                return Roster(federation, epoch, tuple(read))
    except (NotCanonicalError, LocalProtocolError, ValueError) as why:
        raise MalformedMessageError("the roster is malformed") from why
    raise MalformedMessageError("the roster is of another version")
