"""What a joint question costs and how much noise it buys, before any row is read.

Every measure is released once with discrete Gaussian noise of integer standard deviation
σ = ceil(z·Δ). Its event says z·Δ, so that m measures are charged as m Gaussian releases of noise
multiplier z, and the certificate knows how coarse the noise is. Each node adds the full noise: an
answer from n contributors carries n·σ² in every number. All of it follows from plan and cohort;
this module has no handle to rows.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Final

from federation.noisy import NORMAL_95
from federation.queries.sensitivity import Measure, change, measures, parts, sum_reach
from federation.queries.tree import Plan
from policies.budget import accountant
from policies.budget.events import Composed, DiscreteGaussian, Event, spell

NOISE_TAIL: Final = 64
"""Standard deviations of noise that a number must hold; P(beyond) < exp(-2048)."""


def price(plan: Plan, noise_multiplier: str) -> Event:
    """Return what one release of `plan` by one node does to its rows."""
    multiplier = Decimal(noise_multiplier)
    sizes = [change(plan, measure) for measure in measures(plan)]
    return Composed(tuple(DiscreteGaussian(size, multiplier * size) for size in sizes))


def calibrate(plan: Plan, epsilon: str, delta: str) -> str:
    """Return the least noise multiplier, to 3 digits, at which `plan` costs at most `epsilon`.

    Raises:
        UnattainableError: no noise is enough.
    """
    multiplier = accountant.calibrate(1.0, len(measures(plan)), float(epsilon), float(delta))
    return spell(Decimal(repr(multiplier)))


def cost(plan: Plan, noise_multiplier: str, delta: str) -> str:
    """Return the ε of one release at `delta`, a decimal string."""
    return spell(Decimal(repr(accountant.epsilon([price(plan, noise_multiplier)], float(delta)))))


def scale(plan: Plan, measure: Measure, noise_multiplier: str) -> int:
    """Return σ of the noise on every number of `measure`: the ceiling of z·Δ."""
    return math.ceil(Fraction(noise_multiplier) * change(plan, measure))


def scales(plan: Plan, noise_multiplier: str) -> tuple[int, ...]:
    """Return σ of every measure, in the order of `measures`."""
    return tuple(scale(plan, measure, noise_multiplier) for measure in measures(plan))


def reach(plan: Plan, noise_multiplier: str) -> int:
    """Return the largest absolute value that one node may send in any slot.

    A node holds its noisy sums within this number, so that n nodes stay within n times it.
    """
    return max(
        sum_reach(measure) + NOISE_TAIL * scale(plan, measure, noise_multiplier)
        for measure in measures(plan)
    )


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
