"""The terms of one round: everything that its members must agree on, under one digest.

The digest enters every derivation and every signature. A node computes it from the epoch that it
verified itself, so a key, a cohort, a parameter or a roster that was changed on the way gives
signatures that fit nowhere and seeds that nobody else has.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from secure_compute import canonical
from secure_compute.canonical import JSON, MAX_INTEGER
from secure_compute.errors import PeerProtocolError, RosterError
from secure_compute.secagg.epoch import Epoch, Member
from secure_compute.secagg.params import Parameters

VERSION: Final = 1
MAX_DIMENSION: Final = 1 << 31


@dataclass(frozen=True, kw_only=True)
class Terms:
    """One round.

    session:   id of the signed work order.
    round:     a number that no round of this epoch, of whatever session, had before.
    dimension: integers in each vector.
    members:   the cohort, sorted by party: one node of each organisation.
    """

    federation: str
    roster: str
    epoch: int
    session: str
    round: int
    parameters: Parameters
    dimension: int
    members: tuple[Member, ...]

    def __post_init__(self) -> None:
        if type(self.round) is not int or type(self.dimension) is not int:
            raise PeerProtocolError("the numbers of a round are integers")
        if not 0 <= self.round < MAX_INTEGER or not 1 <= self.dimension <= MAX_DIMENSION:
            raise PeerProtocolError("the number of a round or the length of a vector is impossible")
        if list(self.cohort) != sorted(set(self.cohort)):
            raise PeerProtocolError("a party stands twice in the cohort, or the cohort is unsorted")
        organisations = {member.organisation for member in self.members}
        if len(organisations) != len(self.members):
            raise PeerProtocolError(
                "two nodes of one organisation in a cohort: organisations are counted, so take one"
            )
        if len(self.members) != self.parameters.organisations:
            raise PeerProtocolError(
                f"the parameters are for {self.parameters.organisations} organisations and the "
                f"cohort has {len(self.members)}"
            )

    @classmethod
    def of(
        cls,
        epoch: Epoch,
        *,
        session: str,
        round: int,  # noqa: A002
        cohort: Sequence[str],
        parameters: Parameters,
        dimension: int,
    ) -> "Terms":
        """Return the terms under an epoch that this side verified.

        Raises:
            RosterError: a party of the cohort gave no key in this epoch.
            PeerProtocolError: a party or an organisation stands twice, or numbers do not fit.
        """
        return cls(
            federation=epoch.federation,
            roster=epoch.roster,
            epoch=epoch.number,
            session=session,
            round=round,
            parameters=parameters,
            dimension=dimension,
            members=tuple(epoch.find(party) for party in sorted(cohort)),
        )

    @cached_property
    def cohort(self) -> tuple[str, ...]:
        """The names of the members."""
        return tuple(member.party for member in self.members)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the canonical form, in hexadecimal."""
        return canonical.digest(self.to_json())

    def find(self, party: str) -> Member:
        """Return the member called `party`.

        Raises:
            PeerProtocolError: it is not of the cohort.
        """
        if party not in self.cohort:
            raise PeerProtocolError(f"{party} is not of this round's cohort")
        return self.members[self.cohort.index(party)]

    def peers(self, party: str) -> tuple[str, ...]:
        """Return the cohort without `party`."""
        return tuple(name for name in self.cohort if name != party)

    def require_epoch(self, epoch: Epoch) -> None:
        """Accept terms whose every member and key is that of `epoch`.

        Raises:
            RosterError: they are of another roster or epoch, or name another key.
        """
        if (self.federation, self.roster, self.epoch) != (
            epoch.federation,
            epoch.roster,
            epoch.number,
        ):
            raise RosterError(
                "the round is of another federation, roster or epoch than this side's"
            )
        for member in self.members:
            if epoch.find(member.party) != member:
                raise RosterError(f"the round names another key or organisation for {member.party}")

    def to_json(self) -> dict[str, JSON]:
        """Return the canonical form."""
        return {
            "statement": "entrepot.secagg-round",
            "v": VERSION,
            "federation": self.federation,
            "roster": self.roster,
            "epoch": self.epoch,
            "session": self.session,
            "round": self.round,
            "parameters": self.parameters.to_json(),
            "dimension": self.dimension,
            "cohort": [member.to_json() for member in self.members],
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
                "session": str(session),
                "round": int(number),
                "parameters": dict(parameters),
                "dimension": int(dimension),
                "cohort": list(members),
            }:
                made = cls(
                    federation=federation,
                    roster=roster,
                    epoch=epoch,
                    session=session,
                    round=number,
                    parameters=Parameters.from_json(parameters),
                    dimension=dimension,
                    members=tuple(map(Member.from_json, members)),
                )
                if canonical.encode(made.to_json()) == canonical.encode(value):
                    return made
        raise PeerProtocolError("not the terms of a round of this version")
