"""Windows and joins of one contract with itself, as an order names them and the law is asked."""

import pytest

from experiments.ordering import published_contracts
from federation.messages import Kind
from federation.orders import Read
from federation.queries.parse import parse
from federation.queries.uses import aggregated, filtered, grouped, linked
from federation.tasks import reads_of
from tests.orders_table import COHORT
from tests.simulator import CN, EU, UK, WAREHOUSES

NEWEST = (
    "WITH r AS (SELECT *, row_number() OVER (PARTITION BY customer_id, category ORDER BY ts) AS n "
    "FROM orders) SELECT COUNT(*) AS c FROM r WHERE n <= 2"
)
TURNOVER = (
    "WITH r AS (SELECT *, SUM(CASE WHEN first_order = 1 THEN amount ELSE 0 END) OVER "
    "(PARTITION BY customer_id) AS spent FROM orders WHERE category = 'toys') "
    "SELECT ship_country, SUM(LEAST(GREATEST(spent, 0), 100)) AS s FROM r GROUP BY ship_country"
)
TWICE = (
    "SELECT COUNT(*) AS n FROM orders a JOIN orders b ON a.customer_id = b.customer_id "
    "AND a.category = b.category WHERE a.amount < b.amount"
)


def read(text):
    return parse(text, published_contracts(), COHORT)


def test_a_windows_column_is_used_as_what_it_is_made_from():
    assert filtered(read(NEWEST)) == ("category", "ts")
    plan = read(TURNOVER)
    assert grouped(plan) == ("ship_country",)
    assert set(aggregated(plan)) == {"amount", "first_order"}
    assert set(filtered(plan)) == {"category", "first_order"}


def test_what_a_join_equates_besides_the_unit_is_used_by_equality_alone():
    plan = read(TWICE)
    assert (filtered(plan), linked(plan)) == (("amount",), ("category",))
    assert reads_of(plan) == (Read("orders", 1, ("amount", "category", "customer_id")),)


@pytest.mark.parametrize("text", [NEWEST, TURNOVER, TWICE])
def test_nodes_accept_windows_and_joins_of_one_contract(simulation, text):
    reply = simulation.offer(CN, simulation.query(sql=text, cohort=WAREHOUSES))
    assert reply.kind is Kind.ACCEPTED, reply.body


def test_a_join_of_a_contract_with_itself_is_answered(simulation):
    order = simulation.query("0.3", TWICE, cohort=(CN, EU, UK))
    job = simulation.run(order)
    assert job.status == "done" and job.result["answer"]["contributors"] == 3
