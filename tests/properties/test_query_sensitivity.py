"""One customer more or less never moves an answer by more than the plan's sensitivity."""

import datetime
import math
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clients.queries import partial
from federation.queries import parse
from federation.queries.sensitivity import change, layout, measures
from tests.orders_table import CATEGORIES, COHORT, contract, write
from tests.seeded import SeededEntropy

SELECTED = (
    "COUNT(*)",
    "SUM(amount)",
    "SUM(balance)",
    "AVG(LEAST(balance, -5))",
    "SUM(LEAST(amount, 40))",
    "AVG(amount), COUNT(*)",
    "SUM(balance), COUNT(*), AVG(amount)",
    "COUNT(DISTINCT customer_id), VAR_POP(amount), MEDIAN(balance)",
    "CORR(amount, balance), SUM(amount) FILTER (WHERE gift)",
)
CONDITIONS = (
    "",
    " WHERE amount > 40",
    " WHERE amount < 40.25 OR gift = TRUE",
    " WHERE (category IN ('home', 'toys') OR note = 'b') AND day >= DATE '2025-01-02'",
    " WHERE balance BETWEEN -10 AND 3 AND category <> 'home'",
)
GROUPS = ("", " GROUP BY category", " GROUP BY hour", " GROUP BY category, hour")

ROW = st.fixed_dictionaries(
    {
        "customer_id": st.integers(1, 3),
        "amount": st.sampled_from([0.0, 1.0, 40.0, 99.99, 500.0, 1e9, -1e9, math.nan]),
        "balance": st.sampled_from([-1000, -20, -3, 0, 10, 1000]),
        "category": st.sampled_from(CATEGORIES),
        "hour": st.integers(0, 2),
        "note": st.sampled_from(["a", "b", None]),
        "gift": st.sampled_from([True, False, None]),
        "day": st.sampled_from([datetime.date(2025, 1, day) for day in (1, 2, 3)]),
    }
)
# Many rows of few customers, and the same row again: what a bound is for.
TABLES = st.lists(
    st.tuples(ROW, st.integers(1, 7)).map(lambda pair: [pair[0]] * pair[1]), min_size=1, max_size=8
).map(lambda runs: [row for run in runs for row in run])


def exact(plan, rows, folder, seed):
    path = write(rows, folder)
    return partial.evaluate(plan, contract(), path, SeededEntropy(seed)).values


NEIGHBOURS = given(
    rows=TABLES,
    gone=st.integers(1, 3),
    query=st.tuples(
        st.sampled_from(SELECTED), st.sampled_from(CONDITIONS), st.sampled_from(GROUPS)
    ),
    seed=st.integers(0, 2**32),
)


def check(rows, gone, query, seed):
    selected, condition, group = query
    plan = parse.parse(
        f"SELECT {selected} FROM orders{condition}{group}", {"orders": contract()}, COHORT
    )
    fewer = [row for row in rows if row["customer_id"] != gone]
    with tempfile.TemporaryDirectory() as folder:
        whole = exact(plan, rows, Path(folder), seed)
        neighbour = exact(plan, fewer, Path(folder), seed)
    parts = [layout(plan, values) for values in (whole, neighbour)]
    for measure in measures(plan):
        assert math.dist(parts[0][measure], parts[1][measure]) <= change(plan, measure)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@NEIGHBOURS
def test_a_neighbour_changes_each_measure_by_at_most_its_sensitivity(rows, gone, query, seed):
    check(rows, gone, query, seed)


@pytest.mark.slow
@settings(max_examples=600, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@NEIGHBOURS
def test_so_do_very_many_neighbours(rows, gone, query, seed):
    check(rows, gone, query, seed)


def test_the_sensitivity_is_reached(tmp_path):
    """A bound that nothing reaches would buy noise for nothing."""
    worst = {"customer_id": 1, "amount": 1e9, "balance": -50, "category": "home"}
    rows = [worst] * 9
    plan = parse.parse(
        "SELECT category, COUNT(*), SUM(amount), SUM(balance) FROM orders GROUP BY category",
        {"orders": contract()},
        COHORT,
    )
    values = exact(plan, rows, tmp_path, 1)
    for measure, sums in layout(plan, values).items():
        assert abs(sum(sums)) == change(plan, measure)
