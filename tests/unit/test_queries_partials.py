"""What nodes sum for a query equals DuckDB's own answer over the bounded pooled rows, exactly.

The query's own text runs in plain DuckDB over the rows that the bound keeps. Which rows it keeps is
worked out here a second time, from the rows that WHERE lets through and whose keys are public.
"""

import itertools
import math

import pytest

from federation.queries import parse, tree
from federation.queries.post import answer
from tests.orders_table import COHORT
from tests.queries_cases import CASES, text
from tests.queries_table import chosen, contract, database, orders, partial

AGREED = contract()
CONTRACTS = {"orders": AGREED}
PARTIES = [database(orders(seed)) for seed in (1, 2, 3)]
QUIET = "0.000001"


def pooled(where, group, plan):
    """Return one database with the rows of all parties that the bound keeps."""
    kept = []
    for party in PARTIES:
        keys = f", {group}" if group else ""
        found = party.execute(
            f"SELECT rowid, customer_id{keys} FROM orders WHERE {where or 'true'}"
        ).fetchall()
        domains = [set(key.domain) for key in plan.child.keys]
        known = [
            (row[1], row[0])
            for row in found
            if all(spelled(key) in domain for key, domain in zip(row[2:], domains, strict=True))
        ]
        places = chosen(known, AGREED.unit.rows)
        assert len(places) < len(known) or len(known) < 40
        rows = party.execute("SELECT rowid, * FROM orders").fetchall()
        kept += [row[1:] for row in rows if row[0] in places]
    return database(kept)


def spelled(key):
    if isinstance(key, bool):
        return str(key).lower()
    if isinstance(key, float):
        return str(int(key))
    return str(key)[:10] if hasattr(key, "year") else str(key)


@pytest.mark.parametrize("case", CASES, ids=lambda case: text(*case))
def test_partials_equal_duckdb_over_bounded_pooled_rows(case):
    _, where, group = case
    plan = parse.parse(text(*case), CONTRACTS, COHORT)
    opened = [sum(x) for x in zip(*(partial(plan, p, AGREED) for p in PARTIES), strict=True)]
    ours = {row.keys: row.cells for row in answer(plan, QUIET, 3, opened).rows}
    depth = len(plan.child.keys)
    theirs = pooled(where, group, plan).execute(text(*case)).fetchall()
    seen = set()
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


@pytest.mark.parametrize("function", ["SUM(amount)", "COUNT(*)", "VAR_POP(amount)"])
def test_a_relation_in_from_is_put_into_what_reads_it(function):
    flat = f"SELECT category, {function} FROM orders WHERE gift AND amount > 50 GROUP BY category"
    outer = f"SELECT category, {function} FROM {{}} WHERE amount > 50 GROUP BY category"
    inner = "SELECT category, amount AS amount FROM orders WHERE gift"
    for query in (
        f"WITH c AS ({inner}) {outer.format('c')}",
        outer.format(f"({inner}) AS s"),
        f"WITH a AS (SELECT * FROM orders), c AS ({inner.replace('orders', 'a')}) "
        + outer.format("c"),
    ):
        plans = [parse.parse(sql, CONTRACTS, COHORT) for sql in (flat, query)]
        assert tree.to_json(plans[0]) == tree.to_json(plans[1])


def test_units_are_counted_per_silo():
    plan = parse.parse(
        "SELECT category, COUNT(DISTINCT customer_id) AS people FROM orders GROUP BY category",
        CONTRACTS,
        COHORT,
    )
    opened = [sum(x) for x in zip(*(partial(plan, p, AGREED) for p in PARTIES), strict=True)]
    found = answer(plan, QUIET, 3, opened)
    assert found.per_silo == ("people",)
    by_hand = dict.fromkeys(("home", "toys", "garden"), 0)
    for party in PARTIES:
        rows = party.execute("SELECT customer_id, rowid, category FROM orders").fetchall()
        places = chosen([row[:2] for row in rows], 3)
        for category in by_hand:
            by_hand[category] += len({r[0] for r in rows if r[1] in places and r[2] == category})
    assert {row.keys[0]: row.cells[0].value for row in found.rows} == by_hand


def test_quantiles_lie_in_the_bin_that_holds_them():
    plan = parse.parse(
        "SELECT MEDIAN(amount), QUANTILE_CONT(amount, 0.9), MEDIAN(balance) FROM orders",
        CONTRACTS,
        COHORT,
    )
    opened = [sum(x) for x in zip(*(partial(plan, p, AGREED) for p in PARTIES), strict=True)]
    cells = answer(plan, QUIET, 3, opened).rows[0].cells
    rows = pooled("", "", plan).execute("SELECT amount, balance FROM orders").fetchall()
    amounts = sorted(a for a, _ in rows if a is not None)
    balances = sorted(b for _, b in rows)
    for cell, exact, width in zip(
        cells,
        (amounts[len(amounts) // 2], amounts[len(amounts) * 9 // 10], balances[len(balances) // 2]),
        (500 / 64, 500 / 64, 1),
        strict=True,
    ):
        assert cell.low <= exact <= cell.high
        assert abs(cell.value - exact) <= width


def test_a_histogram_counts_every_value_once():
    plan = parse.parse(
        "SELECT HISTOGRAM(balance, 4) AS h, COUNT(balance) FROM orders", CONTRACTS, COHORT
    )
    opened = [sum(x) for x in zip(*(partial(plan, p, AGREED) for p in PARTIES), strict=True)]
    *bins, count = (cell.value for cell in answer(plan, QUIET, 3, opened).rows[0].cells)
    assert sum(bins) == count
    rows = pooled("", "", plan).execute("SELECT balance FROM orders").fetchall()
    edges = [-20, -12, -4, 4, 11]  # 31 values in 4 parts, cut at ceil(31·i/4)
    assert bins == [sum(a <= b < c for (b,) in rows) for a, c in itertools.pairwise(edges)]


def test_a_multiple_regression_is_least_squares():
    import numpy as np

    plan = parse.parse(
        "SELECT LINEAR_REGRESSION(amount, balance, hour, discount) FROM orders", CONTRACTS, COHORT
    )
    opened = [sum(x) for x in zip(*(partial(plan, p, AGREED) for p in PARTIES), strict=True)]
    ours = [cell.value for cell in answer(plan, QUIET, 3, opened).rows[0].cells]
    rows = (
        pooled("", "", plan)
        .execute("SELECT amount, balance, hour, discount FROM orders WHERE amount IS NOT NULL")
        .fetchall()
    )
    table = np.array(rows, float)
    design = np.column_stack([np.ones(len(table)), table[:, 1:]])
    assert ours == pytest.approx(np.linalg.lstsq(design, table[:, 0])[0].tolist(), rel=1e-6)
