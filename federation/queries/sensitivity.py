"""What a node really sums per cell, and how far one unit moves it: all from the plan alone.

Every measure is an integer vector, [cells] or [cells x bins], released once. A unit has at most K
rows behind the bound, and the worst case is all of them in one cell with the widest values: K times
what one row can add, not √K times. Values are rounded to steps and clipped before they are
multiplied, so rounding is inside the bound.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Literal, TypeAlias

from federation.errors import MalformedOrderError
from federation.pricing import MOST_ROWS, NORMAL_95
from federation.queries.expressions import Expression
from federation.queries.tree import Aggregate, Plan, Value, cells
from policies.budget.events import Composed, DiscreteGaussian, Event

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


def scale(plan: Plan, measure: Measure, noise_multiplier: str) -> int:
    """Return σ of the noise on every number of `measure`: the ceiling of z·Δ."""
    return math.ceil(Fraction(noise_multiplier) * change(plan, measure))


def price(plan: Plan, noise_multiplier: str) -> Event:
    """Return what one release of `plan` by one node does to its rows."""
    multiplier = Decimal(noise_multiplier)
    sizes = [change(plan, measure) for measure in measures(plan)]
    return Composed(tuple(DiscreteGaussian(size, multiplier * size) for size in sizes))


def sum_reach(measure: Measure) -> int:
    """Return the largest absolute sum in one cell before noise; what lies beyond is clipped."""
    return MOST_ROWS * per_row(measure)


@dataclass(frozen=True, slots=True)
class Expected:
    """How far the sums behind one aggregate may lie from the exact ones, in 95 of 100 cells.

    half_widths: one for each of `parts`, in steps.
    """

    label: str
    half_widths: tuple[int, ...]


def expected(plan: Plan, noise_multiplier: str, contributors: int) -> tuple[Expected, ...]:
    """Return half the 95 % interval of every sum behind every aggregate, in steps."""
    return tuple(
        Expected(
            item.label,
            tuple(half_width(plan, m, noise_multiplier, contributors) for m in parts(item)),
        )
        for item in plan.child.aggregates
    )


def half_width(plan: Plan, measure: Measure, noise_multiplier: str, contributors: int) -> int:
    """Return half the 95 % interval of an opened sum in which everybody's noise is, in steps."""
    sigma = scale(plan, measure, noise_multiplier)
    return math.ceil(NORMAL_95 * sigma * math.sqrt(contributors))


def least_rows(plan: Plan, noise_multiplier: str, contributors: int) -> int:
    """Return how many rows a cell needs before its count can be told from an empty one's."""
    count = next((m for m in measures(plan) if m.kind in {"rows", "present"}), Measure("rows"))
    return half_width(plan, count, noise_multiplier, contributors) + 1


def drowned(
    plan: Plan, noise_multiplier: str, contributors: int, rows: Mapping[int, int]
) -> tuple[int, ...]:
    """Return the cells that noise drowns, by what is public.

    rows: how many rows a cell may hold as far as the public knows, by the cell's place: from a
          census, or from a release that was made and paid for. A cell not named is not judged.
    """
    needed = least_rows(plan, noise_multiplier, contributors)
    return tuple(sorted(cell for cell, known in rows.items() if known < needed))


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
