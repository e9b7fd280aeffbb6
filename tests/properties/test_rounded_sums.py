"""Neighbours whose sums, rounded once, lie as far apart as can be: never farther than is charged.

The silo clips every unit, adds floats and rounds the sum. The search finds sums that rounding alone
moves by √d, so that a build that charges grid · clip fails at the coarse grids of a 16-bit ring.
"""

from fractions import Fraction
from math import isqrt, sqrt

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clients.training.private_sgd import clipped
from federation.models import ModelSpec
from secure_compute import fixedpoint
from secure_compute.errors import LocalProtocolError
from tests.steps import batch, clipped_sum, first

COARSE = 62  # steps to the clip that six deviations leave in 16 bits
WIDE = 4097


def moved(grid: int, others: np.ndarray, unit: np.ndarray) -> tuple[float, int]:
    """L2 and L1 distance of the rounded sums with and without the unit."""
    with_unit = fixedpoint.encode(others + unit, grid)
    apart = (with_unit - fixedpoint.encode(others, grid)).astype(object)
    return sqrt(int((apart**2).sum())), int(abs(apart).sum())


def charged(grid: int, clip: Fraction, dimension: int) -> tuple[int, int]:
    l2 = fixedpoint.l2_sensitivity(grid, clip, dimension)
    return l2, fixedpoint.l1_sensitivity(l2, dimension)


def worst_neighbours(grid: int, clip: float, dimension: int, spread: int, rng) -> np.ndarray:
    """Others just below a rounding edge in every coordinate; `spread` coordinates share the unit.

    Each of them is pushed by its whole part and over the edge; the rest by a hair over the edge.
    """
    unit = np.zeros(dimension)
    part = clip / sqrt(spread)
    unit[rng.permutation(dimension)[:spread]] = part
    hair = 1e-9 / grid
    unit += hair
    return np.stack([np.full(dimension, (0.5 - 1e-12) / grid) - hair / 2, unit])


def spreads(grid: int, dimension: int) -> set[int]:
    """How many coordinates share the unit: any, and such that each gets a little over m steps."""
    any_number = {round(dimension ** (step / 19)) for step in range(20)}
    over_whole = {(grid // m) ** 2 - 1 for m in range(1, min(grid, 64) + 1)}
    return any_number | {number for number in over_whole if 1 <= number <= dimension}


@pytest.mark.parametrize("dimension", [1, 2, 64, WIDE])
@pytest.mark.parametrize("grid", [1, 16, COARSE, 711, 65536])
def test_the_search_comes_near_what_is_charged_and_never_beyond(grid, dimension) -> None:
    rng = np.random.default_rng(grid * dimension)
    l2, l1 = charged(grid, Fraction(1), dimension)
    best, most = 0.0, 0
    for spread in spreads(grid, dimension):
        others, unit = worst_neighbours(grid, 1.0, dimension, spread, rng)
        unit = clipped(unit[:, None], 1.0)[:, 0]
        sign = rng.choice([1.0, -1.0], dimension)
        far, sum_of = moved(grid, others * sign, unit * sign)
        best, most = max(best, far), max(most, sum_of)
    assert best <= l2 and most <= l1
    if grid < dimension:
        assert best > grid  # so grid · clip, as if nothing were rounded, is too little
    if grid == COARSE and dimension == WIDE:
        assert (
            best > 0.97 * l2 > 1.9 * grid
        )  # what s · C would have charged is found to be half of it
        assert most > 0.9 * l1


@settings(max_examples=150, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    dimension=st.sampled_from([1, 3, 50, 700]),
    grid=st.sampled_from([1, 16, COARSE, 65536]),
    clip=st.sampled_from(["0.01", "1", "2.5"]),
    size=st.floats(-3, 3),
)
def test_any_clipped_unit_moves_a_rounded_sum_by_at_most_what_is_charged(
    seed, dimension, grid, clip, size
) -> None:
    rng = np.random.default_rng(seed)
    raw = rng.normal(size=(dimension, 1)) * 10.0**size
    unit = clipped(raw, float(clip))[:, 0]
    others = (
        rng.integers(-50, 50, dimension) + rng.choice([0.5, 0.4999999, 0.1], dimension)
    ) / grid
    l2, l1 = charged(grid, Fraction(clip), dimension)
    for sign in (1, -1):
        far, sum_of = moved(grid, sign * others, unit)
        assert far <= l2 and sum_of <= l1


def test_equal_rows_of_one_customer_move_a_rounded_sum_by_one_clip() -> None:
    """K aligned rows through the model's own gradients, clipped together, at a grid's edge."""
    model = ModelSpec((WIDE - 1, 1))
    features = np.ones((2, 8, WIDE - 1))
    targets = np.array([[-0.4999 / COARSE] + [0.0] * 7, [-1e4] * 8])
    present = np.array([[True] + [False] * 7, [True] * 8])
    rows = batch(features, targets, present)
    weights = np.zeros(WIDE)
    without, with_them = (
        clipped_sum(model, weights, first(rows, count), "mse", 1.0) for count in (1, 2)
    )
    apart = fixedpoint.encode(with_them, COARSE) - fixedpoint.encode(without, COARSE)
    l2, l1 = charged(COARSE, Fraction(1), WIDE)
    assert COARSE < np.linalg.norm(apart.astype(np.float64)) <= l2
    assert np.abs(apart).sum() <= l1


@given(st.integers(1, 10**7), st.integers(1, 10**7))
def test_l1_is_the_less_of_both_bounds_rounded_up(l2: int, dimension: int) -> None:
    l1 = fixedpoint.l1_sensitivity(l2, dimension)
    root = isqrt(dimension * l2**2)
    assert l1 == min(l2**2, root if root**2 == dimension * l2**2 else root + 1)


@given(st.lists(st.integers(-9, 9), min_size=1, max_size=30).filter(any))
def test_l1_bounds_every_integer_vector_of_that_l2(vector: list[int]) -> None:
    square = sum(x * x for x in vector)
    l2 = isqrt(square - 1) + 1
    assert sum(map(abs, vector)) <= fixedpoint.l1_sensitivity(l2, len(vector))


def test_nothing_has_no_l1_sensitivity() -> None:
    for l2, dimension in ((0, 5), (5, 0), (-1, 5)):
        with pytest.raises(LocalProtocolError):
            fixedpoint.l1_sensitivity(l2, dimension)
