"""Nodes of a simulated federation whose policies ask people, and what those people say."""

from dataclasses import replace
from decimal import Decimal
from string import Template
from typing import Any

from aggregator.jobs import Job
from clients.approvals import Approvals
from clients.consulting import judge_of
from clients.persons import Persons
from clients.settings import load_settings
from experiments.deciding import Pending, give, pending
from experiments.ordering import waiting_order
from federation.ledger.entries import Entry, EntryKind
from federation.orders import WorkOrder
from policies.law.bundle import law_text
from policies.parties import PartyId
from tests.simulator import Simulation

HOUR = 3600
OFFICER = "Officer of the party"


def ask_above(simulation: Simulation, party: PartyId, epsilon: str = "0.1") -> None:
    """Let the node of a party ask a person about every order above an epsilon; before it starts."""
    rule = Template(law_text("asking_above.cedar")).substitute(node=party, asked_epsilon=epsilon)
    _append(simulation, party, "node.cedar", rule)


def countersign_above(simulation: Simulation, *parties: PartyId, epsilon: str = "0.1") -> None:
    """Let nodes want two organisations to sign every order above an epsilon; before they start."""
    rule = Template(law_text("countersigning_above.cedar")).substitute(signed_epsilon=epsilon)
    for party in parties:
        _append(simulation, party, "base.cedar", rule)


def _append(simulation: Simulation, party: PartyId, name: str, rule: str) -> None:
    assert party not in simulation._nodes
    path = simulation.folder(party) / "policy" / name
    path.write_text(path.read_text(encoding="utf-8") + "\n" + rule, encoding="utf-8")


def waiting(order: WorkOrder, hours: int = 2) -> WorkOrder:
    """The same work, as an order that waits for people so long."""
    return waiting_order(order, hours)


def look(simulation: Simulation, party: PartyId, order: WorkOrder) -> Pending:
    """What a person of a party sees."""
    return pending(simulation.folder(party), order.id[:12])


def says(simulation: Simulation, party: PartyId, order: WorkOrder, said: Any = "yes") -> None:
    """Let a person of a party answer an order that waits."""
    look(simulation, party, order).say(said, OFFICER, "because I say so", None)


def like(simulation: Simulation, party: PartyId, order: WorkOrder, **changes: Any) -> str:
    """Let a person agree to all orders like one that waits; return the envelope's id."""
    times, days = changes.pop("times", 10), changes.pop("days", 30)
    standing = replace(look(simulation, party, order).like(times, days), **changes)
    return give(simulation.folder(party), standing, OFFICER, "as discussed", None)


def is_asked(simulation: Simulation, party: PartyId, order: WorkOrder) -> bool:
    """Whether an order waits for a person of a party."""
    return order.id in Approvals(simulation.folder(party)).waiting()


def persons(simulation: Simulation, party: PartyId) -> Persons:
    """The words of a party's persons, as they lie on disk."""
    found = judge_of(load_settings(simulation.folder(party))).persons
    assert found is not None
    return found


def later(simulation: Simulation, seconds: float = 10) -> None:
    """Time goes by, and the table is worked through."""
    simulation.later += seconds
    simulation.work()


def run(simulation: Simulation, order: WorkOrder) -> Job:
    """Put an order on the table and work through it once."""
    simulation.put(order)
    simulation.work()
    return simulation.job(order)


def approved(simulation: Simulation, party: PartyId, order: WorkOrder) -> list[Entry]:
    """The entries that say that a node accepted an order."""
    return [
        entry
        for entry in simulation.books(party).entries()
        if entry.kind is EntryKind.APPROVED and entry.order == order.id
    ]


def price_of(order: WorkOrder) -> Decimal:
    """What an order states."""
    return Decimal(order.epsilon)
