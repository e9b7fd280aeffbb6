"""One node is slow, then one stands still: the others' answer comes, and says who missed it."""

import os
import signal
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from aggregator.jobs import FINAL, Job, Jobs
from aggregator.key_pool import KeyPool
from experiments.founding import DEMO_SEATS, found, free_ports
from experiments.home import Home
from experiments.opening import released
from experiments.ordering import Terms, query_order, sign
from experiments.running import Fleet, running
from federation.orders import WorkOrder
from policies.parties import PartyId, Role
from tests.processes import recorded, wait_until
from tests.simulator import (
    CN,
    EU,
    LIMITS,
    SQL,
    UK,
    US,
    WAREHOUSES,
    demand_table,
    orders_table,
)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

SEATS = tuple(
    seat
    for seat in DEMO_SEATS
    if seat.role in {Role.WAREHOUSE, Role.KEYHOLDER, Role.AGGREGATOR, Role.ANALYST}
)
OTHER = "SELECT SUM(LEAST(amount, 300)) AS s FROM orders"
"""Without a count: the same count of three parties was answered before, and bars that of four."""
SLOT = 5_000
TIMES = 80
"""How often a table of 100,000 rows is repeated, so that no node books and reads it in a slot."""


@pytest.fixture
def home(tmp_path: Path) -> Home:
    limits = LIMITS | {"orders": {"epsilon": "8", "delta": "1e-6"}}
    made = found(tmp_path / "federation", "slots", SEATS, limits, free_ports())
    for number, party in enumerate(WAREHOUSES):
        data = made.node(party) / "data"
        orders_table(number).to_parquet(data / "orders.parquet")
        demand_table(number).to_parquet(data / "demand.parquet")
    return made


@pytest.fixture
def fleet(home: Home) -> Iterator[Fleet]:
    with running(home, stay=False) as up:
        up.start_aggregator()
        up.start_nodes()
        up.wait_joined(lambda *_: None)
        pool = KeyPool(home.aggregator / "keys.sqlite")
        wait_until(lambda: pool.ready == 4, 90.0, "keys are made ahead")
        yield up


def enlarge(path: Path) -> None:
    """Another table is there, from one moment to the next."""
    some = pd.concat([orders_table(7)] * 625)
    some["order_id"] = range(len(some))
    rows = pa.Table.from_pandas(some, preserve_index=False)
    fresh = path.with_suffix(".new")
    with pq.ParquetWriter(fresh, rows.schema) as file:
        for _ in range(TIMES):
            file.write_table(rows)
    fresh.replace(path)


def put(home: Home, sql: str) -> WorkOrder:
    terms = Terms(purpose="market_statistics", source="fresh", deadline=SLOT)
    order = query_order(home, sql, "0.3", terms)
    Jobs(home.jobs).add(order.id, sign(home, order), time.time())
    return order


def ended(home: Home, order: WorkOrder) -> Job:
    def over() -> bool:
        job = Jobs(home.jobs).find(order.id)
        return job is not None and job.status in FINAL

    wait_until(over, 240.0, "the question ends")
    job = Jobs(home.jobs).find(order.id)
    assert job is not None
    return job


def notes(home: Home, order: WorkOrder, stage: str) -> list[dict[str, Any]]:
    return [note for _, note in Jobs(home.jobs).notes(order.id) if note["stage"] == stage]


def releases(home: Home, party: PartyId, order: WorkOrder) -> int:
    """How often a node charged itself for the order, as its books say."""
    with closing(sqlite3.connect(home.node(party) / "books.sqlite")) as books:
        rows = books.execute("SELECT COUNT(*) FROM settlements WHERE order_id = ?", (order.id,))
        return int(rows.fetchone()[0])


def answered_without(home: Home, order: WorkOrder, *late: PartyId) -> None:
    job = ended(home, order)
    assert job.status == "done", job.result
    result = released(home, Jobs(home.jobs), job)
    assert result["parties"] == [CN, EU, UK] and result["late"] == [*late]
    assert result["answer"]["contributors"] == 3


def test_a_slow_node_misses_the_question_and_so_does_one_that_stands_still(
    home: Home, fleet: Fleet
) -> None:
    enlarge(home.node(US) / "data" / "orders.parquet")
    order = put(home, SQL)
    answered_without(home, order, US)
    (note,) = notes(home, order, "late")
    assert note["party"] == US and "no answer when its slot ended" in note["reason"]
    log = (home.node(US) / "logs" / "node.log").read_text(encoding="utf-8")
    assert f"the answer to order {order.id[:12]} was not there when its slot of 5 s ended" in log
    assert [releases(home, party, order) for party in WAREHOUSES] == [1, 1, 1, 1]

    orders_table(3).to_parquet(home.node(US) / "data" / "orders.parquet")
    worker = recorded(home.node(US) / "run" / "node.pid")
    os.kill(worker, signal.SIGSTOP)
    try:
        order = put(home, OTHER)
        answered_without(home, order)
    finally:
        os.kill(worker, signal.SIGCONT)
    assert not notes(home, order, "late")
    assert [releases(home, party, order) for party in (CN, EU, UK)] == [1, 1, 1]
    assert fleet.home is home
