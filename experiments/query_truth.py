"""What a query would have answered without noise: computed beside the federation, for the demo.

No node gives this. Two exact answers differ from the noised one for different reasons and are kept
apart: `bounded_rows` is what the noise was added to, `whole_rows` is what all rows say. The gap
between them is the price of the contribution bound: it is no noise, and no interval covers it.
"""

from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

from clients.analytics import evaluate
from experiments.outcome import Cell, Row
from federation.plans import Aggregate, Measure, Plan, cells, measures, parts
from policies.contracts import DataContract
from secure_compute.entropy import SystemEntropy

UNBOUNDED = 1 << 31
"""Rows per unit: more than any table here has."""


def bounded_rows(plan: Plan, contract: DataContract, tables: Sequence[Path]) -> tuple[Row, ...]:
    """Return the exact bounded answer over all `tables`, one per node.

    Which rows of a unit pass the bound is chance, here as at the nodes.
    """
    return _rows(plan, contract, tables)


def whole_rows(plan: Plan, contract: DataContract, tables: Sequence[Path]) -> tuple[Row, ...]:
    """Return the exact answer over all rows of `tables`: values clipped, units not bounded."""
    bound = replace(plan.child, rows=UNBOUNDED)
    return _rows(replace(plan, child=bound), contract, tables)


def kept_share(plan: Plan, contract: DataContract, tables: Sequence[Path]) -> float:
    """Return the share of the rows asked about that pass the contribution bound, in [0, 1]."""
    count = Aggregate("count", "", "rows")
    counting = replace(plan, aggregates=(count,), child=replace(plan.child, clips=()))
    every = replace(counting, child=replace(counting.child, rows=UNBOUNDED))
    kept, whole = (sum(_total(one, contract, tables)) for one in (counting, every))
    return kept / whole if whole else 1.0


def _rows(plan: Plan, contract: DataContract, tables: Sequence[Path]) -> tuple[Row, ...]:
    total, every = _total(plan, contract, tables), cells(plan)
    found: dict[tuple[Measure, tuple[str, ...]], int] = {
        (measure, cell): total[place * len(every) + index]
        for place, measure in enumerate(measures(plan))
        for index, cell in enumerate(every)
    }
    return tuple(
        {
            **dict(zip((key.column for key in plan.keys), cell, strict=True)),
            **{
                item.label: _number(plan, item, [found[part, cell] for part in parts(item)])
                for item in plan.aggregates
            },
        }
        for cell in every
    )


def _total(plan: Plan, contract: DataContract, tables: Sequence[Path]) -> tuple[int, ...]:
    entropy = SystemEntropy()
    vectors = [evaluate(plan, contract, table, entropy).values for table in tables]
    return tuple(map(sum, zip(*vectors, strict=True)))


def _number(plan: Plan, item: Aggregate, values: Sequence[int]) -> Cell:
    if item.function == "count":
        return values[0]
    step = Decimal(plan.child.clip(item.column).step)
    if item.function == "sum":
        return float(values[0] * step)
    return float(values[0] * step / values[1]) if values[1] else None
