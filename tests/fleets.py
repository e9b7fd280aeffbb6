"""Federations of real processes: founded, started, given orders, and their books read."""

import sqlite3
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

from aggregator.jobs import FINAL, Job, Jobs
from aggregator.key_pool import KeyPool
from experiments import running
from experiments.founding import DEMO_SEATS, found, free_ports
from experiments.home import Home
from experiments.ordering import published_contracts, sign
from experiments.query_truth import bounded_rows
from experiments.running import Fleet
from federation.orders import WorkOrder
from federation.tasks import QueryTask
from policies.parties import PartyId, Role
from tests.processes import wait_until
from tests.simulator import LIMITS, WAREHOUSES, demand_table, orders_table

SEATS: Final = tuple(
    seat
    for seat in DEMO_SEATS
    if seat.role in {Role.WAREHOUSE, Role.KEYHOLDER, Role.AGGREGATOR, Role.ANALYST}
)
"""Four warehouses, three keyholders, and the two that hold nothing."""

ASKED: Final = LIMITS | {"orders": {"epsilon": "8", "delta": "1e-6"}}
"""Limits under which a few questions can be asked."""

KEYS: Final = 4


def warehouses(
    folder: Path,
    name: str,
    limits: Mapping[str, Mapping[str, str]] = ASKED,
    without: Collection[PartyId] = (),
) -> Home:
    """Return a new federation of `SEATS` with rows; `without` have no orders."""
    made = found(folder, name, SEATS, limits, free_ports())
    for number, party in enumerate(WAREHOUSES):
        data = made.node(party) / "data"
        demand_table(number).to_parquet(data / "demand.parquet")
        if party not in without:
            orders_table(number).to_parquet(data / "orders.parquet")
    return made


@contextmanager
def up(home: Home, keys: int = KEYS) -> Iterator[Fleet]:
    """Give the processes of a federation once all have joined and so many keys are made ahead."""
    with running.up(home) as fleet:
        pool = KeyPool(home.aggregator / "keys.sqlite")
        wait_until(lambda: pool.ready == keys, 180.0, "keys are made ahead")
        yield fleet


def put(home: Home, order: WorkOrder) -> WorkOrder:
    """Lay an order on the table."""
    Jobs(home.jobs).add(order.id, sign(home, order), float(order.created))
    return order


def ended(home: Home, order: WorkOrder, seconds: float = 240.0) -> Job:
    """Return the job of an order once it has ended."""
    jobs = Jobs(home.jobs)

    def over() -> bool:
        job = jobs.find(order.id)
        return job is not None and job.status in FINAL

    wait_until(over, seconds, "the order ends")
    job = jobs.find(order.id)
    assert job is not None
    return job


def notes(home: Home, order: WorkOrder, stage: str) -> list[dict[str, Any]]:
    """Return what was noted of one stage of an order."""
    return [note for _, note in Jobs(home.jobs).notes(order.id) if note["stage"] == stage]


def charges(home: Home, party: PartyId, order: WorkOrder) -> int:
    """Return how often a node charged itself for an order, as its books say."""
    with closing(sqlite3.connect(home.node(party) / "books.sqlite")) as books:
        rows = books.execute("SELECT COUNT(*) FROM settlements WHERE order_id = ?", (order.id,))
        return int(rows.fetchone()[0])


def within_its_errors(order: WorkOrder, answer: dict[str, Any], tables: Sequence[Path]) -> None:
    """Every cell is within 3 times its 95 % interval of what the rows say, bounded, without noise.

    Wrong once in a hundred million draws.
    """
    plan = QueryTask.from_json(order.parameters).plan
    exact = bounded_rows(plan, published_contracts()["orders"], tables)
    assert len(answer["rows"]) == len(exact) > 1
    for row, right in zip(answer["rows"], exact, strict=True):
        for label, cell in zip(answer["labels"], row["cells"], strict=True):
            gap = abs(Decimal(cell["value"]) - Decimal(str(right[label])))
            assert gap <= 3 * Decimal(cell["error"]), (label, cell, right)
