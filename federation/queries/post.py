"""Opened sums to the rows that people read: post-processing, which costs nothing.

The interval beside a value is the noise's alone, at 95 %; what the contribution bound left out is
not in it. HAVING and arithmetic see released numbers and nothing else. An interval of an expression
over several aggregates takes each at 1 − 0.05/m, so that all hold together [Bonferroni], and goes
through the same interval arithmetic that bounds rows.
"""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist
from typing import Final

from federation.noisy import NORMAL_95, TOO_NOISY
from federation.queries.estimates import Estimate, estimate
from federation.queries.expressions import Call, Column, Expression, Literal, Value, columns
from federation.queries.functions import FUNCTIONS
from federation.queries.kinds import Kind, number
from federation.queries.pricing import scale
from federation.queries.scope import kind_of
from federation.queries.sensitivity import Measure, layout, measures, parts
from federation.queries.tree import Aggregate, Plan

COUNTS: Final = frozenset({"count", "units", "bin"})


@dataclass(frozen=True, slots=True)
class Cell:
    """One number with the ends of its 95 % interval, or a note in their place."""

    value: float | None
    low: float | None
    high: float | None
    note: str = ""


@dataclass(frozen=True, slots=True)
class Row:
    """The answer for one cell of the cross product of the keys."""

    keys: tuple[str, ...]
    cells: tuple[Cell, ...]


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer: keys and labels name its columns, keys first.

    per_silo: labels that add up what every party counted on its own: one unit counts once for each
              party that has its rows.
    """

    keys: tuple[str, ...]
    labels: tuple[str, ...]
    per_silo: tuple[str, ...]
    rows: tuple[Row, ...]
    contributors: int


def answer(
    plan: Plan,
    noise_multiplier: str,
    contributors: int,
    opened: Sequence[int],
    *,
    consistent: bool = False,
) -> Answer:
    """Return the rows of an opened sum in which every contributor's noise is.

    consistent: counts are moved together to the nearest ones that are not negative and have the
                same total; the intervals stay those of the noise, held to zero.

    Raises:
        MalformedOrderError: there are more or fewer numbers than the plan asks for.
    """
    found = layout(plan, opened)
    if consistent:
        found = {m: _tidied(m, sums) for m, sums in found.items()}
    noise = {m: scale(plan, m, noise_multiplier) * math.sqrt(contributors) for m in measures(plan)}
    domains = (key.domain for key in plan.child.keys)
    rows = []
    for place, keys in enumerate(itertools.product(*domains)):
        released = {
            item.label: _estimated(item, found, noise, place, consistent)
            for item in plan.child.aggregates
        }
        if _is_shown(plan.having, released):
            shown = tuple(_cell(output.expression, released) for output in plan.outputs)
            rows.append(Row(keys, shown))
    return Answer(
        tuple(key.label for key in plan.child.keys),
        tuple(output.label for output in plan.outputs),
        _per_silo(plan),
        tuple(rows),
        contributors,
    )


def nonnegative(counts: Sequence[int]) -> list[int]:
    """Return the nearest whole counts of 0 or more with the same total, or zeros for one below 0.

    Euclidean projection onto a simplex [Duchi et al. 2008]; what rounding leaves over goes to the
    counts that rounding down cut most.
    """
    total = sum(counts)
    if total <= 0:
        return [0] * len(counts)
    falling, running, shift = sorted(counts, reverse=True), 0, 0.0
    for place, value in enumerate(falling, start=1):
        running += value
        if value - (running - total) / place > 0:
            shift = (running - total) / place
    exact = [max(0.0, value - shift) for value in counts]
    whole = [math.floor(x) for x in exact]
    order = sorted(range(len(exact)), key=lambda at: (whole[at] - exact[at], at))
    for at in order[: total - sum(whole)]:
        whole[at] += 1
    return whole


def _tidied(measure: Measure, sums: Sequence[int]) -> Sequence[int]:
    return nonnegative(sums) if measure.kind in {"rows", "units", "present", "bins"} else sums


def _estimated(
    item: Aggregate,
    found: Mapping[Measure, Sequence[int]],
    noise: Mapping[Measure, float],
    place: int,
    consistent: bool,
) -> Estimate | None:
    wanted = parts(item)
    sums = [found[m][place * m.bins : (place + 1) * m.bins] for m in wanted]
    result = estimate(item, sums, [noise[m] for m in wanted])
    if result is None or not (consistent and item.function in COUNTS):
        return result
    return replace(result, low=max(0.0, result.low), high=max(0.0, result.high))


def _is_shown(having: Expression | None, released: Mapping[str, Estimate | None]) -> bool:
    return having is None or _evaluated(having, released) is True


def _evaluated(expression: Expression, released: Mapping[str, Estimate | None]) -> Value:
    match expression:
        case Column(name):
            found = released[name]
            return None if found is None else found.value
        case Literal():
            return expression.value
        case Call(name, arguments):
            return FUNCTIONS[name](*(_evaluated(part, released) for part in arguments))


def _cell(expression: Expression, released: Mapping[str, Estimate | None]) -> Cell:
    value, named = _evaluated(expression, released), columns(expression)
    kept = {name: found for name in named if (found := released[name]) is not None}
    if not isinstance(value, float | int) or isinstance(value, bool) or len(kept) < len(named):
        return Cell(None, None, None, TOO_NOISY)
    if isinstance(expression, Column):
        found = kept[expression.name]
        return Cell(found.value, found.low, found.high)
    kind = kind_of(expression, {name: _widened(x, len(kept)) for name, x in kept.items()})
    if not kind.bounded:
        return Cell(float(value), None, None, "no interval: a divisor may be zero")
    return Cell(float(value), kind.low, kind.high)


def _widened(found: Estimate, together: int) -> Kind:
    """Return the interval of one aggregate at the level at which several hold together."""
    wider = NormalDist().inv_cdf(1 - 0.025 / together) / NORMAL_95
    low = found.value - wider * (found.value - found.low)
    return number((low, found.value + wider * (found.high - found.value)))


def _per_silo(plan: Plan) -> tuple[str, ...]:
    units = {item.label for item in plan.child.aggregates if item.function == "units"}
    return tuple(o.label for o in plan.outputs if columns(o.expression) & units)
