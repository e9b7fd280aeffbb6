"""What a law would say in about a thousand situations, and which of them change with a new text.

Officers review situations, not code: "training for fraud_prevention, ε 0.1, → US: was permitted,
now refused CN-002". Every task is asked at every price, for every recipient and for persons and
firms; what else can differ is varied one thing at a time, at a low price and with the result at
home. A situation is a request without an order: nothing that is permitted here is a permit.
"""

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any, Final, Literal, TypeAlias

from policies.contracts import UnitKind
from policies.engine import Law, Request, objections
from policies.masking import READABLE_FOR
from policies.parties import Grade, Jurisdiction, PartyId, Role, territory

Task: TypeAlias = tuple[Literal["train", "query"], str]

TASKS: Final[tuple[Task, ...]] = (
    ("train", "demand_forecasting"),
    ("train", "fraud_prevention"),
    ("train", "supply_planning"),
    *(("query", purpose) for purpose in READABLE_FOR),
)
PRICES: Final = tuple(map(Decimal, ("0.1", "1", "8")))
UNITS: Final[tuple[UnitKind, ...]] = ("customer", "commercial")
PLACES: Final = tuple(place for place in Jurisdiction if place == territory(place))

LOW: Final = PRICES[0]
TODAY: Final = 20_780
"""2026-11-23, in days since 1970-01-01: a day on which nothing shipped has lapsed."""


def plain(jurisdiction: Jurisdiction, today: int = TODAY) -> Request:
    """Return an unobtrusive request to a node there: everything at home, enough organisations."""
    return Request(
        action="query",
        proposer=PartyId("analyst"),
        proposer_role=Role.ANALYST,
        purpose="market_statistics",
        legal_basis="contract",
        node=PartyId("node"),
        role=Role.WAREHOUSE,
        jurisdiction=jurisdiction,
        dataset="orders",
        unit="customer",
        units=frozenset(),
        epsilon=str(LOW),
        delta="0.000001",
        grouped=frozenset({Grade.S1}),
        filtered=frozenset(),
        aggregated=frozenset({Grade.S2}),
        masked=frozenset({Grade.S3}),
        joined=frozenset(),
        recipients=frozenset({jurisdiction}),
        aggregator=jurisdiction,
        keyholder=None,
        today=today,
        exported_persons=0,
        cohort=4,
        minimum_cohort=3,
        code_matches=True,
        expired=False,
        private=True,
    )


@dataclass(frozen=True, slots=True)
class Situation:
    """One question to a law; `facets` say it in words: task, price, recipient, unit, besides."""

    task: Task
    price: Decimal
    recipient: Jurisdiction
    unit: UnitKind
    besides: str
    request: Request

    @property
    def facets(self) -> tuple[Any, ...]:
        """The five things that tell situations apart."""
        return self.task, self.price, self.recipient, self.unit, self.besides


def _variations(base: Request) -> Iterator[tuple[str, dict[str, Any]]]:
    for place in PLACES:
        yield f"aggregator in {place}", {"aggregator": place}
        if base.action == "query":
            yield f"key in {place}", {"keyholder": place}
    for basis in ("consent", "legal_obligation", "legitimate_interest", "curiosity"):
        yield f"legal basis {basis}", {"legal_basis": basis}
    for use in ("grouped", "filtered", "aggregated", "masked", "joined"):
        for grade in (Grade.S3, Grade.S4):
            if (use, grade) != ("masked", Grade.S3):
                yield f"{grade} {use}", {use: frozenset({grade})}
    abroad = frozenset({Jurisdiction.EU, Jurisdiction.CN})
    for people in (80_000, 100_001, 1_000_001):
        yield f"{people} people left this year", {"exported_persons": people, "recipients": abroad}
    yield "people undeclared", {"exported_persons": None, "recipients": abroad}
    yield "in ten years", {"today": base.today + 3653, "recipients": frozenset(PLACES)}
    yield "two organisations", {"cohort": 2, "minimum_cohort": 2}
    yield "delta 0.001", {"delta": "0.001"}
    yield "proposed by a merchant", {"proposer_role": Role.MERCHANT}
    yield "other code", {"code_matches": False}
    yield "expired", {"expired": True}
    yield "without noise", {"private": False}


def grid(
    jurisdiction: Jurisdiction, prices: Iterable[Decimal] = (), today: int = TODAY
) -> tuple[Situation, ...]:
    """Return the situations for a node there; `prices` are asked besides the usual ones."""
    base, home = plain(jurisdiction, today), Jurisdiction(territory(jurisdiction))
    asked = sorted({*PRICES, *prices})
    found = []
    for task, unit in itertools.product(TASKS, UNITS):
        shape = replace(base, action=task[0], purpose=task[1], unit=unit)
        for price, place in itertools.product(asked, PLACES):
            request = replace(shape, epsilon=str(price), recipients=frozenset({place}))
            found.append(Situation(task, price, place, unit, "", request))
        found += [
            Situation(task, LOW, home, unit, words, replace(shape, **changes))
            for words, changes in _variations(shape)
        ]
    return tuple(found)


def caps_of(law: Law) -> tuple[Decimal, ...]:
    """Return the prices that the law's own overrides name, and the next above each."""
    named = [r.override for r in law.reasons.values() if r.override]
    caps = {Decimal(text.partition("=")[2]) for text in named if text.startswith("privacy.epsilon")}
    return tuple(sorted({*caps, *(cap + Decimal("0.0001") for cap in caps)}))


def spell(price: Decimal) -> str:
    """Return a price without idle noughts."""
    return format(price.normalize(), "f")


@dataclass(frozen=True, slots=True)
class Change:
    """Situations that are judged otherwise now, said as a product of facets.

    before, after: the ids of the rules that refuse; empty where it is permitted.
    count:         how many situations of the grid these are.
    """

    facets: tuple[tuple[Any, ...], ...]
    before: tuple[str, ...]
    after: tuple[str, ...]
    count: int


@dataclass(frozen=True, slots=True)
class Difference:
    """What a new text changes: `changes` of `asked` situations."""

    asked: int
    changed: int
    changes: tuple[Change, ...]
    prices: tuple[Decimal, ...]


def difference(old: Law, new: Law, jurisdiction: Jurisdiction, today: int = TODAY) -> Difference:
    """Return which situations the law `new` judges otherwise than `old`, grouped."""
    prices = tuple(sorted({*PRICES, *caps_of(old), *caps_of(new)}))
    situations = grid(jurisdiction, prices, today)
    before, after = judged(situations, old), judged(situations, new)
    groups: dict[tuple[tuple[str, ...], tuple[str, ...]], list[Situation]] = {}
    for situation, was, now in zip(situations, before, after, strict=True):
        if was != now:
            groups.setdefault((was, now), []).append(situation)
    changes = [
        Change(facets, was, now, _size(facets))
        for (was, now), found in groups.items()
        for facets in grouped([situation.facets for situation in found])
    ]
    # What is newly permitted comes first: that is what an officer has to see.
    ordered = sorted(changes, key=lambda change: (len(change.after), -change.count, change.before))
    changed = sum(len(found) for found in groups.values())
    return Difference(len(situations), changed, tuple(ordered), prices)


def judged(situations: Sequence[Situation], law: Law) -> tuple[tuple[str, ...], ...]:
    """Return the ids of the rules that refuse each situation."""
    found = objections([situation.request for situation in situations], law)
    return tuple(tuple(reason.id for reason in reasons) for reasons in found)


def grouped(points: Sequence[tuple[Any, ...]]) -> list[tuple[tuple[Any, ...], ...]]:
    """Return products of facet values that together are exactly `points`, each point once."""
    cells = [tuple((value,) for value in point) for point in points]
    for axis in range(len(cells[0]) if cells else 0):
        merged: dict[Any, list[Any]] = {}
        for cell in cells:
            merged.setdefault(cell[:axis] + cell[axis + 1 :], []).extend(cell[axis])
        cells = [(*rest[:axis], tuple(values), *rest[axis:]) for rest, values in merged.items()]
    return cells


def _size(facets: tuple[tuple[Any, ...], ...]) -> int:
    size = 1
    for values in facets:
        size *= len(values)
    return size


def spoken(change: Change, prices: Sequence[Decimal]) -> str:
    """Return one line: the situations, what was said and what is said now."""
    tasks, asked, places, units, besides = change.facets
    parts = [_tasks(tasks)]
    if besides == ("",):
        parts.append(_prices(asked, prices))
        if len(places) < len(PLACES):
            parts.append("→ " + " or ".join(places))
    else:
        parts.append(" or ".join(besides))
    if len(units) < len(UNITS):
        parts.append("about persons" if units == ("customer",) else "about firms")
    said = ", ".join(part for part in parts if part)
    return f"{said}: was {_verdict(change.before)}, now {_verdict(change.after)}"


def _tasks(tasks: Sequence[Task]) -> str:
    if len(tasks) == len(TASKS):
        return "any task"
    by_action: dict[str, list[str]] = {}
    for action, purpose in tasks:
        by_action.setdefault(action, []).append(purpose)
    words: Mapping[str, str] = {"train": "training", "query": "query"}
    return " or ".join(
        f"{words[action]} for " + (" or ".join(purposes) if not _every(action, purposes) else "all")
        for action, purposes in by_action.items()
    )


def _every(action: str, purposes: Sequence[str]) -> bool:
    return set(purposes) == {purpose for kind, purpose in TASKS if kind == action}


def _prices(asked: Sequence[Decimal], prices: Sequence[Decimal]) -> str:
    found, known = sorted(asked), sorted(prices)
    if found == known:
        return ""
    if len(found) > 1 and found == known[-len(found) :]:
        return f"ε {spell(found[0])} and more"
    if len(found) > 1 and found == known[: len(found)]:
        return f"ε {spell(found[-1])} and less"
    return "ε " + " or ".join(map(spell, found))


def _verdict(rules: Sequence[str]) -> str:
    return f"refused {', '.join(rules)}" if rules else "permitted"
