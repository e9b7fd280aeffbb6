"""Keyholders with a finished key and parties that answer a question under it, in memory."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache

from secure_compute.threshold import ciphertext, joint, keyholder, opening, party, pool
from secure_compute.threshold.ciphertext import Total
from secure_compute.threshold.joint import JointKey
from secure_compute.threshold.keyholder import Partial
from secure_compute.threshold.listing import Commitment, Endorsement, Listing, listing
from secure_compute.threshold.party import Party
from secure_compute.threshold.pool import Keyholder
from secure_compute.threshold.question import Question
from secure_compute.threshold.terms import Terms
from tests.masked import agreement_key, make_epoch, roster, signing_key
from tests.seeded import SeededEntropy

HOLDERS = tuple(f"holder-{number}" for number in range(7))
PARTIES = tuple(f"node-{number:02}" for number in range(10))
ROSTER = roster((*HOLDERS, *PARTIES))
EPOCH = make_epoch(HOLDERS)


@dataclass(frozen=True)
class Made:
    """A key made to the end: every keyholder's state, and what everybody adds up."""

    terms: Terms
    holders: Mapping[str, Keyholder]
    joint: JointKey
    commitments: tuple[joint.KeyCommitment, ...]
    shown: Mapping[int, bytes]


def terms_of(holders: int, threshold: int, serial: int = 0) -> Terms:
    return Terms.of(EPOCH, keyholders=HOLDERS[:holders], threshold=threshold, serial=serial)


def join(name: str) -> Keyholder:
    return pool.join(EPOCH, name, agreement_key(name))


def begin(terms: Terms, seed: int = 1) -> tuple[dict[str, Keyholder], list[pool.Deal]]:
    states, deals = {}, []
    for place, name in enumerate(terms.parties):
        entropy = SeededEntropy(seed * 100 + place)
        states[name], dealt = pool.begin(join(name), terms, entropy)
        deals.extend(dealt)
    return states, deals


def commit(terms: Terms, states: dict[str, Keyholder], deals: Collection[pool.Deal]):
    for deal in deals:
        states[deal.receiver] = pool.receive(states[deal.receiver], deal)
    said = []
    for name in terms.parties:
        states[name], one = pool.commit(states[name], terms.digest, signing_key(name).sign)
        said.append(one)
    return tuple(said)


@lru_cache
def make_key(holders: int, threshold: int, serial: int = 0) -> Made:
    terms = terms_of(holders, threshold, serial)
    states, deals = begin(terms, serial + 1)
    commitments = commit(terms, states, deals)
    shown = {}
    for name in terms.parties:
        for said in commitments:
            states[name] = pool.gather(states[name], said)
        states[name], parts = pool.show(states[name], terms.digest)
        shown.update(parts)
    key = joint.assemble(terms, commitments, shown)
    return Made(terms, states, key, commitments, shown)


def ask(made: Made, parties: Sequence[str] = PARTIES, **changes) -> Question:
    said = {
        "query": "q1",
        "plan": "ab" * 32,
        "key": made.joint.digest,
        "cohort": tuple(ROSTER.find(name) for name in sorted(parties)),
        "colluding": 1,
        "minimum": 3,
        "recipient": "aggregator",
        "cells": 5,
        "reach": 10**12,
    }
    return Question(**(said | changes))


@dataclass
class Asked:
    """A question on its way; states are replaced as it goes on."""

    made: Made
    question: Question
    parties: dict[str, Party] = field(default_factory=dict)
    commitments: dict[str, Commitment] = field(default_factory=dict)
    ciphertexts: dict[str, tuple[bytes, ...]] = field(default_factory=dict)
    endorsements: dict[str, Endorsement] = field(default_factory=dict)

    def submit(self, name: str, values: Sequence[int], key: JointKey | None = None) -> None:
        state = self.parties.get(name, Party(me=name))
        self.parties[name], self.commitments[name], self.ciphertexts[name] = party.submit(
            state, ROSTER, self.question, key or self.made.joint, values, signing_key(name).sign
        )

    def endorse(self, name: str, commitments: Collection[Commitment] | None = None) -> None:
        said = commitments or self.commitments.values()
        self.parties[name], self.endorsements[name] = party.endorse(
            self.parties[name], self.question, tuple(said), signing_key(name).sign
        )

    def reveal(self, name: str) -> tuple[bytes, ...]:
        self.parties[name], shown = party.reveal(
            self.parties[name],
            self.question,
            tuple(self.commitments.values()),
            tuple(self.endorsements.values()),
            self.ciphertexts[name],
        )
        return shown

    @property
    def listed(self) -> Listing:
        return listing(self.question, self.commitments.values())

    def totals(self) -> tuple[Total, ...]:
        return tuple(
            ciphertext.add(self.listed, chunk, {p: c[chunk] for p, c in self.ciphertexts.items()})
            for chunk in range(self.question.layout.chunks)
        )

    def bind(self, name: str, state: Keyholder | None = None) -> Keyholder:
        return keyholder.bind(
            state or self.made.holders[name],
            ROSTER,
            self.made.terms.digest,
            self.listed,
            tuple(self.endorsements.values()),
        )

    def partials(
        self, name: str, totals: Sequence[Total], state: Keyholder | None = None
    ) -> tuple[Partial, ...]:
        bound = state or self.bind(name)
        return tuple(
            keyholder.partial(bound, self.made.terms.digest, total, place, signing_key(name).sign)
            for total in totals
            for place in self.made.terms.held_by(name)
        )

    def open(self, quorum: Collection[str]) -> tuple[int, ...]:
        totals = self.totals()
        found = [part for name in quorum for part in self.partials(name, totals)]
        return opening.combine(self.made.terms, totals, found)


def answered(made: Made, values: Mapping[str, Sequence[int]], **changes) -> Asked:
    """A question that every party of `values` answered and endorsed."""
    changes.setdefault("cells", len(next(iter(values.values()))))
    asked = Asked(made, ask(made, sorted(values), **changes))
    for name, cells in values.items():
        asked.submit(name, cells)
    for name in values:
        asked.endorse(name)
    for name in values:
        asked.reveal(name)
    return asked


def resigned(part: Partial, **changes) -> Partial:
    """What a keyholder that leaves its program could sign."""
    forged = replace(part, **changes)
    return replace(forged, signature=signing_key(forged.keyholder).sign(forged.statement()))
