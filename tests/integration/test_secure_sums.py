"""Eight real nodes, one secure sum: one is lost before its upload, one after it, in one round."""

import os
import signal
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import numpy as np
import psutil
import pytest
from numpy.typing import NDArray

from aggregator.jobs import Jobs
from clients.settings import load_settings
from clients.training.sums import round_sum
from clients.training.tables import load_rows
from experiments.founding import DEMO_SEATS, found, free_ports
from experiments.home import Home
from experiments.ordering import Terms, sign, training_order
from experiments.running import Fleet
from federation.orders import WorkOrder
from federation.secure_sums import expander
from federation.sum_recipes import SumRecipe
from federation.tasks import TrainingTask
from policies.budget.events import from_json
from policies.parties import DATA_ROLES, Jurisdiction, PartyId, Role
from secure_compute.entropy import SystemEntropy
from secure_compute.secagg import aggregator, memory
from tests.fleets import charges, notes, up
from tests.processes import alive, recorded, wait_until
from tests.simulator import demand_table, orders_table, sum_recipe

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

LIMITS = {name: {"epsilon": "6.5", "delta": "1e-6"} for name in ("orders", "demand")}
NEVER = PartyId("warehouse-uk")
AFTER = PartyId("merchant-br")


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """Eight holders under one law, four orders of each of forty customers at every one."""
    seats = tuple(replace(seat, jurisdiction=Jurisdiction.EU) for seat in DEMO_SEATS)
    made = found(tmp_path / "federation", "eight", seats, LIMITS, free_ports())
    for number, member in enumerate(made.roster().with_role(*DATA_ROLES)):
        table = orders_table(number)
        table["customer_id"] = np.arange(len(table)) // 4
        data = made.node(member.party) / "data"
        table.to_parquet(data / "orders.parquet")
        if member.role is Role.WAREHOUSE:
            demand_table(number).to_parquet(data / "demand.parquet")
    return made


@pytest.fixture
def fleet(home: Home) -> Iterator[Fleet]:
    with up(home, 0) as fleet:
        yield fleet
        for folder in (home.node(NEVER), home.node(AFTER)):
            with suppress(ProcessLookupError, FileNotFoundError):
                os.kill(recorded(folder / "run" / "node.pid"), signal.SIGCONT)


def nothing_to_send(home: Home, party: PartyId) -> bool:
    """Whether the node has answered every message that it fetched; answers go before they count."""
    with closing(sqlite3.connect(home.node(party) / "outbox.sqlite")) as inbox:
        return not inbox.execute("SELECT COUNT(*) FROM claimed").fetchone()[0]


def ended(home: Home, order: WorkOrder) -> bool:
    job = Jobs(home.jobs).find(order.id)
    return job is not None and job.status not in {"queued", "running"}


def kill_for_good(home: Home, party: PartyId) -> None:
    """The node and its supervisor end at once, so that nothing starts it again."""
    worker = psutil.Process(recorded(home.node(party) / "run" / "node.pid"))
    supervisor = worker.parent()
    assert supervisor is not None and party in " ".join(supervisor.cmdline())
    for process in (supervisor, worker):
        process.kill()
    wait_until(lambda: not alive(worker.pid), 10.0, f"{party} is gone")


def test_one_is_lost_before_and_one_after_its_upload_in_the_same_round(
    home: Home, fleet: Fleet
) -> None:
    """n = 8, c = 1, t = 5: sum, noise and price are compared with the rows of six survivors."""
    holders = tuple(member.party for member in home.roster().with_role(*DATA_ROLES))
    recipe = sum_recipe(rounds=1, moments=1, noise_multiplier=Decimal(12))
    task = TrainingTask("fraud", 1, 0, recipe)
    order = training_order(home, task, Terms(purpose="fraud_prevention", cohort=holders))
    parameters = recipe.parameters(8)
    assert (parameters.colluding, parameters.threshold) == (1, 5)
    Jobs(home.jobs).add(order.id, sign(home, order), time.time())
    wait_until(lambda: notes(home, order, "offered"), 60.0, "all were asked")
    os.kill(recorded(home.node(NEVER) / "run" / "node.pid"), signal.SIGSTOP)
    # The round waits for the one that stands still, so that the other can be lost after its upload.
    wait_until(lambda: charges(home, AFTER, order) == 1, 90.0, "the other has paid for its upload")
    wait_until(lambda: nothing_to_send(home, AFTER), 30.0, "its upload is at the server")
    kill_for_good(home, AFTER)
    kill_for_good(home, NEVER)
    wait_until(lambda: ended(home, order), 240.0, "the run ends")
    job = Jobs(home.jobs).find(order.id)
    assert job is not None and job.status == "done", job
    survivors = [party for party in holders if party not in {NEVER, AFTER}]
    (round_,) = notes(home, order, "round")
    assert sorted(round_["lost"]) == sorted([NEVER, AFTER])

    # The aggregator had what six nodes' and one lost node's uploads came to, and no other sum.
    kept = Jobs(home.jobs).gathering(order.id, 0)
    assert kept is not None
    gathered = memory.gathering_from_bytes(kept)
    assert {message.party for message in gathered.uploads} == {*survivors, AFTER}
    opened = aggregator.combine(gathered, expander(recipe, gathered.terms))
    assert sorted(opened.survivors) == sorted(survivors)
    # What is not rows is noise: σ² · 6/5 of six survivors'; with no layer removed, σ² · 6/4.
    noise = opened.values - np.sum([own_sum(home, party, task) for party in survivors], axis=0)
    expected = float(recipe.shares(parameters).left(2))
    assert expected == pytest.approx(recipe.noise_scale**2 * 6 / 5)
    spread = np.sqrt(2.0 / len(noise))
    assert noise.astype(np.float64).var() / expected == pytest.approx(1.0, abs=4.0 * spread)
    assert abs(noise.mean()) < 5.0 * np.sqrt(expected / len(noise))
    # The model is what follows from that sum and from nothing else.
    last = Jobs(home.jobs).last_round(order.id)
    assert last is not None
    method = recipe.method
    after = method.advance(method.start(1), 0, opened.values / recipe.grid, 0.0)
    assert last.weights == after.weights.astype("<f4").tobytes()
    # Everybody whose upload left has paid for it, lost or not, and nobody for more.
    assert [charges(home, party, order) for party in survivors] == [1] * 6
    assert charges(home, AFTER, order) == 1 and charges(home, NEVER, order) == 0
    assert from_json(order.event) == recipe.event()


def own_sum(home: Home, party: PartyId, task: TrainingTask) -> NDArray[np.int64]:
    """What a node adds up of its rows, before noise and masks; no node ever shows this."""
    settings = load_settings(home.node(party))
    contract = settings.contracts()["orders"]
    rows = load_rows(task, contract, settings.table(contract), SystemEntropy())
    recipe = task.recipe
    assert isinstance(recipe, SumRecipe)
    start = recipe.method.start(task.seed).weights
    return round_sum(start, rows, recipe, 0, SystemEntropy()).values
