"""The 95 % intervals of version 2 hold the exact bounded value 95 times in 100."""

import math

import numpy as np
import pytest

from federation.queries import parse
from federation.queries.post import answer, nonnegative
from federation.queries.pricing import scale
from federation.queries.sensitivity import layout, measures
from secure_compute.noise import discrete_gaussian
from tests.orders_table import COHORT
from tests.queries_table import contract, database, orders, partial
from tests.seeded import SeededEntropy

AGREED = contract()
NODES, NOISE, DRAWS = 4, "2", 400
ROWS = database(orders(11, customers=700, rows=1600))
TEXT = """
    SELECT COUNT(*) AS n, SUM(amount) AS total, AVG(amount) AS mean,
      COUNT(DISTINCT customer_id) AS people, VAR_POP(balance) AS var, STDDEV_SAMP(amount) AS sd,
      COVAR_SAMP(mixed, balance) AS covar, CORR(mixed, balance) AS corr,
      REGR_SLOPE(mixed, balance) AS slope, REGR_INTERCEPT(mixed, balance) AS start,
      SUM(amount) / COUNT(*) AS ratio, MEDIAN(balance) AS median
    FROM (SELECT *, balance / 4 + hour * 3 AS mixed FROM orders) AS t
"""
PLAN = parse.parse(TEXT, {"orders": AGREED}, COHORT)
ONE = partial(PLAN, ROWS, AGREED)
EXACT = [NODES * x for x in ONE]
CONSERVATIVE = {"ratio", "median"}
"""Interval arithmetic and quantiles out to the edges of bins promise at least 95 %."""


def noised():
    """Yield the opened vector of every draw, with every node's noise in it."""
    entropy, drawn = SeededEntropy(7), []
    for measure, sums in layout(PLAN, EXACT).items():
        size = DRAWS * NODES * len(sums)
        noise = discrete_gaussian(scale(PLAN, measure, NOISE), size, entropy)
        drawn.append(np.array(noise).reshape(DRAWS, NODES, len(sums)).sum(axis=1))
    yield from (np.concatenate(drawn, axis=1) + np.array(EXACT)).tolist()


@pytest.fixture(scope="module")
def covered():
    truth = [[c.value for c in row.cells] for row in answer(PLAN, "0.000001", 1, EXACT).rows]
    inside, asked = [0] * len(PLAN.outputs), [0] * len(PLAN.outputs)
    for opened in noised():
        for row, exact in zip(answer(PLAN, NOISE, NODES, opened).rows, truth, strict=True):
            for at, cell in enumerate(row.cells):
                assert cell.value is not None
                asked[at] += 1
                inside[at] += cell.low <= exact[at] <= cell.high
    return {o.label: i / a for o, i, a in zip(PLAN.outputs, inside, asked, strict=True)}


@pytest.mark.parametrize("label", [output.label for output in PLAN.outputs])
def test_the_intervals_cover(covered, label):
    assert covered[label] >= 0.92
    assert covered[label] <= (1 if label in CONSERVATIVE else 0.98)


def test_what_noise_drowns_is_not_computed():
    nothing = answer(PLAN, "50", NODES, [0] * len(EXACT)).rows[0].cells
    drowned = {o.label for o, c in zip(PLAN.outputs, nothing, strict=True) if c.value is None}
    assert drowned >= {"mean", "var", "corr", "slope", "median"}
    assert not drowned & {"n", "total", "people"}


def test_having_sees_released_numbers_alone():
    plan = parse.parse(
        "SELECT category, SUM(balance) AS s FROM orders GROUP BY category HAVING COUNT(*) > 50",
        {"orders": AGREED},
        COHORT,
    )
    assert [measure.kind for measure in measures(plan)] == ["total", "rows"]
    opened = [-5, 6, 7, 51, 50, 400]
    assert [row.keys for row in answer(plan, "1", 3, opened).rows] == [("home",), ("garden",)]


@pytest.mark.parametrize(
    ("counts", "tidy"),
    [
        ([5, -2, 3], [4, 0, 2]),
        ([1, 1, 1], [1, 1, 1]),
        ([-4, -1], [0, 0]),
        ([10, -9, -1, 3], [2, 0, 0, 1]),
        ([], []),
    ],
)
def test_consistent_counts_keep_their_total(counts, tidy):
    found = nonnegative(counts)
    assert sum(found) == max(0, sum(counts))
    assert min(found, default=0) >= 0
    assert math.dist(found, counts) <= math.dist(tidy, counts) + 1


def test_a_consistent_answer_has_no_count_below_zero():
    plan = parse.parse(
        "SELECT category, COUNT(*) FROM orders GROUP BY category", {"orders": AGREED}, COHORT
    )
    rows = answer(plan, "1", 3, [40, -7, 9], consistent=True).rows
    values = [row.cells[0].value for row in rows]
    assert sum(values) == 42
    assert min(values) == 0
    assert all(row.cells[0].low >= 0 for row in rows)
