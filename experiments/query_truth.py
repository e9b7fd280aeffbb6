"""What a query would have answered without noise: computed beside the federation, for the demo.

No node gives this. Two exact answers differ from the noised one for different reasons and are kept
apart: `bounded_rows` is what the noise was added to, `whole_rows` is what all rows say. The gap
between them is the price of the contribution bound: it is no noise, and no interval covers it.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from clients.queries.partial import evaluate
from experiments.outcome import Cell, Row
from federation.queries import post
from federation.queries.answers import Answer, aggregate_of, spelled
from federation.queries.tree import Aggregate, Plan
from policies.contracts import DataContract
from secure_compute.entropy import SystemEntropy

UNBOUNDED: Final = 1 << 31
"""Rows per unit: more than any table here has."""

SILENT: Final = "0"
"""A noise multiplier at which nothing is added."""

STEPPED: Final = frozenset({"count", "units", "bin", "sum"})
"""Aggregates that are whole numbers of a step, and so have an exact decimal spelling."""


def bounded_rows(plan: Plan, contract: DataContract, tables: Sequence[Path]) -> tuple[Row, ...]:
    """Return the exact bounded answer over all `tables`, one per node, HAVING left out.

    Which rows of a unit pass the bound is chance, here as at the nodes.
    """
    return _rows(plan, contract, tables)


def whole_rows(plan: Plan, contract: DataContract, tables: Sequence[Path]) -> tuple[Row, ...]:
    """Return the exact answer over all rows of `tables`: values clipped, units not bounded."""
    return _rows(_bounded_to(plan, UNBOUNDED), contract, tables)


def beside(answer: Answer, exact: Sequence[Row]) -> tuple[Row, ...]:
    """Return those of the exact rows that an answer shows, in its order."""
    found = {tuple(row[key] for key in answer.keys): row for row in exact}
    return tuple(found[row.keys] for row in answer.rows)


def kept_share(plan: Plan, contract: DataContract, tables: Sequence[Path]) -> float:
    """Return the share of the rows asked about that pass the contribution bound, in [0, 1]."""
    count = Aggregate("count", "rows")
    counting = replace(plan, child=replace(plan.child, aggregates=(count,)))
    every = _bounded_to(counting, UNBOUNDED)
    kept, whole = (sum(_total(one, contract, tables)) for one in (counting, every))
    return kept / whole if whole else 1.0


def _bounded_to(plan: Plan, rows: int) -> Plan:
    group = plan.child
    return replace(plan, child=replace(group, child=replace(group.child, rows=rows)))


def _rows(plan: Plan, contract: DataContract, tables: Sequence[Path]) -> tuple[Row, ...]:
    plan = replace(plan, having=None)
    found = post.answer(plan, SILENT, len(tables), _total(plan, contract, tables))
    shown = [aggregate_of(plan, output) for output in plan.outputs]
    return tuple(
        {
            **dict(zip(found.keys, row.keys, strict=True)),
            **dict(zip(found.labels, map(_number, shown, row.cells), strict=True)),
        }
        for row in found.rows
    )


def _total(plan: Plan, contract: DataContract, tables: Sequence[Path]) -> tuple[int, ...]:
    entropy = SystemEntropy()
    vectors = [evaluate(plan, contract, table, entropy).values for table in tables]
    return tuple(map(sum, zip(*vectors, strict=True)))


def _number(item: Aggregate | None, cell: post.Cell) -> Cell:
    if item is None or item.function not in STEPPED:
        return cell.value
    text = spelled(item, cell).value
    if text is None:
        return None
    return float(text) if item.function == "sum" else int(text)
