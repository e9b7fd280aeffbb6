"""Questions that join orders and payments, asked of real processes: answered, paid, refused."""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pytest

from aggregator.jobs import Jobs
from experiments.founding import DEMO_SEATS, found, free_ports
from experiments.home import Home
from experiments.running import Fleet
from federation.orders import open_order
from policies.parties import PartyId, Role
from tests.fleets import up
from tests.processes import entrepot, wait_until
from tests.simulator import orders_table

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

LIMITS = {name: {"epsilon": "3", "delta": "1e-6"} for name in ("orders", "payments")}
SEATS = tuple(seat for seat in DEMO_SEATS if seat.role is not Role.WAREHOUSE)
PARTIES = tuple(seat.party for seat in SEATS if seat.role in {Role.PAYMENT_PARTNER, Role.MERCHANT})
WITHOUT = PartyId("merchant-br")
HOLDING = tuple(party for party in PARTIES if party != WITHOUT)
SPENT = HOLDING[0]
METHODS = ("card", "wallet", "transfer", "invoice", "cash")
SQL = (
    "SELECT method, COUNT(*) AS n, SUM(fee) AS fees, SUM(LEAST(o.amount, 100)) AS worth "
    "FROM orders o JOIN payments p USING (order_id, customer_id) GROUP BY method"
)
POOLED = """
WITH met AS (
    SELECT method, fee, least(o.amount, 100) AS worth FROM orders o JOIN payments p
    ON o.order_id = p.order_id AND o.customer_id = p.customer_id AND o.home = p.home
    QUALIFY row_number() OVER (PARTITION BY o.home, o.customer_id) <= 8
)
SELECT method, count(*), sum(fee), sum(worth) FROM met GROUP BY method ORDER BY method
"""
BANKS = """
[[also]]
kind = "commercial"
columns = ["method"]
subjects = "banks"
touches = 1
[also.limit]
epsilon = "{}"
delta = "1e-6"
window = "2025"
"""


def orders(seed: int) -> pd.DataFrame:
    """Orders of 40 customers, each of which always spends the same."""
    table = pd.concat([orders_table(seed + 10 * at) for at in range(3)], ignore_index=True)
    table["amount"] = 10.0 + table["customer_id"] * 4
    return table


def payments(placed: pd.DataFrame) -> pd.DataFrame:
    """One or two payments for each order but every ninth, by the customer's usual means."""
    paid = placed[placed["order_id"] % 9 != 0]
    rows = pd.concat([paid, paid[paid["order_id"] % 4 == 0]], ignore_index=True)
    customer = rows["customer_id"].to_numpy()
    return pd.DataFrame(
        {
            "payment_id": np.arange(len(rows)),
            "order_id": rows["order_id"],
            "customer_id": customer,
            "ts": rows["ts"],
            "amount": rows["amount"],
            "fee": 0.25 + customer % 3,
            "method": np.array(METHODS)[customer % 5],
            "status": "captured",
            "attempts": 1,
        }
    )


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """Four that hold orders; three of them payments, too, and one of these counts banks."""
    made = found(tmp_path / "federation", "joined", SEATS, LIMITS, free_ports())
    for number, party in enumerate(PARTIES):
        node, placed = made.node(party), orders(number)
        placed.to_parquet(node / "data" / "orders.parquet")
        if party == WITHOUT:
            (node / "contract" / "payments.toml").unlink()
        else:
            payments(placed).to_parquet(node / "data" / "payments.parquet")
    contract = made.node(SPENT) / "contract" / "payments.toml"
    contract.write_text(contract.read_text(encoding="utf-8") + BANKS.format("0.8"), "utf-8")
    return made


@pytest.fixture
def fleet(home: Home) -> Iterator[Fleet]:
    with up(home) as fleet:
        yield fleet


def asked(home: Home, *words: str) -> Any:
    return entrepot("query", *words, "--federation", str(home.folder), cwd=home.folder)


def charged(home: Home, party: PartyId) -> dict[str, int]:
    """Releases by account: whose presence they spent."""
    said = entrepot("budget", "show", "--json", "--federation", str(home.folder), cwd=home.folder)
    rows = [row for row in json.loads(said.out)["budgets"] if row["node"] == party]
    return {row["subjects"]: row["releases"] for row in rows}


def is_nothing_set_aside(home: Home, party: PartyId) -> bool:
    with closing(sqlite3.connect(home.node(party) / "books.sqlite")) as books:
        (waiting,) = books.execute(
            "SELECT COUNT(*) FROM reservations WHERE order_id NOT IN "
            "(SELECT order_id FROM closings)"
        ).fetchone()
    return waiting == 0


def bounded_pooled_rows(home: Home) -> dict[str, list[Decimal]]:
    """What DuckDB says of everybody's rows in one table, at most eight joined rows a customer."""
    with duckdb.connect(":memory:") as connection:
        for name in ("orders", "payments"):
            files = [home.node(party) / "data" / f"{name}.parquet" for party in HOLDING]
            rows = [pd.read_parquet(file).assign(home=at) for at, file in enumerate(files)]
            connection.register(name, pd.concat(rows))
        found = connection.execute(POOLED).fetchall()
    return {key: [Decimal(str(cell)) for cell in cells] for key, *cells in found}


def test_a_join_is_explained_answered_and_paid_until_one_account_is_spent(
    home: Home, fleet: Fleet
) -> None:
    assert fleet.home is home
    told = asked(home, SQL, "privacy.epsilon=0.3", "--explain", "--json")
    assert told.code == 0, told.err
    value = json.loads(told.out)
    assert [read["contract"] for read in value["reads"]] == ["orders", "payments"]
    assert {(row["node"], row["subjects"]) for row in value["accounts"]} == {
        *((party, "customers") for party in HOLDING),
        (SPENT, "banks"),
    }
    (left_out,) = [row for row in value["rules"] if not row["permits"]]
    assert left_out["node"] == WITHOUT
    assert "does not offer payments version 1" in left_out["reasons"][0]["en"]
    assert all(not any(charged(home, party).values()) for party in PARTIES)

    said = asked(home, SQL, "privacy.epsilon=0.3", "--json")
    assert said.code == 0, said.err
    answer = json.loads(said.out)
    assert answer["parties"] == sorted(HOLDING)
    right = bounded_pooled_rows(home)
    assert sorted(row["keys"][0] for row in answer["answer"]["rows"]) == sorted(right)
    for row in answer["answer"]["rows"]:  # wrong once in a hundred million draws
        for cell, exact in zip(row["cells"], right[row["keys"][0]], strict=True):
            assert abs(Decimal(cell["value"]) - exact) <= 3 * Decimal(cell["error"]), row
    job = Jobs(home.jobs).find(answer["run"])
    assert job is not None
    order = open_order(job.wire, home.roster()).order
    assert [read.contract for read in order.reads] == ["orders", "payments"]
    assert charged(home, SPENT) == {"customers": 1, "banks": 1}
    for party in HOLDING[1:]:
        assert charged(home, party) == {"customers": 1}
    assert charged(home, WITHOUT) == {"customers": 0}

    # The account of banks cannot pay again. That of customers could, and is left alone.
    among = f"cohort.parties={','.join(HOLDING)}"
    refused = asked(home, SQL, "privacy.epsilon=0.3", among, "--fresh")
    assert refused.code == 11 and "Traceback" not in refused.err, refused.err
    assert f"{SPENT}: BUDGET-001 The account of banks" in refused.err
    assert charged(home, SPENT) == {"customers": 1, "banks": 1}
    for party in HOLDING:
        wait_until(lambda party=party: is_nothing_set_aside(home, party), 30.0, "it is closed")
