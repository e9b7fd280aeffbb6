"""What a node really sums per cell, and how far one unit moves it: all from the plan alone.

Every measure is an integer vector, [cells] or [cells x bins], released once. A unit has at most K
rows behind the bound, and the worst case is all of them in one cell with the widest values: K times
what one row can add, not √K times. Values are rounded to steps and clipped before they are
multiplied, so rounding is inside the bound.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from federation.errors import MalformedOrderError
from federation.queries.expressions import Expression
from federation.queries.tree import Aggregate, Plan, Value, cells

MOST_ROWS: Final = 1 << 32
"""Rows of one node that a sum must hold; what lies beyond is clipped, never wrapped."""

MOST_SUM: Final = 1 << 53
"""Sums of one node that are told apart as doubles, and leave room in a ciphertext for all nodes."""

Sum: TypeAlias = Literal["rows", "units", "present", "total", "first", "second", "bins"]


@dataclass(frozen=True, slots=True)
class Measure:
    """One integer vector.

    rows:    rows of the cell
    units:   units with a row in the cell, at this party
    present: rows in which every one of `expressions` is present
    total:   sum of the one value, in steps
    first:   sum of value − centre over rows in which all `expressions` are present
    second:  sum of the product of two such differences, over the same rows
    bins:    rows of the cell by the part of the bounds that the value lies in, [bins]
    """

    kind: Sum
    expressions: tuple[Expression, ...] = ()
    values: tuple[Value, ...] = ()
    bins: int = 1


def measures(plan: Plan) -> tuple[Measure, ...]:
    """Return what is summed, each once, in the order of the released vector."""
    found: dict[Measure, None] = {}
    for aggregate in plan.child.aggregates:
        found.update(dict.fromkeys(parts(aggregate)))
    return tuple(found)


def parts(item: Aggregate) -> tuple[Measure, ...]:
    """Return the measures that one aggregate is computed from, counts first."""
    match item.function:
        case "count":
            return (Measure("rows") if item.counted is None else _present(item.counted),)
        case "units":
            return (Measure("units"),)
        case "sum":
            return (Measure("total", values=item.values),)
        case "avg":
            return (_present(item.values[0].expression), Measure("total", values=item.values))
        case "quantile" | "bin":
            return (Measure("bins", values=item.values, bins=item.bins),)
    return gram(item.values)


def gram(values: tuple[Value, ...]) -> tuple[Measure, ...]:
    """Return 1, x and x·x' for values x: all sums that regression and correlation need."""
    over = tuple(value.expression for value in values)
    pairs = [(x, y) for place, x in enumerate(values) for y in values[place:]]
    return (
        _present(*over),
        *(Measure("first", over, (value,)) for value in values),
        *(Measure("second", over, pair) for pair in pairs),
    )


def width(plan: Plan) -> int:
    """Return how many integers a node releases."""
    return cells(plan) * sum(measure.bins for measure in measures(plan))


def per_row(measure: Measure) -> int:
    """Return the most one row adds to one number of the vector."""
    match measure.kind:
        case "total":
            return measure.values[0].reach
        case "first" | "second":
            return math.prod(value.half for value in measure.values)
    return 1


def squared(plan: Plan, measure: Measure) -> int:
    """Return the square of the L2 change of the whole vector when one unit comes or goes."""
    rows = plan.child.child.rows
    if measure.kind == "units":
        return min(rows, cells(plan))  # one unit is counted once in each of its cells
    return (rows * per_row(measure)) ** 2


def change(plan: Plan, measure: Measure) -> int:
    """Return the L2 change as a whole number, rounded up: Δ."""
    square = squared(plan, measure)
    root = math.isqrt(square)
    return root + (root * root < square)


def absolute(plan: Plan, measure: Measure) -> int:
    """Return the L1 change of the whole vector when one unit comes or goes."""
    rows = plan.child.child.rows
    if measure.kind == "units":
        return min(rows, cells(plan))
    return rows * per_row(measure)


def joint_squared(plan: Plan) -> int:
    """Return the square of the L2 change of all measures together, under one shared scale.

    A unit's worst rows are the worst for every measure at once: all extremes in one cell.
    """
    return sum(squared(plan, measure) for measure in measures(plan))


def sum_reach(measure: Measure) -> int:
    """Return the largest absolute sum in one cell before noise; what lies beyond is clipped."""
    return min(MOST_ROWS * per_row(measure), MOST_SUM)


def layout(plan: Plan, opened: Sequence[int]) -> dict[Measure, Sequence[int]]:
    """Return the opened vector cut into measures, each [cells x bins].

    Raises:
        MalformedOrderError: it has another length than the plan's.
    """
    if len(opened) != width(plan):
        raise MalformedOrderError(
            f"the opened answer holds {len(opened)} numbers and the plan asks for {width(plan)}"
        )
    found, place, size = {}, 0, cells(plan)
    for measure in measures(plan):
        found[measure] = opened[place : place + size * measure.bins]
        place += size * measure.bins
    return found


def _present(*over: Expression) -> Measure:
    return Measure("present", tuple(dict.fromkeys(over)))
