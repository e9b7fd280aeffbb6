"""One customer taken out of every question of the suite moves no measure beyond its sensitivity."""

import datetime
import math

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from federation.queries import parse
from federation.queries.sensitivity import absolute, layout, measures, squared
from tests import queries_cases, queries_joined, queries_table
from tests.orders_table import COHORT
from tests.properties.test_queries_properties import TABLES

DAYS = st.sampled_from(
    [
        *(datetime.date(2025, month, day) for month, day in ((1, 1), (1, 20), (2, 3))),
        *("infinity", "-infinity", "290000-01-01", None),
    ]
)
HOSTILE = [None, 0.0, 40.0, 500.0, 1e300, -1e300, math.nan, math.inf]
ORDER = st.tuples(
    st.integers(1, 3),
    st.integers(0, 1),
    st.sampled_from(HOSTILE),
    st.sampled_from([None, -(2**63), -20, 0, 10, 2**63 - 1]),
    st.sampled_from(["home", "toys", "unknown", None]),
    st.sampled_from([True, False, None]),
    DAYS,
)
PAYMENT = st.tuples(
    st.integers(1, 3),
    st.integers(0, 1),
    st.sampled_from(HOSTILE),
    st.sampled_from(["card", "bank", "unknown", None]),
    st.sampled_from([None, -5, 0, 30, 2**62]),
)


def repeated(row):
    """Return tables in which a row stands several times, so that a join multiplies it."""
    runs = st.lists(st.tuples(row, st.integers(1, 5)), min_size=1, max_size=4)
    return runs.map(
        lambda found: [
            (nr, *one) for nr, one in enumerate(x for x, times in found for _ in range(times))
        ]
    )


QUICK = settings(max_examples=4, deadline=None, suppress_health_check=list(HealthCheck))


def within(plan, with_all, without):
    before, after = layout(plan, with_all), layout(plan, without)
    for measure in measures(plan):
        moved = [a - b for a, b in zip(before[measure], after[measure], strict=True)]
        assert sum(x * x for x in moved) <= squared(plan, measure)
        assert sum(map(abs, moved)) <= absolute(plan, measure)


@pytest.mark.parametrize("case", queries_cases.CASES, ids=lambda case: queries_cases.text(*case))
@QUICK
@given(rows=TABLES, gone=st.integers(1, 3), bound=st.sampled_from([1, 2, 5]))
def test_a_question_about_one_table_moves_within_its_sensitivity(case, rows, gone, bound):
    agreed = queries_table.contract(bound)
    plan = parse.parse(queries_cases.text(*case), {"orders": agreed}, COHORT)
    with queries_table.database(rows) as home:
        with_all = queries_table.partial(plan, home, agreed)
        home.execute("DELETE FROM orders WHERE customer_id = ?", [gone])
        within(plan, with_all, queries_table.partial(plan, home, agreed))


@pytest.mark.parametrize("case", queries_joined.CASES, ids=queries_joined.text)
@QUICK
@given(
    orders=repeated(ORDER),
    payments=repeated(PAYMENT),
    gone=st.integers(1, 3),
    bound=st.sampled_from([(1, 2), (4, 3), (7, 7)]),
)
def test_a_question_that_joins_moves_within_its_sensitivity(case, orders, payments, gone, bound):
    agreed = queries_joined.contracts(*bound)
    plan = parse.parse(queries_joined.text(case), agreed, COHORT)
    rows = {"orders": orders, "payments": payments}
    with queries_joined.database(rows) as home:
        with_all = queries_joined.partial(plan, home, agreed)
        for name in rows:
            home.execute(f"DELETE FROM {name} WHERE customer_id = ?", [gone])
        within(plan, with_all, queries_joined.partial(plan, home, agreed))


def worst(orders, payments):
    """Return one customer with that many rows, all of one order, at the widest values."""
    return {
        "orders": [(nr, 1, 7, 500.0, 10, "toys", True, "2025-01-20") for nr in range(orders)],
        "payments": [(nr, 1, 7, 600.0, "card", 90) for nr in range(payments)],
    }


def test_a_join_that_multiplies_reaches_its_sensitivity_and_no_more():
    agreed = queries_joined.contracts(4, 3)
    plan = parse.parse(
        f"SELECT method, COUNT(*), SUM(p.amount) FROM {queries_joined.BOTH} GROUP BY method",
        agreed,
        COHORT,
    )
    assert plan.child.child.rows == 3
    found = layout(
        plan, queries_joined.partial(plan, queries_joined.database(worst(9, 11)), agreed)
    )
    for measure in measures(plan):
        assert sum(x * x for x in found[measure]) == squared(plan, measure)
    assert sum(found[measures(plan)[0]]) == 3  # of 99 joined rows


def test_no_customer_fills_the_memory_by_a_join():
    agreed = queries_joined.contracts(1, 1)
    plan = parse.parse(
        "WITH met AS (SELECT COUNT(*) OVER (PARTITION BY customer_id) AS c FROM "
        f"{queries_joined.BOTH}) SELECT SUM(LEAST(c, 5000)) FROM met",
        agreed,
        COHORT,
    )
    rows = queries_joined.database(worst(1100, 2))
    assert queries_joined.partial(plan, rows, agreed) == (1000 * 2,)


def test_a_unit_without_a_name_is_joined_with_nobody():
    agreed = queries_joined.contracts()
    rows = worst(2, 2)
    for table in rows.values():
        table[:] = [(row[0], None, *row[2:]) for row in table]
    for source in (queries_joined.BOTH, queries_joined.LEFT):
        plan = parse.parse(f"SELECT COUNT(*) FROM {source}", agreed, COHORT)
        assert queries_joined.partial(plan, queries_joined.database(rows), agreed) == (0,)


def test_no_customers_window_sees_another_customers_rows():
    agreed = queries_joined.contracts(50, 50)
    items = (
        "SUM(amount) OVER (PARTITION BY customer_id) AS s, "
        "COUNT(*) OVER (PARTITION BY customer_id ORDER BY day) AS c, "
        "LAG(amount) OVER (PARTITION BY customer_id ORDER BY nr) AS l"
    )
    plan = parse.parse(
        f"{queries_joined.seen(items)} SELECT SUM(LEAST(s, 2000)), SUM(LEAST(c, 50)), SUM(l) "
        "FROM seen",
        agreed,
        COHORT,
    )

    def summed(customers):
        rows = queries_joined.tables(5, 0)
        rows["orders"] = [row for row in rows["orders"] if row[1] in customers]
        return queries_joined.partial(plan, queries_joined.database(rows), agreed)

    every = {row[1] for row in queries_joined.tables(5, 0)["orders"]}
    apart = [summed({customer}) for customer in every]
    assert summed(every) == tuple(map(sum, zip(*apart, strict=True)))
