"""An answer as people and programs read it: rows for a terminal, JSON, CSV."""

import csv
import io
from collections.abc import Iterator

from federation.answers import Answer, Cell, Row
from federation.pricing import Explanation
from secure_compute.canonical import JSON


def headings(answer: Answer) -> tuple[str, ...]:
    """Return the titles of a table's columns: keys, then aggregates with their unit."""
    titles = (
        f"{label} ({unit})" if unit and unit != "rows" else label
        for label, unit in zip(answer.labels, answer.units, strict=True)
    )
    return (*answer.keys, *titles)


def lines(answer: Answer) -> Iterator[tuple[str, ...]]:
    """Yield the rows of a table as text, `value ± error` in every answer."""
    for row in answer.rows:
        yield (*row.keys, *map(spoken, row.cells))


def spoken(cell: Cell) -> str:
    """Return `value ± error`, or why there is none."""
    return cell.note if cell.value is None else f"{cell.value} ± {cell.error}"


def as_rows(answer: Answer) -> list[JSON]:
    """Return one flat object per row: keys, then per aggregate its value, ± error and interval."""
    return [_flat(answer, row) for row in answer.rows]


def as_json(answer: Answer, explanation: Explanation) -> dict[str, JSON]:
    """Return answer and price as one object."""
    return {
        "schema": "entrepot.query/1",
        "rows": as_rows(answer),
        "units": dict(zip(answer.labels, answer.units, strict=True)),
        "contributors": answer.contributors,
        "price": explanation.to_json(),
    }


def as_csv(answer: Answer) -> str:
    """Return the rows as CSV (RFC 4180): keys, then value, error, low, high per aggregate."""
    parts = ("", "_error", "_low", "_high")
    buffer = io.StringIO()
    writer = csv.writer(buffer)
    writer.writerow([*answer.keys, *(label + part for label in answer.labels for part in parts)])
    for row in answer.rows:
        numbers = [(cell.value, cell.error, cell.low, cell.high) for cell in row.cells]
        writer.writerow([*row.keys, *(part or "" for cell in numbers for part in cell)])
    return buffer.getvalue()


def _flat(answer: Answer, row: Row) -> dict[str, JSON]:
    flat: dict[str, JSON] = dict(zip(answer.keys, row.keys, strict=True))
    for label, cell in zip(answer.labels, row.cells, strict=True):
        flat[label] = cell.to_json()
    return flat
