"""The commerce model as contracts: each loads, plans over it compile and run, rules are counted."""

from pathlib import Path
from string import Template

import duckdb
import pytest

from clients.queries.compile import compile_joined, vector
from clients.queries.quality import Check, checks, found, quality_statement
from clients.queries.relations import Table
from federation.errors import UnsupportedQueryError
from federation.queries import parse, tree
from federation.queries.parse import rule_of
from federation.queries.sensitivity import width
from policies.contracts import load_contract
from policies.errors import MalformedContractError
from tests.orders_table import COHORT

FOLDER = Path("experiments/parties/contracts")
CONTRACTS = {
    path.stem: load_contract(
        Template(path.read_text(encoding="utf-8")).substitute(epsilon="4", delta="1e-6")
    )
    for path in sorted(FOLDER.glob("*.toml"))
}
TYPES = {"integer": "BIGINT", "float": "DOUBLE", "string": "VARCHAR", "boolean": "BOOLEAN"}
ASKED = {
    "orders": "SELECT category, COUNT(*), AVG(amount) FROM orders GROUP BY category",
    "payments": "SELECT method, SUM(amount), SUM(fee) / COUNT(*) AS fee FROM payments "
    "WHERE status IN ('captured', 'refunded') GROUP BY method",
    "shipments": "SELECT carrier, AVG(LEAST(GREATEST(DATE_DIFF('day', promised, delivered), -30), "
    "60)) AS late, COUNT(*) FILTER (WHERE returned) AS back FROM shipments WHERE shipped >= "
    "'2025-01-01' AND shipped < '2026-01-01' GROUP BY carrier",
    "inventory": "SELECT category, SUM(on_hand * unit_cost), COUNT(*) FILTER (WHERE stocked_out) "
    "AS out FROM inventory GROUP BY category",
    "orders and payments": "SELECT method, COUNT(*), SUM(o.amount - p.amount) AS owed FROM orders "
    "o JOIN payments p USING (order_id, customer_id) GROUP BY method",
    "orders and shipments": "SELECT o.ship_country, AVG(s.cost) FROM orders o JOIN shipments s "
    "USING (order_id, customer_id) GROUP BY o.ship_country",
    "three at once": "WITH paid AS (SELECT * FROM payments WHERE status = 'captured') SELECT "
    "carrier, COUNT(*), SUM(s.cost - p.fee) AS gap FROM orders o JOIN paid p USING (order_id, "
    "customer_id) LEFT JOIN shipments s USING (order_id, customer_id) GROUP BY carrier",
}


def empty(connection, contract):
    columns = ", ".join(f'"{c.name}" {TYPES.get(c.type, c.type)}' for c in contract.columns)
    connection.execute(f"CREATE OR REPLACE TABLE {contract.name} ({columns})")
    names = frozenset(column.name for column in contract.columns)
    return Table(names, contract.name, "rowid")


def test_the_model_has_its_contracts():
    assert {"orders", "payments", "shipments", "inventory"} <= set(CONTRACTS)
    for name in ("payments", "shipments"):
        assert CONTRACTS[name].subjects == CONTRACTS["orders"].subjects
        assert CONTRACTS[name].unit.columns == CONTRACTS["orders"].unit.columns
        assert CONTRACTS[name].rules
    for contract in CONTRACTS.values():
        assert contract.key


@pytest.mark.parametrize("name", ASKED)
def test_a_plan_over_the_model_compiles_and_runs(name):
    plan = parse.parse(ASKED[name], CONTRACTS, COHORT)
    with duckdb.connect(":memory:") as connection:
        tables = {
            contract: empty(connection, CONTRACTS[contract]) for contract, _ in tree.contracts(plan)
        }
        made = compile_joined(plan, CONTRACTS, tables)
        rows = connection.execute(made.text, {**made.parameters, "secret": "5e" * 32}).fetchall()
    assert vector(plan, rows) == (0,) * width(plan)


def test_orders_and_stock_are_not_joined():
    with pytest.raises(
        UnsupportedQueryError, match="beside inventory, whose rows belong to one com"
    ):
        parse.parse(
            "SELECT COUNT(*) FROM orders JOIN inventory ON orders.customer_id = inventory.sku",
            CONTRACTS,
            COHORT,
        )


@pytest.mark.parametrize("name", ["payments", "shipments", "inventory"])
def test_every_rule_is_a_condition_over_its_contract(name):
    contract = CONTRACTS[name]
    assert contract.rules
    for rule in contract.rules:
        assert rule_of(rule.holds, contract)


def test_rows_that_break_a_rule_are_counted_at_home():
    contract = CONTRACTS["payments"]
    with duckdb.connect(":memory:") as connection:
        table = empty(connection, contract)
        connection.execute(
            "INSERT INTO payments (payment_id, order_id, customer_id, amount, fee, status, "
            "attempts) VALUES (1, 1, 1, 20, 1, 'captured', 1), (2, 1, 1, -20, 1, 'captured', 1), "
            "(3, 2, 2, -20, 30, 'refunded', 99), (4, 2, 2, NULL, 1, 'captured', NULL), "
            "(5, 2, 2, 'nan', 1, 'stolen', 1)"
        )
        made = quality_statement(contract, table)
        result = found(contract, connection.execute(made.text, made.parameters).fetchone())
    assert {check.name: check.broken for check in result if check.broken} == {
        "amount as promised": 1,  # the one that is no number
        "fee as promised": 1,  # above its bounds
        "status as promised": 1,
        "attempts as promised": 1,
        "what goes back is a refund": 1,
        "no fee above the payment": 1,
    }
    assert result[0] == Check("payment_id as promised", 0, 5)
    assert tuple(check.name for check in result) == checks(contract)


@pytest.mark.parametrize(
    "holds",
    [
        "amount",
        "amount >",
        "nope > 1",
        "amount > 1; DROP TABLE payments",
        "amount > (SELECT 1)",
        "amount > 1 GROUP BY fee",
        "SUM(amount) > 1",
        "payments.amount > 1",
        "amount > 'x'",
        "1) --",
    ],
)
def test_a_rule_that_is_no_condition_is_refused(holds):
    with pytest.raises(UnsupportedQueryError):
        rule_of(holds, CONTRACTS["payments"])


def test_a_rule_has_a_name_of_its_own():
    text = (FOLDER / "inventory.toml").read_text(encoding="utf-8")
    text = Template(text).substitute(epsilon="4", delta="1e-6")
    rule = '\n[[rules]]\nname = "{}"\nholds = "{}"\n'
    for name, holds in (("nothing on hand when stocked out", "week > 1"), ("", "x"), ("x", "")):
        with pytest.raises(MalformedContractError):
            load_contract(text + rule.format(name, holds))
