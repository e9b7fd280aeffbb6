"""Real processes on sealed folders: every one opens its own, and a question is answered."""

import pytest

from aggregator.jobs import Jobs
from experiments.home import Home
from experiments.vaults import AGGREGATOR, NODE, show
from federation import at_rest
from federation.vaulting import seal_folder
from tests.fleets import ended, put, up, warehouses
from tests.simulator import WAREHOUSES
from tests.vaults import Given, files_with

pytestmark = pytest.mark.slow

SECRET = b"m" * 32


def _seal(home: Home) -> None:
    folders = [home.aggregator, *sorted((home.folder / "nodes").iterdir())]
    for folder in folders:
        (folder / "kek").write_bytes(SECRET)
        contents = AGGREGATOR if folder == home.aggregator else NODE
        seal_folder(folder, contents, Given(SECRET, "command:cat kek", weak=False), SECRET)
        at_rest.forget(folder)


def test_a_federation_of_sealed_folders_trains(tmp_path):
    from experiments.ordering import Terms, training_order
    from federation.tasks import TrainingTask
    from tests.simulator import recipe

    home = warehouses(tmp_path / "lanes", "sealed")
    identities = {
        folder: (folder / "keys" / "identity.key").read_bytes()
        for folder in (home.aggregator, *map(home.node, WAREHOUSES))
    }
    _seal(home)
    with up(home):
        task = TrainingTask("demand", 1, 0, recipe(rounds=1))
        order = put(home, training_order(home, task, Terms(purpose="demand_forecasting")))
        job = ended(home, order)
        assert job.status == "done", (job, Jobs(home.jobs).notes(order.id))
        for folder, identity in identities.items():
            assert files_with(folder, identity) == set()
    for folder in identities:
        assert show(folder)["plain"] == []
