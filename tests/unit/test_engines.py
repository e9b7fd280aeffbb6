"""Where a simulation's nodes run changes nothing: in this process, or as Flower's applications."""

import json
import threading
from types import SimpleNamespace

import numpy as np
import psutil
import pytest
from flwr.app import Context, Error, Message, RecordDict
from flwr.supercore.task_identity import TaskIdentity

from clients.training.sampling import UnitRows
from experiments import ray_engine
from experiments.cli import run
from experiments.engines import in_process
from experiments.errors import UsageError
from experiments.federating import federate
from experiments.ray_engine import SimulationError, on_ray
from experiments.settings import compose

INPUTS = compose(["experiment=fraud"]).task.recipe.method.inputs
WORDS = ["experiment=fraud", "model.rounds=2", "model.moments=1", "privacy.rows_per_unit=1"]


def rows_of(seed: int, units: int) -> UnitRows:
    draw = np.random.default_rng(seed)
    features = draw.normal(size=(units, 1, INPUTS)).astype(np.float32)
    targets = (draw.random((units, 1)) < 0.3).astype(np.float32)
    return UnitRows(features, targets, np.ones((units, 1), bool), np.zeros(units, np.int64))


ROWS = {party: rows_of(seed, 20 + seed) for seed, party in enumerate("abcd")}


def first(weights, rows, number):
    """A part that says whose rows it saw, with which weights, in which round."""
    return np.array([len(rows), rows.features[0, 0, 0], weights.sum(), number])


class Grid:
    """The server's grid, with every node's application called here, in another order."""

    def __init__(self, app, late: int = 0) -> None:
        self.app, self.late, self.asked = app, late, {}

    def get_node_ids(self):
        self.late -= 1
        return [] if self.late >= 0 else [11, 12, 13, 14]

    def push_messages(self, messages):
        self.asked = {f"{n}": message for n, message in enumerate(messages)}
        for name, message in self.asked.items():
            message.metadata.__dict__["_message_id"] = name
        return [*self.asked]

    def pull_messages(self, names):
        """One reply at a time, the last one first."""
        name = max(names)
        node = self.asked[name].metadata.dst_node_id
        place = {"partition-id": node - 11, "num-partitions": 4}
        yield self.app(self.asked[name], Context(1, node, place, RecordDict(), {}))


@pytest.fixture
def played(monkeypatch):
    """Flower's engine, played: the server application with a grid of this process."""
    grids = []

    def run_simulation(server, client, nodes, backend_config):
        assert nodes == 4 and backend_config["client_resources"]["num_cpus"] == 1
        grids.append(Grid(client, late=2))
        server(grids[0], Context(1, 0, {}, RecordDict(), {}))

    for name in ("run", "node", "task"):  # Flower sets them in the thread of its server
        monkeypatch.setattr(TaskIdentity, f"_{name}_id", 1)
    monkeypatch.setattr(ray_engine, "run_simulation", run_simulation)
    return grids


def work(ask):
    found = [ask(np.full(3, number, np.float32), number) for number in range(2)]
    assert all([*one] == [*ROWS] for one in found)
    return np.array([list(one.values()) for one in found])


def test_parts_are_those_of_one_process_whoever_makes_them(played):
    here, there = in_process(first, ROWS, work), on_ray(first, ROWS, work)
    assert here.shape == (2, 4, 4) and (here == there).all()


def test_a_run_comes_to_the_same_weights(played):
    task = compose([*WORDS, "privacy=none"]).task
    here = federate(task, ROWS, private=False)
    there = federate(task, ROWS, private=False, engine=on_ray)
    assert np.abs(here).sum() > 0 and (here == there).all()


def test_a_private_run_is_masked_and_opened_here(played):
    task = compose([*WORDS, "privacy.expected_units=100", "privacy.epsilon=8"]).task
    weights = federate(task, ROWS, private=True, engine=on_ray)
    assert np.isfinite(weights).all() and np.abs(weights).sum() > 0


def test_bad_a_node_that_fails_ends_the_run(played):
    def fails(weights, rows, number):
        raise ValueError("too small")

    with pytest.raises(ValueError, match="too small"):
        on_ray(fails, ROWS, work)


def test_bad_a_node_whose_failure_comes_as_a_message_ends_the_run(played, monkeypatch):
    def failed(self, names):
        return [Message(Error(3, "out of memory"), reply_to=self.asked[name]) for name in names]

    monkeypatch.setattr(Grid, "pull_messages", failed)
    with pytest.raises(SimulationError, match="a node of the simulation failed: out of memory"):
        on_ray(first, ROWS, work)


@pytest.mark.parametrize("silent", ["pull_messages", "get_node_ids"])
def test_bad_an_engine_that_ends_ends_whoever_asks_it(monkeypatch, silent):
    """Flower asks in a thread that outlives its engine: that must not keep the process."""
    said = []

    def run_simulation(server, client, nodes, backend_config):
        def serve():
            try:
                server(Grid(client), Context(1, 0, {}, RecordDict(), {}))
            except SimulationError as why:
                said.append(str(why))

        threads.append(threading.Thread(target=serve, daemon=True))
        threads[0].start()
        raise RuntimeError("An error was encountered.") from OSError("no room for objects")

    threads = []
    for name in ("run", "node", "task"):
        monkeypatch.setattr(TaskIdentity, f"_{name}_id", 1)
    monkeypatch.setattr(Grid, silent, lambda *_: [])
    monkeypatch.setattr(ray_engine, "run_simulation", run_simulation)
    with pytest.raises(SimulationError, match="engine failed: no room for objects"):
        on_ray(first, ROWS, work)
    threads[0].join(60)
    assert said == ["Flower's engine ended before the simulation did"]


def test_bad_without_ray_it_is_said_what_to_install(monkeypatch):
    monkeypatch.setattr(ray_engine, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"pip install 'entrepot\[ray\]'"):
        on_ray(first, ROWS, work)


def test_bad_an_engine_that_does_not_exist(capsys):
    assert run(["simulate", "demand", "--engine", "spark"]) == 2
    assert "process" in capsys.readouterr().err


def test_the_engine_stands_in_the_result_and_none_is_this_process(monkeypatch, capsys):
    found = SimpleNamespace(engine=None)

    def simulate(settings, tell, *, attacked, engine):
        found.engine = engine
        return {}

    monkeypatch.setattr("experiments.simulating.simulate", simulate)
    for words, engine in (([], in_process), (["--engine", "ray"], on_ray)):
        assert run(["simulate", "demand", "--json", *words]) == 0
        assert found.engine is engine
        assert json.loads(capsys.readouterr().out)["engine"] == (words or ["process"])[-1]


@pytest.mark.slow
def test_on_ray_demand_comes_to_what_one_process_comes_to(capsys):
    pytest.importorskip("ray", reason="Flower's simulation engine is not installed")
    mine, found, ports = psutil.Process(), {}, set()
    words = ["simulate", "demand", "privacy=none", "--json"]

    def listening():
        for one in mine.children(recursive=True):
            ports.update(c.laddr.ip for c in one.net_connections() if c.status == "LISTEN")

    monkey = pytest.MonkeyPatch()
    asked = ray_engine._asked
    with monkey.context() as patch:
        patch.setattr(ray_engine, "_asked", lambda *words: (listening(), asked(*words))[1])
        for engine in ("process", "ray"):
            assert run([*words, "--engine", engine]) == 0
            found[engine] = json.loads(capsys.readouterr().out)
    assert found["ray"].pop("engine") == "ray" and found["process"].pop("engine") == "process"
    for one in found.values():
        one.pop("seconds")
    assert found["ray"] == found["process"]
    assert ports and {ip.removeprefix("::ffff:") for ip in ports} <= {"127.0.0.1", "::1"}
    assert not [one for one in mine.children(recursive=True) if "ray" in " ".join(one.cmdline())]
