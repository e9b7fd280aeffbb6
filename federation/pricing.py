"""What a joint query costs and how good its answer will be, before any row is read.

Every measure is released once with discrete Gaussian noise of integer standard deviation
σ = ceil(z·Δ). Its event says z·Δ, so that m measures are charged as m Gaussian releases of noise
multiplier z, and the certificate knows how coarse the noise is. Each node adds the full noise: an
answer from n contributors carries n·σ² in every cell. Prices and errors are functions of plan and
cohort; this module has no handle to rows.
"""

import math
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Final

from federation.plans import (
    Aggregate,
    Measure,
    Plan,
    cells,
    measures,
    parts,
    sensitivities,
    sensitivity,
    width,
)
from policies.budget import accountant
from policies.budget.events import Composed, DiscreteGaussian, Event, spell
from secure_compute.canonical import JSON

NORMAL_95: Final = 1.959963984540054
"""The two-sided 95 % point of the normal law."""

MOST_ROWS: Final = 1 << 32
"""Rows of one node that a sum must hold; what lies beyond is clipped, never wrapped."""

NOISE_TAIL: Final = 64
"""Standard deviations of noise that a slot must hold; P(beyond) < exp(-2048)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpectedError:
    """How far an answer may lie from the exact bounded one, in 95 of 100 cells.

    error: half the width of the interval, a decimal string in `unit`; of an average it holds for a
           cell of `rows` rows, since it depends on them.
    """

    label: str
    error: str
    unit: str
    rows: int | None = None

    def to_json(self) -> dict[str, JSON]:
        """Return the form that reports print."""
        return {"label": self.label, "error": self.error, "unit": self.unit, "rows": self.rows}


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """What a query would cost and bring; made without rows."""

    noise_multiplier: str
    epsilon: str
    delta: str
    rows_per_unit: int
    cells: int
    numbers: int
    contributors: int
    errors: tuple[ExpectedError, ...]

    def to_json(self) -> dict[str, JSON]:
        """Return the form that reports print."""
        return {
            "noise_multiplier": self.noise_multiplier,
            "epsilon": self.epsilon,
            "delta": self.delta,
            "rows_per_unit": self.rows_per_unit,
            "cells": self.cells,
            "numbers": self.numbers,
            "contributors": self.contributors,
            "errors": [error.to_json() for error in self.errors],
        }


TOO_NOISY: Final = "too noisy"
"""What stands in place of an average whose count cannot be told from zero."""


def price(plan: Plan, noise_multiplier: str) -> Event:
    """Return what one release of `plan` by one node does to its rows."""
    multiplier = Decimal(noise_multiplier)
    return Composed(
        tuple(DiscreteGaussian(size, multiplier * size) for size in sensitivities(plan))
    )


def calibrate_query(plan: Plan, epsilon: str, delta: str) -> str:
    """Return the least noise multiplier, to 3 digits, at which `plan` costs at most `epsilon`.

    Raises:
        UnattainableError: no noise is enough.
    """
    multiplier = accountant.calibrate(1.0, len(measures(plan)), float(epsilon), float(delta))
    return spell(Decimal(repr(multiplier)))


def scale(plan: Plan, measure: Measure, noise_multiplier: str) -> int:
    """Return σ of the noise on every cell of `measure`, in steps: the ceiling of z·Δ."""
    return math.ceil(Fraction(noise_multiplier) * sensitivity(plan, measure))


def scales(plan: Plan, noise_multiplier: str) -> tuple[int, ...]:
    """Return σ of every measure, in the order of `measures`."""
    return tuple(scale(plan, measure, noise_multiplier) for measure in measures(plan))


def reach(plan: Plan, noise_multiplier: str) -> int:
    """Return the largest absolute value that one node may send in any slot.

    A node holds its noisy sums within this number, so that n nodes stay within n times it.
    """
    return max(
        sum_reach(plan, measure) + NOISE_TAIL * scale(plan, measure, noise_multiplier)
        for measure in measures(plan)
    )


def sum_reach(plan: Plan, measure: Measure) -> int:
    """Return the largest absolute sum of `measure` in one cell before noise."""
    return MOST_ROWS * (sensitivity(plan, measure) // plan.child.rows)


def expected_errors(
    plan: Plan, noise_multiplier: str, contributors: int, rows: int = 1000
) -> tuple[ExpectedError, ...]:
    """Return the 95 % error of every aggregate when `contributors` nodes answer.

    rows: for averages, the size of the cell that the error is quoted for, with an average in the
          middle of the bounds.
    """
    return tuple(
        _expected(plan, item, noise_multiplier, contributors, rows) for item in plan.aggregates
    )


def explain(plan: Plan, noise_multiplier: str, delta: str, contributors: int) -> Explanation:
    """Return price and expected errors of `plan`."""
    cost = accountant.epsilon([price(plan, noise_multiplier)], float(delta))
    return Explanation(
        noise_multiplier=noise_multiplier,
        epsilon=spell(Decimal(repr(cost))),
        delta=delta,
        rows_per_unit=plan.child.rows,
        cells=len(cells(plan)),
        numbers=width(plan),
        contributors=contributors,
        errors=expected_errors(plan, noise_multiplier, contributors),
    )


def half_width(sigma: int, contributors: int) -> int:
    """Return half the 95 % interval of a sum with n times the noise σ, in steps, rounded up."""
    return math.ceil(NORMAL_95 * sigma * math.sqrt(contributors))


def _expected(
    plan: Plan, item: Aggregate, noise_multiplier: str, contributors: int, rows: int
) -> ExpectedError:
    first, *rest = (scale(plan, measure, noise_multiplier) for measure in parts(item))
    if item.function == "count":
        return ExpectedError(
            label=item.label, error=str(half_width(first, contributors)), unit="rows"
        )
    clip = plan.child.clip(item.column)
    step = Decimal(clip.step)
    if item.function == "sum":
        error = half_width(first, contributors) * step
        return ExpectedError(label=item.label, error=format(error, "f"), unit=clip.unit)
    middle = rows * (clip.low + clip.high) / 2
    interval = ratio_interval(middle, rows, (first, rest[0]), contributors)
    text = TOO_NOISY if interval is None else average_error(interval, step)
    return ExpectedError(label=item.label, error=text, unit=clip.unit, rows=rows)


def average_error(interval: tuple[float, float], step: Decimal) -> str:
    """Return half an interval, in units, rounded up to a hundredth of a step."""
    low, high = interval
    return format(math.ceil((high - low) / 2 * 100) * (step / 100), "f")


def ratio_interval(
    total: float, count: float, sigmas: tuple[int, int], contributors: int
) -> tuple[float, float] | None:
    """Return Fieller's 95 % interval of total/count, or None where the count may be zero.

    Both carry independent noise of variance n·σ². The r that the data do not reject solve
    (total - r·count)² <= z²·n·(σ_total² + r²·σ_count²); they form an interval exactly when
    count > z·sqrt(n)·σ_count [Fieller 1954, JRSS B 16(2)]. Else the cell says that it is too noisy:
    nothing is ever divided by a count that noise may have made.
    """
    spread = NORMAL_95 * math.sqrt(contributors)
    noise_total, noise_count = spread * sigmas[0], spread * sigmas[1]
    if count <= noise_count:
        return None
    lead = count * count - noise_count * noise_count
    root = math.sqrt(noise_total**2 * lead + noise_count**2 * total * total)
    return (total * count - root) / lead, (total * count + root) / lead
