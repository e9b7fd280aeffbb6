"""Scales against numpy on the rows themselves; a unit's part of their sums, which is its own."""

from dataclasses import replace
from decimal import Decimal
from math import asinh, sinh

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clients.training.evaluating import EXTRA
from clients.training.gradients import blocks
from clients.training.plain import plain_sum
from clients.training.sampling import UnitRows
from clients.training.sums import rounded_sum, unit_vectors
from federation.evaluation import ForecastSums, ScoreSums
from federation.feature_scales import Bins, robust_scales
from federation.informed import Informed
from federation.key_rates import Key
from federation.models import ModelSpec
from federation.scaled import Scaled
from tests.simulator import sum_recipe
from tests.steps import batch as made_batch
from tests.steps import chosen

BINS = Bins(count=33, reach=Decimal(20))


def scaled(bins=BINS, releases=1, features=5, keys=(), bound=8, **changes):
    values = {"moments": 1, "rounds": 2, "grid": 4096, "rows_per_unit": 8, **changes}
    inner = sum_recipe(model=ModelSpec((features, 1)), **values)
    counted = Scaled(bins=bins, releases=releases, bound=Decimal(bound), then=inner.method)
    if keys:
        clips = {"event_clip": Decimal(1), "row_clip": Decimal(2)}
        counted = Informed(keys=keys, releases=1, then=counted, **clips)
    return replace(inner, method=counted)


def made(seed, units=9, kind="any", size=0.0):
    draw = np.random.default_rng(seed)
    features = draw.normal(size=(units, 8, 5)) * 10.0**size
    targets = (draw.normal(size=(units, 8)) > 0).astype(float)
    present = draw.random((units, 8)) < 0.8
    if kind == "equal":
        features[-1], targets[-1], present[-1] = features[-1, :1], 1.0, True
    if kind == "wild":
        features[-1, :2] = [
            [np.nan, np.inf, -np.inf, 1e300, 0.0],
            [-0.0, 1e-300, 7, -1e300, np.nan],
        ]
        present[-1, :2] = True
    return made_batch(features, targets, present)


def rows_of(values, rows=1):
    """One unit of `rows` rows for every few values [n, features]."""
    units = np.asarray(values, np.float32).reshape(-1, rows, np.shape(values)[-1])
    shape = units.shape[:2]
    phase = np.zeros(len(units), np.int64)
    return UnitRows(units, np.zeros(shape, np.float32), np.ones(shape, np.bool_), phase)


def released(agreed, rows, noise=0.0):
    """Centres and scales after all sums of them over `rows`, without noise of their own."""
    state = agreed.method.start(1)
    for number in range(agreed.method.releases):
        total = plain_sum(state.weights, rows, agreed, number)
        state = agreed.method.advance(state, number, total, noise)
    return state.weights[agreed.method.then.size :].astype(float).reshape(2, -1)


# -- what is read off ------------------------------------------------------------------------------


def column(draw, kind, count):
    match kind:
        case "normal":
            return draw.normal(draw.normal() * 10, 10 ** draw.uniform(-2, 2), count)
        case "cents":
            return np.rint(100 * draw.lognormal(2, 1.5, count))
        case "share":
            return (draw.random(count) < draw.random()).astype(float)
        case "few":
            return draw.integers(-3, 4, count) * draw.uniform(0.1, 9)
    return np.full(count, draw.normal())


@settings(max_examples=150, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    kinds=st.lists(
        st.sampled_from(["normal", "cents", "share", "few", "constant"]), min_size=2, max_size=4
    ),
    units=st.integers(1, 60),
    rows=st.sampled_from([1, 2, 4]),
    count=st.sampled_from([3, 17, 65, 257]),
    reach=st.sampled_from(["0.5", "12", "1000", "1000000"]),
)
def test_without_noise_they_are_the_rows_own_quantiles_within_a_bin(
    seed, kinds, units, rows, count, reach
):
    draw, bins = np.random.default_rng(seed), Bins(count=count, reach=Decimal(reach))
    table = np.stack([column(draw, kind, units * rows) for kind in kinds], axis=1)
    agreed = scaled(bins, features=len(kinds))
    centres, scales = released(agreed, rows_of(table, rows))
    width = 2 * asinh(float(reach)) / count
    bent = np.arcsinh(np.clip(table.astype(np.float32), -float(reach), float(reach)))
    low = np.quantile(bent, [0.25, 0.5, 0.75], axis=0, method="inverted_cdf")
    high = np.quantile(bent, [0.25 + 1e-9, 0.5 + 1e-9, 0.75 + 1e-9], axis=0, method="higher")
    for place, (centre, scale) in enumerate(zip(centres, scales, strict=True)):
        least, most = low[:, place] - width - 1e-6, high[:, place] + width + 1e-6
        if (centre, scale) == (0, 1):
            assert low[2, place] - high[0, place] <= 3 * width + 1e-6
            continue
        assert least[1] <= asinh(centre) <= most[1]
        spread = 1.349 / scale
        assert sinh(least[2]) - sinh(most[0]) <= spread * (1 + 1e-6)
        assert spread * (1 - 1e-6) <= sinh(most[2]) - sinh(least[0])
        assert scale * width <= 1.349 * (1 + 1e-6)


@settings(max_examples=150, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    size=st.floats(-3, 12),
    noise=st.sampled_from([0.0, 1.0, 1e6]),
    count=st.sampled_from([3, 33, 129]),
)
def test_whatever_was_summed_what_is_released_is_finite_and_bounded(seed, size, noise, count):
    bins = Bins(count=count, reach=Decimal(1000))
    votes = np.random.default_rng(seed).normal(0.3, 1, size=(4, count)) * 10**size
    centres, scales = robust_scales(votes, noise, bins)
    assert (np.abs(centres) <= 1000 * (1 + 1e-9)).all()
    width = bins.ends[1] - bins.ends[0]
    assert (scales > 0).all() and (scales <= max(1.0, 1.349 / width) + 1e-9).all()


def test_a_unit_has_one_vote_however_many_rows_it_has():
    many = np.concatenate([np.full((8, 5), 3.0), np.zeros((8, 5))])  # two units of eight rows
    rows = rows_of(many, rows=8)
    rows.present[1, 1:] = False  # the second has one row
    total = plain_sum(np.zeros(16, np.float32), rows, scaled(), 0).reshape(5, -1)
    np.testing.assert_allclose(total.sum(1), 2 / np.sqrt(5))
    assert np.count_nonzero(total) == 10 and np.ptp(total[total > 0]) < 1e-12


# -- what a unit says ------------------------------------------------------------------------------

KEYS = (Key(column="terminal", buckets=7), Key(column="kind", domain=("a", "b", "c")))


@settings(max_examples=80, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    size=st.floats(-3, 30),
    grid=st.sampled_from([1, 64, 4096, 65536]),
    number=st.integers(0, 3),
    keyed=st.booleans(),
    kind=st.sampled_from(["any", "equal", "wild"]),
)
def test_with_scales_too_a_unit_less_moves_the_sum_by_at_most_the_sensitivity(
    seed, size, grid, number, keyed, kind
):
    agreed = scaled(grid=grid, keys=KEYS if keyed else ())
    rows, draw = made(seed, kind=kind, size=size), np.random.default_rng(seed)
    if keyed:
        rows.features[..., -2:] = draw.integers(-1, 9, (9, 8, 2))
    number = min(number, agreed.rounds - 1)
    weights = draw.normal(size=agreed.method.size)

    def summed(units):
        return rounded_sum(agreed, number, weights, chosen(rows, units))

    moved = summed(list(range(9))) - summed(list(range(8)))
    assert np.linalg.norm(moved.astype(np.float64)) <= agreed.sensitivity
    np.testing.assert_array_equal(moved, summed([8]))


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    size=st.floats(-3, 300),
    kind=st.sampled_from(["any", "equal", "wild"]),
)
def test_before_any_clipping_a_units_votes_have_norm_1_at_most_and_1_if_its_rows_are_equal(
    seed, size, kind
):
    agreed, rows = scaled(), made(seed, kind=kind, size=size)
    for block in blocks(rows, agreed.dimension(0)):
        votes = unit_vectors(agreed, 0, np.zeros(agreed.method.size), block)
        norms = np.linalg.norm(votes, axis=0)
        assert (norms <= 1 + 1e-12).all()
        assert (norms[~block.present.any(0)] == 0).all()
    if kind == "equal":
        alone = rounded_sum(agreed, 0, np.zeros(agreed.method.size), chosen(rows, [8]))
        assert np.count_nonzero(alone) == 5
        assert np.linalg.norm(alone) == pytest.approx(agreed.grid, rel=1e-3)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), size=st.floats(-2, 4))
def test_votes_are_those_of_a_loop_over_rows(seed, size):
    agreed, rows = scaled(), made(seed, size=size)
    expected, edge = np.zeros((5, BINS.count)), asinh(20)
    for unit in range(9):
        for row in np.flatnonzero(rows.present[unit]):
            share = 1 / rows.present[unit].sum() / np.sqrt(5)
            for feature, value in enumerate(rows.features[unit, row]):
                place = int((asinh(value) + edge) / (2 * edge) * BINS.count // 1)
                expected[feature, min(max(place, 0), BINS.count - 1)] += share
    found = np.zeros(5 * BINS.count)
    for block in blocks(rows, agreed.dimension(0)):
        found += unit_vectors(agreed, 0, np.zeros(agreed.method.size), block).sum(1)
    np.testing.assert_allclose(found.reshape(5, -1), expected, atol=1e-12)


def test_places_are_the_orders_alone_whoever_else_is_in_the_table():
    agreed, rows = scaled(), made(2)
    alone = rounded_sum(agreed, 0, np.zeros(16), chosen(rows, [3]))
    rows.features[:3] *= 1e6
    rows.features[4:] += 50
    together = rounded_sum(agreed, 0, np.zeros(16), rows)
    others = rounded_sum(agreed, 0, np.zeros(16), chosen(rows, [0, 1, 2, 4, 5, 6, 7, 8]))
    np.testing.assert_array_equal(together - others, alone)


# -- what later rounds read ------------------------------------------------------------------------


def by_hand(features, weights, first, bound=8.0):
    """The features [..., 5] as `weights` say from `first` on: five centres, then five scales."""
    centres, scales = weights[first : first + 5], weights[first + 5 : first + 10]
    return np.clip((features - centres) * scales, -bound, bound)


def test_later_rounds_read_values_by_the_centres_and_scales_that_the_weights_carry():
    agreed, rows, draw = scaled(), made(6, size=1), np.random.default_rng(6)
    weights = draw.normal(size=agreed.method.size)
    told = made_batch(by_hand(rows.features, weights, 6), rows.targets, rows.present)
    assert (np.abs(told.features) == 8).any()
    plain = replace(agreed, method=agreed.method.then)
    for number in (1, 2):
        np.testing.assert_array_equal(
            rounded_sum(agreed, number, weights, rows),
            rounded_sum(plain, number - 1, weights[:6], told),
        )


def test_rates_come_first_then_scales_of_all_inputs_the_rates_among_them():
    agreed, rows, draw = scaled(keys=KEYS), made(6), np.random.default_rng(6)
    rows.features[..., -2:] = draw.integers(0, 3, (9, 8, 2))
    weights = draw.normal(size=agreed.method.size)
    inner = agreed.method.then
    assert [agreed.dimension(n) for n in range(4)] == [20, 5 * 33, 27, 6]
    assert agreed.method.statistics == 2 and agreed.rounds == 4
    told = made_batch(rows.features.copy(), rows.targets, rows.present)
    for key, begin in ((0, inner.size), (1, inner.size + 7)):
        told.features[..., 3 + key] = weights[begin + rows.features[..., 3 + key].astype(int)]
    np.testing.assert_array_equal(
        rounded_sum(agreed, 1, weights, rows),
        rounded_sum(replace(agreed, method=inner), 0, weights[: inner.size], told),
    )
    told.features[...] = by_hand(told.features, weights, 6)
    plain = replace(agreed, method=inner.then)
    for number in (2, 3):
        np.testing.assert_array_equal(
            rounded_sum(agreed, number, weights, rows),
            rounded_sum(plain, number - 2, weights[:6], told),
        )


def test_a_model_on_scaled_rows_is_measured_on_scaled_rows():
    agreed = scaled(holdout=Decimal("0.2"), evaluation=ScoreSums(8, 2))
    rows, draw = made(6), np.random.default_rng(6)
    weights = draw.normal(size=agreed.method.size)
    told = made_batch(by_hand(rows.features, weights, 6), rows.targets, rows.present)
    plain = replace(agreed, method=agreed.method.then)
    assert agreed.evaluates(3) and plain.evaluates(2)
    np.testing.assert_array_equal(
        rounded_sum(agreed, 3, weights, rows), rounded_sum(plain, 2, weights[:6], told)
    )


def test_what_forecasts_are_measured_by_is_not_scaled():
    measured = ForecastSums(8, Decimal(1000), Decimal(500))
    week = {"loss": "mse", "window": 5, "base_rate": Decimal("0.5")}
    agreed = scaled(holdout=Decimal("0.2"), evaluation=measured, **week)
    rows, draw = made(6), np.random.default_rng(6)
    weights = draw.normal(size=agreed.method.size)
    beyond = draw.uniform(1, 5, (9, 8, EXTRA))
    whole, told = (
        made_batch(np.concatenate([values, beyond], -1), rows.targets, rows.present)
        for values in (rows.features, by_hand(rows.features, weights, 6))
    )
    plain = replace(agreed, method=agreed.method.then)
    np.testing.assert_array_equal(
        rounded_sum(agreed, 3, weights, whole), rounded_sum(plain, 2, weights[:6], told)
    )


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), keyed=st.booleans())
def test_a_prediction_is_that_of_the_network_on_what_its_rounds_read(seed, keyed):
    agreed, draw = scaled(keys=KEYS if keyed else ()), np.random.default_rng(seed)
    weights, features = draw.normal(size=agreed.method.size), draw.normal(size=(30, 5)) * 4
    told = features.copy()
    if keyed:
        features[:, -2:] = told[:, -2:] = draw.integers(0, 3, (30, 2))
        for key, begin in ((0, 16), (1, 23)):
            told[:, 3 + key] = weights[begin + features[:, 3 + key].astype(int)]
    told = by_hand(told, weights, 6)
    expected = told @ weights[:5] + weights[5]
    np.testing.assert_allclose(agreed.predict(weights, features), expected, rtol=1e-9, atol=1e-9)
