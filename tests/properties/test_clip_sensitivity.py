"""No unit moves the rounded sum by more than the sensitivity that the noise refers to."""

from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from clients.training.private_sgd import Batch, clipped_sum
from federation.models import ModelSpec
from federation.recipes import Recipe
from secure_compute import fixedpoint
from secure_compute.errors import LocalProtocolError


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
    features = torch.tensor(generator.normal(size=(9, 8, 5)) * 10.0 ** (size / 2))
    targets = torch.tensor(generator.normal(size=(9, 8)) * 10.0 ** (size / 2))
    if kind != "any":  # the last unit: K equal rows, or rows that nearly cancel
        features[-1] = features[-1, :1]
        targets[-1] = targets[-1, :1]
    if kind == "opposite":
        outputs_apart = torch.tensor(generator.normal(size=4)) * 10.0**size
        targets[-1] = torch.cat([outputs_apart, -outputs_apart])
    present = torch.tensor(generator.random((9, 8)) < 0.9)

    def rounded(count: int) -> np.ndarray:
        batch = Batch(features[:count], targets[:count], present[:count])
        total = clipped_sum(agreed.model, weights, batch, "mse", float(agreed.clip))
        return fixedpoint.encode(total, agreed.grid)

    moved = np.linalg.norm((rounded(9) - rounded(8)).astype(np.float64))
    assert moved <= agreed.sensitivity


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


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e18])
def test_what_does_not_fit_the_grid_is_refused(bad):
    with pytest.raises(LocalProtocolError):
        fixedpoint.encode(np.array([0.0, bad]), 65536)


def test_the_noise_scale_is_rounded_up():
    assert fixedpoint.noise_scale(1001, Fraction("1.5")) == 1502
    assert fixedpoint.l2_sensitivity(4096, Fraction(1), 17) == 4097 + 5
    for nothing in (Fraction(0), Fraction(-1)):
        with pytest.raises(LocalProtocolError):
            fixedpoint.noise_scale(1001, nothing)
        with pytest.raises(LocalProtocolError):
            fixedpoint.l2_sensitivity(16, nothing, 4)
