"""People for two parties of a simulated federation, and the matches that are asked about them."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from clients.approvals import Approvals, Signed, approver_key, consent
from clients.settings import load_settings
from experiments.home import Home
from experiments.matching import Wish, match_order
from experiments.ordering import Terms
from experiments.peopling import offer_people
from federation.matching import terms_of
from federation.orders import WorkOrder
from policies.parties import PartyId
from secure_compute.psi.consent import Consent
from tests.simulator import LIMITS, Simulation

RECEIVER, SENDER = PartyId("payments-eu"), PartyId("merchant-uk")
ENDS = (RECEIVER, SENDER)
COMMON = 30
CAP = 100
"""What the contracts of both ends state; the published one states more."""


def people(first: int, last: int) -> pa.Table:
    """Return the people with the numbers from `first` to before `last`."""
    numbers = range(first, last)
    return pa.table(
        {
            "customer_id": pa.array(numbers, pa.int64()),
            "email": [f"Person.{number}@Example.org" for number in numbers],
            "spent": [float(number % 7) for number in numbers],
        }
    )


def with_people(simulation: Simulation, limits: Mapping[str, str] = LIMITS["orders"]) -> Simulation:
    """Let the two ends hold 50 and 60 people, 30 of them the same."""
    for party, table in ((RECEIVER, people(0, 50)), (SENDER, people(20, 80))):
        simulation.folder(party)
        offer(simulation.home, party, table, limits)
    return simulation


def offer(home: Home, party: PartyId, table: pa.Table, limits: Mapping[str, str]) -> None:
    """Let a party that is not running offer these people, in sets of `CAP`."""
    offer_people(home, party, table, limits)
    restate(home.node(party), cap=CAP)


def restate(folder: Path, **bounds: int) -> None:
    """Let a contract of people state another `cap` or `most`; a node reads it when it starts."""
    path = folder / "contract" / "people.toml"
    text = path.read_text(encoding="utf-8")
    for name, bound in bounds.items():
        text, count = re.subn(rf"^{name} = \d+$", f"{name} = {bound}", text, flags=re.MULTILINE)
        assert count == 1
    path.write_text(text, encoding="utf-8")


def match(simulation: Simulation, mode: str = "size", **changes: Any) -> WorkOrder:
    """Return an order that matches the people of the two ends."""
    terms = {"purpose": "fraud_prevention", "minimum": 2, **changes.pop("terms", {})}
    values = {"receiver": RECEIVER, "sender": SENDER, "on": "email", "cap": CAP, **changes}
    return match_order(simulation.home, Wish(mode=mode, terms=Terms(**terms), **values))


def approve(
    simulation: Simulation, order: WorkOrder, party: PartyId, key: Path | None = None
) -> Signed:
    """Let a person of a party approve a disclosure."""
    settings = load_settings(simulation.folder(party))
    words = Consent(party, f"Officer of {party}", "Art. 6(1)(f): fraud prevention")
    signing = approver_key(key or settings.folder / "keys" / "approver.key")
    given = consent(terms_of(order), words, signing, party, settings.identity)
    Approvals(settings.folder).give(order.id, given)
    return given


def resumed(simulation: Simulation, order: WorkOrder) -> str:
    """Return how an order ends that is put on the table once more."""
    assert simulation.jobs.again(order.id)
    simulation.work()
    return simulation.job(order).status
