"""Fraud over two sides: aligned by tokens, joined by counts alone, priced where it is private."""

import numpy as np
import pytest

from experiments import vertical
from experiments.datasets.files import folder_of
from experiments.vertical import BINS, ISSUER, MERCHANT, Payments, Side
from secure_compute.psi.identifiers import Kind, canonical


def made_up(count: int = 4000, seed: int = 0) -> Payments:
    """Frauds that either side sees a half of: as the sum of two columns."""
    draw = np.random.default_rng(seed)
    here, there = draw.normal(size=(2, 2 * count, 3))
    fraud = (draw.random(2 * count) < 1 / (1 + np.exp(4 - 2 * here[:, 0] - 2 * there[:, 0]))) * 1.0
    units = draw.integers(0, count // 5, (2, count))
    sides = [
        Side(part[:count], part[count:], unit)
        for part, unit in zip((here, there), units, strict=True)
    ]
    return Payments(sides[0], sides[1], fraud[:count], fraud[count:])


def precision(payments, scores):
    return vertical.average_precision(payments.truth.astype(np.int64), scores)


def test_the_table_that_crosses_is_the_count_of_every_pair_of_bins():
    draw = np.random.default_rng(1)
    issuer, merchant = draw.normal(-4, 2, (2, 9000))
    fraud = (draw.random(9000) < 0.05) * 1.0
    found = vertical.table(issuer, merchant, fraud)
    expected = np.zeros((2, BINS, BINS), np.int64)
    np.add.at(expected[0], (vertical.binned(issuer), vertical.binned(merchant)), 1)
    np.add.at(
        expected[1], (vertical.binned(issuer), vertical.binned(merchant)), fraud.astype(np.int64)
    )
    np.testing.assert_array_equal(found, expected)


def test_both_sides_together_find_what_neither_finds_alone():
    payments = made_up()
    alone = [
        precision(payments, vertical.scored_alone(side, payments.fraud))
        for side in (payments.issuer, payments.merchant)
    ]
    both = precision(payments, vertical.joint(payments))
    assert both > max(alone) + 0.05


def test_the_weights_are_those_that_the_table_speaks_for():
    """Scores that are logits already are added as they are, but for the prior."""
    draw = np.random.default_rng(3)
    here, there = draw.normal(-3, 1.5, (2, 200_000))
    fraud = draw.random(200_000) < 1 / (1 + np.exp(-(here + 0.5 * there + 3)))
    counts = np.zeros((2, BINS, BINS), np.int64)
    places = (vertical.binned(here), vertical.binned(there))
    np.add.at(counts[0], places, 1)
    np.add.at(counts[1], places, fraud.astype(np.int64))
    weights = vertical.combined(counts)
    assert weights[0] == pytest.approx(1, abs=0.15) and weights[1] == pytest.approx(0.5, abs=0.15)


def test_made_up_cards_are_canonical_tokens_and_no_two_are_one():
    cards = [vertical.card(number) for number in (0, 1, 7, 4989, 10**9)]
    assert [canonical(Kind.PAN_TOKEN, card) for card in cards] == cards
    assert len(set(cards)) == len(cards)


def test_tokens_align_the_customers_of_both_and_nobody_else():
    issuer, merchant = vertical.aligned([1, 2, 3, 3], [2, 3, 4])
    assert issuer.keys() == {1, 2, 3} and merchant.keys() == {2, 3, 4}
    assert issuer[2] == merchant[2] and issuer[3] == merchant[3]
    assert issuer[1] not in merchant.values()


def test_a_side_pays_for_every_step_of_its_gradient():
    for cost in (ISSUER, MERCHANT):
        assert 1.5 < cost.epsilon < 2.0
        event = cost.event()
        assert (event.count, event.event.sigma) == (
            cost.steps,
            cost.multiplier * cost.sensitivity,
        )


def test_no_unit_moves_a_gradient_by_more_than_its_price_says():
    payments, cost = made_up(), ISSUER
    side = payments.issuer
    without = side.unit != side.unit[0]
    few = Side(side.train[without], side.test, side.unit[without])
    moved = steps_apart(side, few, payments.fraud, payments.fraud[without], cost)
    assert 0 < moved <= cost.sensitivity


def steps_apart(side, other, fraud, less, cost):
    """Return how far one step is from that without one unit, in grid steps; the noise is off."""
    seen = []

    def silent(scale, size, _):
        return np.zeros(size, np.int64)

    real, vertical.discrete_gaussian = vertical.discrete_gaussian, silent
    try:
        for each, label in ((side, fraud), (other, less)):
            one = vertical.Privacy("unit", 10**6, 1, steps=1, clip=cost.clip)
            seen.append(vertical._private(each, label, one) * vertical._GRID / 2.0)
    finally:
        vertical.discrete_gaussian = real
    return float(np.linalg.norm(seen[0] - seen[1]))


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.skipif(folder_of() is None, reason="the data set stands beside no checkout here")
def test_the_books_payments_are_found_jointly_as_by_neither_alone():
    found = vertical.compared()
    if found is None:
        pytest.skip("handbook_raw.parquet is not in the folder of data sets")
    assert found["joint"] >= 0.59
    assert found["issuer"] + 0.05 < found["merchant"] < found["joint"]
    assert found["joint_dp"] > found["merchant"] - 0.08
