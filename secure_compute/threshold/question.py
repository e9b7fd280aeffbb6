"""What is asked, of whom, under which key, for whom: everybody signs over the digest of this.

It follows from the signed order, which fixes plan, cohort and minimum, and from the key that this
side added up itself. Everything counts organisations: a cohort holds one node of each.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Final

from secure_compute import canonical
from secure_compute.canonical import JSON
from secure_compute.errors import LocalProtocolError, PeerProtocolError, RosterError
from secure_compute.primitives.signature import VerifyKey
from secure_compute.secagg.epoch import Identity, Roster
from secure_compute.secagg.params import least_threshold
from secure_compute.threshold.joint import JointKey
from secure_compute.threshold.layout import Layout
from secure_compute.threshold.params import require_safe
from secure_compute.threshold.terms import VERSION, Terms

MINIMUM: Final = 3
"""Organisations in every sum: of two, each would know the other's part."""


@dataclass(frozen=True, kw_only=True)
class Question:
    """One joint query.

    query, plan: id of the signed order; SHA-256 of the plan that each party evaluates.
    key:         digest of the joint key, which serves this question alone.
    cohort:      input parties, sorted, one of each organisation, as the roster names them. They
                 are of no epoch: only keyholders agree on anything in secret.
    colluding:   c ≥ 1, organisations that may work with the aggregator.
    minimum:     the fewest parties in the sum, by the order.
    recipient:   who gets the partials, and nobody else does.
    cells:       integers in the answer; reach: the largest absolute value of any party's.
    """

    query: str
    plan: str
    key: str
    cohort: tuple[Identity, ...]
    colluding: int
    minimum: int
    recipient: str
    cells: int
    reach: int

    def __post_init__(self) -> None:
        numbers = (self.colluding, self.minimum, self.cells, self.reach)
        if any(type(number) is not int for number in numbers):
            raise PeerProtocolError("the numbers of a question are integers")
        if list(self.parties) != sorted(set(self.parties)):
            raise PeerProtocolError("a party stands twice in the cohort, or the cohort is unsorted")
        if len({member.organisation for member in self.cohort}) != len(self.cohort):
            raise PeerProtocolError("two nodes of one organisation count as one: take one")
        if self.colluding < 1 or not MINIMUM <= self.needed <= len(self.cohort):
            raise PeerProtocolError(
                f"{len(self.cohort)} organisations, {self.colluding} colluding, a minimum of "
                f"{self.minimum}: no list could be certified that hides anybody"
            )
        if self.quorum - self.colluding < 2:
            raise PeerProtocolError("a sum could hold fewer than two honest inputs: ask more")
        try:
            _ = self.layout
        except LocalProtocolError as why:
            raise PeerProtocolError(str(why)) from why

    @cached_property
    def parties(self) -> tuple[str, ...]:
        """The names of the cohort."""
        return tuple(member.party for member in self.cohort)

    @property
    def quorum(self) -> int:
        """⌊(n + c)/2⌋ + 1 signatures make a list the only one: two would share an honest signer."""
        return least_threshold(len(self.cohort), self.colluding)

    @property
    def needed(self) -> int:
        """The fewest parties in a list: its signers are among them."""
        return max(self.quorum, self.minimum, MINIMUM)

    @cached_property
    def layout(self) -> Layout:
        """Where the cells stand."""
        return Layout(self.cells, self.reach, len(self.cohort))

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the canonical form, in hexadecimal."""
        return canonical.digest(self.to_json())

    def find(self, party: str) -> Identity:
        """Return the identity of the party called `party`.

        Raises:
            PeerProtocolError: it is not of the cohort.
        """
        if party not in self.parties:
            raise PeerProtocolError(f"{party} is not of this question's cohort")
        return self.cohort[self.parties.index(party)]

    def require(self, roster: Roster, terms: Terms, key: str) -> None:
        """Accept this question under a key, whose digest is `key`, as this side verified both.

        Raises:
            RosterError: the key is of another roster, or keyholders or cohort are not its members.
            PeerProtocolError: it names another key, or t − 1 colluders could be too many.
            LocalProtocolError: sums under this key might not open, or smudging would not hide.
        """
        terms.require_roster(roster)
        for member in self.cohort:
            if roster.find(member.party) != member:
                raise RosterError(f"the question names another identity for {member.party}")
        if self.key != key:
            raise PeerProtocolError(
                "the question names another key than the keyholders' parts add up to"
            )
        if terms.threshold <= self.colluding:
            raise PeerProtocolError(
                f"{self.colluding} organisations may collude and {terms.threshold} keyholders open "
                "a key: take a key with a higher threshold"
            )
        require_safe(len(self.cohort), len(terms.pieces))

    def require_joint(self, roster: Roster, joint: JointKey) -> None:
        """Accept this question under the joint key that this side added up; raises as `require`."""
        self.require(roster, joint.terms, joint.digest)

    def to_json(self) -> dict[str, JSON]:
        """Return the canonical form."""
        return {
            "statement": "entrepot.threshold-question",
            "v": VERSION,
            "query": self.query,
            "plan": self.plan,
            "key": self.key,
            "cohort": [[m.party, m.organisation, m.key.hex] for m in self.cohort],
            "colluding": self.colluding,
            "minimum": self.minimum,
            "recipient": self.recipient,
            "cells": self.cells,
            "reach": str(self.reach),
        }

    @classmethod
    def from_json(cls, value: JSON) -> "Question":
        """Read what `to_json` wrote.

        Raises:
            PeerProtocolError: this is no question of this version.
        """
        match value:
            case {
                "query": str(query),
                "plan": str(plan),
                "key": str(key),
                "cohort": list(cohort),
                "colluding": int(colluding),
                "minimum": int(minimum),
                "recipient": str(recipient),
                "cells": int(cells),
                "reach": str(reach),
            } if reach.isascii() and reach.isdigit() and len(reach) < 64:
                made = cls(
                    query=query,
                    plan=plan,
                    key=key,
                    cohort=tuple(map(_identity, cohort)),
                    colluding=colluding,
                    minimum=minimum,
                    recipient=recipient,
                    cells=cells,
                    reach=int(reach),
                )
                if canonical.encode(made.to_json()) == canonical.encode(value):
                    return made
        raise PeerProtocolError("not a question of this version")


def _identity(value: JSON) -> Identity:
    match value:
        case [str(party), str(organisation), str(key)]:
            try:
                return Identity(party, organisation, VerifyKey(key))
            except LocalProtocolError as why:
                raise PeerProtocolError("an identity key is no key") from why
    raise PeerProtocolError("not a party of a cohort")
