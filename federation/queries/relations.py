"""What is public about the rows of a relation: its columns, and what windows over one unit add.

A relation's scope is known from the contracts and the conditions in it alone. Windows read rows of
one unit, and how many it has before the bound is not public: a count and a row number have no upper
end, and a sum none on the side to which it grows, unless the frame is short or WHERE bounds them.
"""

import math
from collections.abc import Mapping
from decimal import Decimal
from typing import Final

from federation.errors import UnsupportedQueryError
from federation.queries.expressions import Expression
from federation.queries.kinds import Kind, number
from federation.queries.scope import Scope, kind_of, narrowed_by, readable, scope_of
from federation.queries.sources import Filter, Join, Scan, Source, Window, scans
from federation.queries.tree import Plan, Value, source
from federation.queries.values import value_of
from policies.contracts import Column, DataContract

MAX_FRAME: Final = 1000
"""Most rows before the current one that a window's frame names."""

Contracts = Mapping[str, DataContract]


def scope_before(plan: Plan, contracts: Contracts) -> Scope:
    """Return what is known of the rows that the plan's own condition chooses from."""
    return scope_of_source(source(plan), contracts)


def scope_of_source(relation: Source, contracts: Contracts) -> Scope:
    """Return what is known of every column of a relation's rows.

    Raises:
        UnsupportedQueryError: a window mixes types, or sums what has no bounds.
    """
    match relation:
        case Scan():
            known = scope_of(contracts[relation.contract])
            return {relation.column(name): kind for name, kind in known.items()}
        case Filter(child, condition):
            return narrowed_by(scope_of_source(child, contracts), condition)
        case Join(left, right):
            return {**scope_of_source(left, contracts), **scope_of_source(right, contracts)}
        case Window(child):
            known = scope_of_source(child, contracts)
            return {**known, relation.name: kind_of_window(relation, known)}


def kind_of_window(window: Window, known: Scope) -> Kind:
    """Return what a window's column is, from what is known of the rows below it.

    Raises:
        UnsupportedQueryError: its argument is of another type, or is summed without bounds.
    """
    rows = math.inf if window.frame is None else float(window.frame + 1)
    match window.function:
        case "row_number":
            return number((1.0, math.inf), whole=True)
        case "count":
            return number((0.0, rows), whole=True)
        case "sum":
            return _summed(window, known, rows)
    argument = kind_of(_argument(window), known)
    if window.function in {"min", "max"} and argument.type not in {"number", "date", "timestamp"}:
        raise UnsupportedQueryError(
            f"{window.function.upper()} OVER takes a number or a date, and was given "
            f"{argument.type}: write it anew"
        )
    return argument


def summed(window: Window, known: Scope) -> Value:
    """Return the bounds and the step in which a window sums: whole numbers, so the sum is exact.

    A sum of doubles would depend on the order of adding, and so on what other units' rows do to it.

    Raises:
        UnsupportedQueryError: what is summed has no bounds.
    """
    return value_of(_argument(window), known, "sum", "SUM OVER", "of the relation")


def _summed(window: Window, known: Scope, rows: float) -> Kind:
    value = summed(window, known)
    low = float(value.low) if value.low >= 0 else value.low * rows
    high = float(value.high) if value.high <= 0 else value.high * rows
    step = Decimal(value.step)
    low, high = (scaled(end, step) if math.isfinite(end) else end for end in (low, high))
    return number((low, high), whole=step >= 1, unit=value.unit)


def scaled(steps: float, step: Decimal) -> float:
    """Return a number of steps as the number that it spells, rounded as DuckDB rounds it."""
    return steps / int(1 / step) if step < 1 else steps * int(step)


def _argument(window: Window) -> Expression:
    if window.argument is None:
        raise UnsupportedQueryError(f"{window.function.upper()} OVER takes a value: name one")
    return window.argument


def unit_of(relation: Source, contracts: Contracts) -> tuple[str, ...]:
    """Return the columns that name the unit whose row a row of the relation is."""
    first = scans(relation)[0]
    return tuple(first.column(name) for name in contracts[first.contract].unit.columns)


def rows_of(relation: Source, contracts: Contracts) -> int:
    """Return the most rows of one unit that any of the contracts lets through."""
    return min(contracts[leaf.contract].unit.rows for leaf in scans(relation))


def place_of(relation: Source, name: str) -> tuple[Scan, str] | None:
    """Return the leaf that has the column, and what its contract calls it; None for a window's."""
    for leaf in scans(relation):
        mark = leaf.column("")
        if name.startswith(mark) and (leaf.name or not _is_window(relation, name)):
            return leaf, name[len(mark) :]
    return None


def _is_window(relation: Source, name: str) -> bool:
    match relation:
        case Window(child):
            return relation.name == name or _is_window(child, name)
        case Filter(child):
            return _is_window(child, name)
    return False


def readable_in(relation: Source, contracts: Contracts, name: str, clause: str) -> Column | None:
    """Return the contract's column, if an expression may read it; None for a window's.

    Raises:
        UnsupportedQueryError: it names a unit, a party, or a role's own matter.
    """
    found = place_of(relation, name)
    return None if found is None else readable(contracts[found[0].contract], found[1], clause)


def titled(relation: Source) -> str:
    """Return how sentences call the contracts of a relation."""
    return " and ".join(dict.fromkeys(leaf.contract for leaf in scans(relation)))
