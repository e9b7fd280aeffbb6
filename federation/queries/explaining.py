"""What a question would cost and bring, said before any row is read."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from federation.noisy import TOO_NOISY
from federation.queries.answers import aggregate_of, answer
from federation.queries.pricing import cost
from federation.queries.readouts import unit_of
from federation.queries.sensitivity import Measure, measures, width
from federation.queries.tree import Plan, cells
from secure_compute.canonical import JSON

ROWS: Final = 1000
"""Rows of the cell for which the error of anything but counts and sums is told."""

STEADY: Final = frozenset({"count", "units", "sum", "bin"})
"""Aggregates whose error is the same in every cell."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpectedError:
    """How far an answer may lie from the exact bounded one, in 95 of 100 cells.

    error: half the width of the interval, a decimal string in `unit`; of anything but counts and
           sums it holds for a cell of `rows` rows, since it depends on them.
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


def explain(plan: Plan, noise_multiplier: str, delta: str, contributors: int) -> Explanation:
    """Return price and expected errors of `plan`."""
    return Explanation(
        noise_multiplier=noise_multiplier,
        epsilon=cost(plan, noise_multiplier, delta),
        delta=delta,
        rows_per_unit=plan.child.child.rows,
        cells=cells(plan),
        numbers=width(plan),
        contributors=contributors,
        errors=expected_errors(plan, noise_multiplier, contributors),
    )


def expected_errors(
    plan: Plan, noise_multiplier: str, contributors: int, rows: int = ROWS
) -> tuple[ExpectedError, ...]:
    """Return the 95 % error of every column of the answer when `contributors` nodes answer.

    rows: what depends on a cell's rows is told for a cell of so many, with values spread evenly
          between their bounds and independent of one another.
    """
    whole = replace(plan, child=replace(plan.child, keys=()), having=None)
    made_up = answer(whole, noise_multiplier, contributors, _spread_evenly(whole, rows))
    return tuple(
        ExpectedError(
            label=output.label,
            error=TOO_NOISY if cell.error is None else cell.error,
            unit=unit_of(plan, output),
            rows=None if item is not None and item.function in STEADY else rows,
        )
        for output, cell in zip(plan.outputs, made_up.rows[0].cells, strict=True)
        for item in (aggregate_of(plan, output),)
    )


def _spread_evenly(plan: Plan, rows: int) -> Sequence[int]:
    return [number for measure in measures(plan) for number in _sums(measure, rows)]


def _sums(measure: Measure, rows: int) -> Sequence[int]:
    match measure.kind:
        case "total":
            return [rows * measure.values[0].centre]
        case "first":
            return [0]
        case "second":
            first, second = measure.values
            return [rows * first.half**2 // 3 if first == second else 0]
        case "bins":
            share, left = divmod(rows, measure.bins)
            return [share + (place < left) for place in range(measure.bins)]
    return [rows]
