"""For every question of the suite: the 95 % interval holds the exact bounded value 95 times in 100.

Four hundred draws each, four nodes' noise in every sum. Cells whose estimate noise may drown in
some draw are left out, and at least one cell of every question is not. A number that is computed
from several aggregates promises at least 95 %, since its intervals hold together [Bonferroni].
"""

import functools

import numpy as np
import pytest

from federation.queries import parse
from federation.queries.expressions import Column
from federation.queries.post import answer
from federation.queries.pricing import scale
from federation.queries.sensitivity import layout
from secure_compute.noise import discrete_gaussian
from tests import queries_cases, queries_joined, queries_table
from tests.orders_table import COHORT
from tests.seeded import SeededEntropy

NODES, NOISE, DRAWS = 4, "2", 400
ALONE = {"orders": queries_table.contract()}
TOGETHER = queries_joined.contracts()
TEXTS = {queries_cases.text(*case): ALONE for case in queries_cases.CASES} | {
    queries_joined.text(case): TOGETHER for case in queries_joined.CASES
}


@functools.cache
def rows_alone():
    return queries_table.database(queries_table.orders(11, customers=700, rows=4000))


@functools.cache
def rows_together():
    return queries_joined.database(queries_joined.tables(11, 0, customers=900, count=4000))


def exact_of(text, plan):
    if TEXTS[text] is ALONE:
        return queries_table.partial(plan, rows_alone(), ALONE["orders"])
    return queries_joined.partial(plan, rows_together(), TOGETHER)


def noised(plan, exact):
    """Yield the opened vector of every draw, with every node's noise in it."""
    entropy, drawn = SeededEntropy(3), []
    for measure, sums in layout(plan, exact).items():
        size = DRAWS * NODES * len(sums)
        noise = discrete_gaussian(scale(plan, measure, NOISE), size, entropy)
        drawn.append(np.array(noise).reshape(DRAWS, NODES, len(sums)).sum(axis=1))
    yield from (np.concatenate(drawn, axis=1) + np.array(exact)).tolist()


@pytest.mark.parametrize("text", TEXTS)
def test_the_interval_of_every_question_covers(text):
    plan = parse.parse(text, TEXTS[text], COHORT)
    exact = [NODES * x for x in exact_of(text, plan)]
    truth = answer(plan, "0.000001", 1, exact).rows
    draws = [answer(plan, NOISE, NODES, opened).rows for opened in noised(plan, exact)]
    judged = 0
    for at, output in enumerate(plan.outputs):
        inside = asked = 0
        for place, row in enumerate(truth):
            cells = [rows[place].cells[at] for rows in draws]
            if all(cell.low is not None for cell in cells):
                asked += len(cells)
                inside += sum(cell.low <= row.cells[at].value <= cell.high for cell in cells)
        if asked:
            judged += 1
            most = 0.98 if isinstance(output.expression, Column) else 1
            assert 0.92 <= inside / asked <= most, (output.label, inside / asked, asked)
    assert judged == len(plan.outputs)
