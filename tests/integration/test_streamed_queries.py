"""Questions over the streams with real processes: frozen servers, kills, and nodes on one way."""

import os
import re
import signal
import subprocess
import time
import tomllib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import count
from pathlib import Path

import pytest
import tomli_w

from aggregator.executor import FLOWER_BELIEVES_SECONDS
from aggregator.jobs import FINAL, Job, Jobs
from clients.books import Books
from clients.checking import check
from clients.settings import load_settings
from experiments.borders import Frame, split
from experiments.founding import DEMO_SEATS, found, free_ports
from experiments.home import Home
from experiments.ledgers import EXPORT, TRUST, write_ledger
from experiments.ordering import Terms, query_order, sign, training_order
from federation.ledger.notes import origin_of
from federation.messages import Kind
from federation.orders import WorkOrder
from federation.tasks import TrainingTask
from policies.parties import PartyId, Role
from tests.processes import alive, entrepot, finish, recorded, started, wait_until
from tests.simulator import CN, EU, KEYHOLDERS, UK, US, WAREHOUSES, demand_table, orders_table
from tests.simulator import recipe as small_recipe

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

LIMITS = {name: {"epsilon": "6.5", "delta": "1e-6"} for name in ("orders", "demand")}
SEATS = tuple(
    seat
    for seat in DEMO_SEATS
    if seat.role in {Role.WAREHOUSE, Role.KEYHOLDER, Role.AGGREGATOR, Role.ANALYST}
)
NODES = (*WAREHOUSES, *KEYHOLDERS)
SLOT = 4_000
"""Milliseconds that nodes have for their answers."""
TRIES = 8
"""How often a question is asked until a kill falls between a request and its reply."""


class Town:
    """Four warehouses, three keyholders and an aggregator, each under its own supervisor."""

    def __init__(self, folder: Path) -> None:
        self.home: Home = found(folder, "streamed", SEATS, LIMITS, free_ports())
        self.up = ExitStack()
        self.nodes: dict[PartyId, subprocess.Popen[str]] = {}
        self.asked = count()
        for number, party in enumerate(WAREHOUSES):
            data = self.home.node(party) / "data"
            orders_table(number).to_parquet(data / "orders.parquet")
            demand_table(number).to_parquet(data / "demand.parquet")

    def start_aggregator(self) -> None:
        words = ("aggregator", "run", "--federation", str(self.home.folder))
        self.up.enter_context(started(*words, cwd=self.home.folder))

    def start(self, party: PartyId) -> None:
        words = ("node", "run", str(self.home.node(party)))
        self.nodes[party] = self.up.enter_context(started(*words, cwd=self.home.folder))

    def stop(self, party: PartyId) -> None:
        self.nodes[party].terminate()
        assert finish(self.nodes[party]).code == 0

    def connections(self, party: PartyId) -> int:
        """How many streams of the party there were so far."""
        log = self.home.aggregator / "logs" / "executor.log"
        said = log.read_text(encoding="utf-8") if log.exists() else ""
        return len(re.findall(rf"\b{party} is connected", said))

    def wait_for_streams(self, *parties: PartyId, more_than: int = 0) -> None:
        wait_until(
            lambda: all(self.connections(party) > more_than for party in parties),
            120.0,
            "nodes open their streams",
        )

    def server(self, name: str) -> int:
        return recorded(self.home.aggregator / "run" / f"{name}.pid")

    def node(self, party: PartyId) -> int:
        return recorded(self.home.node(party) / "run" / "node.pid")

    def put(self, order: WorkOrder) -> WorkOrder:
        Jobs(self.home.jobs).add(order.id, sign(self.home, order), float(order.created))
        return order

    def ask(self) -> WorkOrder:
        """Put a question on the table that was never asked before."""
        # No count in it: one of three parties would bar the same count of four.
        sql = f"SELECT SUM(LEAST(amount, {200 + next(self.asked)})) AS m FROM orders"
        terms = Terms(
            purpose="market_statistics",
            minimum=3,
            source="fresh",
            cohort=WAREHOUSES,
            deadline=SLOT,
        )
        return self.put(query_order(self.home, sql, "0.2", terms))

    def ended(self, order: WorkOrder) -> Job:
        def over() -> bool:
            job = Jobs(self.home.jobs).find(order.id)
            return job is not None and job.status in FINAL

        wait_until(over, 200.0, "the order ends")
        job = Jobs(self.home.jobs).find(order.id)
        assert job is not None
        return job

    def captured(self, party: PartyId, order: WorkOrder, kind: Kind) -> list[Frame]:
        """What the party captured of one order and kind; it captures before it sends."""
        folder = self.home.aggregator if party == "aggregator" else self.home.node(party)
        path = folder / "captures" / f"{party}.cap"
        frames = split(party, path.read_bytes()) if path.exists() else ()
        return [
            frame
            for frame in frames
            if frame.envelope is not None
            and (frame.envelope.order, frame.envelope.kind) == (order.id, kind)
        ]

    def committed(self, party: PartyId, order: WorkOrder) -> set[bytes]:
        frames = self.captured(party, order, Kind.QUERY_COMMITTED)
        return {frame.envelope.blobs["commitment"] for frame in frames if frame.envelope}

    def releases(self, party: PartyId) -> int:
        settings = load_settings(self.home.node(party))
        origin = origin_of(settings.federation, settings.party)
        books = Books(settings.books, origin, settings.identity, time.time)
        return sum(row.releases for row in books.statement() if row.dataset == "orders")


def soon(condition: Callable[[], bool], order: WorkOrder, town: Town) -> bool:
    """Wait for a moment of an order, with no pause in between; False: the order was over first."""
    jobs = Jobs(town.home.jobs)
    while not condition():
        job = jobs.find(order.id)
        if job is not None and job.status in FINAL:
            return False
    return True


@contextmanager
def frozen(pid: int) -> Iterator[None]:
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    town = Town(tmp_path_factory.mktemp("streamed") / "federation")
    with town.up:
        town.start_aggregator()
        for party in NODES:
            town.start(party)
        for party in NODES:
            wait_until((town.home.node(party) / "node_id").exists, 120.0, f"{party} joins")
        town.wait_for_streams(*NODES)
        yield town


def test_a_question_is_answered_while_the_flower_server_is_frozen(town: Town) -> None:
    assert town.ended(town.ask()).status == "done"  # witnesses have spoken to one another
    with frozen(town.server("superlink")):
        job = town.ended(town.ask())
    assert job.status == "done" and job.result is not None
    assert job.result["parties"] == sorted(WAREHOUSES)


def test_a_node_that_is_killed_between_request_and_reply_releases_nothing_twice(
    town: Town,
) -> None:
    for _ in range(TRIES):
        before, streams = town.releases(UK), town.connections(UK)
        order, victim = town.ask(), town.node(UK)
        sent = lambda order=order: any(  # noqa: E731
            frame.envelope is not None and frame.envelope.recipient == UK
            for frame in town.captured(PartyId("aggregator"), order, Kind.QUERY_COMMIT)
        )
        between = soon(sent, order, town)
        os.kill(victim, signal.SIGSTOP)
        between = between and not town.committed(UK, order)
        if between:
            os.kill(victim, signal.SIGKILL)
            break
        os.kill(victim, signal.SIGCONT)
        assert town.ended(order).status == "done"
    assert between, "no kill fell between request and reply"
    job = town.ended(order)
    assert job.status == "done" and job.result is not None
    assert set(job.result["parties"]) >= {CN, EU, US}
    town.wait_for_streams(UK, more_than=streams)
    assert not alive(victim)
    assert len(town.committed(UK, order)) <= 1
    assert town.releases(UK) == before + 1  # spent, whether it left or not
    assert town.ended(town.ask()).result["parties"] == sorted(WAREHOUSES)  # type: ignore[index]


def test_an_executor_that_is_killed_in_the_middle_of_a_question_goes_on(town: Town) -> None:
    before = {party: town.releases(party) for party in WAREHOUSES}
    streams, executor = town.connections(CN), town.server("executor")
    order = town.ask()
    assert soon(lambda: any(town.committed(p, order) for p in WAREHOUSES), order, town)
    os.kill(executor, signal.SIGKILL)
    job = town.ended(order)
    assert job.status == "done" and job.result is not None
    assert job.result["parties"] == sorted(WAREHOUSES)
    for party in WAREHOUSES:
        assert len(town.committed(party, order)) == 1  # the same bytes, however often they left
        assert town.releases(party) == before[party] + 1
    opened = {
        (party, frame.envelope.blobs["sealed"])
        for party in KEYHOLDERS
        for frame in town.captured(party, order, Kind.QUERY_OPENED)
        if frame.envelope is not None
    }
    assert len(opened) == len({party for party, _ in opened}) == 2  # one string of each that helped
    town.wait_for_streams(*NODES, more_than=streams)
    assert town.server("executor") != executor


def test_nodes_on_one_way_alone_take_part_in_everything(town: Town) -> None:
    for party, name in ((EU, "stream"), (US, "address")):
        town.stop(party)
        path = town.home.node(party) / "node.toml"
        value = tomllib.loads(path.read_text(encoding="utf-8"))
        nowhere = f"127.0.0.1:{free_ports().fleet}"
        if name == "stream":
            del value["aggregator"]["stream"]
        else:
            value["aggregator"]["address"] = nowhere
        path.write_text(tomli_w.dumps(value), encoding="utf-8")
    streams = town.connections(US)
    for party in (EU, US):
        (town.home.node(party) / "node_id").unlink()
        town.start(party)
    wait_until((town.home.node(EU) / "node_id").exists, 120.0, f"{EU} joins")
    town.wait_for_streams(US, more_than=streams)
    time.sleep(FLOWER_BELIEVES_SECONDS)  # its stream ended, which counts for more until then
    task = TrainingTask("demand", 1, 0, small_recipe(rounds=2))
    trained = town.put(training_order(town.home, task, Terms(purpose="demand_forecasting")))
    for order in (town.ask(), trained):
        job = town.ended(order)
        assert job.status == "done" and job.result is not None, job.result
        assert sorted(job.result["parties"]) == sorted(WAREHOUSES)
    assert not (town.home.node(US) / "node_id").exists()


def test_the_books_agree_at_the_end(town: Town, tmp_path: Path) -> None:
    for party in NODES:
        town.stop(party)
    for party in NODES:
        check(load_settings(town.home.node(party)))
    write_ledger(town.home, tmp_path)
    words = ("audit", "verify", str(tmp_path / EXPORT), "--trust", str(tmp_path / TRUST))
    said = entrepot(*words, cwd=tmp_path)
    assert said.code == 0, said.out + said.err
