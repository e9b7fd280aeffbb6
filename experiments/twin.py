"""A synthetic twin of a table: rows that a contract allows, drawn from what it says alone.

Columns, types, bounds and lists are the contract's; keys are counted up, people are numbered. No
row of anybody's is read, and no statistic of one: this module opens no file.
"""

import re
from datetime import date, datetime, timedelta
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from policies.contracts import Column, DataContract

ROWS: Final = 400
PER_UNIT: Final = 4
"""Rows of one person, on average; never more than a contract's bound of its own."""
SPAN: Final = 40
"""Consecutive values of the last column of a key, such as weeks, for each value of the others."""
FIRST: Final = date(2025, 1, 1)
DAYS: Final = 360
UNBOUNDED: Final = 1_000_000
_YEAR: Final = re.compile(r"20[0-9]{2}", re.ASCII)
_ARROW: Final = {
    "float": pa.float64(),
    "integer": pa.int64(),
    "string": pa.string(),
    "boolean": pa.bool_(),
    "date": pa.date32(),
    "timestamp": pa.timestamp("us"),
}


def twin(contract: DataContract, seed: int, rows: int = ROWS) -> Any:
    """Return an Arrow table of made-up rows; the same contract and seed give the same table."""
    draw = np.random.default_rng(seed)
    fixed = _keyed(contract, rows)
    if not fixed.keys() & {*contract.unit.columns}:
        fixed |= _people(contract, rows, draw)
    columns = {
        column.name: fixed.get(column.name) or _drawn(column, contract, rows, draw)
        for column in contract.columns
    }
    return pa.table(
        {
            column.name: pa.array(columns[column.name], _ARROW[column.type])
            for column in contract.columns
        }
    )


def _keyed(contract: DataContract, rows: int) -> dict[str, list[Any]]:
    """Return the columns that name a row, so that no two rows have one name."""
    if not contract.key:
        return {}
    *others, last = (contract.column(name) for name in contract.key)
    span = rows if not others else min(SPAN, _size(last))
    found: dict[str, list[Any]] = {last.name: [_named(last, at % span) for at in range(rows)]}
    for column in others:
        found[column.name] = [_named(column, at // span) for at in range(rows)]
    return found


def _people(contract: DataContract, rows: int, draw: np.random.Generator) -> dict[str, list[Any]]:
    """Return the columns of the unit: people who have some rows each, and none more than may be."""
    each = min(PER_UNIT, contract.unit.rows)
    places = draw.permutation(rows) // each
    return {
        name: [_named(contract.column(name), int(place)) for place in places]
        for name in contract.unit.columns
    }


def _size(column: Column) -> int:
    """Return how many values a column of a key may have."""
    if column.domain is not None:
        return len(column.holds or column.domain)
    if column.low is None or column.high is None:
        return UNBOUNDED
    return int(column.high) - int(column.low) + 1


def _named(column: Column, at: int) -> Any:
    """Return the value of place `at` of a column that names something."""
    match column.type:
        case "integer" | "float":
            return int(column.low or 0) + at if column.low is not None else 1 + at
        case "string":
            values = column.holds or column.domain
            return values[at % len(values)] if values else f"{column.name} {1 + at}"
        case "date":
            return FIRST + timedelta(days=at)
        case "timestamp":
            return datetime.combine(FIRST, datetime.min.time()) + timedelta(hours=at)
        case "boolean":
            return bool(at % 2)


def _drawn(
    column: Column, contract: DataContract, rows: int, draw: np.random.Generator
) -> list[Any]:
    if values := column.holds if column.domain is not None and column.holds else column.domain:
        chosen = [values[int(at)] for at in draw.integers(0, len(values), rows)]
        return [int(one) for one in chosen] if column.type == "integer" else chosen
    match column.type:
        case "integer":
            low, high = _ends(column, UNBOUNDED)
            return [int(value) for value in draw.integers(int(low), int(high) + 1, rows)]
        case "float":
            return [float(value) for value in _between(*_ends(column, 1), rows, draw)]
        case "boolean":
            return [bool(value) for value in draw.integers(0, 2, rows)]
        case "string":
            return [f"{column.name} {at % PER_UNIT}" for at in range(rows)]
        case other:
            seconds = draw.integers(0, DAYS * 86400, rows)
            first = datetime.combine(_first(contract), datetime.min.time())
            moments = [first + timedelta(seconds=int(second)) for second in seconds]
            return [moment.date() for moment in moments] if other == "date" else list(moments)


def _ends(column: Column, otherwise: int) -> tuple[float, float]:
    if column.low is None or column.high is None:
        return 0.0, float(otherwise)
    return float(column.low), float(column.high)


def _between(low: float, high: float, rows: int, draw: np.random.Generator) -> NDArray[np.float64]:
    values: NDArray[np.float64] = np.clip(draw.uniform(low, high, rows).round(2), low, high)
    return values


def _first(contract: DataContract) -> date:
    """Return the first day of the window where the contract names it by a year."""
    year = _YEAR.fullmatch(contract.limit.window)
    return FIRST.replace(year=int(year[0])) if year else FIRST
