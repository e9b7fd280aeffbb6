"""Whatever a round adds up, one unit moves the rounded sum by its own part and by no more."""

from dataclasses import replace
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clients.training.errors import TrainingDataError
from clients.training.gradients import blocks
from clients.training.plain import plain_sum
from clients.training.sampling import UnitRows
from clients.training.sums import ClippedSum, round_sum, rounded_sum, unit_vectors
from federation.evaluation import ScoreSums
from federation.informed import Informed
from federation.key_rates import Key
from federation.models import ModelSpec
from federation.sequences import SequenceSpec
from secure_compute.entropy import SystemEntropy
from tests.simulator import sum_recipe
from tests.steps import batch as made_batch
from tests.steps import chosen

SERIES = [SequenceSpec("gru", 2, 2, 1, 3), SequenceSpec("tcn", 2, 2, 1, 3)]


def recipe(layers=(5, 1), **changes):
    model = layers if isinstance(layers, SequenceSpec) else ModelSpec(layers)
    values = {"moments": 1 if layers == (5, 1) else 0, "rounds": 2, "grid": 4096}
    return sum_recipe(model=model, **{**values, **changes})


def made(seed, size=0.0, units=9, kind="any"):
    draw = np.random.default_rng(seed)
    features = draw.normal(size=(units, 8, 5)) * 10.0 ** (size / 2)
    targets = draw.normal(size=(units, 8)) * 10.0 ** (size / 2)
    if kind == "equal":
        features[-1], targets[-1] = features[-1, :1], targets[-1, :1]
    return made_batch(features, targets, draw.random((units, 8)) < 0.8)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    size=st.floats(-3, 40),
    grid=st.sampled_from([1, 64, 4096, 65536]),
    number=st.integers(0, 1),
    layers=st.sampled_from([(5, 1), (5, 12, 1), *SERIES]),
    kind=st.sampled_from(["any", "equal"]),
)
def test_a_unit_less_moves_the_sum_by_at_most_the_sensitivity(
    seed, size, grid, number, layers, kind
):
    agreed = recipe(layers, grid=grid)
    weights = np.random.default_rng(seed).normal(size=agreed.model.dimension)
    rows = made(seed, size, kind=kind)

    def summed(units):
        return rounded_sum(agreed, number, weights, chosen(rows, units))

    moved = summed(list(range(9))) - summed(list(range(8)))
    assert np.linalg.norm(moved.astype(np.float64)) <= agreed.sensitivity
    np.testing.assert_array_equal(moved, summed([8]))  # its own part, to the last bit


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_moments_are_those_of_matrix_products(seed):
    agreed, rows = recipe(moment_clip=Decimal(7), target_clip=Decimal(3)), made(seed)
    expected = np.zeros(agreed.dimension(0))
    upper = np.triu_indices(6)
    for features, targets, present in zip(rows.features, rows.targets, rows.present, strict=True):
        x = np.concatenate([features[present], np.ones((present.sum(), 1))], axis=1)
        second = x.T @ x * np.where(np.eye(6, dtype=bool), 1.0, np.sqrt(2.0))
        expected += np.concatenate([second[upper] / 7.0, x.T @ targets[present] / 3.0])
    found = np.zeros_like(expected)
    for block in blocks(rows, agreed.dimension(0)):
        found += unit_vectors(agreed, 0, np.zeros(6), block).sum(1)
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9)


def test_the_worst_customer_is_clipped_with_all_its_rows_together():
    agreed = recipe(moment_clip=Decimal(1), target_clip=Decimal(1), grid=1 << 14)
    one = made_batch(np.full((1, 8, 5), 3.0), np.full((1, 8), 2.0), np.ones((1, 8)))
    for number in (0, 1):
        part = rounded_sum(agreed, number, np.zeros(6), one).astype(np.float64)
        assert np.linalg.norm(part) == pytest.approx(agreed.grid, rel=1e-3)


@pytest.mark.parametrize("wild", [np.inf, -np.inf, np.nan, 1e300])
def test_rows_as_wild_as_floats_can_be_stop_nothing_and_move_nobody_else(wild):
    agreed = recipe()
    rows = made(3)
    rows.features[4, 0, 0] = wild
    rows.present[4, 0] = True
    for number in (0, 1):
        whole = rounded_sum(agreed, number, np.zeros(6), rows)
        rest = rounded_sum(agreed, number, np.zeros(6), chosen(rows, [0, 1, 2, 3, 5, 6, 7, 8]))
        assert np.linalg.norm((whole - rest).astype(np.float64)) <= agreed.sensitivity


def units(features=5, rows=8):
    draw = np.random.default_rng(1)
    return UnitRows(
        draw.normal(size=(20, rows, features)).astype(np.float32),
        draw.normal(size=(20, rows)).astype(np.float32),
        np.ones((20, rows), np.bool_),
        np.arange(20, dtype=np.int64) % 2,
        2,
    )


def test_a_round_reads_units_of_its_phase_alone_and_says_what_it_costs():
    agreed, entropy, start = recipe(), SystemEntropy(), np.zeros(6, np.float32)
    part = round_sum(start, units(), agreed, 0, entropy)
    assert isinstance(part, ClippedSum) and part.event == agreed.event()
    even = units()
    batch = made_batch(even.features[::2], even.targets[::2], even.present[::2])
    np.testing.assert_array_equal(part.values, rounded_sum(agreed, 0, np.zeros(6), batch))
    with pytest.raises(TypeError):
        ClippedSum(part.values, part.event)


def test_without_clip_the_plain_sum_is_the_same_sum():
    agreed = recipe(
        clip=Decimal(1000),
        moment_clip=Decimal(10000),
        target_clip=Decimal(10000),
        grid=1 << 20,
        noise_multiplier=Decimal(1),
        expected_units=10,
    )
    for number in (0, 1):
        part = round_sum(np.zeros(6, np.float32), units(), agreed, number, SystemEntropy())
        whole = plain_sum(np.zeros(6, np.float32), units(), agreed, number)
        np.testing.assert_allclose(part.values / agreed.grid, whole, atol=1e-4)


def test_units_are_drawn_anew_each_time():
    agreed = recipe(sampling_rate=Decimal("0.5"))
    start = np.zeros(6, np.float32)
    drawn = {
        round_sum(start, units(), agreed, 0, SystemEntropy()).values.tobytes() for _ in range(8)
    }
    assert len(drawn) > 1


@pytest.mark.parametrize("rows", [units(features=4), units(rows=9)], ids=["features", "rows"])
def test_rows_that_are_not_the_recipes_are_refused(rows):
    with pytest.raises(TrainingDataError):
        round_sum(np.zeros(6, np.float32), rows, recipe(), 0, SystemEntropy())


@pytest.mark.parametrize("value", [np.inf, np.nan, 2.0**21])
def test_weights_that_no_run_comes_to_are_refused(value):
    with pytest.raises(TrainingDataError):
        round_sum(np.full(6, value, np.float32), units(), recipe(), 0, SystemEntropy())


# -- statistics ------------------------------------------------------------------------------------


def informed(**changes):
    keys = (Key(column="terminal", buckets=7), Key(column="kind", domain=("a", "b", "c")))
    inner = recipe((5, 1), loss="bce", **changes)
    counted = Informed(
        keys=keys,
        releases=1,
        event_clip=Decimal(1),
        row_clip=Decimal(2),
        then=inner.method,
    )
    return replace(inner, method=counted)


@settings(max_examples=80, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    grid=st.sampled_from([1, 64, 4096, 65536]),
    number=st.integers(0, 2),
    kind=st.sampled_from(["any", "equal", "wild"]),
)
def test_with_statistics_too_a_unit_less_moves_the_sum_by_at_most_the_sensitivity(
    seed, grid, number, kind
):
    agreed, rows, draw = informed(grid=grid), made(seed, kind=kind), np.random.default_rng(seed)
    rows.features[..., -2:] = draw.integers(-1, 9, (9, 8, 2))
    rows.targets[...] = rows.targets > 0
    if kind == "equal":
        rows.features[-1], rows.targets[-1], rows.present[-1] = rows.features[-1, :1], 1.0, True
    if kind == "wild":
        rows.features[-1, 0, -2:], rows.features[-1, 1, -2:] = (np.nan, np.inf), (-np.inf, 1e300)
    weights = draw.normal(size=agreed.method.size)

    def summed(units):
        return rounded_sum(agreed, number, weights, chosen(rows, units))

    moved = summed(list(range(9))) - summed(list(range(8)))
    assert np.linalg.norm(moved.astype(np.float64)) <= agreed.sensitivity
    np.testing.assert_array_equal(moved, summed([8]))


def test_a_unit_of_equal_rows_is_clipped_with_all_that_it_counts():
    agreed = informed(grid=1 << 14)
    one = made_batch(np.full((1, 8, 5), 2.0), np.ones((1, 8)), np.ones((1, 8)))
    part = rounded_sum(agreed, 0, np.zeros(agreed.method.size), one).astype(np.float64)
    assert np.linalg.norm(part) == pytest.approx(agreed.grid, rel=1e-3)
    assert np.count_nonzero(part) == 4 and len(part) == 2 * agreed.method.places


def test_counts_are_those_of_a_loop_over_rows():
    agreed, rows, draw = informed(), made(4), np.random.default_rng(4)
    rows.features[..., -2:] = draw.integers(-1, 9, (9, 8, 2))
    rows.targets[...] = rows.targets > 0
    expected = np.zeros((2, 10))
    for unit, row in np.argwhere(rows.present):
        for key, (first, size) in enumerate(((0, 7), (7, 3))):
            place = int(rows.features[unit, row, 3 + key])
            if 0 <= place < size:
                expected[0, first + place] += rows.targets[unit, row] / 1.0
                expected[1, first + place] += 1.0 / 2.0
    found = np.zeros(20)
    for block in blocks(rows, agreed.dimension(0)):
        found += unit_vectors(agreed, 0, np.zeros(agreed.method.size), block).sum(1)
    np.testing.assert_allclose(found.reshape(2, 10), expected)


def test_later_rounds_read_the_rates_that_the_weights_carry_in_the_place_of_keys():
    agreed, rows, draw = informed(), made(6), np.random.default_rng(6)
    rows.features[..., -2:] = draw.integers(0, 3, (9, 8, 2))
    weights = draw.normal(size=agreed.method.size)
    told = made_batch(rows.features.copy(), rows.targets, rows.present)
    first = agreed.method.then.size
    for key, begin in ((0, first), (1, first + 7)):
        told.features[..., 3 + key] = weights[begin + rows.features[..., 3 + key].astype(int)]
    plain = replace(agreed, method=agreed.method.then)
    for number in (1, 2):
        np.testing.assert_array_equal(
            rounded_sum(agreed, number, weights, rows),
            rounded_sum(plain, number - 1, weights[:first], told),
        )


def test_a_model_on_rates_is_measured_on_rates():
    whole = informed(holdout=Decimal("0.2"), evaluation=ScoreSums(8, 2))
    rows, draw = made(6), np.random.default_rng(6)
    rows.features[..., -2:] = draw.integers(0, 3, (9, 8, 2))
    weights = draw.normal(size=whole.method.size)
    low = rounded_sum(whole, 3, weights, rows)
    weights[whole.method.then.size :] *= 5
    assert whole.evaluates(3) and not np.array_equal(low, rounded_sum(whole, 3, weights, rows))
