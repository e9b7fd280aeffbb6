"""Opened sums to the rows that people read: post-processing, which costs nothing.

The error beside every value is the noise's alone, at 95 %: what the contribution bound left out is
not in it. Counts and sums are left as they are, even below zero; an average whose count cannot be
told from zero is not computed at all.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from federation.errors import MalformedMessageError
from federation.plans import Aggregate, Plan, cells, measures, parts, width
from federation.pricing import TOO_NOISY, average_error, half_width, ratio_interval, scales
from secure_compute.canonical import JSON


@dataclass(frozen=True, slots=True)
class Cell:
    """One answer: a decimal string and half its 95 % interval, or a note in their place.

    low, high: the ends of the interval, decimal strings; for an average it is Fieller's, and the
               value need not stand in its middle.
    """

    value: str | None
    error: str | None
    low: str | None
    high: str | None
    note: str = ""

    def to_json(self) -> dict[str, JSON]:
        """Return the form that reports print."""
        return {
            "value": self.value,
            "error": self.error,
            "low": self.low,
            "high": self.high,
            "note": self.note,
        }


@dataclass(frozen=True, slots=True)
class Row:
    """The answers of one cell of the cross product."""

    keys: tuple[str, ...]
    cells: tuple[Cell, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A whole answer. labels and units stand in the order of the SELECT list."""

    keys: tuple[str, ...]
    labels: tuple[str, ...]
    units: tuple[str, ...]
    rows: tuple[Row, ...]
    contributors: int

    def to_json(self) -> dict[str, JSON]:
        """Return the form that reports print."""
        return {
            "keys": list(self.keys),
            "labels": list(self.labels),
            "units": list(self.units),
            "contributors": self.contributors,
            "rows": [
                {"keys": list(row.keys), "cells": [cell.to_json() for cell in row.cells]}
                for row in self.rows
            ],
        }


def read_answer(value: Mapping[str, Any]) -> Answer:
    """Return the answer that `Answer.to_json` wrote.

    Raises:
        MalformedMessageError: it is no answer of this version.
    """
    try:
        rows = tuple(
            Row(tuple(row["keys"]), tuple(Cell(**cell) for cell in row["cells"]))
            for row in value["rows"]
        )
        names = (tuple(value[name]) for name in ("keys", "labels", "units"))
        keys, labels, units = names
        return Answer(
            keys=keys,
            labels=labels,
            units=units,
            rows=rows,
            contributors=int(value["contributors"]),
        )
    except (KeyError, TypeError, ValueError) as why:
        raise MalformedMessageError("this is no answer to a joint query") from why


def answer(plan: Plan, noise_multiplier: str, contributors: int, opened: Sequence[int]) -> Answer:
    """Return the rows of an opened sum, [measures x cells], one measure after another.

    Raises:
        MalformedMessageError: there are more or fewer numbers than the plan asks for.
    """
    if len(opened) != width(plan):
        raise MalformedMessageError(
            f"the opened answer holds {len(opened)} numbers and the plan asks for {width(plan)}"
        )
    every = cells(plan)
    noise = dict(zip(measures(plan), scales(plan, noise_multiplier), strict=True))
    column = {
        measure: opened[place * len(every) : (place + 1) * len(every)]
        for place, measure in enumerate(noise)
    }
    rows = []
    for place, keys in enumerate(every):
        found = []
        for item in plan.aggregates:
            wanted = parts(item)
            values = [column[measure][place] for measure in wanted]
            sigmas = [noise[measure] for measure in wanted]
            found.append(_cell(plan, item, values, sigmas, contributors))
        rows.append(Row(keys, tuple(found)))
    return Answer(
        keys=tuple(key.column for key in plan.keys),
        labels=tuple(item.label for item in plan.aggregates),
        units=tuple(_unit(plan, item) for item in plan.aggregates),
        rows=tuple(rows),
        contributors=contributors,
    )


def _unit(plan: Plan, item: Aggregate) -> str:
    return "rows" if item.function == "count" else plan.child.clip(item.column).unit


def _cell(
    plan: Plan, item: Aggregate, values: Sequence[int], sigmas: Sequence[int], contributors: int
) -> Cell:
    if item.function == "avg":
        step = Decimal(plan.child.clip(item.column).step)
        return _average(values[0], values[1], (sigmas[0], sigmas[1]), contributors, step)
    step = Decimal(1) if item.function == "count" else Decimal(plan.child.clip(item.column).step)
    value, half = values[0], half_width(sigmas[0], contributors)
    return Cell(*(format(x * step, "f") for x in (value, half, value - half, value + half)))


def _average(
    total: int, count: int, sigmas: tuple[int, int], contributors: int, step: Decimal
) -> Cell:
    interval = ratio_interval(total, count, sigmas, contributors)
    if interval is None:
        return Cell(None, None, None, None, TOO_NOISY)
    low, high = (format(_hundredths(end) * step, "f") for end in interval)
    value = format(_hundredths(total / count) * step, "f")
    return Cell(value, average_error(interval, step), low, high)


def _hundredths(value: float) -> Decimal:
    return Decimal(round(value * 100)) / 100
