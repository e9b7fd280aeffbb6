"""The same question to other cohorts: whose figure follows from the difference of the answers.

A question is what a plan sums, over which rows and by which keys, whatever the columns are called.
A condition that says the same in other words is another question, and is not told apart.
"""

import itertools
from collections.abc import Sequence
from functools import lru_cache
from typing import Final

from federation.membership import Member
from federation.queries import expressions
from federation.queries.cohort import MINIMUM_ORGANISATIONS
from federation.queries.sensitivity import Measure, measures
from federation.queries.tree import Plan, digest, to_json
from secure_compute import canonical
from secure_compute.canonical import JSON


def differs_by_party(
    plan: Plan, cohort: Sequence[Member], past: Sequence[tuple[str, Sequence[Member]]]
) -> frozenset[str]:
    """Return the organisations whose figure would follow from this answer and earlier ones.

    past: what was asked before, each of a plan's `questions` with the cohort it was asked of

    Sums over cohorts can be added up and taken from each other. Where some combination that needs
    this answer leaves one or two organisations alone, their own figure is out: so every small set
    of organisations is tried for whether the cohorts' span reaches into it. None: nobody is alone.
    """
    mine = questions(plan) | {digest(plan)}
    before = dict.fromkeys(frozenset(those) for said, those in past if said in mine)
    asked = [*before, frozenset(cohort)]
    parties = sorted(frozenset[Member]().union(*asked), key=lambda member: str(member.party))
    rows = [[int(member in those) for member in parties] for those in asked]
    if _rank(rows) == _rank(rows[:-1]):
        return frozenset()  # the answers before already span this one
    organisations = sorted({member.organisation for member in parties})
    for few in range(1, MINIMUM_ORGANISATIONS):
        for chosen in itertools.combinations(organisations, few):
            others = [at for at, m in enumerate(parties) if m.organisation not in chosen]
            if _alone(rows, others) > _alone(rows[:-1], others):
                return frozenset(chosen)
    return frozenset()


def _alone(rows: Sequence[Sequence[int]], others: Sequence[int]) -> int:
    """Return in how many independent ways the rows combine to nothing for all others."""
    return _rank(rows) - _rank([[row[at] for at in others] for row in rows])


@lru_cache(maxsize=64)
def questions(plan: Plan) -> frozenset[str]:
    """Return the digest of everything that a plan sums, whatever its columns are called.

    Another order of aggregates, another name or one aggregate less is the same question again.
    """
    keys = [expressions.to_json(key.expression) for key in plan.child.keys]
    whole = to_json(plan)
    shared: dict[str, JSON] = {
        **{name: whole[name] for name in ("scan", "filter", "bound")},
        "keys": sorted(canonical.digest({"key": key}) for key in keys),
    }
    return frozenset(
        canonical.digest({**shared, "sum": _measure_json(measure)}) for measure in measures(plan)
    )


def _measure_json(measure: Measure) -> dict[str, JSON]:
    return {
        "kind": measure.kind,
        "of": [expressions.to_json(item) for item in measure.expressions],
        "values": [
            [expressions.to_json(value.expression), value.low, value.high, value.step]
            for value in measure.values
        ],
        "bins": measure.bins,
    }


_PRIME: Final = 2**61 - 1


def _rank(rows: Sequence[Sequence[int]]) -> int:
    """Return the rank of a matrix over a large prime field, which is never above the true one."""
    left, rank = [list(row) for row in rows], 0
    for column in range(len(left[0]) if left else 0):
        pivot = next((row for row in left[rank:] if row[column] % _PRIME), None)
        if pivot is None:
            continue
        left.remove(pivot)
        left.insert(rank, pivot)
        inverse = pow(pivot[column], -1, _PRIME)
        for at in range(rank + 1, len(left)):
            factor = left[at][column] * inverse % _PRIME
            left[at] = [(x - factor * y) % _PRIME for x, y in zip(left[at], pivot, strict=True)]
        rank += 1
    return rank
