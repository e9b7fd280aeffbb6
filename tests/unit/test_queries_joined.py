"""Joins, named relations and windows: what nodes sum equals DuckDB over the bounded pooled rows."""

import json
import math
import random

import pytest

from federation.errors import FederationError, MalformedOrderError, UnsupportedQueryError
from federation.queries import parse, tree
from federation.queries.fitting import fit_all
from federation.queries.post import answer
from policies.contracts import load_contract
from secure_compute import canonical
from tests.orders_table import COHORT
from tests.queries_joined import CASES, PARTIES, contracts, database, partial, tables, text
from tests.queries_table import chosen

AGREED = contracts()
ROWS = [tables(seed, seed) for seed in range(PARTIES)]
SEPARATE = [database(rows) for rows in ROWS]
POOLED = database({name: [r for rows in ROWS for r in rows[name]] for name in AGREED})


def spelled(key):
    return str(int(key)) if isinstance(key, int | float) else str(key)


def last(value):
    """Return a place that sorts as DuckDB does, NULL last."""
    return (value is None, value or 0)


def kept_by_the_bound(case, plan):
    """Return the condition under which a row comes through the bound, worked out by itself."""
    before, source, places, _, where, group = case
    depth = len(places)
    unit = f"{source.split()[1]}.customer_id" if " JOIN " in source else "customer_id"
    keys = f", {group}" if group else ""
    found = POOLED.execute(
        f"{before} SELECT {unit}, {', '.join(places)}{keys} FROM {source} WHERE {where or 'true'}"
    ).fetchall()
    domains = [set(key.domain) for key in plan.child.keys]
    known = [
        (row[0], tuple(map(last, row[1 : depth + 1])))
        for row in found
        if all(spelled(k) in d for k, d in zip(row[depth + 1 :], domains, strict=True))
    ]
    rows = chosen(known, plan.child.child.rows)
    assert 0 < len(rows) < len(known)  # the bound leaves rows out, and not all
    whole = " || '/' || ".join(f"coalesce({place}::VARCHAR, '')" for place in places)
    names = ["/".join("" if none else str(at) for none, at in row) for row in rows]
    return f"{whole} IN ({', '.join(repr(name) for name in names)})"


@pytest.mark.parametrize("case", CASES, ids=text)
def test_joined_partials_equal_duckdb_over_bounded_pooled_rows(case):
    plan = parse.parse(text(case), AGREED, COHORT)
    opened = [sum(x) for x in zip(*(partial(plan, p, AGREED) for p in SEPARATE), strict=True)]
    ours = {row.keys: row.cells for row in answer(plan, "0.000001", 3, opened).rows}
    theirs = POOLED.execute(text(case, kept_by_the_bound(case, plan))).fetchall()
    depth, seen = len(plan.child.keys), set()
    for row in theirs:
        keys = tuple(map(spelled, row[:depth]))
        if all(k in key.domain for k, key in zip(keys, plan.child.keys, strict=True)):
            seen.add(keys)
            for cell, value in zip(ours[keys], row[depth:], strict=True):
                assert cell.value is not None
                assert math.isclose(cell.value, value or 0, rel_tol=1e-9, abs_tol=1e-9)
    for keys in set(ours) - seen:
        assert all(not cell.value for cell in ours[keys])
    assert seen


@pytest.mark.parametrize("case", CASES, ids=text)
def test_a_joined_plan_has_one_spelling_and_names_what_it_reads(case):
    plan = parse.parse(text(case), AGREED, COHORT)
    assert tree.from_json(tree.to_json(plan)) == plan
    wanted = [name for name in ("orders", "payments") if name in text(case)]
    assert [name for name, _ in tree.contracts(plan)] == wanted
    assert set(tree.reads(plan)) == set(wanted)
    assert all("customer_id" in names for names in tree.reads(plan).values())
    assert plan.child.child.rows == (3 if "payments" in wanted else 4)


STOCK = load_contract(
    'name = "stock"\nversion = 1\ntable = "stock.parquet"\nsubjects = "goods"\n[unit]\n'
    'kind = "commercial"\ncolumns = ["sku"]\nrows = 1\n[limit]\nepsilon = "3"\ndelta = "1e-6"\n'
    'window = "2025"\n[[columns]]\nname = "sku"\ntype = "integer"\ngrade = "S2"\n'
)
ALL = {**AGREED, "stock": STOCK}
BOTH = "orders o JOIN payments p"
SAME = f"{BOTH} ON o.customer_id = p.customer_id"
OURS = "PARTITION BY customer_id"
REFUSED = {
    f"COUNT(*) FROM {BOTH} USING (order_id)": "JOIN … ON does not say orders.customer_id = "
    "payments.customer_id, so rows of different customers would meet: write ON orders.order_id = "
    "payments.order_id AND orders.customer_id = payments.customer_id",
    f"COUNT(*) FROM {BOTH} ON o.customer_id = p.order_id": "write ON orders.customer_id = "
    "payments.order_id AND orders.customer_id = payments.customer_id",
    "COUNT(*) FROM orders, payments": "JOIN has no condition, so rows of different units would "
    "meet: write USING (customer_id)",
    "COUNT(*) FROM orders CROSS JOIN payments": "CROSS JOIN is not supported: write JOIN or LEFT",
    "COUNT(*) FROM orders FULL JOIN payments USING (customer_id)": "FULL JOIN is not supported",
    "COUNT(*) FROM orders SEMI JOIN payments USING (customer_id)": "SEMI JOIN is not supported",
    "COUNT(*) FROM orders NATURAL JOIN payments": "JOIN says METHOD, which is not supported",
    "COUNT(*) FROM orders ASOF JOIN payments USING (customer_id)": "JOIN says METHOD",
    f"COUNT(*) FROM {SAME} AND o.amount > p.amount": "it takes "
    "equalities of a column on either side, joined by AND; write other conditions in WHERE",
    f"COUNT(*) FROM {BOTH} ON o.customer_id = p.customer_id OR TRUE": "it takes equalities",
    f"COUNT(*) FROM {SAME} AND o.day = p.method": "does not equate two columns of one type",
    f"COUNT(*) FROM {SAME} AND o.customer_id = p.order_id": ("names the unit of privacy"),
    "COUNT(*) FROM orders JOIN stock ON orders.customer_id = stock.sku": "whose rows belong to one "
    "customer among customers, beside stock, whose rows belong to one commercial among goods",
    f"SUM(amount) FROM {BOTH} USING (customer_id)": "stands in o and p: write o.amount",
    f"COUNT(*) FROM {BOTH} USING (customer_id) WHERE q.amount > 1": "choose from o, p",
    "COUNT(*) FROM orders JOIN orders USING (customer_id)": "two relations called 'orders': give",
    "COUNT(*) FROM orders a JOIN orders b USING (customer_id) JOIN orders c USING (customer_id) "
    "JOIN orders d USING (customer_id) JOIN orders e USING (customer_id)": "more than 4 tables",
    f"COUNT(DISTINCT p.customer_id) FROM {BOTH.replace('JOIN', 'LEFT JOIN')} USING (customer_id)": (
        "write COUNT(DISTINCT orders.customer_id)"
    ),
    f"COUNT(*) FROM {BOTH} USING (customer_id) WHERE o.customer_id = 5": "names the unit",
    "COUNT(x) FROM orders LEFT JOIN (SELECT customer_id, COALESCE(late, 3) AS x FROM payments) p "
    "USING (customer_id)": "LEFT JOIN reads 'x', which is computed",
    f"COUNT(*) FROM (SELECT * FROM {BOTH} USING (customer_id)) AS t": "has *, in which amount, nr, "
    "order_id would stand twice: name the columns",
    f"SUM(n) FROM (SELECT row_number() OVER ({OURS} ORDER BY day) AS n FROM orders) t": (
        "SUM(n): n has no upper bound in contract orders; write LEAST(n, 100)"
    ),
    f"SUM(s) FROM (SELECT SUM(balance) OVER ({OURS}) AS s FROM orders) t": (
        "SUM(s): s has no upper bound"
    ),
    "COUNT(*) FROM (SELECT row_number() OVER (ORDER BY day) AS n FROM orders) t": "a window over "
    "rows of several customers of orders: an expression may read one unit's rows only, so write "
    "PARTITION BY customer_id",
    "COUNT(*) FROM (SELECT SUM(amount) OVER (PARTITION BY category) AS n FROM orders) t": "write "
    "PARTITION BY customer_id",
    "COUNT(*) FROM (SELECT SUM(amount) OVER (PARTITION BY order_id) AS n FROM orders) t": "write "
    "PARTITION BY customer_id",
    "COUNT(*) FROM (SELECT SUM(amount) OVER (PARTITION BY customer_id + 0) AS n FROM orders) t": (
        "names the unit"
    ),
    "COUNT(*) FROM (SELECT SUM(x) OVER (PARTITION BY c) AS n FROM (SELECT amount AS x, order_id AS "
    "c FROM orders) u) t": "write PARTITION BY customer_id",
    "COUNT(*) FROM (SELECT row_number() OVER (PARTITION BY customer_id) AS n FROM orders) t": (
        "say ORDER BY what"
    ),
    f"COUNT(*) FROM (SELECT RANK() OVER ({OURS} ORDER BY day) AS n FROM orders) t": (
        "write row_number, COUNT, SUM, MIN, MAX, LAG or LEAD"
    ),
    "COUNT(*) FROM (SELECT SUM(amount) OVER (PARTITION BY customer_id ORDER BY day RANGE BETWEEN 3 "
    "PRECEDING AND CURRENT ROW) AS n FROM orders) t": "a frame is ROWS BETWEEN 3 PRECEDING AND",
    "COUNT(*) FROM (SELECT SUM(amount) OVER (PARTITION BY customer_id ORDER BY day ROWS BETWEEN 1 "
    "PRECEDING AND 1 FOLLOWING) AS n FROM orders) t": "a frame is ROWS BETWEEN 3 PRECEDING AND",
    "COUNT(*) FROM (SELECT LAG(amount, 1000000) OVER (PARTITION BY customer_id ORDER BY day) AS n "
    "FROM orders) t": "a number of rows lies between 1 and 999",
    "COUNT(*) FROM (SELECT LAG(amount) OVER (PARTITION BY customer_id ORDER BY day NULLS FIRST) AS "
    "n FROM orders) t": "leave NULLS FIRST out",
    "COUNT(*) FROM (SELECT SUM(note) OVER (PARTITION BY customer_id) AS n FROM orders) t": "'note'",
    "COUNT(*) FROM (SELECT SUM(category) OVER (PARTITION BY customer_id) AS n FROM orders) t": (
        "a text cannot be summed"
    ),
    "COUNT(*) FROM (SELECT MAX(category) OVER (PARTITION BY customer_id) AS n FROM orders) t": (
        "takes a number or a date"
    ),
    "COUNT(*) FROM (SELECT SUM(SUM(amount)) OVER (PARTITION BY customer_id) AS n FROM orders) t": (
        "puts several units' rows together"
    ),
    "COUNT(*) FROM orders WHERE row_number() OVER (PARTITION BY customer_id ORDER BY day) = 1": (
        "a window over other rows"
    ),
    "COUNT(*) FROM orders o WHERE amount > (SELECT AVG(p.amount) FROM payments p WHERE "
    "p.customer_id = o.customer_id)": "a subquery, which reads other units' rows",
    "COUNT(*) FROM orders o WHERE EXISTS (SELECT 1 FROM payments p WHERE p.customer_id = "
    "o.customer_id)": "a subquery, which reads other units' rows",
    "COUNT(*) FROM orders WHERE order_id IN (SELECT order_id FROM payments)": "QUERY",
}


@pytest.mark.parametrize(("text", "sentence"), REFUSED.items())
def test_what_would_read_other_units_rows_is_refused_with_its_clause(text, sentence):
    with pytest.raises(UnsupportedQueryError) as why:
        parse.parse(f"SELECT {text}", ALL, COHORT)
    assert sentence in str(why.value)


def test_a_relation_that_nothing_reads_is_refused():
    with pytest.raises(UnsupportedQueryError, match="WITH defines 'a', which nothing reads"):
        parse.parse("WITH a AS (SELECT * FROM payments) SELECT COUNT(*) FROM orders", ALL, COHORT)


@pytest.mark.parametrize("said", ["JOIN", "INNER JOIN"])
def test_both_spellings_of_a_join_are_one_plan(said):
    more = "AND p.customer_id = a.customer_id"
    texts = [
        f"SELECT SUM(late) FROM orders o {said} payments p USING (order_id, customer_id)",
        f"SELECT SUM(p.late) FROM orders a {said} payments p ON (a.order_id = p.order_id) {more}",
    ]
    plans = [tree.to_json(parse.parse(one, AGREED, COHORT)) for one in texts]
    assert plans[0] == plans[1]


def bare(plan):
    return json.loads(canonical.encode(tree.to_json(plan)))


JOINED = "SELECT SUM(late) FROM orders JOIN payments USING (customer_id, order_id)"
WINDOW = (
    "SELECT SUM(s) FROM (SELECT SUM(amount) OVER (PARTITION BY customer_id ORDER BY day ROWS "
    "BETWEEN 2 PRECEDING AND CURRENT ROW) AS s FROM orders WHERE gift) t"
)


def test_plans_over_relations_keep_their_digests():
    assert tree.digest(parse.parse(JOINED, AGREED, COHORT)) == (
        "fdbc04f12e97eddcfde732d87a17c452854c69cb439a9245616966d841e33f0d"
    )
    assert tree.digest(parse.parse(WINDOW, AGREED, COHORT)) == (
        "a774edba1ba614ec8ead207ebb3cff80f684e5c02b8242b71cd2602a5d62d395"
    )


@pytest.mark.parametrize(
    ("text", "change"),
    [
        (JOINED, lambda p: p["scan"].update(on=[["orders.order_id", "payments.order_id"]])),
        (JOINED, lambda p: p["scan"].update(on=[])),
        (JOINED, lambda p: p["scan"].update(on=[["orders.order_id", "payments.customer_id"]])),
        (JOINED, lambda p: p["scan"]["on"].append(["orders.nr", "payments.method"])),
        (JOINED, lambda p: p["scan"]["on"].append(["orders.nope", "payments.nr"])),
        (JOINED, lambda p: p["scan"]["right"].update({"as": "other"})),
        (JOINED, lambda p: p["scan"]["right"].update(version=2)),
        (JOINED, lambda p: p["scan"].update(right=p["scan"]["left"])),
        (JOINED, lambda p: p["bound"].update(rows=4)),
        (JOINED, lambda p: p["bound"].update(unit=["payments.customer_id"])),
        (JOINED, lambda p: p["scan"].update(join="full")),
        (WINDOW, lambda p: p["scan"].update(frame=None)),
        (WINDOW, lambda p: p["scan"].update(frame=1)),
        (WINDOW, lambda p: p["scan"].update(frame=-1)),
        (WINDOW, lambda p: p["scan"].update(frame=10**9)),
        (WINDOW, lambda p: p["scan"].update(window="amount")),
        (WINDOW, lambda p: p["scan"].update(argument=None)),
        (WINDOW, lambda p: p["scan"].update(argument={"column": "customer_id"})),
        (WINDOW, lambda p: p["scan"].update(offset=1)),
        (WINDOW, lambda p: p["scan"].update(order=[])),
        (WINDOW, lambda p: p["scan"].update(function="rank")),
        (WINDOW, lambda p: p["scan"].update(partition=[{"column": "window_1"}])),
        (WINDOW, lambda p: p["scan"]["of"].update(where={"column": "amount"})),
        (WINDOW, lambda p: p["scan"]["of"].update(where={"column": "customer_id"})),
    ],
)
def test_a_node_does_not_believe_the_relations_of_a_plan(text, change):
    raw = bare(parse.parse(text, AGREED, COHORT))
    fit_all(tree.from_json(raw), AGREED, COHORT)
    change(raw)
    with pytest.raises((MalformedOrderError, UnsupportedQueryError)):
        fit_all(tree.from_json(raw), AGREED, COHORT)


def test_a_node_without_one_of_the_contracts_says_so():
    plan = parse.parse(JOINED, AGREED, COHORT)
    with pytest.raises(UnsupportedQueryError, match="reads contract payments version 1 and this"):
        fit_all(plan, {"orders": AGREED["orders"]}, COHORT)


def test_a_changed_part_of_a_relation_never_passes_for_a_plan():
    draw = random.Random(7)
    plans = [bare(parse.parse(text(case), AGREED, COHORT)) for case in CASES]
    spare = [None, True, 0, -1, 2**70, 1.5, "", "x", [], {}, {"column": "orders.amount"}]
    for _ in range(3000):
        plan = json.loads(json.dumps(draw.choice(plans)))
        node = plan["scan"]
        while True:
            key = draw.choice(list(node) if isinstance(node, dict) else list(range(len(node))))
            if isinstance(node[key], dict | list) and node[key] and draw.random() < 0.8:
                node = node[key]
                continue
            node[key] = draw.choice(spare)
            break
        try:
            found = tree.from_json(plan)
            assert canonical.encode(tree.to_json(found)) == canonical.encode(plan)
            fit_all(found, AGREED, COHORT)
        except FederationError:
            continue


def test_window_columns_have_the_bounds_that_follow_from_their_frame():
    plan = parse.parse(WINDOW, AGREED, COHORT)
    value = plan.child.aggregates[0].values[0]
    assert (value.low, value.high, value.step) == (0, 150_000, "0.01")
    lagged = parse.parse(
        f"WITH t AS (SELECT LAG(category) OVER ({OURS} ORDER BY day) AS c FROM orders) "
        "SELECT c, COUNT(*) FROM t GROUP BY c",
        AGREED,
        COHORT,
    )
    assert lagged.child.keys[0].domain == ("home", "toys", "garden")
