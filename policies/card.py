"""The policy card: what a node will ever allow, computed by asking its own law.

Nothing here is read from a rule's wording: what is allowed is what the law permits in a grid of
situations; texts come from the rules' annotations, borders from the packs, limits from the
contracts. Before anybody joins a federation, this is what the operator reads and signs.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import Any, Final

from policies import masking
from policies.contracts import DataContract
from policies.engine import Law, Reason
from policies.exports import Count
from policies.law.filling import EPOCH
from policies.law.packs import Export, Mechanism, Pack, Place
from policies.parties import Grade, Jurisdiction, territory
from policies.situations import PLACES, TASKS, UNITS, Situation, Task, caps_of, grid, judged, spell

SCHEMA: Final = "entrepot.node.policy.card/1"


@dataclass(frozen=True, slots=True)
class Allowance:
    """What one task may be at most: the dearest price at home, and who may know the result.

    epsilon:    None where the task is refused at any price.
    recipients: territories to which a result may go at that price.
    rules:      what refuses it at a low price at home; empty where something is allowed.
    asks:       what refuses it at that price, for one of them, until people said yes or signed too.
    """

    task: Task
    unit: str
    epsilon: str | None
    recipients: tuple[str, ...]
    rules: tuple[str, ...]
    asks: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Border:
    """What is on record for one destination."""

    destination: str
    place: Place
    mechanism: Mechanism | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """Everything on the card.

    packs:  of the territory and, in a state of it, of the state.
    export: the yearly number of people, where the territory counts them, and the count so far.
    """

    node: str
    jurisdiction: Jurisdiction
    law: str
    day: date
    packs: tuple[Pack, ...]
    allowances: tuple[Allowance, ...]
    borders: tuple[Border, ...]
    contracts: tuple[DataContract, ...]
    export: tuple[Export, Count] | None
    rules: tuple[Reason, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the card as plain values; the schema is in it."""
        return {
            "schema": SCHEMA,
            "node": self.node,
            "jurisdiction": self.jurisdiction.value,
            "law": self.law,
            "day": self.day.isoformat(),
            "packs": [_pack(pack) for pack in self.packs],
            "allows": [_allowance(item) for item in self.allowances],
            "transfers": [_border(border) for border in self.borders],
            "grades": masking.table(),
            "limits": [_limits(contract) for contract in self.contracts],
            "export": None if self.export is None else _export(*self.export),
            "rules": [_rule(rule) for rule in self.rules],
        }


def draw_up(
    node: str,
    jurisdiction: Jurisdiction,
    law: Law,
    known: Mapping[Jurisdiction, Pack],
    contracts: Iterable[DataContract],
    count: Count | None,
    today: int,
) -> Card:
    """Return the card of a node.

    count: people whose data left this year; None where the territory does not count them.
    today: days since 1970-01-01.
    """
    home, day = Jurisdiction(territory(jurisdiction)), EPOCH + timedelta(today)
    export = known[home].export
    return Card(
        node=node,
        jurisdiction=jurisdiction,
        law=law.digest,
        day=day,
        packs=tuple(known[place] for place in dict.fromkeys((home, jurisdiction))),
        allowances=_allowances(law, jurisdiction, today),
        borders=_borders(known[home], day),
        contracts=tuple(contracts),
        export=None if export is None or count is None else (export, count),
        rules=tuple(sorted(law.reasons.values(), key=lambda reason: reason.id)),
    )


def _allowances(law: Law, jurisdiction: Jurisdiction, today: int) -> tuple[Allowance, ...]:
    asked = [
        situation for situation in grid(jurisdiction, caps_of(law), today) if not situation.besides
    ]
    said = list(zip(asked, judged([_with_words(one) for one in asked], law), strict=True))
    return tuple(
        _allowance_of(law, task, unit, said, Jurisdiction(territory(jurisdiction)))
        for unit in UNITS
        for task in TASKS
    )


def _with_words(situation: Situation) -> Situation:
    """Return the situation as people may make it: a person said yes, a second party signed."""
    return replace(situation, request=replace(situation.request, approved=True, countersigned=True))


def _allowance_of(
    law: Law,
    task: Task,
    unit: str,
    said: Sequence[tuple[Situation, tuple[str, ...]]],
    home: Jurisdiction,
) -> Allowance:
    own = [(s, rules) for s, rules in said if (s.task, s.unit) == (task, unit)]
    prices = [s.price for s, rules in own if s.recipient == home and not rules]
    if not prices:
        lowest = min((s.price, rules) for s, rules in own if s.recipient == home)
        return Allowance(task, unit, None, (), lowest[1], ())
    dearest = max(prices)
    reached = [s for s, rules in own if s.price == dearest and not rules]
    recipients = tuple(situation.recipient.value for situation in reached)
    asks = dict.fromkeys(rule for rules in judged(reached, law) for rule in rules)
    return Allowance(task, unit, spell(dearest), recipients, (), tuple(asks))


def _borders(pack: Pack, day: date) -> tuple[Border, ...]:
    posts: tuple[Place, ...] = ("results", "aggregator", "key")
    return tuple(
        Border(to.value, post, next(iter(pack.covering(to, post, day)), None))
        for to in PLACES
        if to != territory(pack.jurisdiction)
        for post in posts
    )


def _pack(pack: Pack) -> dict[str, Any]:
    return {
        "jurisdiction": pack.jurisdiction.value,
        "name": {"en": pack.name_en, "zh": pack.name_zh},
        "law": pack.law,
        "as_of": pack.as_of.isoformat(),
        "reviewed_by": pack.reviewed_by or None,
        "reviewed": {"en": pack.reviewed_en, "zh": pack.reviewed_zh},
        "notes": {"en": list(pack.notes_en), "zh": list(pack.notes_zh)},
    }


def _allowance(item: Allowance) -> dict[str, Any]:
    return {
        "action": item.task[0],
        "purpose": item.task[1],
        "unit": item.unit,
        "epsilon": item.epsilon,
        "recipients": list(item.recipients),
        "refused_by": list(item.rules),
        "asks": list(item.asks),
    }


def _border(border: Border) -> dict[str, Any]:
    found = border.mechanism
    row: dict[str, Any] = {
        "destination": border.destination,
        "for": border.place,
        "rule": None if found is None else found.id,
    }
    if found is not None:
        row |= {
            "mechanism": found.kind,
            "law": f"{found.law} {found.article}",
            "text": {"en": found.en, "zh": found.zh},
            "needs": {"en": list(found.needs_en), "zh": list(found.needs_zh)},
            "watch": {"en": found.watch_en, "zh": found.watch_zh},
            "valid_until": found.valid_until.isoformat() if found.valid_until else None,
        }
    return row


def _limits(contract: DataContract) -> dict[str, Any]:
    return {
        "contract": contract.name,
        "version": contract.version,
        "subjects": contract.subjects,
        "unit": contract.unit.kind,
        "rows_per_unit": contract.unit.rows,
        "epsilon": str(contract.limit.epsilon),
        "delta": str(contract.limit.delta),
        "window": contract.limit.window,
        "key": list(contract.key),
        "fresh_windows": contract.opens_fresh_windows,
        "persons": contract.persons,
        "columns": {
            grade.value: [column.name for column in contract.columns if column.grade is grade]
            for grade in Grade
        },
    }


def _export(export: Export, count: Count) -> dict[str, Any]:
    return {
        "year": count.year,
        "persons": count.persons,
        "limit": export.persons,
        "percent": count.percent_of(export),
        "warn_percent": export.warn_percent,
        "warning": count.is_near(export),
        "groups": list(count.groups),
        "undeclared": list(count.undeclared),
        "law": export.law,
    }


def _rule(reason: Reason) -> dict[str, Any]:
    return {
        "id": reason.id,
        "law": reason.law,
        "text": {"en": reason.text_en, "zh": reason.text_zh},
        "fix": {"en": reason.fix_en, "zh": reason.fix_zh},
        "override": reason.override,
    }
