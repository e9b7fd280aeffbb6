"""The Flower server loses everything it had: what the aggregator was asked goes on."""

import os
import signal
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest

from aggregator.jobs import Jobs
from aggregator.places import Places
from experiments.home import Home
from experiments.ordering import Terms, training_order
from experiments.running import Fleet
from federation.orders import WorkOrder
from federation.tasks import TrainingTask
from tests.fleets import charges, ended, notes, put, up, warehouses
from tests.processes import recorded, wait_until
from tests.simulator import WAREHOUSES, recipe

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

ROUNDS = 5
LIMITS = {"demand": {"epsilon": "6.5", "delta": "1e-6"}}


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return warehouses(tmp_path / "federation", "four", LIMITS)


@pytest.fixture
def fleet(home: Home) -> Iterator[Fleet]:
    with up(home, 0) as fleet:
        yield fleet


def ordered(home: Home, rounds: int) -> WorkOrder:
    task = TrainingTask("demand", 1, 0, recipe(rounds=rounds, noise_multiplier=Decimal(24)))
    terms = Terms(purpose="demand_forecasting", cohort=WAREHOUSES)
    return put(home, training_order(home, task, terms))


def test_orders_go_on_after_the_servers_database_is_gone(home: Home, fleet: Fleet) -> None:
    """Nodes have to join anew. Whoever starts again is out of the run that was under way, so that
    one may end without a model: then with a reason. The one that waited is served."""
    first, second = ordered(home, ROUNDS), ordered(home, ROUNDS - 3)
    jobs, places = Jobs(home.jobs), Places(home.aggregator)

    def committed() -> int:
        last = jobs.last_round(first.id)
        return -1 if last is None else last.round

    wait_until(lambda: committed() >= 1, 120.0, "a round is committed")
    known = committed()
    lost = [path.rename(path.with_suffix(f".lost{path.suffix}")) for path in databases(places)]
    for name in ("executor", "superlink"):
        os.kill(recorded(home.aggregator / "run" / f"{name}.pid"), signal.SIGKILL)
    job, waited = ended(home, first), ended(home, second)

    assert lost and places.database.exists()
    assert (job.status == "done") or (job.status == "abandoned" and job.result["error"])
    assert notes(home, first, "offered") and committed() >= known
    assert waited.status == "done", waited.result
    assert [note["round"] for note in notes(home, second, "round")] == [1, 2]
    for party in WAREHOUSES:
        assert known <= charges(home, party, first) <= first.releases + first.abandoned
        assert charges(home, party, second) == second.releases


def databases(places: Places) -> list[Path]:
    return [*places.database.parent.glob(f"{places.database.name}*")]
