"""The 95 % intervals beside an answer hold the exact bounded value 95 times in 100."""

import math

import pytest

from clients.queries.partial import LocalPartial, add_noise
from federation.noisy import TOO_NOISY, ratio_interval
from federation.queries import parse
from federation.queries.answers import answer
from federation.queries.explaining import expected_errors, explain
from federation.queries.pricing import calibrate, price, scales
from policies.budget import accountant
from tests.orders_table import COHORT, contract
from tests.seeded import SeededEntropy

TEXT = "SELECT category, COUNT(*), SUM(amount), AVG(amount) FROM orders GROUP BY category"
PLAN = parse.parse(TEXT, {"orders": contract()}, COHORT)
NOISE = "4"
NODES = 4
EXACT = (900, 60, 400, 9_000_000, 300_000, 6_000_000, 900, 60, 400)
"""Per node: rows, cents, present; three cells each. The second cell is small."""


def opened(seed):
    entropy = SeededEntropy(seed)
    parts = [add_noise(LocalPartial(EXACT), PLAN, NOISE, entropy) for _ in range(NODES)]
    return tuple(map(sum, zip(*parts, strict=True)))


def truths():
    for cell in range(3):
        rows, cents, present = (NODES * EXACT[cell + 3 * place] for place in range(3))
        yield (rows, cents / 100, cents / 100 / present)


def covered(draws):
    inside = {0: 0, 1: 0, 2: 0}
    asked = {0: 0, 1: 0, 2: 0}
    for seed in range(draws):
        rows = answer(PLAN, NOISE, NODES, opened(seed)).rows
        for row, exact in zip(rows, truths(), strict=True):
            for place, cell in enumerate(row.cells):
                if cell.value is not None:
                    asked[place] += 1
                    inside[place] += float(cell.low) <= exact[place] <= float(cell.high)
    return {place: inside[place] / asked[place] for place in inside}


def test_the_intervals_cover():
    for share in covered(200).values():
        assert 0.92 <= share <= 0.98


@pytest.mark.slow
def test_the_intervals_cover_in_many_draws():
    for share in covered(4000).values():
        assert 0.94 <= share <= 0.96


def test_the_error_announced_is_the_error_given():
    announced = expected_errors(PLAN, NOISE, NODES)
    first = answer(PLAN, NOISE, NODES, opened(1)).rows[0].cells
    assert first[0].error == announced[0].error
    assert float(first[1].error) == float(announced[1].error)
    sigma = scales(PLAN, NOISE)[0]
    assert int(announced[0].error) == math.ceil(1.959964 * sigma * math.sqrt(NODES))
    assert announced[2].rows == 1000
    assert 0 < float(announced[2].error) < 250


def test_an_average_over_a_count_that_may_be_zero_is_too_noisy():
    nothing = answer(PLAN, NOISE, NODES, (0, -40, 5, 100, 10**6, 10**6, 0, -40, 5)).rows
    for row in nothing:
        assert row.cells[2].value is None
        assert row.cells[2].note == TOO_NOISY
        assert row.cells[0].value is not None
    assert ratio_interval(10.0, 0.0, (1, 1), 3) is None
    assert ratio_interval(10.0, -5.0, (1, 1), 3) is None


def test_fieller_solves_its_equation():
    low, high = ratio_interval(9000.0, 300.0, (120, 20), 4)
    for r in (low, high):
        gap = (9000 - r * 300) ** 2
        assert math.isclose(gap, 1.959963984540054**2 * 4 * (120**2 + r * r * 20**2), rel_tol=1e-9)
    assert low < 30 < high


def test_a_calibrated_query_costs_what_was_asked():
    noise = calibrate(PLAN, "1", "1e-6")
    paid = accountant.epsilon([price(PLAN, noise)], 1e-6)
    assert 0.99 < paid <= 1
    told = explain(PLAN, noise, "1e-6", 4)
    assert float(told.epsilon) == paid
    assert (told.cells, told.numbers, told.contributors, told.rows_per_unit) == (3, 9, 4, 3)
    assert told.to_json()["errors"][0]["label"] == "count"


def test_a_price_is_never_below_what_runs():
    for noise in ("0.5", "1.001", "7.3"):
        for sigma, limit in zip(scales(PLAN, noise), (3, 150_000, 3), strict=True):
            assert sigma >= float(noise) * limit
