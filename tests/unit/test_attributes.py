"""Where each attribute of the law comes from: mostly the node's own knowledge."""

import dataclasses
import re
from collections.abc import Callable
from typing import Any

import pytest

from clients.attributes import Attributes
from clients.errors import MisstatedOrderError
from clients.exports import Tally
from experiments.ordering import Terms, training_order
from federation.orders import WorkOrder
from federation.tasks import TrainingTask
from policies import engine
from policies.budget.events import from_json
from policies.contracts import DataContract
from policies.exports import Outbound
from policies.law.bundle import SCHEMA_NAME, law_text
from policies.parties import Grade, Jurisdiction, PartyId, Role
from tests.simulator import CN, EU, UK, US, WAREHOUSES, Simulation, fraud_recipe

SOURCES = {
    # What somebody else says, in a signed order; the price is checked against what would run.
    "purpose": "order",
    "legal_basis": "order",
    "cohort": "order",  # organisations, as the roster knows the parties that the order names
    "minimum_cohort": "order",
    "recipients": "order",  # places, as the roster knows them
    # What the node knows.
    "proposer_role": "roster",
    "aggregator": "roster",
    "keyholder": "roster",
    "leaves": "roster",
    "node": "settings",
    "role": "settings",
    "jurisdiction": "settings",
    "unit": "contract",
    "personal": "contract",
    "delta_e12": "contract",
    "grouped": "contract",
    "filtered": "contract",
    "aggregated": "contract",
    "masked": "contract",
    "joined": "code",
    "epsilon": "code",
    "code_matches": "code",
    "private": "code",
    "discloses": "code",
    "today": "clock",
    "expired": "clock",
    "exported_persons": "ledger",
    # What people said, in words that they signed.
    "approved": "person",
    "countersigned": "member",
}

SQL = "SELECT category, SUM(amount) FROM orders WHERE ship_country = 'DE' GROUP BY category"


class At(Tally):
    """A ledger that says that results about these groups left."""

    def __init__(self, *groups: str) -> None:
        super().__init__()
        self._gone = groups

    def outbound(self, besides: str = "") -> tuple[Outbound, ...]:
        return tuple(Outbound(group, None) for group in self._gone)


@pytest.fixture
def at_cn(simulation: Simulation) -> Attributes:
    judge = simulation.node(CN)._judge
    return Attributes(judge.settings, judge.roster, judge.contracts, simulation.now(), Tally())


@pytest.fixture
def query(simulation: Simulation) -> WorkOrder:
    return simulation.query(sql=SQL, cohort=WAREHOUSES)


def asked(attributes: Attributes, order: WorkOrder) -> dict[str, Any]:
    """What the law is asked, by the names that rules use."""
    question = engine._question(attributes.of(order, from_json(order.event)))
    return {"keyholder": None, "exported_persons": None, **question["context"]}


def changed(attributes: Attributes, order: WorkOrder, **parts: Any) -> set[str]:
    """The attributes that other parts bring about."""
    before = asked(attributes, order)
    after = asked(dataclasses.replace(attributes, **parts), order)
    return {name for name in before if before[name] != after[name]}


def test_every_attribute_has_one_source() -> None:
    ask = law_text(SCHEMA_NAME).split("type Ask = {")[1].split("};")[0]
    assert SOURCES.keys() == set(re.findall(r"^  (\w+)\??:", ask, flags=re.MULTILINE))


def test_a_request_has_no_attribute_that_a_rule_cannot_see() -> None:
    fields = {item.name for item in dataclasses.fields(engine.Request)}
    known = SOURCES.keys() | {"action", "proposer", "dataset", "units", "delta"}
    assert fields <= known


def of(source: str) -> set[str]:
    return {name for name, origin in SOURCES.items() if origin == source}


ORDERS: dict[str, dict[str, Any]] = {
    "another purpose": {"purpose": "marketing"},
    "another basis": {"legal_basis": "consent"},
    "fewer parties": {"cohort": (CN, EU, UK)},
    "a smaller minimum": {"minimum": 1},
    "another recipient": {"recipients": (US,)},
    "a later end": {"expires": 2**40},
    "columns it does not read": {"columns": ("order_id", "category")},
    "another nonce": {"nonce": "0" * 32},
    "other parameters' windows": {"windows": ("2025",)},
}


@pytest.mark.parametrize("change", ORDERS.values(), ids=ORDERS.keys())
def test_an_order_moves_only_what_it_may_say(
    at_cn: Attributes, query: WorkOrder, change: dict[str, Any]
) -> None:
    before = asked(at_cn, query)
    after = asked(at_cn, dataclasses.replace(query, **change))
    moved = {name for name in before if before[name] != after[name]}
    assert moved <= of("order") | {"leaves"}


def test_an_order_cannot_say_its_own_price(at_cn: Attributes, query: WorkOrder) -> None:
    for epsilon in ("0.0001", "99"):
        with pytest.raises(MisstatedOrderError, match="costs"):
            asked(at_cn, dataclasses.replace(query, epsilon=epsilon))


def regraded(contract: DataContract, column: str, grade: Grade) -> DataContract:
    columns = tuple(
        dataclasses.replace(item, grade=grade) if item.name == column else item
        for item in contract.columns
    )
    return dataclasses.replace(contract, columns=columns)


@pytest.mark.parametrize(
    ("column", "attribute"),
    [
        ("category", "grouped"),
        ("ship_country", "filtered"),
        ("amount", "aggregated"),
        ("customer_id", "masked"),
        ("counterparty_id", None),  # this query does not read it
    ],
)
def test_grades_are_those_of_the_nodes_own_contract(
    at_cn: Attributes, query: WorkOrder, column: str, attribute: str | None
) -> None:
    orders = regraded(at_cn.contracts["orders"], column, Grade.S4)
    moved = changed(at_cn, query, contracts={**at_cn.contracts, "orders": orders})
    assert moved == ({attribute} if attribute else set())


def test_training_reads_all_columns_but_those_it_only_compares(simulation: Simulation) -> None:
    judge = simulation.node(EU)._judge
    attributes = Attributes(judge.settings, judge.roster, judge.contracts, 0.0, Tally())
    terms = Terms(purpose="fraud_prevention", cohort=(EU, UK, US))
    order = training_order(simulation.home, TrainingTask("fraud", 1, 0, fraud_recipe()), terms)
    plain = asked(attributes, dataclasses.replace(order, columns=()))
    assert plain["masked"] == ["S3"]
    assert plain["aggregated"] == ["S1", "S2"]
    for column, used in (("amount", "aggregated"), ("counterparty_id", "masked")):
        orders = regraded(judge.contracts["orders"], column, Grade.S4)
        moved = changed(attributes, order, contracts={**judge.contracts, "orders": orders})
        assert moved == {used}


def test_a_person_among_the_further_units_makes_a_run_personal(
    at_cn: Attributes, simulation: Simulation
) -> None:
    order = simulation.training()
    assert asked(at_cn, order)["personal"] is False
    demand, orders = at_cn.contracts["demand"], at_cn.contracts["orders"]
    from policies.contracts import FurtherUnit

    buyers = FurtherUnit(
        kind="customer", columns=("retailer",), subjects="buyers", limit=orders.limit
    )
    contracts = {**at_cn.contracts, "demand": dataclasses.replace(demand, also=(buyers,))}
    moved = changed(at_cn, order, contracts=contracts)
    assert "personal" in moved
    assert moved <= of("contract") | of("ledger")


def moved_to(role: Role | PartyId, place: Jurisdiction) -> Callable[[Any], Any]:
    def move(member: Any) -> Any:
        hit = role in {member.role, member.party}
        return dataclasses.replace(member, jurisdiction=place) if hit else member

    return move


@pytest.mark.parametrize(
    ("who", "attribute"),
    [
        (Role.AGGREGATOR, "aggregator"),
        (Role.KEYHOLDER, "keyholder"),
        (Role.ANALYST, "recipients"),
    ],
)
def test_places_are_those_of_the_roster(
    at_cn: Attributes, query: WorkOrder, who: Role, attribute: str
) -> None:
    members = tuple(map(moved_to(who, Jurisdiction.US_CA), at_cn.roster.members))
    moved = changed(at_cn, query, roster=dataclasses.replace(at_cn.roster, members=members))
    assert moved == {attribute}
    members = tuple(map(moved_to(who, Jurisdiction.US_CA), at_cn.roster.members))
    roster = dataclasses.replace(at_cn.roster, members=members)
    assert "US" in str(asked(dataclasses.replace(at_cn, roster=roster), query)[attribute])


def test_the_day_and_the_end_are_the_clocks(at_cn: Attributes, query: WorkOrder) -> None:
    assert changed(at_cn, query, now=at_cn.now + 90_000) == of("clock")
    assert asked(at_cn, query)["today"] == int(at_cn.now) // 86_400


def test_people_who_left_are_the_ledgers(at_cn: Attributes, query: WorkOrder) -> None:
    assert changed(at_cn, query, left=At("customers")) == set()  # its own group, counted once
    assert asked(at_cn, query)["exported_persons"] == 50_000
    assert changed(at_cn, query, left=At("strangers")) == {"exported_persons"}
    more = dataclasses.replace(at_cn.contracts["orders"], name="visits", subjects="visitors")
    contracts = {**at_cn.contracts, "visits": more}
    both = dataclasses.replace(at_cn, contracts=contracts, left=At("visitors"))
    assert asked(both, query)["exported_persons"] == 100_000


def test_no_attribute_is_read_from_a_row(
    simulation: Simulation, at_cn: Attributes, query: WorkOrder
) -> None:
    before = asked(at_cn, query)
    with simulation.without_rows(CN):
        assert asked(at_cn, query) == before
