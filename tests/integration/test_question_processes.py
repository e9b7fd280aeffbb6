"""Joint questions over real processes, some of them killed: a node, keyholders, the executor."""

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from aggregator.jobs import Jobs
from aggregator.key_pool import KeyPool
from experiments.home import Home
from experiments.opening import released
from experiments.ordering import Terms, query_order
from experiments.running import Fleet
from federation.orders import WorkOrder
from tests.fleets import charges, ended, notes, put, up, warehouses, within_its_errors
from tests.processes import alive, entrepot, recorded, wait_until
from tests.simulator import (
    CN,
    EU,
    KEYHOLDERS,
    SQL,
    UK,
    US,
    WAREHOUSES,
)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

SLOT = 15_000
"""Milliseconds that nodes have for their answers: enough beside whatever else this machine does."""
STAGES = ("offered", "committed", "endorsed", "revealed")


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """Four warehouses with an executor that is told of every stage, three keyholders."""
    return warehouses(tmp_path / "federation", "asked")


@pytest.fixture
def fleet(home: Home) -> Iterator[Fleet]:
    with up(home) as fleet:
        yield fleet


def ask(home: Home, **terms: Any) -> WorkOrder:
    words = Terms(purpose="market_statistics", source="fresh", deadline=SLOT, **terms)
    return put(home, query_order(home, SQL, "0.4", words))


def test_one_keyholder_is_killed_then_another(home: Home, fleet: Fleet) -> None:
    fleet.kill_node(KEYHOLDERS[2])
    words = ("query", SQL, "privacy.epsilon=0.4", "deadline=20", "--federation", str(home.folder))
    said = entrepot(*words, "--json", cwd=home.folder)
    assert said.code == 0, said.err
    value = json.loads(said.out)
    first = Jobs(home.jobs).find(value["run"])
    assert first is not None and first.result is not None
    assert first.result["opened_by"] == [*KEYHOLDERS[:2]]
    assert value["charged"] == value["epsilon"] and value["parties"] == sorted(WAREHOUSES)
    print(f"one keyholder dead: {value['seconds']} s, {first.result['exchanges']} exchanges")
    again = entrepot("query", "--resume", value["run"][:12], *words[-2:], "--json", cwd=home.folder)
    assert again.code == 0 and json.loads(again.out)["answer"] == value["answer"]

    fleet.kill_node(KEYHOLDERS[1])
    refused = entrepot(*words, "--fresh", cwd=home.folder)
    assert refused.code == 1 and "Traceback" not in refused.err
    for word in ("1 of at least 2 keyholders", KEYHOLDERS[1], "Nothing was spent"):
        assert word in refused.err
    books = entrepot("budget", "show", "--json", *words[-2:], cwd=home.folder)
    spent = [row for row in json.loads(books.out)["budgets"] if row["releases"]]
    assert {row["node"] for row in spent} == {*WAREHOUSES}
    assert all(row["releases"] == 1 for row in spent)


def test_the_executor_is_killed_at_every_step_and_a_node_once(home: Home, fleet: Fleet) -> None:
    order, run = ask(home), home.aggregator / "run" / "executor.pid"
    for stage in STAGES:
        wait_until(lambda stage=stage: notes(home, order, stage), 120.0, stage)
        worker = recorded(run)
        os.kill(worker, signal.SIGKILL)
        if stage == "committed":  # what it committed to is on its disk, and so is its promise
            os.kill(recorded(home.node(US) / "run" / "node.pid"), signal.SIGKILL)
        wait_until(lambda worker=worker: recorded(run) not in {0, worker}, 60.0, "it is up again")
    job = ended(home, order)
    assert job.status == "done", job.result
    result = released(home, Jobs(home.jobs), job)
    assert result["parties"] == sorted(WAREHOUSES)
    tables = [home.node(party) / "data" / "orders.parquet" for party in order.cohort]
    within_its_errors(order, result["answer"], tables)
    assert [charges(home, party, order) for party in WAREHOUSES] == [1, 1, 1, 1]
    assert KeyPool(home.aggregator / "keys.sqlite").ready == 3
    assert fleet.home is home


def test_a_node_that_dies_for_good_after_its_commitment_ends_the_question(
    home: Home, fleet: Fleet
) -> None:
    order = ask(home)
    wait_until(lambda: notes(home, order, "committed"), 120.0, "all have committed")
    executor = recorded(home.aggregator / "run" / "executor.pid")
    os.kill(executor, signal.SIGSTOP)
    assert not notes(home, order, "endorsed")
    worker = recorded(home.node(UK) / "run" / "node.pid")
    fleet.kill_node(UK)
    wait_until(lambda: not alive(worker), 10.0, "it is gone")
    os.kill(executor, signal.SIGCONT)
    job = ended(home, order)
    assert job.status == "abandoned" and job.result is not None
    assert f"{UK} committed to a part of the sum and did not show it" in job.result["error"]
    assert f"ε {order.epsilon} is spent at" in job.result["error"]
    assert [charges(home, party, order) for party in (CN, EU, US)] == [1, 1, 1]
    assert not (home.aggregator / "answers").exists()
