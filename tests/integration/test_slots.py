"""One node is slow, then one stands still: the others' answer comes, and says who missed it."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from aggregator.jobs import Jobs
from experiments.home import Home
from experiments.opening import released
from experiments.ordering import Terms, query_order
from experiments.running import Fleet
from federation.orders import WorkOrder
from policies.parties import PartyId
from tests.fleets import charges, ended, notes, put, up, warehouses
from tests.processes import recorded
from tests.simulator import (
    CN,
    EU,
    SQL,
    UK,
    US,
    WAREHOUSES,
    orders_table,
)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

OTHER = "SELECT SUM(LEAST(amount, 300)) AS s FROM orders"
"""Without a count: the same count of three parties was answered before, and bars that of four."""
SLOT = 5_000
TIMES = 80
"""How often a table of 100,000 rows is repeated, so that no node books and reads it in a slot."""


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return warehouses(tmp_path / "federation", "slots")


@pytest.fixture
def fleet(home: Home) -> Iterator[Fleet]:
    with up(home) as fleet:
        yield fleet


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


def ask(home: Home, sql: str) -> WorkOrder:
    terms = Terms(purpose="market_statistics", source="fresh", deadline=SLOT)
    return put(home, query_order(home, sql, "0.3", terms))


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
    order = ask(home, SQL)
    answered_without(home, order, US)
    (note,) = notes(home, order, "late")
    assert note["party"] == US and "no answer when its slot ended" in note["reason"]
    log = (home.node(US) / "logs" / "node.log").read_text(encoding="utf-8")
    assert f"the answer to order {order.id[:12]} was not there when its slot of 5 s ended" in log
    assert [charges(home, party, order) for party in WAREHOUSES] == [1, 1, 1, 1]

    orders_table(3).to_parquet(home.node(US) / "data" / "orders.parquet")
    worker = recorded(home.node(US) / "run" / "node.pid")
    os.kill(worker, signal.SIGSTOP)
    try:
        order = ask(home, OTHER)
        answered_without(home, order)
    finally:
        os.kill(worker, signal.SIGCONT)
    assert not notes(home, order, "late")
    assert [charges(home, party, order) for party in (CN, EU, UK)] == [1, 1, 1]
    assert fleet.home is home
