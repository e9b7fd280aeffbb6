"""Who is in the federation. Nothing unverified is ever inside a `Roster`."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from federation.errors import MalformedMessageError, SuspendedPartyError, UnknownPartyError
from policies.parties import Jurisdiction, PartyId, Role
from secure_compute.canonical import JSON
from secure_compute.primitives.hpke import SealingKey
from secure_compute.primitives.signature import VerifyKey

VERSION: Final = 2

THRESHOLD: Final = 2
"""How many keyholders open together, where nobody says otherwise."""


@dataclass(frozen=True, slots=True)
class Member:
    """One party: who it is, where its data lives, and its two keys.

    identity: its words are checked with it.
    sealing:  what is written to it is sealed with it; None on rosters of before messages were
              sealed, which stay readable: nothing is sent to such a member.
    """

    party: PartyId
    organisation: str
    role: Role
    jurisdiction: Jurisdiction
    identity: VerifyKey
    sealing: SealingKey | None = None

    def to_json(self) -> dict[str, JSON]:
        """Return the canonical form."""
        sealing = {} if self.sealing is None else {"sealing": self.sealing.hex}
        return {
            "party": self.party,
            "organisation": self.organisation,
            "role": self.role.value,
            "jurisdiction": self.jurisdiction.value,
            "identity": self.identity.hex,
            **sealing,
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
                **rest,
            } if rest.keys() <= {"sealing"}:
                return cls(
                    PartyId(party),
                    organisation,
                    Role(role),
                    Jurisdiction(jurisdiction),
                    VerifyKey(identity),
                    _sealing(rest),
                )
        raise MalformedMessageError("a member of the roster is malformed")


def _sealing(value: Mapping[str, JSON]) -> SealingKey | None:
    match value:
        case {"sealing": str(key)}:
            return SealingKey(key)
        case {"sealing": _}:
            raise MalformedMessageError("a sealing key of the roster is no key")
    return None


@dataclass(frozen=True, slots=True)
class Roster:
    """The membership at one epoch; `roster_chain` alone reads one from bytes.

    digest:    SHA-256 of the statement that made this epoch.
    colluding: how many organisations may lie together: c.
    suspended: members that are in no cohort, open nothing and witness nothing. They count in every
               total all the same: whoever suspends makes no quorum smaller.
    former:    members as they were: who left, and the keys that members gave up. Nothing new of
               theirs is believed; what they signed before stays what it was.
    """

    federation: str
    epoch: int
    members: tuple[Member, ...]
    digest: str = ""
    colluding: int = 1
    suspended: frozenset[PartyId] = frozenset()
    former: tuple[Member, ...] = ()

    def __post_init__(self) -> None:
        names = [member.party for member in self.members]
        if len(set(names)) != len(names):
            raise MalformedMessageError("a party stands twice on the roster")
        if not self.suspended <= set(names):
            raise MalformedMessageError("a party that is no member is suspended")

    def find(self, party: PartyId) -> Member:
        """Return the member called `party`.

        Raises:
            UnknownPartyError: nobody is called so.
        """
        for member in self.members:
            if member.party == party:
                return member
        left = any(member.party == party for member in self.former)
        raise UnknownPartyError(
            f"{party!r} is {'no longer' if left else 'not'} on the roster of {self.federation}"
        )

    def with_role(self, *roles: Role) -> tuple[Member, ...]:
        """Return the members that hold one of `roles`, in roster order."""
        return tuple(member for member in self.members if member.role in roles)

    def active(self, *roles: Role) -> tuple[Member, ...]:
        """Return those of `with_role` that are not suspended."""
        return tuple(m for m in self.with_role(*roles) if m.party not in self.suspended)

    def ever(self, *roles: Role) -> tuple[Member, ...]:
        """Return who holds or held one of `roles`: members, and who left, as it was at the end."""
        there = {member.party for member in self.members}
        left = {m.party: m for m in self.former if m.party not in there and m.role in roles}
        return (*self.with_role(*roles), *left.values())

    def keys_of(self, party: PartyId) -> tuple[VerifyKey, ...]:
        """Return the keys that a party's words are, or were, checked with; the newest one last."""
        ever = (m.identity for m in (*self.former, *self.members) if m.party == party)
        return tuple(dict.fromkeys(ever))

    def keys_of_organisations(self, organisations: Collection[str]) -> set[VerifyKey]:
        """Return the keys that words of their members are, or were, checked with."""
        ever = (*self.former, *self.members)
        return {one.identity for one in ever if one.organisation in organisations}

    def require_active(self, parties: Iterable[PartyId]) -> None:
        """Return if all of `parties` take part at this epoch.

        Raises:
            UnknownPartyError: one is not on the roster, or not any more.
            SuspendedPartyError: one is suspended.
        """
        for party in parties:
            if self.find(party).party in self.suspended:
                raise SuspendedPartyError(
                    f"{party} is suspended at epoch {self.epoch} of the roster; ask again without "
                    "it, or when the aggregator has restored it"
                )

    def to_json(self) -> dict[str, JSON]:
        """Return the canonical form."""
        return {
            "version": VERSION,
            "federation": self.federation,
            "epoch": self.epoch,
            "members": [member.to_json() for member in self.members],
            "digest": self.digest,
            "colluding": self.colluding,
            "suspended": sorted(self.suspended),
        }
