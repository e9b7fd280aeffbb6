"""No unit moves the rounded sum by more than the sensitivity that the noise refers to."""

from dataclasses import replace
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clients.training.private_sgd import rounded_sum
from federation.models import ModelSpec
from federation.recipes import Recipe
from secure_compute import fixedpoint
from secure_compute.errors import LocalProtocolError
from tests.steps import batch as made_batch
from tests.steps import chosen


def recipe(model: ModelSpec, clip: str, grid: int) -> Recipe:
    return Recipe(
        model=model,
        loss="mse",
        rounds=1,
        steps=1,
        sampling_rate=Decimal(1),
        clip=Decimal(clip),
        noise_multiplier=Decimal(1),
        grid=grid,
        learning_rate=Decimal(1),
        expected_units=10,
        rows_per_unit=8,
    )


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    size=st.floats(-3, 6),
    grid=st.sampled_from([1, 16, 4096, 65536]),
    clip=st.sampled_from(["0.01", "1", "2.5"]),
    layers=st.sampled_from([(5, 1), (5, 40, 1), (5, 12, 8, 1)]),
    kind=st.sampled_from(["any", "equal", "opposite"]),
)
def test_adding_or_removing_a_unit_moves_the_sum_by_at_most_the_sensitivity(
    seed, size, grid, clip, layers, kind
):
    generator = np.random.default_rng(seed)
    agreed = recipe(ModelSpec(layers), clip, grid)
    weights = generator.normal(size=agreed.model.dimension)
    features = generator.normal(size=(9, 8, 5)) * 10.0 ** (size / 2)
    targets = generator.normal(size=(9, 8)) * 10.0 ** (size / 2)
    if kind != "any":  # the last unit: K equal rows, or rows that nearly cancel
        features[-1] = features[-1, :1]
        targets[-1] = targets[-1, :1]
    if kind == "opposite":
        outputs_apart = generator.normal(size=4) * 10.0**size
        targets[-1] = np.concatenate([outputs_apart, -outputs_apart])
    given_batch = made_batch(features, targets, generator.random((9, 8)) < 0.9)
    everybody = list(range(9))

    def rounded(units: list[int]) -> np.ndarray:
        return rounded_sum(agreed, weights, chosen(given_batch, units))

    moved = rounded(everybody) - rounded(everybody[:-1])
    assert np.linalg.norm(moved.astype(np.float64)) <= agreed.sensitivity


@settings(max_examples=80, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    exponent=st.integers(-60, 60),
    layers=st.sampled_from([(5, 1), (6, 7, 1), (5, 12, 8, 1)]),
    activation=st.sampled_from(["relu", "tanh"]),
    loss=st.sampled_from(["bce", "huber", "mse"]),
    units=st.integers(1, 40),
)
def test_a_unit_adds_the_same_integers_whoever_stands_beside_it(
    seed, exponent, layers, activation, loss, units
):
    """Also for weights that make every ReLU and every sum cancel to its last bit."""
    generator = np.random.default_rng(seed)
    agreed = replace(recipe(ModelSpec(layers, activation), "1", 65536), loss=loss)
    weights = generator.choice([-1.0, 1.0], agreed.model.dimension) * 2.0**exponent
    weights += generator.normal(size=agreed.model.dimension)
    features = generator.choice([-1.0, 1.0, 0.1], (units, 3, layers[0]))
    features += generator.normal(size=features.shape) * 2.0**-20
    many = made_batch(
        features, generator.integers(0, 2, (units, 3)), generator.random((units, 3)) < 0.7
    )
    order = generator.permutation(units).tolist()
    alone = [rounded_sum(agreed, weights, chosen(many, [unit])) for unit in order]
    for count in (1, units // 2, units):
        together = rounded_sum(agreed, weights, chosen(many, order[:count]))
        assert np.array_equal(together, sum(alone[:count], 0 * alone[0]))


@pytest.mark.parametrize("activation", ["relu", "tanh"])
@pytest.mark.parametrize("layers", [(33, 16, 1), (5, 300, 1), (1, 1)])
def test_a_units_place_in_a_block_and_the_number_of_blocks_change_no_bit(layers, activation):
    generator = np.random.default_rng(5)
    agreed = replace(recipe(ModelSpec(layers, activation), "0.5", 2**30), loss="bce")
    weights = generator.normal(size=agreed.model.dimension) * 2.0**20
    one = generator.normal(size=(1, 4, layers[0]))
    alone = rounded_sum(agreed, weights, made_batch(one, np.ones((1, 4)), np.ones((1, 4))))
    for others in (1, 3, 40, 500):
        crowd = generator.normal(size=(others, 4, layers[0]))
        for place in sorted({0, others // 2, others}):
            features = np.insert(crowd, place, one[0], axis=0)
            there = np.arange(others + 1) == place
            with_one = made_batch(features, np.ones((others + 1, 4)), np.ones((others + 1, 4)))
            rest = chosen(with_one, np.flatnonzero(~there).tolist())
            moved = rounded_sum(agreed, weights, with_one) - rounded_sum(agreed, weights, rest)
            assert np.array_equal(moved, alone)


@pytest.mark.parametrize("rows", [1, 2])
@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_sums_that_cancel_to_their_last_bit_are_the_same_beside_anybody(activation, rows):
    """Weights as a hostile letter would choose them: the order of additions decides the sign."""
    generator = np.random.default_rng(11)
    agreed = recipe(ModelSpec((33, 8, 1), activation), "1", 65536)
    weights = generator.normal(size=agreed.model.dimension)
    weights[: 33 * 8] *= 2.0**52
    features = generator.normal(size=(70, rows, 33))
    for row in range(8):  # in each unit's first row, one hidden sum cancels
        first = weights[33 * row : 33 * row + 33]
        mine = features[row::8, 0]
        mine[:, -1] = -(mine[:, :-1] @ first[:-1]) / first[-1]
    batch = made_batch(features, generator.normal(size=(70, rows)), np.ones((70, rows)))
    alone = np.array([rounded_sum(agreed, weights, chosen(batch, [u])) for u in range(70)])
    for count in (2, 3, 4, 5, 9, 70):
        together = rounded_sum(agreed, weights, chosen(batch, list(range(count))))
        assert np.array_equal(together, alone[:count].sum(0))


def test_equal_rows_of_one_unit_are_clipped_together():
    """K rows that all point one way: per-row clipping would let them add up to K · C."""
    agreed = recipe(ModelSpec((5, 1)), "1", 65536)
    features = np.full((2, 8, 5), 3.0)
    batch = made_batch(features, np.full((2, 8), -1e4), np.ones((2, 8)))
    one = rounded_sum(agreed, np.zeros(6), chosen(batch, [0])).astype(np.float64)
    both = rounded_sum(agreed, np.zeros(6), batch).astype(np.float64)
    assert agreed.grid * 0.999 < np.linalg.norm(both - one) <= agreed.sensitivity


def test_any_number_of_units_is_added_up():
    agreed, units = recipe(ModelSpec((1, 1)), "1", 16), (1 << 16) + 5
    ones = np.ones((units, 1))
    total = rounded_sum(agreed, np.zeros(2), made_batch(ones[:, :, None], ones * -1e3, ones))
    assert total.tolist() == [units * round(16 / 2**0.5)] * 2


def test_rows_as_wild_as_floats_can_be_stop_nothing():
    agreed = recipe(ModelSpec((3, 4, 1)), "1", 65536)
    for value in (3e38, -3e38, 1e300, np.inf, np.nan, 1e-320):
        given_batch = made_batch(
            np.full((3, 2, 3), value), np.full((3, 2), -value), np.ones((3, 2))
        )
        for weights in (np.full(21, 2.0**20), np.zeros(21)):
            norm = np.linalg.norm(rounded_sum(agreed, weights, given_batch).astype(float))
            assert norm <= 3 * agreed.sensitivity


def test_rounding_alone_can_move_every_coordinate():
    """The clip times the grid does not bound the rounded sum: √dimension has to be paid."""
    dimension, grid, clip = 4096, 16, Fraction(1, 1000)
    others = np.full(dimension, 0.4999 / grid)
    unit = np.full(dimension, float(clip) / np.sqrt(dimension))
    moved = fixedpoint.encode(others + unit, grid) - fixedpoint.encode(others, grid)
    distance = float(np.linalg.norm(moved.astype(np.float64)))
    assert distance > grid * clip + 10
    assert distance <= fixedpoint.l2_sensitivity(grid, clip, dimension)


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=30), st.sampled_from([1, 256, 65536]))
def test_encoding_errs_by_at_most_half_a_step(values, grid):
    vector = np.array(values)
    back = fixedpoint.decode(fixedpoint.encode(vector, grid), grid)
    assert np.abs(back - vector).max() <= 0.5 / grid + 1e-9


@pytest.mark.parametrize(
    ("value", "expected"),
    [(np.nan, 0), (np.inf, 2**61), (-np.inf, -(2**61)), (1e18, 2**61), (-1e300, -(2**61))],
)
def test_what_does_not_fit_the_grid_is_moved_to_its_ends(value, expected):
    """An error here would tell whether a sum exceeded a number of the asker's choice."""
    assert fixedpoint.encode(np.array([0.25, value]), 65536).tolist() == [16384, expected]


@given(st.lists(st.tuples(st.floats(), st.floats()), min_size=1, max_size=5))
def test_moving_into_the_grid_brings_no_two_vectors_apart(pairs):
    finite = [pair for pair in pairs if all(map(np.isfinite, pair))]
    for one, other in finite:
        near, far = (int(v) for v in fixedpoint.encode(np.array([one, other]), 1))
        assert abs(near - far) <= abs(Fraction(one) - Fraction(other)) + 1


def test_the_noise_scale_is_rounded_up():
    assert fixedpoint.noise_scale(1001, Fraction("1.5")) == 1502
    assert fixedpoint.l2_sensitivity(4096, Fraction(1), 17) == 4097 + 5
    for nothing in (Fraction(0), Fraction(-1)):
        with pytest.raises(LocalProtocolError):
            fixedpoint.noise_scale(1001, nothing)
        with pytest.raises(LocalProtocolError):
            fixedpoint.l2_sensitivity(16, nothing, 4)
