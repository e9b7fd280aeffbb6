"""What version 2 of the language means, what it must not say, and the sentence that says so."""

import json
import random
from pathlib import Path

import pytest

from federation.errors import FederationError, MalformedOrderError, UnsupportedQueryError
from federation.queries import expressions, parse, tree
from federation.queries.expressions import Call, Column, Literal
from federation.queries.fitting import fit
from federation.queries.pricing import drowned, expected, least_rows, price, scale
from federation.queries.sensitivity import joint_squared, measures, squared, width
from secure_compute import canonical
from tests.orders_table import COHORT, member
from tests.queries_table import contract, database, orders, partial

CONTRACTS = {"orders": contract()}


def read(text, cohort=COHORT):
    return parse.parse(text, CONTRACTS, cohort)


VECTORS = json.loads(Path("tests/vectors/queries.json").read_text(encoding="utf-8"))
REFUSALS = json.loads(Path("tests/vectors/queries_refused.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize(("text", "sentence"), REFUSALS["refused"].items())
def test_a_refusal_names_the_clause_and_what_to_write(text, sentence):
    with pytest.raises(UnsupportedQueryError) as why:
        read(text)
    assert str(why.value) == sentence


@pytest.mark.parametrize("text", REFUSALS["also"])
def test_what_is_not_known_is_refused(text):
    with pytest.raises(UnsupportedQueryError) as why:
        read(text)
    assert len(str(why.value)) > 20


def test_fewer_than_three_organisations_are_no_cohort():
    pair = (member("a"), member("b"), member("c", "b"))
    with pytest.raises(UnsupportedQueryError, match="2 organisations hold rows"):
        read("SELECT COUNT(*) FROM orders", pair)


NAMES = [
    'x" FROM orders; DROP TABLE orders; --',
    "a'b",
    '"; SELECT 1; "',
    "k0",
    "u0",
    "ü\u202e",
    "position",
]


@pytest.mark.parametrize("name", NAMES)
def test_identifiers_inject_nothing(name):
    quoted = '"' + name.replace('"', '""') + '"'
    text = "'" + name.replace("'", "''") + "'"
    plan = read(
        f"SELECT category AS {quoted}, COUNT(*) FROM orders WHERE note <> {text} GROUP BY category"
    )
    assert plan.child.keys[0].label == name
    rows = database(orders(1))
    assert sum(partial(plan, rows, contract())) > 0
    assert rows.execute("SELECT count(*) FROM orders").fetchone() == (140,)
    with pytest.raises(UnsupportedQueryError, match="does not have"):
        read(f"SELECT SUM({quoted}) FROM orders")


@pytest.mark.parametrize("known", VECTORS["good"], ids=lambda known: known["sql"])
def test_plans_have_the_digests_of_the_vectors(known):
    plan = read(known["sql"])
    assert known["plan"] == json.loads(canonical.encode(tree.to_json(plan)))
    assert known["digest"] == tree.digest(plan)
    assert tree.from_json(known["plan"]) == plan


@pytest.mark.parametrize("name", VECTORS["bad"])
def test_bad_vectors_are_refused(name):
    with pytest.raises((MalformedOrderError, UnsupportedQueryError)):
        fit(tree.from_json(VECTORS["bad"][name]), contract(), COHORT)


def test_another_spelling_or_a_changed_part_never_passes_for_a_plan():
    draw = random.Random(5)
    plans = [known["plan"] for known in VECTORS["good"]]
    spare = [None, True, 0, -1, 2**70, 1.5, "", "x", [], {}, ["x"], {"column": "amount"}]
    for _ in range(3000):
        plan = json.loads(json.dumps(draw.choice(plans)))
        node = plan
        while True:
            keys = list(node) if isinstance(node, dict) else list(range(len(node)))
            key = draw.choice(keys)
            if isinstance(node[key], dict | list) and node[key] and draw.random() < 0.8:
                node = node[key]
                continue
            node[key] = draw.choice(spare)
            break
        try:
            found = tree.from_json(plan)
        except FederationError:
            continue
        assert canonical.encode(tree.to_json(found)) == canonical.encode(plan)
        try:
            fit(found, contract(), COHORT)
        except FederationError:
            continue
        assert width(found) > 0


def test_a_node_does_not_believe_the_plans_bounds_or_domains():
    plan = tree.to_json(read("SELECT category, SUM(amount) FROM orders GROUP BY category"))
    for change in (
        lambda p: p["bound"].update(rows=4),
        lambda p: p["keys"][0].update(domain=["home", "toys"]),
        lambda p: p["aggregates"][0]["values"][0].update(high=100),
        lambda p: p["aggregates"][0]["values"][0].update(step="0.1"),
        lambda p: p["scan"].update(version=2),
        lambda p: p["aggregates"][0]["values"][0].update(value={"column": "price"}),
        lambda p: p["aggregates"][0]["values"][0].update(value={"call": "lead", "of": []}),
    ):
        raw = json.loads(canonical.encode(plan))
        change(raw)
        with pytest.raises(UnsupportedQueryError):
            fit(tree.from_json(raw), contract(), COHORT)


def test_where_narrows_domains_and_bounds():
    plan = read(
        "SELECT YEAR(day), SUM(quantity) FROM orders WHERE day >= '2024-01-01' AND "
        "day < '2026-01-01' AND quantity BETWEEN 1 AND 7 GROUP BY YEAR(day)"
    )
    assert plan.child.keys[0].domain == ("2024", "2025")
    assert (plan.child.aggregates[0].values[0].low, plan.child.aggregates[0].values[0].high) == (
        1,
        7,
    )
    loose = "SELECT SUM(quantity) FROM orders WHERE quantity BETWEEN 1 AND 7 OR gift"
    with pytest.raises(UnsupportedQueryError, match="quantity has no upper bound"):
        read(loose)


POISONED = [  # customer, amount, quantity, …, category, hour, note, gift, day, stamp, merchant
    (1, 1e9, None, 1e308, 0.1, 10**9, "cars", 9, "nan", True, "infinity", "290000-01-01", 1),
    (2, float("nan"), 1, -1e308, 0.1, -(10**9), None, None, "1e999", None, None, None, 1),
]


@pytest.mark.parametrize(
    ("where", "count"),
    [
        ("amount = 500 AND balance = 10", 1),
        ("amount > 500 OR balance > 10 OR balance < -20", 0),
        ("amount IS NULL AND balance = -20", 1),
        ("category IS NULL AND hour IS NULL", 2),
        ("day IS NULL AND stamp IS NULL", 2),
        ("CAST(note AS DOUBLE) IS NULL", 2),
        ("quantity IS NULL OR quantity / (quantity - 1) IS NULL", 2),
        ("LEAST(quantity, 100) = 1", 1),
        ("LEAST(quantity, 100) = 100", 0),
        ("price * price IS NULL AND price / 0 IS NULL", 2),
    ],
)
def test_a_column_is_read_as_its_contract_promises(where, count):
    plan = read(f"SELECT COUNT(*) FROM orders WHERE {where}")
    assert partial(plan, database(POISONED), contract()) == (count,)


def test_a_row_without_a_unit_counts_nowhere():
    rows = [(None, *orders(1)[0][1:])] * 3
    plan = read("SELECT COUNT(*), COUNT(DISTINCT customer_id) FROM orders")
    assert partial(plan, database(rows), contract()) == (0, 0)


def test_group_by_takes_a_column_before_an_alias():
    with pytest.raises(UnsupportedQueryError, match="SELECT names 'FLOOR"):
        read("SELECT FLOOR(hour / 2) AS hour, COUNT(*) FROM orders GROUP BY hour")


def test_sensitivity_is_the_worst_cell():
    plan = read(
        "SELECT category, COUNT(*), SUM(balance), COUNT(DISTINCT customer_id), "
        "VAR_POP(balance) FROM orders GROUP BY category"
    )
    found = {m.kind: squared(plan, m) for m in measures(plan)}
    assert found == {
        "rows": 9,
        "total": 60**2,
        "units": 3,
        "present": 9,
        "first": 45**2,
        "second": 675**2,
    }
    assert joint_squared(plan) == sum(found.values())
    assert [scale(plan, m, "2") for m in measures(plan)] == [6, 120, 4, 6, 90, 1350]
    assert len(price(plan, "2").events) == 6
    assert width(plan) == 18


def test_which_cells_noise_drowns_follows_from_the_plan_and_public_counts():
    plan = read("SELECT category, COUNT(*) FROM orders GROUP BY category")
    assert expected(plan, "2", 4)[0].half_widths == (24,)  # 1.96 · (2·3) · √4
    assert least_rows(plan, "2", 4) == 25
    assert drowned(plan, "2", 4, {0: 24, 1: 25, 2: 3}) == (0, 2)


def test_equal_aggregates_are_released_once():
    plan = read("SELECT SUM(amount), AVG(amount), SUM(amount) / COUNT(amount) FROM orders")
    assert [m.kind for m in measures(plan)] == ["total", "present"]


def test_expressions_spell_themselves_once():
    tree_ = Call("least", (Column("x"), Literal("number", "2.5")))
    assert expressions.from_json(expressions.to_json(tree_)) == tree_
    assert expressions.number("-0.0").text == "0"
    assert expressions.number("1e2").text == "100"
    for text in ("nan", "inf", "1e400", "", "x", "1" * 19):
        with pytest.raises(MalformedOrderError):
            expressions.number(text)
