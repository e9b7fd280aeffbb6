"""Products of bounded integers are the true integers, and rounding makes integers so bounded."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clients.training.exact import (
    AT_ONCE,
    DOUBLE,
    SINGLE,
    add_products,
    multiplied,
    onto_grid,
    rounded,
    scaled,
)

BOTH = pytest.mark.parametrize("precision", [SINGLE, DOUBLE], ids=["single", "double"])


def true(values: np.ndarray) -> np.ndarray:
    """The same integers, of any size."""
    return np.vectorize(int, otypes=[object])(values)


def summed(one: np.ndarray, other: np.ndarray, precision) -> np.ndarray:
    total = np.zeros((len(one), len(other)), np.int64)
    add_products(total, one, other, precision)
    return total


def norms_squared(rows: np.ndarray) -> np.ndarray:
    return (true(rows) ** 2).sum(0)


def within(length: int, many: int, reach: float, precision, rng) -> np.ndarray:
    """Integers [length, many] whose norms come as near to reach as they can."""
    raw = rng.normal(size=(length, many)) * rng.choice([1e-3, 1.0, 30.0], (length, many))
    scale = reach / np.sqrt((raw**2).sum(0))
    return np.trunc(raw * scale * (1 - 2.0**-40)).astype(precision.dtype)


@BOTH
@pytest.mark.parametrize("length", [1, 2, 33, 257])
def test_a_product_of_integers_within_reach_is_exact_in_any_order(length, precision):
    rng = np.random.default_rng(length)
    rows = within(length, 24, precision.reach, precision, rng)
    matrix = within(length, 40, precision.counterpart, precision, rng).T
    # Rows along their own direction: nothing cancels.
    matrix[:5] = rows.T[:5] * (precision.counterpart / precision.reach)
    expected = true(matrix) @ true(rows)
    assert max(abs(expected.ravel())) > 0.9 * 2.0**precision.bits
    for order in (np.arange(length), rng.permutation(length), np.argsort(rows[:, 0])):
        found = multiplied(matrix[:, order], rows[order][:, None, :], 0)[:, 0]
        assert np.array_equal(true(found), expected)


@BOTH
def test_a_sum_over_units_is_exact_however_large_it_grows(precision):
    """Everybody pushes the same entries: one product of floats would round."""
    rng = np.random.default_rng(3)
    left = within(6, 3 * AT_ONCE, precision.counterpart, precision, rng)
    right = within(9, 3 * AT_ONCE, precision.reach, precision, rng)
    left[:, ::2], right[:, ::2] = left[:, :1], right[:, :1]  # odd ones differ
    left = np.trunc(left / 2)
    expected = true(left) @ true(right).T
    found = summed(left[:, None, :], right[:, None, :], precision)
    assert np.array_equal(true(found), expected)
    if precision is SINGLE:  # in double 2^52 is beyond what int64 of the naive product tells
        assert not np.array_equal(true(left @ right.T), expected)


@pytest.mark.parametrize("most", [100, 45, 20])
def test_pieces_are_put_together_as_far_as_no_float_rounds_their_sum(most):
    """In one piece there is room for entries of up to 180 that all push the same way."""
    rng = np.random.default_rng(most)
    left, right = (rng.integers(most - 9, most, (5, 1, 4096)).astype(np.float32) for _ in range(2))
    expected = true(left[:, 0]) @ true(right[:, 0]).T
    assert np.array_equal(true(summed(left, right, SINGLE)), expected)
    if most == 100:  # in one product they are rounded
        assert not np.array_equal(true(left[:, 0] @ right[:, 0].T), expected)


@pytest.mark.parametrize("columns", [1, 8, 511, 512, 513, 904, 8328])
def test_the_columns_behind_the_last_whole_piece_are_bounded_as_well(columns):
    """The sum of three is odd and above 2^24, so one product would round it."""
    left, right = np.zeros((2, 3, 1, columns), np.float32)
    left[..., -300:], right[..., -300:] = 2047.0, 4095.0
    expected = np.full((3, 3), min(columns, 300) * 2047 * 4095)
    assert np.array_equal(summed(left, right, SINGLE), expected)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    columns=st.integers(1, 700),
    size=st.floats(0, 11),
    single=st.booleans(),
)
def test_sums_of_any_size_and_number_are_exact(seed, columns, size, single):
    precision, rng = SINGLE if single else DOUBLE, np.random.default_rng(seed)
    left = np.trunc(rng.normal(size=(3, columns)) * 2.0**size).astype(precision.dtype)
    right = within(4, columns, precision.reach, precision, rng)
    left = np.clip(left, -precision.counterpart / 4, precision.counterpart / 4)
    found = summed(left[:, None, :], right[:, None, :], precision)
    assert np.array_equal(true(found), true(left) @ true(right).T)


HARD = [1.0, 0.5, 1e-3, 1e-25, 1e-40, 0.0, 1e9]


@BOTH
@pytest.mark.parametrize("length", [1, 7, 256, 1000])
def test_rows_on_the_grid_are_integers_within_reach(length, precision):
    rng = np.random.default_rng(length)
    rows = rng.normal(size=(length + 1, 2, 30)) * rng.choice(HARD, (length + 1, 2, 30))
    rows[:, 0, :8] = rng.choice([1.0, 1e-3, 7.3], 8)  # equal entries round the same way
    kept = rows.copy()
    rows = rows.astype(precision.dtype)
    scale = onto_grid(rows, 1.0, precision)
    assert np.array_equal(rows, np.rint(rows))
    assert (norms_squared(rows) <= int(precision.reach) ** 2).all()
    kept[-1] = 1.0
    error = np.abs(rows - kept * scale).max()
    assert error <= 0.5 + 2.0**-10


@BOTH
@pytest.mark.parametrize("length", [1, 9, 256])
def test_halves_that_all_round_up_stay_within_reach(length, precision):
    """Entries just above one half of a step: the norm grows by all that rounding can add."""
    near = np.linspace(0.9, 1.1, 4001)[None, :] * np.ones((length, 1))
    rows = near[:, None, :].astype(precision.dtype)
    scaled(rows, precision)
    assert np.array_equal(rows, np.rint(rows))
    assert (norms_squared(rows) <= int(precision.reach) ** 2).all()
    wide = np.concatenate([rows, rows[:1]])
    wide[:-1] = near[:, None, :] * np.linspace(1, 50, 4001)
    onto_grid(wide, 1.0, precision)
    assert (norms_squared(wide) <= int(precision.reach) ** 2).all()


@BOTH
def test_slopes_too_small_for_their_squares_stay_within_reach(precision):
    rows = np.full((256, 1, 3), 2.0**-75.5, precision.dtype)
    rows[0] = 2.0**-74
    rows[:, :, 1] = 2.0**-40
    rows[:, :, 2] = 0.0
    factor = scaled(rows, precision)
    assert (norms_squared(rows) <= int(precision.reach) ** 2).all()
    assert (factor > 0.0).all() and not rows[:, :, 2].any()


@BOTH
@pytest.mark.parametrize("size", [1e-200, 1e-20, 1.0, 2.0**60])
def test_matrices_are_within_reach_along_rows_and_columns(size, precision):
    rng = np.random.default_rng(7)
    matrix = (rng.normal(size=(40, 31)) * size).astype(precision.dtype)
    matrix[:, 3] *= 9
    integers, scale = rounded(matrix, precision.counterpart, precision)
    assert np.isfinite(scale) and np.array_equal(integers, np.rint(integers))
    most = int(precision.counterpart) ** 2
    assert norms_squared(integers.T).max() <= most
    assert norms_squared(integers[:, :-1]).max() <= most


@BOTH
def test_rows_without_a_norm_become_nothing(precision):
    rows = np.zeros((4, 1, 3), precision.dtype)
    one = np.array([[0.0, np.nan, np.inf]])
    assert not onto_grid(rows, one, precision).any() and not rows.any()
