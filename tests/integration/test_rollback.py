"""Yesterday's copy of a node's folder, put back under real processes: it ends and stays down."""

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from aggregator.jobs import Job
from experiments.ordering import Terms, training_order
from federation.tasks import TrainingTask
from policies.parties import PartyId
from tests.fleets import ended, put, warehouses
from tests.processes import alive, finish, recorded, started, wait_until
from tests.simulator import (
    CN,
    EU,
    KEYHOLDERS,
    LIMITS,
    UK,
    US,
    WAREHOUSES,
)
from tests.simulator import recipe as small_recipe

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


class Town:
    """Four warehouses, three keyholders and an aggregator, each under its own supervisor."""

    def __init__(self, folder: Path) -> None:
        self.home = warehouses(folder, "rollback", LIMITS)
        self.up = ExitStack()
        self.nodes: dict[PartyId, subprocess.Popen[str]] = {}

    def start(self, party: PartyId) -> None:
        folder = self.home.node(party)
        (folder / "node_id").unlink(missing_ok=True)
        words = ("node", "run", str(folder))
        self.nodes[party] = self.up.enter_context(started(*words, cwd=self.home.folder))
        wait_until((folder / "node_id").exists, 60.0, f"{party} joins")

    def stop(self, party: PartyId) -> None:
        self.nodes[party].terminate()
        assert finish(self.nodes[party]).code == 0

    def train(self, seed: int) -> Job:
        task = TrainingTask("demand", seed, 0, small_recipe(rounds=2))
        order = training_order(self.home, task, Terms(purpose="demand_forecasting"))
        return ended(self.home, put(self.home, order), 120.0)


@pytest.fixture
def town(tmp_path: Path) -> Iterator[Town]:
    town = Town(tmp_path / "federation")
    with town.up:
        words = ("aggregator", "run", "--federation", str(town.home.folder))
        town.up.enter_context(started(*words, cwd=town.home.folder))
        for party in (*WAREHOUSES, *KEYHOLDERS):
            town.start(party)
        yield town


def test_a_folder_that_was_put_back_ends_the_node_and_it_stays_down(
    town: Town, tmp_path: Path
) -> None:
    folder = town.home.node(CN)
    assert (town.train(1).result or {})["parties"] == list(WAREHOUSES)
    town.stop(CN)
    copy = shutil.copytree(folder, tmp_path / "yesterday")
    town.start(CN)
    assert (town.train(2).result or {})["parties"] == list(WAREHOUSES)
    town.stop(CN)
    shutil.rmtree(folder)
    shutil.copytree(copy, folder)
    town.start(CN)
    worker = recorded(folder / "run" / "node.pid")
    assert alive(worker)

    third = town.train(3)
    assert third.status == "done" and (third.result or {})["parties"] == [EU, UK, US]
    said = finish(town.nodes[CN])
    assert said.code == 30
    assert "put back" in said.err and "Traceback" not in said.err
    assert not alive(worker)
    with suppress(FileNotFoundError):
        assert recorded(folder / "run" / "node.pid") == 0
    # Started again by hand, it finds the same.
    town.start(CN)
    fourth = town.train(4)
    assert fourth.status == "done" and (fourth.result or {})["parties"] == [EU, UK, US]
    assert finish(town.nodes[CN]).code == 30
