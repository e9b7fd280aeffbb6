"""The node's verdict: a function of order, contract, law, books and clock, and of no row."""

import dataclasses
from decimal import Decimal

import pytest

import clients.coherence
from clients.errors import MisstatedOrderError
from experiments.founding import AGGREGATOR, DEMO_SEATS
from experiments.ordering import Terms, training_order
from experiments.querying import read_terms
from federation.errors import FederationError
from federation.messages import Kind
from federation.tasks import TrainingTask
from policies.budget import accountant
from policies.budget.events import Gaussian, to_json
from policies.parties import Jurisdiction, PartyId
from tests.simulator import (
    CN,
    DELTA,
    EU,
    LIMITS,
    UK,
    US,
    WAREHOUSES,
    Simulation,
    fraud_recipe,
    recipe,
)

ANALYST = PartyId("analyst")


def refused(simulation, order, party=CN):
    """The reasons by id, with the overrides; nothing else happens at the node."""
    with simulation.nothing_happens(party), simulation.without_rows(party):
        reply = simulation.offer(party, order)
    assert reply.kind is Kind.REFUSED
    assert not reply.blobs
    assert set(reply.body) == {"kind", "reasons", "fixes", "nearest"}
    ids = [reason["id"] for reason in reply.body["reasons"]]
    assert all(reason["en"] and reason["zh"] for reason in reply.body["reasons"])
    assert all(fix["en"] and fix["zh"] for fix in reply.body["fixes"])
    return dict(zip(ids, [fix["override"] for fix in reply.body["fixes"]], strict=True))


def changed(order, **changes):
    return dataclasses.replace(order, **changes)


ALTERED = {
    "another price": {"event": to_json(Gaussian("99"))},
    "more rounds than the recipe has": {"releases": 5},
    "fewer rounds than the recipe has": {"releases": 2},
    "another delta": {"delta": "1e-5"},
    "the same delta, spelled otherwise": {"delta": "1e-6"},
    "another unit": {"unit": "order"},
    "a column nobody has": {"columns": ("volume", "margin")},
    "a contract nobody has": {"contract": "ledger"},
    "another version of the contract": {"contract_version": 2},
    "a contract of other rows": {"contract": "orders"},
    "a cohort without this node": {"cohort": (EU, UK, US)},
    "a cohort with parties that hold no rows": {"cohort": (CN, AGGREGATOR, ANALYST)},
    "a party nobody knows": {"cohort": (*WAREHOUSES, PartyId("stranger"))},
    "a recipient nobody knows": {"recipients": (PartyId("stranger"),)},
    "no recipe": {"parameters": {}},
}


@pytest.mark.parametrize("changes", ALTERED.values(), ids=ALTERED.keys())
def test_an_order_that_does_not_hold_together_is_refused(simulation, changes):
    assert list(refused(simulation, changed(simulation.training(), **changes))) == ["ORDER-001"]


def test_a_recipe_with_more_rows_of_a_unit_than_the_contract_lets_in_is_refused(simulation):
    assert "ORDER-001" in refused(simulation, simulation.training(rows_per_unit=2))


def test_a_recipe_that_differs_from_the_price_is_refused(simulation):
    """The price of three quiet rounds, and the recipe of three loud ones."""
    quiet, loud = simulation.training(), simulation.training(noise_multiplier=Decimal(4))
    order = changed(loud, event=quiet.event, epsilon=quiet.epsilon)
    assert list(refused(simulation, order)) == ["ORDER-001"]


def test_what_follows_from_an_order_is_derived_once_and_for_that_order_alone(
    simulation, monkeypatch
):
    node, order, read = simulation.node(CN), simulation.query(), []
    real = clients.coherence.parse
    monkeypatch.setattr(clients.coherence, "parse", lambda *of: read.append(of) or real(*of))
    events = [node._judge._coherence().event(order) for _ in range(3)]
    assert len(read) == 1 and {*map(str, events)} == {str(events[0])}
    cheap = changed(order, event=to_json(Gaussian("99")))
    for _ in range(2):  # what does not hold together is not remembered as if it did
        with pytest.raises(MisstatedOrderError):
            node._judge._coherence().event(cheap)
    assert len(read) == 3


def test_other_contracts_make_something_else_of_an_order(simulation):
    judge, order = simulation.node(CN)._judge, simulation.query()
    judge._coherence().event(order)
    older = {name: changed(text, version=9) for name, text in judge.contracts.items()}
    with pytest.raises((MisstatedOrderError, FederationError)):
        changed(judge, contracts=older)._coherence().event(order)


FORBIDDEN = {
    "BASE-002": {"purpose": "market_statistics"},
    "BASE-004": {"legal_basis": "none"},
    "BASE-005": {"code": "0" * 64},
    "BASE-006": {"expires": 1},
    "BASE-008": {"minimum": 2},
}


@pytest.mark.parametrize("rule", FORBIDDEN)
def test_the_law_is_asked_about_what_the_node_computed_itself(simulation, rule):
    assert rule in refused(simulation, changed(simulation.training(), **FORBIDDEN[rule]))


def test_every_reason_comes_at_once(simulation):
    changes = {key: value for rule in FORBIDDEN.values() for key, value in rule.items()}
    found = refused(simulation, changed(simulation.training(), **changes))
    assert set(FORBIDDEN) <= set(found)


def test_epsilon_above_the_nodes_cap_is_refused_whatever_the_order_claims(simulation):
    order = simulation.training(noise_multiplier=Decimal("1.5"), abandoned=0)
    assert float(order.epsilon) > 8
    honest, lying = refused(simulation, order), refused(simulation, changed(order, epsilon="1"))
    assert list(honest) == ["NODE-001", "BUDGET-001"]  # the account's reason comes along
    assert list(lying) == ["ORDER-001"]  # an order that understates its price is no order at all
    assert honest["NODE-001"] == "privacy.epsilon=8.0"
    found = refused(simulation, simulation.query("0.6", cohort=WAREHOUSES))
    assert found == {"NODE-002": "privacy.epsilon=0.5"}


@pytest.mark.parametrize("abandoned", [3, 60])
def test_the_cap_bounds_rounds_that_come_to_nothing_too_and_its_fix_passes(tmp_path, abandoned):
    """What an order states is below the cap; what its rounds may spend is not."""
    limits = {**LIMITS, "demand": {"epsilon": "1000", "delta": "1e-6"}}
    simulation = Simulation(tmp_path / "federation", limits=limits)
    order = simulation.training(noise_multiplier=Decimal("2.3"), abandoned=abandoned)
    assert float(order.epsilon) < 8
    found = refused(simulation, order)
    assert list(found) == ["NODE-001"]
    reply = simulation.offer(CN, order)
    assert reply.body["nearest"] == [found["NODE-001"]]
    assert found["NODE-001"] in reply.body["fixes"][0]["en"].replace(" to ", "=")
    stated = float(found["NODE-001"].partition("=")[2])
    for asked, kind in ((stated, Kind.ACCEPTED), (stated + 0.15, Kind.REFUSED)):
        noise = accountant.calibrate(1.0, 9, asked, DELTA)
        fixed = simulation.training(
            noise_multiplier=Decimal(str(noise)).normalize(), abandoned=abandoned
        )
        assert simulation.offer(CN, fixed).kind is kind


def test_two_organisations_are_too_few_however_many_parties_they_have(tmp_path):
    seats = tuple(
        dataclasses.replace(seat, organisation="One Group")
        if seat.party in {CN, EU}
        else dataclasses.replace(seat, organisation="Another")
        if seat.party in {UK, US}
        else seat
        for seat in DEMO_SEATS
    )
    simulation = Simulation(tmp_path / "federation", seats=seats)
    assert refused(simulation, simulation.training()) == {"BASE-008": "cohort.minimum=3"}


# -- queries --------------------------------------------------------------------------------------


def test_a_plan_that_is_not_what_its_sql_means_is_refused(simulation):
    order = simulation.query(cohort=WAREHOUSES)
    for sql in (
        "SELECT category, COUNT(*) FROM orders GROUP BY category",
        "SELECT category, SUM(LEAST(amount, 100)), COUNT(*) FROM orders GROUP BY category",
        "SELECT * FROM orders",
        "no SQL",
    ):
        lying = changed(order, parameters={**order.parameters, "sql": sql})
        assert list(refused(simulation, lying)) == ["ORDER-001"]


def test_a_query_with_less_noise_than_its_price_is_refused(simulation):
    order = simulation.query(cohort=WAREHOUSES)
    lying = changed(order, parameters={**order.parameters, "noise_multiplier": "1"})
    assert list(refused(simulation, lying)) == ["ORDER-001"]


def test_a_query_that_says_it_reads_less_is_refused(simulation):
    order = simulation.query(cohort=WAREHOUSES)
    assert list(refused(simulation, changed(order, columns=("category",)))) == ["ORDER-001"]


def test_a_training_order_cannot_say_that_it_reads_nothing(simulation):
    """Which grades are read is the node's own finding, as far as training goes."""
    path = simulation.folder(CN) / "contract" / "demand.toml"
    secret = path.read_text(encoding="utf-8").replace('grade = "S2"', 'grade = "S4"', 1)
    path.write_text(secret, encoding="utf-8")
    order = changed(simulation.training(), columns=())
    assert "BASE-009" in refused(simulation, order)


def test_a_purpose_forbidden_in_one_country_is_refused_there_with_the_fix(simulation):
    order = simulation.query(purpose="marketing", cohort=WAREHOUSES)
    found = refused(simulation, order, EU)
    assert found["EU-001"] == "purpose=market_statistics"
    _, terms = read_terms([found["EU-001"]])
    again = simulation.query(purpose=terms.purpose, cohort=WAREHOUSES)
    assert simulation.offer(EU, again).kind is Kind.ACCEPTED


def test_a_key_outside_the_allowed_countries_is_refused(tmp_path):
    seats = tuple(
        dataclasses.replace(seat, jurisdiction=Jurisdiction.CN)
        if "keyholder" in seat.party
        else seat
        for seat in DEMO_SEATS
    )
    simulation = Simulation(tmp_path / "federation", seats=seats)
    assert "EU-003" in refused(simulation, simulation.query(cohort=WAREHOUSES), EU)


# -- budgets --------------------------------------------------------------------------------------


@pytest.mark.parametrize("abandoned", [0, 3])
def test_an_account_that_cannot_pay_refuses_and_its_fix_passes(simulation, abandoned):
    """The fix passes with the rounds that may be abandoned, whose price no order states."""
    first = simulation.training(noise_multiplier=Decimal("2.7"), abandoned=0)
    assert simulation.offer(CN, first).kind is Kind.ACCEPTED
    noise = Decimal("3.8" if abandoned else "2.7")
    wanted = simulation.training(noise_multiplier=noise, abandoned=abandoned)
    found = refused(simulation, wanted)
    assert list(found) == ["BUDGET-001"]
    name, _, epsilon = found["BUDGET-001"].partition("=")
    assert name == "privacy.epsilon" and 0 < float(epsilon) < float(wanted.epsilon)
    noise = accountant.calibrate(1.0, 9, float(epsilon), DELTA)
    fixed = simulation.training(
        noise_multiplier=Decimal(str(noise)).normalize(), abandoned=abandoned
    )
    assert simulation.offer(CN, fixed).kind is Kind.ACCEPTED


def test_a_query_that_the_account_cannot_pay_passes_with_its_fix(tmp_path):
    limits = {**LIMITS, "orders": {"epsilon": "0.6", "delta": "1e-6"}}
    simulation = Simulation(tmp_path / "federation", limits=limits)
    assert simulation.offer(CN, simulation.query("0.5", cohort=WAREHOUSES)).kind is Kind.ACCEPTED
    found = refused(simulation, simulation.query("0.5", cohort=WAREHOUSES))
    epsilon, _ = read_terms([found["BUDGET-001"]])
    fixed = simulation.query(epsilon, cohort=WAREHOUSES)
    assert simulation.offer(CN, fixed).kind is Kind.ACCEPTED
    account = simulation.account(CN, "orders")
    assert account is not None and account.epsilon_pending <= 0.6


def test_an_open_reservation_counts_as_spent_until_it_is_closed(simulation):
    first = simulation.training(noise_multiplier=Decimal("2.7"), abandoned=0)
    other = simulation.training(noise_multiplier=Decimal("2.7"), abandoned=0)
    assert simulation.offer(CN, first).kind is Kind.ACCEPTED
    assert simulation.offer(CN, other).kind is Kind.REFUSED
    simulation.ask(Kind.CLOSE, CN, first.id)
    assert simulation.offer(CN, other).kind is Kind.ACCEPTED


def test_a_refusal_is_the_same_whatever_the_rows_say(tmp_path):
    """Two nodes with the same books and law refuse in the same words."""
    words = []
    for number, volume in enumerate((0.0, 1e5)):
        simulation = Simulation(tmp_path / str(number))
        table = simulation.folder(CN) / "data" / "demand.parquet"
        import pandas as pd

        pd.read_parquet(table).assign(volume=volume).to_parquet(table)
        order = simulation.training(noise_multiplier=Decimal("1.5"))
        words.append(simulation.offer(CN, changed(order, purpose="marketing")).body)
    assert words[0] == words[1]


def test_the_recipe_of_these_tests_is_within_the_limit():
    assert accountant.epsilon([recipe().event()] * 3, DELTA) < float(LIMITS["demand"]["epsilon"])


@pytest.mark.parametrize(
    "change",
    [
        {"epsilon": "0.0001"},
        {"recipients": ()},
        {"created": 2**40, "expires": 2**40 + 60},
        {"expires": 2**62},
    ],
)
def test_an_order_that_understates_or_outlives_itself_is_refused(simulation, change):
    assert list(refused(simulation, changed(simulation.training(), **change))) == ["ORDER-001"]


def test_a_model_goes_to_its_whole_cohort_and_the_law_knows(simulation):
    """US-001 is about personal data that reaches China: naming only the analyst hides nothing."""
    task = TrainingTask("fraud", 1, 0, fraud_recipe())
    terms = Terms(purpose="fraud_prevention", cohort=(CN, EU, US))
    assert "US-001" in refused(simulation, training_order(simulation.home, task, terms), US)
