"""A cell needs three organisations that may hold it: at every node, and in every draft."""

import dataclasses

import pytest

from experiments.cli import run
from federation.errors import OnePartyQueryError
from federation.messages import Kind
from tests.simulator import CN, EU, SHOP, UK, US, WAREHOUSES

THREE = (CN, EU, UK)
DOMAIN = (
    'domain = ["beauty", "books", "electronics", "fashion", "grocery", "home", "sports", "toys"]'
)
COUNT = "SELECT COUNT(*) FROM orders WHERE category = "


def holding(simulation, party, *categories):
    """The node's own contract says which categories its rows may hold."""
    path = simulation.folder(party) / "contract" / "orders.toml"
    text = path.read_text(encoding="utf-8")
    assert text.count(DOMAIN) == 1
    holds = "holds = [" + ", ".join(f'"{name}"' for name in categories) + "]"
    path.write_text(text.replace(DOMAIN, f"{DOMAIN}\n{holds}"), encoding="utf-8")


def reasons(simulation, party, order):
    with simulation.nothing_happens(party), simulation.without_rows(party):
        reply = simulation.offer(party, order)
    assert reply.kind is Kind.REFUSED
    return {reason["id"]: reason["en"] for reason in reply.body["reasons"]}


def test_a_node_refuses_a_cell_that_it_leaves_to_two_others(simulation):
    """It knows of its own rows that they hold no toys; of the others' the published text alone."""
    holding(simulation, CN, "books", "home")
    order = simulation.query(sql=f"{COUNT}'toys'", cohort=THREE)
    (said,) = reasons(simulation, CN, order).items()
    assert said[0] == "QUERY-002"
    for part in ("category", "2 organisations may hold", "needs 3", "('books', 'home')"):
        assert part in said[1]
    assert simulation.offer(EU, order).kind is Kind.ACCEPTED  # which can't know it


def test_a_key_of_which_a_node_lacks_a_value_is_refused_too(simulation):
    holding(simulation, CN, "books", "home")
    order = simulation.query(cohort=THREE)
    assert list(reasons(simulation, CN, order)) == ["QUERY-002"]


def test_what_three_may_hold_is_answered(simulation):
    holding(simulation, CN, "books", "home")
    assert simulation.offer(CN, simulation.query(sql=f"{COUNT}'home'", cohort=THREE)).kind is (
        Kind.ACCEPTED
    )
    wide = simulation.query(sql=f"{COUNT}'toys'", cohort=WAREHOUSES)
    assert simulation.offer(CN, wide).kind is Kind.ACCEPTED  # the other three may hold toys


def test_a_draft_counts_those_alone_that_offer_the_rows(simulation):
    """A shop has no demand: two organisations are left."""
    text = "SELECT COUNT(*) FROM demand"
    with pytest.raises(OnePartyQueryError) as why:
        simulation.query(sql=text, cohort=(CN, EU, SHOP))
    for part in ("FROM demand", "2 organisations may hold", "QUERY-002, a rule of the federation"):
        assert part in str(why.value)
    assert simulation.query(sql=text, cohort=(CN, EU, US)).contract == "demand"


@pytest.mark.parametrize("prefix", ["warehouse-c", "Newark", "payments"])
def test_a_prefix_that_few_names_begin_with_is_refused_on_the_command_line(
    simulation, capsys, prefix
):
    text = f"SELECT COUNT(*) FROM orders WHERE ship_country LIKE '{prefix}%'"
    assert run(["query", text, "--federation", str(simulation.home.folder)]) == 2
    told = capsys.readouterr().err
    assert "names one party" in told and "QUERY-002, a rule of the federation" in told
    assert "this would pass: SELECT COUNT(*) FROM orders" in told
    assert not simulation.jobs.next()


def test_a_node_names_the_rule_of_a_party_that_is_named(simulation):
    fine = simulation.query(sql="SELECT COUNT(*) FROM orders", cohort=WAREHOUSES)
    sql = "SELECT COUNT(*) FROM orders WHERE ship_country LIKE 'warehouse-c%'"
    lying = dataclasses.replace(fine, parameters={**fine.parameters, "sql": sql})
    assert list(reasons(simulation, CN, lying)) == ["QUERY-002"]
