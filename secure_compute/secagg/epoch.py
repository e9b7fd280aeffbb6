"""An epoch: everyone's agreement key, signed with its identity key, and what each pair shares.

The aggregator relays the keys and can choose none of them: a key counts with the signature of the
identity key that this side's own verified roster names, over federation, roster and epoch.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from secure_compute import canonical
from secure_compute.canonical import JSON
from secure_compute.errors import (
    FaultyPartyError,
    LocalProtocolError,
    PeerProtocolError,
    RosterError,
)
from secure_compute.primitives import derivation
from secure_compute.primitives.agreement import KEY_SIZE, AgreementKey
from secure_compute.primitives.signature import SIGNATURE_SIZE, VerifyKey

VERSION: Final = 1
_ANY: Final = bytes([1]) * KEY_SIZE  # a key of low order fails with every secret


@dataclass(frozen=True, slots=True)
class Identity:
    """A party as the roster names it: its organisation, and the key its words are checked with."""

    party: str
    organisation: str
    key: VerifyKey


@dataclass(frozen=True, slots=True)
class Roster:
    """The part of a verified roster that masks rest on. digest: SHA-256 of the whole roster."""

    federation: str
    digest: str
    identities: tuple[Identity, ...]

    def find(self, party: str) -> Identity:
        """Return the identity of `party`.

        Raises:
            RosterError: nobody is called so.
        """
        for identity in self.identities:
            if identity.party == party:
                return identity
        raise RosterError(f"{party} is not on the roster of {self.federation}")


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochKey:
    """A party says: in this epoch of this roster this is my agreement key. key: 64 hex digits."""

    federation: str
    roster: str
    epoch: int
    party: str
    key: str
    signature: bytes = b""

    def statement(self) -> bytes:
        """Return the canonical bytes that the party signs."""
        return canonical.encode(
            {
                "statement": "entrepot.secagg-epoch-key",
                "v": VERSION,
                "federation": self.federation,
                "roster": self.roster,
                "epoch": self.epoch,
                "party": self.party,
                "key": self.key,
            }
        )

    def to_bytes(self) -> bytes:
        """Return the signature and the statement behind it."""
        return self.signature + self.statement()

    @classmethod
    def read(cls, wire: bytes) -> "EpochKey":
        """Read what `to_bytes` wrote; whether the signature holds is for `gather` to see.

        Raises:
            PeerProtocolError: it is no epoch key of this version.
        """
        signature, statement = wire[:SIGNATURE_SIZE], wire[SIGNATURE_SIZE:]
        match canonical.decode(statement):
            case {
                "federation": str(federation),
                "roster": str(roster),
                "epoch": int(epoch),
                "party": str(party),
                "key": str(key),
            } if type(epoch) is int:
                made = cls(
                    federation=federation,
                    roster=roster,
                    epoch=epoch,
                    party=party,
                    key=key,
                    signature=signature,
                )
                if made.statement() == statement:
                    return made
        raise PeerProtocolError("not an epoch key of this version")


@dataclass(frozen=True, slots=True)
class Member:
    """A party of an epoch. key: its agreement key, 64 hexadecimal digits."""

    party: str
    organisation: str
    identity: VerifyKey
    key: str

    def to_json(self) -> list[JSON]:
        """Return the canonical form."""
        return [self.party, self.organisation, self.identity.hex, self.key]

    @classmethod
    def from_json(cls, value: object) -> "Member":
        """Read what `to_json` wrote.

        Raises:
            PeerProtocolError: it is no member.
        """
        match value:
            case [str(party), str(organisation), str(identity), str(key)]:
                return cls(party, organisation, VerifyKey(identity), key)
        raise PeerProtocolError("not a member of an epoch")


@dataclass(frozen=True, slots=True, kw_only=True)
class Epoch:
    """The parties whose keys were gathered, sorted by name. number: never lower than the last."""

    federation: str
    roster: str
    number: int
    members: tuple[Member, ...]

    def find(self, party: str) -> Member:
        """Return the member called `party`.

        Raises:
            RosterError: it gave no key in this epoch.
        """
        for member in self.members:
            if member.party == party:
                return member
        raise RosterError(
            f"{party} gave no key for epoch {self.number}: leave it out of the cohort"
        )


def advertise(roster: Roster, epoch: int, me: str, key: AgreementKey) -> EpochKey:
    """Return this party's epoch key, unsigned; sign its `statement` and replace the signature.

    Raises:
        RosterError: this party is not on the roster.
    """
    party = roster.find(me).party
    return EpochKey(
        federation=roster.federation,
        roster=roster.digest,
        epoch=epoch,
        party=party,
        key=key.public.hex(),
    )


def signed(said: EpochKey, sign: Callable[[bytes], bytes]) -> EpochKey:
    """Return an epoch key with its party's signature."""
    return replace(said, signature=sign(said.statement()))


def gather(roster: Roster, number: int, keys: Iterable[EpochKey]) -> Epoch:
    """Return the epoch of all whose keys are here, after checking every one of them.

    A party whose key is missing is not of the epoch, which harms nobody but itself.

    Raises:
        BadSignatureError: the party did not sign its key.
        RosterError: the key is of another federation, roster or epoch, or of nobody on the roster.
        FaultyPartyError: a party gave two keys, or the key of another party.
    """
    members: dict[str, Member] = {}
    for said in keys:
        identity = roster.find(said.party)
        if (said.federation, said.roster, said.epoch) != (roster.federation, roster.digest, number):
            raise RosterError(
                f"the key of {said.party} is of another federation, roster or epoch: it has to "
                "fetch the newest roster and sign a key for it"
            )
        identity.key.verify(said.signature, said.statement())
        member = Member(said.party, identity.organisation, identity.key, _checked(said))
        _require_new(members, member)
    ordered = tuple(members[party] for party in sorted(members))
    return Epoch(federation=roster.federation, roster=roster.digest, number=number, members=ordered)


def agree(epoch: Epoch, me: str, secret: AgreementKey) -> Mapping[str, bytes]:
    """Return what this party shares with each other member: the first links of their chains.

    Afterwards the secret is of no more use and its owner deletes it.

    Raises:
        LocalProtocolError: the epoch names another key than this one as ours.
        FaultyPartyError: a member's key is none.
    """
    if epoch.find(me).key != secret.public.hex():
        raise LocalProtocolError("this is not the secret of the key we gave for this epoch")
    return {
        member.party: _pair_key(epoch, epoch.find(me), member, secret)
        for member in epoch.members
        if member.party != me
    }


def _pair_key(epoch: Epoch, mine: Member, other: Member, secret: AgreementKey) -> bytes:
    try:
        shared = secret.exchange(bytes.fromhex(other.key))
    except PeerProtocolError as why:
        raise FaultyPartyError(other.party, why="gave a key that agrees on nothing") from why
    ends: Sequence[JSON] = sorted([[mine.party, mine.key], [other.party, other.key]])
    salt = canonical.encode([epoch.federation, epoch.roster, epoch.number])
    return derivation.extract(shared, salt, "entrepot.secagg", "pair", ends)


def _checked(said: EpochKey) -> str:
    try:
        public = bytes.fromhex(said.key)
    except ValueError as why:
        raise FaultyPartyError(said.party, why="gave no key in hexadecimal digits") from why
    if len(public) != KEY_SIZE or public.hex() != said.key:
        raise FaultyPartyError(said.party, why="gave no key of 32 bytes in lower case")
    try:
        AgreementKey(_ANY).exchange(public)
    except PeerProtocolError as why:
        raise FaultyPartyError(said.party, why="gave a key that agrees on nothing") from why
    return said.key


def _require_new(members: dict[str, Member], member: Member) -> None:
    known = members.setdefault(member.party, member)
    if known != member:
        raise FaultyPartyError(member.party, why="signed two keys for one epoch")
    for other in members.values():
        if other.key == member.key and other.party != member.party:
            raise FaultyPartyError(other.party, member.party, why="gave the key of the other")
