"""What prices, explains and refuses has no handle to rows: the same bytes whatever is in data/."""

import dataclasses
import shutil
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from experiments.cli import run
from experiments.ordering import Terms, training_order
from federation.messages import Kind
from federation.orders import WorkOrder
from federation.tasks import TrainingTask
from policies.parties import Jurisdiction, PartyId
from tests.simulator import CN, EU, SQL, UK, US, WAREHOUSES, Simulation, fraud_recipe


def loud(simulation: Simulation) -> WorkOrder:
    return simulation.training(noise_multiplier=Decimal("1.5"))


def changed(order: WorkOrder, **changes: Any) -> WorkOrder:
    return dataclasses.replace(order, **changes)


def to_china(simulation: Simulation) -> WorkOrder:
    terms = Terms(purpose="fraud_prevention", cohort=(CN, EU, US))
    return training_order(simulation.home, TrainingTask("fraud", 1, 0, fraud_recipe()), terms)


REFUSED: dict[str, tuple[str, PartyId, Callable[[Simulation], WorkOrder]]] = {
    "it does not hold together": (
        "ORDER-001",
        CN,
        lambda s: changed(s.training(), delta="1e-5"),
    ),
    "it reads columns nobody has": (
        "ORDER-001",
        CN,
        lambda s: changed(s.training(), columns=("volume", "margin")),
    ),
    "it understates its price": ("ORDER-001", CN, lambda s: changed(loud(s), epsilon="0.1")),
    "the cap": ("NODE-001", CN, loud),
    "the account": ("BUDGET-001", CN, loud),
    "the purpose": ("EU-001", EU, lambda s: s.query(purpose="marketing", cohort=WAREHOUSES)),
    "the border": ("US-001", US, to_china),
    "too few": ("BASE-008", CN, lambda s: changed(s.training(), minimum=2)),
    "other code": ("BASE-005", CN, lambda s: changed(s.training(), code="0" * 64)),
    "too late": ("BASE-006", CN, lambda s: changed(s.training(), expires=1)),
    "everything": (
        "BASE-002",
        CN,
        lambda s: changed(loud(s), purpose="curiosity", minimum=1, code="0" * 64, expires=1),
    ),
}


def gone(data: Path) -> None:
    shutil.rmtree(data)


def no_folder(data: Path) -> None:
    shutil.rmtree(data)
    data.write_bytes(b"")


def garbage(data: Path) -> None:
    for table in data.iterdir():
        table.write_bytes(b"no table")


def empty(data: Path) -> None:
    for table in data.iterdir():
        pd.read_parquet(table).iloc[:0].to_parquet(table)


def one_row_that_breaks(data: Path) -> None:
    """One row that breaks a cast, divides by zero, and is of nobody."""
    for table in data.iterdir():
        rows = pd.read_parquet(table).astype(object)
        rows.iloc[0] = None
        rows.astype(str).to_parquet(table)


def a_thousand_times(data: Path) -> None:
    for table in data.iterdir():
        rows = pd.read_parquet(table)
        pd.concat([rows] * 20).to_parquet(table)


CHANGES = (gone, no_folder, garbage, empty, one_row_that_breaks, a_thousand_times)


@pytest.mark.parametrize("case", REFUSED)
def test_a_refusal_is_the_same_bytes_whatever_lies_in_the_folder(
    simulation: Simulation, case: str
) -> None:
    rule, party, order_of = REFUSED[case]
    order = order_of(simulation)
    node = simulation.node(party)
    letter = simulation.letter(Kind.OFFER, party, order.id, order=_signed(simulation, order))
    before = node.answer(letter)
    reply = simulation.read(before)
    assert reply.kind is Kind.REFUSED
    assert rule in {reason["id"] for reason in reply.body["reasons"]}
    data = simulation.folder(party) / "data"
    kept = shutil.copytree(data, data.with_name("kept"))
    for change in CHANGES:
        change(data)
        assert node.answer(letter) == before, change.__name__
        data.unlink() if data.is_file() else shutil.rmtree(data, ignore_errors=True)
        shutil.copytree(kept, data)


def offers_of(simulation: Simulation) -> dict[str, WorkOrder]:
    return {"a run": simulation.training(), "a question": simulation.query(cohort=WAREHOUSES)}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("case", ["a run", "a question"])
def test_an_offer_is_accepted_with_the_same_bytes_whatever_lies_in_the_folder(
    simulation: Simulation, tmp_path: Path, case: str, change: Callable[[Path], None]
) -> None:
    """Two folders that differ in their rows alone, two nodes, one moment."""
    order = offers_of(simulation)[case]
    other = Simulation(tmp_path / "neighbour")
    moment = simulation.now()
    simulation.now = lambda: moment  # type: ignore[method-assign]
    simulation.node(CN)
    simulation.kill(CN)
    shutil.copytree(simulation.folder(CN), other.home.node(CN))
    said = []
    for each in (simulation, other):
        each.now = lambda: moment  # type: ignore[method-assign]
        node = each.node(CN)
        if each is other:
            change(each.folder(CN) / "data")
        letter = simulation.letter(Kind.OFFER, CN, order.id, order=_signed(simulation, order))
        said.append(node.answer(letter))
        assert each.read(said[-1]).kind is Kind.ACCEPTED
        assert len(each.books(CN).open_orders()) == 1
    assert said[0] == said[1]


def _signed(simulation: Simulation, order: WorkOrder) -> bytes:
    from experiments.ordering import sign

    return sign(simulation.home, order)


def test_all_kinds_of_reasons_are_told_at_once_with_their_law_and_a_way_out(
    simulation: Simulation,
) -> None:
    order = changed(loud(simulation), purpose="curiosity", minimum=1, legal_basis="none")
    body = simulation.offer(CN, order).body
    ids = [reason["id"] for reason in body["reasons"]]
    assert ids == [
        "BASE-002",
        "BASE-004",
        "BASE-008",
        "BASE-015",
        "NODE-001",
        "NODE-003",
        "BUDGET-001",
    ]
    assert all(reason["law"] for reason in body["reasons"])
    settings = dict(setting.split("=") for setting in body["nearest"])
    assert settings.keys() == {"purpose", "legal_basis", "cohort.minimum", "privacy.epsilon"}
    assert Decimal(settings["privacy.epsilon"]) < 8  # the account's, below the cap of the law
    assert settings["purpose"] == "demand_forecasting"


def test_a_refusal_that_no_setting_helps_names_no_nearest_request(simulation: Simulation) -> None:
    assert simulation.offer(CN, changed(simulation.training(), code="0" * 64)).body["nearest"] == []
    assert simulation.offer(US, to_china(simulation)).body["nearest"] == []


def test_the_nearest_request_is_accepted(simulation: Simulation) -> None:
    refused = simulation.offer(EU, simulation.query(purpose="marketing", cohort=WAREHOUSES)).body
    (setting,) = refused["nearest"]
    purpose = setting.removeprefix("purpose=")
    again = simulation.offer(EU, simulation.query(purpose=purpose, cohort=WAREHOUSES))
    assert again.kind is Kind.ACCEPTED


# -- what the data team is told --------------------------------------------------------------------

TOLD = {
    "the price and error of a question": ["query", SQL, "--explain", "--json"],
    "the price of a question for people": ["query", SQL, "--explain"],
    "what is left": ["budget", "show", "--json"],
    "what a run would change": ["budget", "what-if", "query", SQL, "--json"],
}


@pytest.mark.parametrize("case", TOLD)
def test_prices_and_explanations_are_the_same_bytes_without_any_row(
    simulation: Simulation, case: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for member in simulation.home.holders():
        simulation.folder(member.party)

    def said() -> tuple[int, str]:
        code = run([*TOLD[case], "--federation", str(simulation.home.folder)])
        return code, capsys.readouterr().out

    simulation.offer(CN, simulation.query(cohort=WAREHOUSES))
    before = said()
    assert before[0] == 0
    assert before[1]
    for member in simulation.home.holders():
        no_folder(simulation.folder(member.party) / "data")
    assert said() == before


# -- the yearly number of people, end to end -------------------------------------------------------


def declare(simulation: Simulation, party: PartyId, persons: str) -> None:
    path = simulation.folder(party) / "contract" / "orders.toml"
    text = path.read_text(encoding="utf-8").replace("persons = 50000", persons)
    path.write_text(text, encoding="utf-8")


@pytest.mark.parametrize(
    ("persons", "rules"),
    [
        ("persons = 100000", []),
        ("persons = 100001", ["CN-006"]),
        ("", ["CN-007"]),
    ],
)
def test_people_are_counted_before_anything_leaves_china(
    simulation: Simulation, persons: str, rules: list[str]
) -> None:
    declare(simulation, CN, persons)
    reply = simulation.offer(CN, simulation.query(cohort=WAREHOUSES))
    assert [reason["id"] for reason in reply.body.get("reasons", [])] == rules


def test_what_left_before_counts_against_what_would_leave_now(simulation: Simulation) -> None:
    """Two groups of people in one year: the second alone would be few enough."""
    declare(simulation, CN, "persons = 60000")
    path = simulation.folder(CN) / "contract" / "orders.toml"
    text = path.read_text(encoding="utf-8")
    assert simulation.offer(CN, simulation.query(cohort=WAREHOUSES)).kind is Kind.ACCEPTED
    path.with_name("visits.toml").write_text(
        text.replace('"orders"', '"visits"').replace('"customers"', '"visitors"'), encoding="utf-8"
    )
    judge = simulation.restart(CN)._judge
    from clients.attributes import Attributes
    from clients.exports import Left
    from policies.budget.events import from_json

    order = simulation.query(cohort=WAREHOUSES)
    attributes = Attributes(
        judge.settings, judge.roster, judge.contracts, simulation.now(), Left(judge.books)()
    )
    event = from_json(order.event)
    assert attributes.of(order, event).exported_persons == 60_000
    other = dataclasses.replace(judge.contracts["orders"], subjects="visitors")
    moved = dataclasses.replace(attributes, contracts={**judge.contracts, "orders": other})
    assert moved.of(order, event).exported_persons is None  # customers left, and nobody knows them
    both = {**judge.contracts, "orders": other, "old": judge.contracts["orders"]}
    assert dataclasses.replace(attributes, contracts=both).of(order, event).exported_persons == (
        120_000
    )


def test_a_node_elsewhere_declares_nobody(simulation: Simulation) -> None:
    declare(simulation, UK, "")
    assert simulation.offer(UK, simulation.query(cohort=WAREHOUSES)).kind is Kind.ACCEPTED
    assert simulation.node(UK)._judge.settings.jurisdiction is Jurisdiction.UK
