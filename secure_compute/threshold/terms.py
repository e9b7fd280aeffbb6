"""One key before it exists: whose it is, how many open with it, which number it has.

The digest of these terms is the id of the key. It enters every derivation and every signature, and
each side computes it from the roster and the epoch that it verified itself.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from typing import Final

from secure_compute import canonical
from secure_compute.canonical import JSON, MAX_INTEGER
from secure_compute.errors import LocalProtocolError, PeerProtocolError, RosterError
from secure_compute.secagg.epoch import Epoch, Identity, Member, Roster
from secure_compute.threshold.params import NAME, piece_count

VERSION: Final = 1


@dataclass(frozen=True, kw_only=True)
class Terms:
    """One key.

    keyholders: sorted by party, one of each organisation.
    threshold:  t, keyholders that open together; t − 1 of them cannot.
    serial:     a number that no key of this epoch had before.
    """

    federation: str
    roster: str
    epoch: int
    keyholders: tuple[Member, ...]
    threshold: int
    serial: int

    def __post_init__(self) -> None:
        if type(self.threshold) is not int or type(self.epoch) is not int:
            raise PeerProtocolError("the numbers of a key are integers")
        if type(self.serial) is not int or not 0 <= self.serial < MAX_INTEGER:
            raise PeerProtocolError("the number of a key is impossible")
        if list(self.parties) != sorted(set(self.parties)):
            raise PeerProtocolError("a keyholder stands twice, or they are unsorted")
        if len({member.organisation for member in self.keyholders}) != len(self.keyholders):
            raise PeerProtocolError("two keyholders of one organisation count as one: take one")
        try:
            piece_count(len(self.keyholders), self.threshold)
        except LocalProtocolError as why:
            raise PeerProtocolError(str(why)) from why

    @classmethod
    def of(cls, epoch: Epoch, *, keyholders: Sequence[str], threshold: int, serial: int) -> "Terms":
        """Return the terms of a key under an epoch that this side verified.

        Raises:
            RosterError: a keyholder gave no key in this epoch.
            PeerProtocolError: a keyholder or an organisation stands twice, or numbers do not fit.
        """
        return cls(
            federation=epoch.federation,
            roster=epoch.roster,
            epoch=epoch.number,
            keyholders=tuple(epoch.find(party) for party in sorted(keyholders)),
            threshold=threshold,
            serial=serial,
        )

    @cached_property
    def parties(self) -> tuple[str, ...]:
        """The names of the keyholders."""
        return tuple(member.party for member in self.keyholders)

    @cached_property
    def pieces(self) -> tuple[tuple[str, ...], ...]:
        """Who holds each piece: every set of n − t + 1 keyholders, in the order of their names.

        Any t keyholders meet every set; t − 1 of them miss the set of all the others. The first of
        a set makes its piece.
        """
        return tuple(combinations(self.parties, len(self.parties) - self.threshold + 1))

    @cached_property
    def digest(self) -> str:
        """The id of the key: SHA-256 of the canonical form, in hexadecimal."""
        return canonical.digest(self.to_json())

    def held_by(self, party: str) -> tuple[int, ...]:
        """Return the places of the pieces that a keyholder holds."""
        return tuple(place for place, holders in enumerate(self.pieces) if party in holders)

    def made_by(self, party: str) -> tuple[int, ...]:
        """Return the places of the pieces that a keyholder makes."""
        return tuple(place for place, holders in enumerate(self.pieces) if party == holders[0])

    def find(self, party: str) -> Member:
        """Return the keyholder called `party`.

        Raises:
            PeerProtocolError: it holds nothing of this key.
        """
        if party not in self.parties:
            raise PeerProtocolError(f"{party} is no keyholder of this key")
        return self.keyholders[self.parties.index(party)]

    def require_epoch(self, epoch: Epoch) -> None:
        """Accept terms whose every keyholder is that of `epoch`.

        Raises:
            RosterError: they are of another roster or epoch, or name another key.
        """
        named = (self.federation, self.roster, self.epoch)
        if named != (epoch.federation, epoch.roster, epoch.number):
            raise RosterError("the key is of another federation, roster or epoch than this side's")
        for member in self.keyholders:
            if epoch.find(member.party) != member:
                raise RosterError(f"the key names another identity for {member.party}")

    def require_roster(self, roster: Roster) -> None:
        """Accept terms whose every keyholder is that of `roster`.

        Their epoch keys are their own business: each signed its commitment to a key of these terms.

        Raises:
            RosterError: they are of another roster, or name another identity.
        """
        if (self.federation, self.roster) != (roster.federation, roster.digest):
            raise RosterError("the key is of another federation or roster than this side's")
        for member in self.keyholders:
            named = Identity(member.party, member.organisation, member.identity)
            if roster.find(member.party) != named:
                raise RosterError(f"the key names another identity for {member.party}")

    def to_json(self) -> dict[str, JSON]:
        """Return the canonical form."""
        return {
            "statement": "entrepot.threshold-key",
            "v": VERSION,
            "parameters": NAME,
            "federation": self.federation,
            "roster": self.roster,
            "epoch": self.epoch,
            "keyholders": [member.to_json() for member in self.keyholders],
            "threshold": self.threshold,
            "serial": self.serial,
        }

    @classmethod
    def from_json(cls, value: JSON) -> "Terms":
        """Read what `to_json` wrote.

        Raises:
            PeerProtocolError: these are no terms of this version.
        """
        match value:
            case {
                "federation": str(federation),
                "roster": str(roster),
                "epoch": int(epoch),
                "keyholders": list(keyholders),
                "threshold": int(threshold),
                "serial": int(serial),
            }:
                made = cls(
                    federation=federation,
                    roster=roster,
                    epoch=epoch,
                    keyholders=members(keyholders),
                    threshold=threshold,
                    serial=serial,
                )
                if canonical.encode(made.to_json()) == canonical.encode(value):
                    return made
        raise PeerProtocolError("not the terms of a key of this version")


def members(value: Sequence[JSON]) -> tuple[Member, ...]:
    """Read what members of an epoch wrote as JSON.

    Raises:
        PeerProtocolError: one of them is none.
    """
    try:
        return tuple(map(Member.from_json, value))
    except LocalProtocolError as why:
        raise PeerProtocolError("an identity key is no key") from why
