"""A node's round: full noise whatever the data, drawn anew each time, priced as it ran."""

from dataclasses import replace
from decimal import Decimal

import numpy as np
import pytest

from clients.training.errors import TrainingDataError
from clients.training.fedavg import PrivateUpdate, batch_of, local_round
from clients.training.gradients import Batch
from clients.training.private_sgd import noised_sum
from clients.training.sampling import UnitRows, gather_units
from federation.models import ModelSpec
from federation.recipes import Recipe
from policies.budget.events import Repeated, SampledGaussian
from secure_compute.entropy import SystemEntropy
from tests.steps import clipped_sum

MODEL = ModelSpec((10, 64, 52, 1))


def recipe(**changes) -> Recipe:
    values = {
        "model": MODEL,
        "loss": "bce",
        "rounds": 3,
        "steps": 1,
        "sampling_rate": Decimal("0.5"),
        "clip": Decimal(1),
        "noise_multiplier": Decimal("1.5"),
        "grid": 4096,
        "learning_rate": Decimal("0.5"),
        "expected_units": 50,
        "rows_per_unit": 4,
    }
    return Recipe(**(values | changes))


def made_rows(units: int = 40, seed: int = 0, rows: int = 4) -> UnitRows:
    generator = np.random.default_rng(seed)
    count = units * rows
    return gather_units(
        generator.normal(size=(count, 10)),
        generator.integers(0, 2, count) * 1.0,
        np.repeat(np.arange(units), rows),
        rows,
        SystemEntropy(),
    )


def steps_of(update: PrivateUpdate, agreed: Recipe) -> np.ndarray:
    """Return the one step's noised sum on the grid."""
    scale = agreed.divisor / float(agreed.learning_rate) * agreed.grid
    return -update.vector.astype(np.float64) * scale


def update_of(rows: UnitRows, agreed: Recipe) -> PrivateUpdate:
    return local_round(agreed.model.init(7), agreed.model, rows, agreed, 0, SystemEntropy())


@pytest.mark.parametrize("units", [0, 1])
def test_with_nobody_there_the_update_is_noise_of_the_full_scale(units):
    hidden = {"clip": Decimal("0.0001"), "grid": 1 << 24}  # one unit is far below the noise
    agreed = recipe(**hidden) if units else recipe()
    drawn = steps_of(update_of(made_rows(units), agreed), agreed)
    variance = float(np.mean(drawn**2))
    spread = np.sqrt(2.0 / len(drawn))
    assert abs(variance / agreed.noise_scale**2 - 1) < 6 * spread
    for wrong in (0.7, 1.3):
        assert abs(variance / (agreed.noise_scale * wrong) ** 2 - 1) > 6 * spread


def test_a_step_that_draws_nobody_still_answers():
    agreed, nobody = recipe(sampling_rate=Decimal("1e-9")), made_rows(3)
    update = update_of(nobody, agreed)
    assert np.isfinite(update.vector).all()


def test_the_same_order_twice_shares_no_noise():
    agreed, rows = recipe(sampling_rate=Decimal(1)), made_rows()
    first, second = (steps_of(update_of(rows, agreed), agreed) for _ in range(2))
    total = clipped_sum(MODEL, MODEL.init(7).astype(float), everybody(rows), "bce", 1.0)
    noises = [drawn - total * agreed.grid for drawn in (first, second)]
    assert abs(np.corrcoef(*noises)[0, 1]) < 6 / np.sqrt(MODEL.dimension)
    assert not np.array_equal(*noises)


def test_steps_and_rounds_share_no_noise():
    agreed, nobody = recipe(), made_rows(0)
    draws = [
        local_round(MODEL.init(7), MODEL, nobody, agreed, turn, SystemEntropy()).vector
        for turn in range(3)
    ]
    correlation = np.corrcoef(draws) - np.eye(3)
    assert np.abs(correlation).max() < 6 / np.sqrt(MODEL.dimension)


def test_global_seeds_reach_neither_noise_nor_sampling():
    import random

    import torch

    agreed, rows, seen = recipe(), made_rows(), []
    for _ in range(2):
        np.random.seed(1)
        random.seed(1)
        torch.manual_seed(1)
        seen.append(update_of(rows, agreed).vector)
    assert not np.array_equal(*seen)


def test_an_update_says_what_was_done_and_comes_from_a_round_alone():
    agreed = recipe(steps=3)
    update = update_of(made_rows(), agreed)
    assert update.event == Repeated(SampledGaussian("0.5", "1.5"), 3) == agreed.event()
    assert update.vector.dtype == np.float32 and update.vector.shape == (MODEL.dimension,)
    with pytest.raises(TypeError):
        PrivateUpdate(update.vector, update.event)


@pytest.mark.slow
def test_the_worst_customer_moves_a_step_by_no_more_than_its_price():
    """Replays the real step with and without K equal rows of one customer against the batch.

    The score is the projection on the customer's own direction: two normal distributions one
    shift apart.  Shift over deviation must not exceed 1/z, and noise of .7 σ would.
    """
    agreed = recipe(sampling_rate=Decimal(1), noise_multiplier=Decimal("0.25"), loss="mse")
    weights = np.random.default_rng(3).normal(size=MODEL.dimension) * 0.3
    rows = made_rows(20, 1)
    rows.features[-1] = 3.0
    rows.targets[-1] = -1e4
    with_them, without = everybody(rows), everybody(rows, but_last=True)
    direction = clipped_sum(MODEL, weights, with_them, "mse", 1.0) - clipped_sum(
        MODEL, weights, without, "mse", 1.0
    )
    assert abs(np.linalg.norm(direction) - 1.0) < 1e-6  # clipped to C, and all of it arrives
    direction /= np.linalg.norm(direction)
    entropy = SystemEntropy()
    scores = [
        [noised_sum(agreed, weights, batch, entropy) @ direction for _ in range(300)]
        for batch in (with_them, without)
    ]
    shift = abs(np.mean(scores[0]) - np.mean(scores[1]))
    deviation = np.sqrt((np.var(scores[0]) + np.var(scores[1])) / 2)
    claimed = 1.0 / float(agreed.noise_multiplier)
    assert shift / deviation < claimed * 1.2
    assert shift / (0.7 * deviation) > claimed * 1.2


@pytest.mark.parametrize(
    ("rows", "changes"),
    [
        (made_rows(), {"model": ModelSpec((11, 1))}),
        (made_rows(rows=5), {}),
    ],
    ids=["other features", "more rows than agreed"],
)
def test_rows_that_are_not_the_recipes_are_refused(rows, changes):
    agreed = recipe(**changes)
    with pytest.raises(TrainingDataError):
        update_of(rows, agreed)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 2.0**20 * 1.01, -(2.0**60)])
def test_a_letter_with_impossible_weights_is_refused_whatever_the_rows(value):
    agreed = recipe()
    weights = agreed.model.init(7)
    weights[3] = value
    for units in (0, 40):
        with pytest.raises(TrainingDataError, match="weights"):
            local_round(weights, MODEL, made_rows(units), agreed, 0, SystemEntropy())


def test_steps_that_blow_up_still_answer_with_numbers():
    agreed = recipe(learning_rate=Decimal(1_000_000), steps=4, expected_units=1)
    assert np.isfinite(update_of(made_rows(), agreed).vector).all()


def everybody(rows: UnitRows, but_last: bool = False) -> Batch:
    return batch_of(rows, np.arange(len(rows) - but_last))


def test_a_pull_back_to_the_start_shortens_what_steps_do():
    """FedProx: μ(w - w₀) is added to each step's gradient; public numbers, so that it is free."""
    from clients.training.plain import plain_round

    agreed = recipe(steps=20, learning_rate=Decimal("0.1"))
    rows, start = made_rows(), np.zeros(agreed.model.dimension, np.float32)
    free = plain_round(start, rows, agreed, 0)
    held = plain_round(start, rows, replace(agreed, proximal=Decimal(5)), 0)
    assert np.linalg.norm(held) < 0.9 * np.linalg.norm(free)
    once = replace(agreed, steps=1)  # the first step starts where it is pulled to
    np.testing.assert_array_equal(
        plain_round(start, rows, once, 0),
        plain_round(start, rows, replace(once, proximal=Decimal(5)), 0),
    )
    strong = replace(agreed, proximal=Decimal(300), learning_rate=Decimal("0.001"))
    private = local_round(start, agreed.model, rows, strong, 0, SystemEntropy()).vector
    weak = replace(agreed, learning_rate=Decimal("0.001"))
    loose = local_round(start, agreed.model, rows, weak, 0, SystemEntropy()).vector
    assert np.linalg.norm(private) < np.linalg.norm(loose)
