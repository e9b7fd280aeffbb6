"""Situations, cases and card: what is said of a law is what the law says, one request at a time."""

import dataclasses
import itertools
from decimal import Decimal
from functools import cache
from io import StringIO
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from experiments.ordering import published_contracts
from experiments.policy_view import _allows
from policies import card as cards
from policies.cases import default_table, load_cases, run
from policies.engine import Deny, Law, Permit, decide, load_law, objections
from policies.errors import MalformedCasesError
from policies.exports import Count
from policies.law.bundle import SCHEMA_NAME, Caps, bundle
from policies.law.packs import packs
from policies.nearest import nearest
from policies.parties import Grade, Jurisdiction, PartyId, Role
from policies.situations import (
    PLACES,
    TASKS,
    TODAY,
    UNITS,
    caps_of,
    difference,
    grid,
    grouped,
    judged,
    plain,
    spoken,
)
from tests.unit.test_engine import NOTES

CN, EU, US = Jurisdiction.CN, Jurisdiction.EU, Jurisdiction.US


@cache
def law(node: Jurisdiction = EU, train: str = "4", query: str = "0.5", **edits: str) -> Law:
    """A node's law; edits: what is replaced in its texts, by the text that replaces it."""
    caps = Caps(train_epsilon=Decimal(train), query_epsilon=Decimal(query))
    texts = bundle(PartyId("node"), node, caps)
    schema = texts.pop(SCHEMA_NAME)
    text = "\n".join(texts.values()) + edits.get("more", "")
    for old, new in edits.items():
        if old != "more":
            assert f'"{old}"' in text or old in text
            text = text.replace(old, new)
    return load_law([text], schema)


# -- the grid --------------------------------------------------------------------------------------


@pytest.mark.parametrize("node", list(Jurisdiction))
def test_some_hundred_situations_each_of_its_own(node: Jurisdiction) -> None:
    found = grid(node)
    assert 600 <= len(found) <= 1500
    assert len({situation.facets for situation in found}) == len(found)
    assert all(situation.request.jurisdiction is node for situation in found)


def test_every_task_price_recipient_and_unit_is_asked_together() -> None:
    main = {s.facets[:4] for s in grid(EU) if not s.besides}
    prices = {s.price for s in grid(EU)}
    assert main == set(itertools.product(TASKS, prices, PLACES, UNITS))


def test_a_situation_is_judged_as_a_request_would_be() -> None:
    """The batch says what one decision after another says."""
    rules = law(CN)
    asked = grid(CN)[::7]
    for situation, found in zip(asked, judged(asked, rules), strict=True):
        decision = decide(situation.request, rules)
        alone = [r.id for r in decision.reasons] if isinstance(decision, Deny) else []
        assert list(found) == alone


def test_the_caps_of_a_law_are_asked_at_and_just_above() -> None:
    found = caps_of(law(train="2.5", query="0.3"))
    assert found == tuple(map(Decimal, ("0.3", "0.3001", "1", "1.0001", "2.5", "2.5001")))


# -- what changes ----------------------------------------------------------------------------------


def lines(old: Law, new: Law, node: Jurisdiction = EU) -> list[str]:
    found = difference(old, new, node)
    return [spoken(change, found.prices) for change in found.changes]


def test_the_same_law_changes_nothing() -> None:
    found = difference(law(), law(), EU)
    assert (found.changed, found.changes) == (0, ())
    assert found.asked > 600


def test_a_lower_cap_is_said_as_the_prices_that_it_refuses() -> None:
    assert lines(law(train="4"), law(train="2"), EU) == [
        "training for all, ε 2.0001 or 4: was permitted, now refused NODE-001"
    ]


def test_a_higher_cap_is_said_first_because_it_permits() -> None:
    found = lines(law(query="0.5"), law(query="0.75", train="2"), EU)
    assert found[0].endswith("was refused NODE-002, now permitted")
    assert "ε 0.5001 or 0.75" in found[0]


def test_a_territory_that_is_struck_off_is_said_with_its_rule() -> None:
    edit = {'["EU", "UK", "CH", "BR", "US", "CN"].containsAll': '["EU", "UK"].containsAll'}
    found = lines(law(), law(**edit))
    assert any("→ CN or US or BR or CH, about persons: was permitted" in line for line in found), (
        found
    )
    assert any("now refused EU-002" in line for line in found)
    assert not any("about firms" in line for line in found)


def test_a_dropped_prohibition_shows() -> None:
    edit = {'@id("BASE-001")': '@id("X")', 'context.proposer_role == "analyst"': "true"}
    (line,) = [x for x in lines(law(), law(**edit)) if "marketing" not in x]
    assert "proposed by a merchant: was refused BASE-001, now permitted" in line


def test_a_rule_of_the_operators_own_shows() -> None:
    mine = NOTES.format(id="MINE-1") + (
        'forbid (principal, action, resource) when { context.purpose == "fraud_prevention" };'
    )
    found = lines(law(), law(more=mine))
    assert any(line.endswith("was permitted, now refused MINE-1") for line in found)
    assert all("fraud_prevention" in line for line in found)


def test_changes_are_counted_once_each() -> None:
    found = difference(law(), law(train="1", query="0.1"), EU)
    assert sum(change.count for change in found.changes) == found.changed


@given(st.sets(st.tuples(st.integers(0, 2), st.integers(0, 2), st.integers(0, 2)), max_size=27))
def test_products_cover_exactly_the_points_each_once(points: set[tuple[int, ...]]) -> None:
    cells = grouped(sorted(points))
    covered = [point for cell in cells for point in itertools.product(*cell)]
    assert sorted(covered) == sorted(points)
    assert len(cells) <= max(1, len(points))


def test_a_full_product_is_one_line() -> None:
    points = list(itertools.product("ab", "xy", (1, 2, 3)))
    assert grouped(points) == [(("a", "b"), ("x", "y"), (1, 2, 3))]


def test_hundreds_of_situations_are_compared() -> None:
    assert difference(law(CN), law(CN, train="2"), CN).asked > 600


# -- cases -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("node", list(Jurisdiction))
def test_the_shipped_table_holds_for_every_node(node: Jurisdiction) -> None:
    outcomes = run(load_cases(default_table(), node, TODAY), law(node, train="8"))
    assert len(outcomes) >= 15
    assert [o.case.name for o in outcomes if not o.is_as_expected] == []


def test_the_shipped_table_notices_a_dropped_prohibition() -> None:
    """Every rule but the caps: without it some case fails in some territory."""
    named = {
        rule
        for node in Jurisdiction
        for case in load_cases(default_table(), node, TODAY)
        for rule in case.refused
    }
    assert {"BASE-001", "BASE-008", "BASE-009", "BASE-012", "CN-002", "CN-006", "US-001"} <= named


TABLE = """
[[case]]
name = "home"
expect = "permit"
[[case]]
name = "abroad"
nodes = ["CN"]
given = { recipients = ["home", "US"] }
refused = ["{node}-002"]
overrides = []
"""


def test_a_case_is_held_to_reasons_and_settings() -> None:
    cases = load_cases(TABLE, CN, TODAY)
    assert [case.request.recipients for case in cases] == [{CN}, {"CN", "US"}]
    assert all(outcome.is_as_expected for outcome in run(cases, law(CN)))
    wrong = TABLE.replace("overrides = []", 'overrides = ["privacy.epsilon=1"]')
    assert [o.is_as_expected for o in run(load_cases(wrong, CN, TODAY), law(CN))] == [True, False]
    other = TABLE.replace("{node}-002", "CN-003")
    assert [o.is_as_expected for o in run(load_cases(other, CN, TODAY), law(CN))] == [True, False]
    assert len(load_cases(TABLE, EU, TODAY)) == 1


@pytest.mark.parametrize(
    "table",
    [
        "",
        "case = 3",
        "[[case]]\nname = 'x'",
        "[[case]]\nname = 'x'\nexpect = 'permit'\nrefused = ['A']",
        "[[case]]\nname = 'x'\nexpect = 'refuse'",
        "[[case]]\nname = 'x'\nrefused = []",
        "[[case]]\nname = 'x'\nexpect = 'permit'\ngiven = { mood = 'good' }",
        "[[case]]\nname = 'x'\nexpect = 'permit'\ngiven = { jurisdiction = 'CN' }",
        "[[case]]\nname = 'x'\nexpect = 'permit'\nsurprise = 1",
        "[[case]]\nname = 'x'\nexpect = 'permit'\nnodes = ['CN']",
        "[[case]",
    ],
)
def test_a_table_that_says_nothing_or_nonsense_is_no_table(table: str) -> None:
    with pytest.raises(MalformedCasesError):
        load_cases(table, EU, TODAY)


@pytest.mark.parametrize(
    ("given", "value", "known"),
    [
        ("grouped = ['S9']", "S9", "S1, S2, S3, S4"),
        ("masked = ['S3', 's4']", "s4", "S1, S2, S3, S4"),
        ("joined = 'S3'", "S3", "list"),
        ("recipients = ['home', 'XX']", "XX", "CN, EU, UK, US, US-CA, BR, CH"),
        ("aggregator = 'Cn'", "Cn", "CN, EU"),
        ("keyholder = 'Geneva'", "Geneva", "CN, EU"),
        ("unit = 'person'", "person", "customer"),
        ("units = ['home']", "home", "customer"),
        ("proposer_role = 'boss'", "boss", "analyst"),
        ("action = 'trane'", "trane", "train, query"),
    ],
)
def test_a_misspelt_value_is_named_with_the_known_ones(given: str, value: str, known: str) -> None:
    """It would be one that no rule speaks of, and pass for permitted."""
    for nodes in ("", "nodes = ['CN']"):
        table = f"{TABLE}[[case]]\nname = 'x'\nexpect = 'permit'\n{nodes}\ngiven = {{ {given} }}"
        with pytest.raises(MalformedCasesError) as why:
            load_cases(table, EU, TODAY)
        assert repr(value) in str(why.value)
        assert known in str(why.value)


def test_a_case_for_a_place_that_is_none_is_not_passed_over() -> None:
    with pytest.raises(MalformedCasesError, match="nodes says 'GB'; known: CN, EU, UK"):
        load_cases(TABLE.replace('nodes = ["CN"]', 'nodes = ["CN", "GB"]'), CN, TODAY)


def test_a_case_holds_what_a_request_holds() -> None:
    given = "{ grouped = ['S3'], recipients = ['home', 'US-CA'], proposer_role = 'merchant' }"
    table = f"[[case]]\nname = 'x'\nexpect = 'permit'\ngiven = {given}"
    request = load_cases(table, Jurisdiction.US_CA, TODAY)[0].request
    assert request.grouped == {Grade.S3}
    assert isinstance(next(iter(request.grouped)), Grade)
    assert request.recipients == {Jurisdiction.US, Jurisdiction.US_CA}
    assert request.proposer_role is Role.MERCHANT


# -- the card --------------------------------------------------------------------------------------


def drawn(node: Jurisdiction, count: Count | None = None, **caps: str) -> cards.Card:
    contracts = published_contracts().values()
    return cards.draw_up("node", node, law(node, **caps), packs(), contracts, count, TODAY)


@pytest.mark.parametrize("node", list(Jurisdiction))
def test_the_card_allows_what_the_law_permits_and_no_more(node: Jurisdiction) -> None:
    rules, card = law(node), drawn(node)
    for item in card.allowances:
        request = dataclasses.replace(
            plain(node), action=item.task[0], purpose=item.task[1], unit=item.unit
        )
        for place in PLACES:
            asked = dataclasses.replace(
                request, epsilon=item.epsilon or "0.1", recipients=frozenset({place})
            )
            permitted = isinstance(decide(asked, rules), Permit)
            assert permitted is (place.value in item.recipients), (item, place)
        if item.epsilon is not None:
            more = str(Decimal(item.epsilon) + Decimal("0.0001"))
            assert isinstance(decide(dataclasses.replace(request, epsilon=more), rules), Deny)
            assert item.rules == ()
        else:
            assert item.rules


_TO_CN = 'context.recipients.contains("CN")'


def test_the_card_says_what_asks_a_person_first() -> None:
    """Training above ε 2 here: the dearest is allowed, but not before somebody said yes."""
    rule = NOTES.format(id="MINE-1") + (
        'forbid (principal, action, resource) when { action == Action::"train" && '
        'context.epsilon.greaterThan(decimal("2.0")) } unless { context.approved };'
    )
    card = drawn(EU, more=rule)
    asks = {(item.task[0], item.asks) for item in card.allowances if item.epsilon is not None}
    assert asks == {("train", ("MINE-1",)), ("query", ())}
    rows = [row for row in card.to_json()["allows"] if row["action"] == "train" and row["epsilon"]]
    assert rows and all(row["asks"] == ["MINE-1"] for row in rows)
    assert all(item.asks == () for item in drawn(EU).allowances)
    abroad = rule.replace('context.epsilon.greaterThan(decimal("2.0"))', _TO_CN)
    assert "MINE-1" in {rule for item in drawn(EU, more=abroad).allowances for rule in item.asks}
    console = Console(record=True, width=200, file=StringIO())
    console.print(_allows(card, "en"))
    assert console.export_text().count("; asks people first (MINE-1)") == len(rows)


def test_the_card_says_who_reviewed_what_and_when() -> None:
    value = drawn(Jurisdiction.US_CA).to_json()
    assert value["schema"] == "entrepot.node.policy.card/1"
    assert [pack["jurisdiction"] for pack in value["packs"]] == ["US", "US-CA"]
    for pack in value["packs"]:
        assert pack["as_of"] == "2026-11-22"
        assert pack["reviewed_by"] is None
        assert pack["reviewed"]["en"] == "nobody yet: for review by counsel"


def test_the_card_tells_every_border_and_every_rule() -> None:
    value = drawn(CN).to_json()
    assert {(row["destination"], row["for"]) for row in value["transfers"]} == set(
        itertools.product(("EU", "UK", "US", "BR", "CH"), ("results", "aggregator", "key"))
    )
    assert {row["rule"] for row in value["transfers"] if row["destination"] == "US"} == {None}
    assert {rule["id"] for rule in value["rules"]} == law(CN).reasons.keys()
    assert value["law"] == law(CN).digest


def test_the_card_counts_people_where_the_territory_does() -> None:
    near = Count(2026, 81_000, ("customers",), ())
    value = drawn(CN, near).to_json()["export"]
    assert (value["persons"], value["limit"], value["percent"]) == (81_000, 100_000, 81)
    assert value["warning"] is True
    assert drawn(EU).to_json()["export"] is None


def test_limits_on_the_card_are_the_contracts() -> None:
    rows = {row["contract"]: row for row in drawn(CN).to_json()["limits"]}
    assert rows["orders"]["persons"] == 50_000
    assert set(rows["orders"]["columns"]["S3"]) == {"order_id", "customer_id", "counterparty_id"}
    assert rows["demand"]["unit"] == "commercial"


# -- the nearest request that would pass -----------------------------------------------------------


def bad(**changes: Any) -> Any:
    return dataclasses.replace(plain(EU), **changes)


def test_the_nearest_request_passes() -> None:
    wrong = bad(
        purpose="marketing",
        epsilon="2",
        legal_basis="none",
        private=False,
        delta="0.1",
        minimum_cohort=2,
    )
    found = nearest(wrong, law())
    assert found == (
        "cohort.minimum=3",
        "legal_basis=contract",
        "privacy.delta=0.000001",
        "privacy.epsilon=0.5",
        "privacy=customer",
        "purpose=market_statistics",
    )


def test_what_no_setting_helps_has_no_nearest_request() -> None:
    assert nearest(bad(proposer_role=Role.MERCHANT), law()) == ()
    assert nearest(bad(purpose="marketing", grouped=frozenset({Grade.S4})), law()) == ()
    assert nearest(bad(cohort=2, minimum_cohort=2), law()) == ()


def test_the_lowest_of_all_prices_is_the_nearest() -> None:
    wrong = bad(epsilon="2")
    assert nearest(wrong, law(), ["privacy.epsilon=0.2"]) == ("privacy.epsilon=0.2",)
    assert nearest(wrong, law(), ["privacy.epsilon=0.9"]) == ("privacy.epsilon=0.5",)


def test_nothing_needs_no_change() -> None:
    assert nearest(plain(EU), law()) == ()


def test_a_batch_that_fails_refuses_every_request(monkeypatch: pytest.MonkeyPatch) -> None:
    import cedarpy

    def broken(*_: object) -> None:
        raise RuntimeError

    monkeypatch.setattr(cedarpy, "is_authorized_batch", broken)
    found = objections([plain(EU), plain(CN)], law())
    assert [[reason.id for reason in reasons] for reasons in found] == [["LAW-000"]] * 2
