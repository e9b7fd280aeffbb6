"""Federations as chains of epochs, with the keys of all who could sign."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import cache
from hashlib import shake_256
from typing import Final

from federation.membership import Member, Roster
from federation.roster_chain import (
    Admit,
    Change,
    Rekey,
    Remove,
    Restore,
    Suspend,
    change_statement,
    extended,
    found_roster,
    founding_statement,
    open_roster,
    pin_of,
)
from policies.parties import Jurisdiction, PartyId, Role
from secure_compute import canonical
from secure_compute.primitives.hpke import PRIVATE_SIZE, OpeningKey, SealingKey
from secure_compute.primitives.signature import SigningKey

FOUNDERS: Final = {
    "cn": ("Ningbo", Role.WAREHOUSE),
    "eu": ("Rotterdam", Role.WAREHOUSE),
    "eu2": ("Rotterdam", Role.MERCHANT),
    "us": ("Newark", Role.PAYMENT_PARTNER),
    "ch": ("Zug", Role.KEYHOLDER),
    "hub": ("Operations", Role.AGGREGATOR),
    "hub-keys": ("Operations", Role.KEYHOLDER),
    "desk": ("Analytics", Role.ANALYST),
}
"""Party: organisation and role. One organisation sits twice; the aggregator's has a second seat."""


def key(seed: str) -> SigningKey:
    """Return the key that `seed` makes, always the same."""
    return SigningKey(bytes.fromhex(canonical.digest(seed)))


@cache
def opening(seed: str) -> OpeningKey:
    """Return the opening key that `seed` makes, always the same."""
    return OpeningKey(shake_256(seed.encode()).digest(PRIVATE_SIZE))


@cache
def sealing(seed: str) -> SealingKey:
    """Return the other half of `opening`."""
    return opening(seed).sealing_key


def member(party: str, organisation: str, role: Role = Role.MERCHANT, seed: str = "") -> Member:
    """Return a party with the keys of `seed`, by default its own name's."""
    own = (key(seed or party).verify_key, sealing(seed or party))
    return Member(PartyId(party), organisation, role, Jurisdiction.EU, *own)


def founders() -> tuple[Member, ...]:
    """Return who founds."""
    return tuple(member(party, *seat) for party, seat in FOUNDERS.items())


def bare(one: Member) -> Member:
    """Return a member as it stood on rosters before messages were sealed."""
    return replace(one, sealing=None)


@dataclass
class Chain:
    """A federation's chain, and the key each party signs with at its end."""

    wire: bytes
    pin: str
    keys: dict[str, SigningKey] = field(repr=False)

    @property
    def roster(self) -> Roster:
        """Its last epoch."""
        return open_roster(self.wire, self.pin)

    def words(
        self, change: Change, by: Iterable[str], at: Roster | None = None
    ) -> dict[PartyId, bytes]:
        """Return what these parties sign for `change`, with the keys they have."""
        said = change_statement(at or self.roster, change)
        return {PartyId(party): self.keys[party].sign(said) for party in by}

    def change(self, change: Change, *by: str) -> "Chain":
        """Return the chain one epoch on; entrants have the key of their name."""
        keys = dict(self.keys)
        if isinstance(change, Admit):
            keys[change.party] = key(change.party)
        longer = Chain(self.wire, self.pin, keys)
        words = longer.words(change, by)
        longer.wire = extended(self.wire, self.pin, change, words)
        return longer

    def rekey(self, party: str, *by: str, old: bool = False, sealed: bool = True) -> "Chain":
        """Return the chain with new keys of `party`, by its old one too where `old`."""
        new = key(f"{party} anew")
        change = Rekey(PartyId(party), new.verify_key, sealing(f"{party} anew") if sealed else None)
        said = change_statement(self.roster, change)
        own = new.sign(said) + (self.keys[party].sign(said) if old else b"")
        words = self.words(change, by) | {PartyId(party): own}
        wire = extended(self.wire, self.pin, change, words)
        return Chain(wire, self.pin, self.keys | {party: new})


def founded(
    name: str = "harbour", members: tuple[Member, ...] = founders(), colluding: int = 1
) -> Chain:
    """Return a federation that all of `members` signed."""
    keys = {str(m.party): key(m.party) for m in members}
    statement = founding_statement(name, members, colluding)
    words = {PartyId(party): secret.sign(statement) for party, secret in keys.items()}
    return Chain(found_roster(statement, words), pin_of(statement), keys)


def of_every_kind(*, sealed: bool = True) -> list[Chain]:
    """Return chains in which every kind of change stands; not `sealed`: as they were before."""
    members, entrant = founders(), member("br", "Recife")
    if not sealed:
        members, entrant = tuple(map(bare, members)), bare(entrant)
    start = founded(members=members)
    grown = start.change(Admit(entrant), "br", "cn", "us")
    idle = grown.change(Suspend(PartyId("br")), "hub")
    back = idle.change(Restore(PartyId("br")), "hub").rekey("br", old=True, sealed=sealed)
    changed = back.rekey("cn", "us", "ch", sealed=sealed)
    return [start, grown, idle, changed.change(Remove(PartyId("br")), "br")]
