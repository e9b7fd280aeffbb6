"""Opened sums to the rows that people and programs read: decimal strings, each with its interval.

The error beside every value is half the noise's 95 % interval: what the contribution bound left out
is not in it. Ends are rounded outwards, so an interval never promises more than it holds. Counts
and sums are left as they are, even below zero; what cannot be told from noise is not computed.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR, ROUND_HALF_EVEN, Context, Decimal
from typing import Any, Final

from federation.errors import MalformedMessageError, MalformedOrderError
from federation.noisy import TOO_NOISY
from federation.queries import post
from federation.queries.expressions import Column
from federation.queries.readouts import Bin, Term, bins_of, notes_of, terms_of, unit_of
from federation.queries.tree import Aggregate, Output, Plan, cells
from secure_compute.canonical import JSON

DIGITS: Final = 4
"""Digits of an error where the value's own step does not say how many are meant."""

MOST_PLACES: Final = 12
_EXACT: Final = Context(prec=80)


@dataclass(frozen=True, slots=True)
class Cell:
    """One answer: a decimal string and half its 95 % interval, or a note in their place.

    low, high: the ends of the interval, decimal strings; the value need not stand in its middle.
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
    """A whole answer. labels and units stand in the order of the SELECT list.

    per_silo: labels that add up what every party counted on its own.
    notes:    sentences about the whole answer.
    terms:    what the labels of regressions are coefficients of.
    bins:     between which values the labels of histograms count.
    """

    keys: tuple[str, ...]
    labels: tuple[str, ...]
    units: tuple[str, ...]
    rows: tuple[Row, ...]
    contributors: int
    per_silo: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    terms: tuple[Term, ...] = ()
    bins: tuple[Bin, ...] = ()

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
            "per_silo": list(self.per_silo),
            "notes": list(self.notes),
            "terms": [term.to_json() for term in self.terms],
            "bins": [item.to_json() for item in self.bins],
        }


def read_answer(value: Any) -> Answer:
    """Return what `to_json` wrote, also before there were notes, terms and bins.

    Raises:
        MalformedMessageError: it is no answer.
    """
    try:
        rows = tuple(
            Row(tuple(row["keys"]), tuple(Cell(**cell) for cell in row["cells"]))
            for row in value["rows"]
        )
        return Answer(
            keys=tuple(value["keys"]),
            labels=tuple(value["labels"]),
            units=tuple(value["units"]),
            rows=rows,
            contributors=int(value["contributors"]),
            per_silo=tuple(value.get("per_silo", ())),
            notes=tuple(value.get("notes", ())),
            terms=tuple(Term(**term) for term in value.get("terms", ())),
            bins=tuple(Bin(**item) for item in value.get("bins", ())),
        )
    except (AttributeError, KeyError, TypeError, ValueError, OverflowError) as why:
        raise MalformedMessageError("this is no answer to a joint query") from why


def answer(plan: Plan, noise_multiplier: str, contributors: int, opened: Sequence[int]) -> Answer:
    """Return the rows of an opened sum, [measures x cells x bins], one measure after another.

    Raises:
        MalformedMessageError: there are more or fewer numbers than the plan asks for.
    """
    try:
        found = post.answer(plan, noise_multiplier, contributors, opened)
    except MalformedOrderError as why:
        raise MalformedMessageError(str(why)) from why
    rows = tuple(
        Row(row.keys, tuple(map(spelled, _aggregates(plan), row.cells))) for row in found.rows
    )
    drowned = sum(cell.note == TOO_NOISY for row in rows for cell in row.cells)
    return Answer(
        keys=found.keys,
        labels=found.labels,
        units=tuple(unit_of(plan, output) for output in plan.outputs),
        rows=rows,
        contributors=contributors,
        per_silo=found.per_silo,
        notes=notes_of(found.per_silo, drowned, cells(plan) - len(rows)),
        terms=terms_of(plan),
        bins=bins_of(plan),
    )


def aggregate_of(plan: Plan, output: Output) -> Aggregate | None:
    """Return the aggregate that a column of the answer is; None where it is computed from some."""
    if not isinstance(output.expression, Column):
        return None
    return next(a for a in plan.child.aggregates if a.label == output.expression.name)


def spelled(item: Aggregate | None, cell: post.Cell) -> Cell:
    """Return a cell as decimal strings, with as many places as its step or its error asks for."""
    if cell.value is None:
        return Cell(None, None, None, None, cell.note)
    if cell.low is None or cell.high is None:
        places = _significant(abs(cell.value), DIGITS + 2)
        return Cell(_text(cell.value, places, ROUND_HALF_EVEN), None, None, None, cell.note)
    half = (cell.high - cell.low) / 2
    places = _places(item, half)
    return Cell(
        _text(cell.value, places, ROUND_HALF_EVEN),
        _text(half, places, ROUND_CEILING),
        _text(cell.low, places, ROUND_FLOOR),
        _text(cell.high, places, ROUND_CEILING),
        cell.note,
    )


def _aggregates(plan: Plan) -> tuple[Aggregate | None, ...]:
    return tuple(aggregate_of(plan, output) for output in plan.outputs)


def _places(item: Aggregate | None, half: float) -> int:
    if item is not None and item.function in post.COUNTS:
        return 0
    if item is not None and item.function in {"sum", "avg"}:
        exponent = Decimal(item.values[0].step).as_tuple().exponent
        own = max(0, -int(exponent))
        return own + 2 if item.function == "avg" else own
    return _significant(half, DIGITS)


def _significant(size: float, digits: int) -> int:
    """Return after how many decimal places a number of this size has so many digits."""
    if not size:
        return digits
    return min(MOST_PLACES, max(0, digits - 1 - math.floor(math.log10(size))))


def _text(value: float, places: int, rounding: str) -> str:
    """Return a decimal string; a double's own shortest spelling is what is rounded."""
    exact = Decimal(repr(value))
    found = exact.quantize(Decimal(1).scaleb(-places), rounding=rounding, context=_EXACT)
    return format(found or abs(found), "f")
