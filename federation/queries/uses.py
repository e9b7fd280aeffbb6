"""How a plan uses the columns it reads: what the law is asked about.

A window's column is used as what it is made from, by the names that the contracts give. Of a plan
that joins, the columns of each contract are named apart, since only there they have a grade.
"""

from collections.abc import Iterable, Iterator
from typing import Final

from federation.queries.expressions import Call, Column, Expression, columns
from federation.queries.relations import place_of
from federation.queries.sources import Filter, Join, Window, said, sources
from federation.queries.tree import Plan, condition, source

MISSING: Final = frozenset({"coalesce", "is_null"})
"""Functions that tell a row that lacks a value from one that has it."""


def grouped(plan: Plan, contract: str = "") -> tuple[str, ...]:
    """Return the columns that keys are made of, sorted; of one contract, or of all together."""
    return _names(plan, contract, (key.expression for key in plan.child.keys))


def filtered(plan: Plan, contract: str = "") -> tuple[str, ...]:
    """Return the columns that decide which rows count: in WHERE, FILTER, CASE and COUNT(x); sorted.

    So do the conditions of relations, and what a window sorts and divides by.
    A key that is computed from conditions groups by them and is named there.
    """
    where = condition(plan)
    counted = [item.counted for item in plan.child.aggregates if item.counted is not None]
    chosen = [part for value in _values(plan) for part in _choosing(value)]
    below = list(_below(plan))
    found = [*([] if where is None else [where]), *counted, *chosen, *below]
    return _names(plan, contract, found)


def linked(plan: Plan, contract: str = "") -> tuple[str, ...]:
    """Return the columns that joins equate beside the unit's, of which they use equality alone."""
    unit = set(plan.child.child.unit)
    joins = (relation for relation in sources(source(plan)) if isinstance(relation, Join))
    pairs = (pair for join in joins for pair in join.on if not unit & set(pair))
    return _names(plan, contract, (Column(name) for pair in pairs for name in pair))


def aggregated(plan: Plan, contract: str = "") -> tuple[str, ...]:
    """Return the columns that are summed, in whatever function; sorted."""
    return _names(plan, contract, _values(plan))


def _below(plan: Plan) -> Iterator[Expression]:
    """Yield what decides about rows below the plan's own condition."""
    for relation in sources(source(plan)):
        match relation:
            case Filter(_, chosen):
                yield chosen
            case Window():
                yield from relation.partition
                yield from (item.expression for item in relation.order)
                if relation.argument is not None:
                    yield from _choosing(relation.argument)


def _values(plan: Plan) -> Iterator[Expression]:
    for item in plan.child.aggregates:
        yield from (value.expression for value in item.values)


def _choosing(expression: Expression) -> Iterator[Expression]:
    """Yield the parts of an expression by which it tells rows apart."""
    if not isinstance(expression, Call):
        return
    if expression.function == "case":
        yield from expression.arguments[: len(expression.arguments) // 2 * 2 : 2]
    elif expression.function in MISSING:
        yield expression
    for part in expression.arguments:
        yield from _choosing(part)


def _names(plan: Plan, contract: str, found: Iterable[Expression]) -> tuple[str, ...]:
    top = source(plan)
    made = {item.name: item for item in sources(top) if isinstance(item, Window)}
    names: set[str] = set()
    waiting = [name for item in found for name in columns(item)]
    while waiting:
        name = waiting.pop()
        place = place_of(top, name)
        if place is not None:
            names |= {place[1]} if contract in {"", place[0].contract} else set()
        elif name in made:  # a window's own argument never names itself, so this ends
            waiting += [other for part in said(made[name]) for other in columns(part)]
    return tuple(sorted(names))
