"""The stage of a rehearsal: a federation of made-up parties in one process, letters in memory.

What runs is what runs in production, but for four things: nobody listens on a port, letters are
signed and travel in no cover, training runs in this process instead of a child, and the time of
slots moves when somebody sleeps.
"""

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pyarrow.parquet as pq

from aggregator.coordinator import Coordinator
from aggregator.jobs import Jobs
from aggregator.settings import load_aggregator
from clients.compute import Compute
from clients.errors import ComputeError
from clients.node import Node
from clients.settings import NodeSettings, load_settings
from clients.slots import Slots
from clients.training.jobs import TrainJob
from clients.worker import build
from experiments.accounts import open_books
from experiments.founding import DEMO_SEATS, Ports, Seat, found
from experiments.home import Home
from experiments.opening import forget_key
from experiments.ordering import Terms, query_order, sign, training_order
from experiments.settings import compose_run
from experiments.twin import twin
from federation.envelopes import Envelope, open_envelope
from federation.orders import WorkOrder
from policies.contracts import DataContract
from policies.parties import PartyId

NAME: Final = "rehearsal"
EPSILON: Final = "0.2"
"""What the question of a rehearsal may cost at most."""
PORTS: Final = Ports(1, 2, 3)


@dataclass(frozen=True, slots=True)
class Played:
    """What came of one order.

    status: done, or how it ended
    said:   every letter that the node sent, and its length in bytes
    before, after: ε spent, by account
    """

    status: str
    said: tuple[tuple[Envelope, int], ...]
    before: Mapping[str, Mapping[str, Any]]
    after: Mapping[str, Mapping[str, Any]]


class _Trains(Compute):
    """Trains in this process, where a node would start a child."""

    def __init__(self) -> None:
        super().__init__()
        from clients.training.service import Trainer

        self._trainer = Trainer()

    def warm(self, job: Callable[[], TrainJob]) -> None:
        """Wait for the first round."""

    def stop(self, order: str) -> None:
        """Nothing runs beside."""

    def _ask(self, request: tuple[TrainJob, int, bytes | None]) -> bytes:
        try:
            return self._trainer.perform(*request)
        except Exception as why:
            raise ComputeError(f"{type(why).__name__}: {why}") from why


@dataclass(slots=True)
class _Moments:
    """The time of slots: only who sleeps moves it on."""

    at: float = 0.0

    def sleep(self, seconds: float) -> None:
        self.at += seconds

    def slots(self) -> Slots:
        return Slots(lambda: self.at, self.sleep, lambda work: work())


@dataclass(slots=True)
class Stage:
    """The federation of a rehearsal, in a folder of its own.

    rows: how many made-up rows the node has, by contract
    """

    folder: Path
    settings: NodeSettings
    contracts: Mapping[str, DataContract]
    rows: dict[str, int] = field(default_factory=dict)
    _said: list[bytes] = field(default_factory=list)
    _home: Home = field(init=False)
    _nodes: dict[PartyId, Node] = field(default_factory=dict)
    _moments: _Moments = field(default_factory=_Moments)

    def __post_init__(self) -> None:
        limits = {
            name: {"epsilon": str(one.limit.epsilon), "delta": str(one.limit.delta)}
            for name, one in self.contracts.items()
        }
        self._home = found(self.folder, NAME, _seats(self.settings), limits, PORTS)
        self._dress()
        for at, member in enumerate(self._home.holders()):
            node = load_settings(self._home.node(member.party))
            for contract in node.contracts().values():
                table = twin(contract, at)
                pq.write_table(table, node.table(contract))
                if member.party == self.settings.party:
                    self.rows[contract.name] = table.num_rows

    def training(self, model: str) -> WorkOrder:
        """Return the run that the federation's own configuration asks for."""
        settings = compose_run(model, [])
        return training_order(self._home, settings.task, settings.terms)

    def question(self, sql: str) -> WorkOrder:
        """Return a question that only this rehearsal could open the answer to."""
        return query_order(self._home, sql, EPSILON, Terms(purpose="market_statistics"))

    def play(self, order: WorkOrder) -> Played:
        """See one order through."""
        jobs, before = Jobs(self._home.jobs), self._accounts()
        self._said = []
        settings = load_aggregator(self._home.aggregator)
        jobs.add(order.id, sign(self._home, order), float(order.created))
        coordinator = Coordinator(settings, jobs, self._carry)
        while (waiting := jobs.next()) is not None:
            coordinator.work(waiting)
        forget_key(self._home, order.id)
        ended, roster = jobs.find(order.id), self._home.roster()
        told = ((open_envelope(w, roster, settings.party).envelope, len(w)) for w in self._said)
        status = "lost" if ended is None else str(ended.status)
        return Played(status, tuple(told), before, self._accounts())

    def _dress(self) -> None:
        """Put the node's own contracts and policy where the founding put the published ones."""
        own = self._home.node(self.settings.party)
        for part in ("contract", "policy"):
            shutil.rmtree(own / part)
            shutil.copytree(self.settings.folder / part, own / part)

    def _carry(
        self, requests: Mapping[PartyId, bytes], timeout: float, sooner: Mapping[PartyId, float]
    ) -> Mapping[PartyId, bytes | str]:
        del timeout, sooner  # nobody is waited for in memory
        replies = {party: self._node(party).answer(wire) for party, wire in requests.items()}
        own = replies.get(self.settings.party)
        self._said += [] if own is None else [own]
        return replies

    def _node(self, party: PartyId) -> Node:
        if party not in self._nodes:
            settings = load_settings(self._home.node(party))
            node = build(settings, slots=self._moments.slots(), compute=_Trains())
            node.begin()
            self._nodes[party] = node
        return self._nodes[party]

    def _accounts(self) -> dict[str, Mapping[str, Any]]:
        folder = self._home.node(self.settings.party)
        found = (account.statement for account in open_books(folder).accounts())
        return {
            f"{one.subjects} · {one.unit} · {one.window}": {
                "account": f"{one.subjects} · {one.unit} · {one.window}",
                "dataset": one.dataset,
                "epsilon": one.epsilon_spent,
                "limit": one.limit,
                "delta": one.delta,
            }
            for one in found
        }


def _seats(settings: NodeSettings) -> tuple[Seat, ...]:
    """Return the made-up parties, one of whom makes room for the node's own."""
    own = Seat(settings.party, settings.organisation, settings.role, settings.jurisdiction)
    same = [seat for seat in DEMO_SEATS if seat.party == own.party]
    place = (same or [seat for seat in DEMO_SEATS if seat.role is own.role])[0]
    return tuple(own if seat is place else seat for seat in DEMO_SEATS)
