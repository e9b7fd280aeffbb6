"""Boosted models are measured like all others: by one more sum over units that were held out."""

from dataclasses import replace
from decimal import Decimal

import numpy as np
import pytest

from clients.training.evaluating import forecast_units
from clients.training.gradients import Batch
from clients.training.sampling import UnitRows
from clients.training.sums import features_in, rounded_sum
from experiments.settings import compose
from federation import ensembles
from federation.boosted import Boosted
from federation.evaluation import ForecastSums, ScoreSums
from federation.readings import read
from federation.sum_recipes import SumRecipe
from tests import boosts
from tests.scored import IDENTITY, ITSELF, vectors

SCORES = ScoreSums(8, 2)
SEED = 1


def boosted(**changes) -> SumRecipe:
    method = Boosted(boosting=changes.pop("boosting", boosts.RECIPE), seed=SEED)
    recipe = compose(["experiment=fraud_boosted", "model.holdout=0.2"]).task.recipe
    return replace(recipe, method=method, rows_per_unit=8, evaluation=SCORES, **changes)


def made(seed: int, units: int = 40) -> Batch:
    draw = np.random.default_rng(seed)
    present = np.arange(8) < draw.integers(1, 9, (units, 1))
    targets = ((draw.random((units, 8)) < 0.1) & present).astype(np.float64)
    return Batch(draw.normal(size=(units, 8, 3)) * present[..., None], targets, present)


def test_a_sum_measures_what_the_ensemble_predicts():
    recipe, batch = boosted(), made(1)
    weights = boosts.trained_weights(boosts.RECIPE, 2)
    predicted = recipe.predict(weights, batch.features.reshape(-1, 3)).reshape(40, 8, 1)
    agreed = vectors(SCORES, Batch(predicted, batch.targets, batch.present), IDENTITY, ITSELF)
    found = rounded_sum(recipe, recipe.rounds - 1, weights.astype(np.float64), batch)
    norms = np.maximum(1.0, np.linalg.norm(agreed, axis=1, keepdims=True))
    assert np.ptp(predicted) > 1
    np.testing.assert_allclose(found / recipe.grid, (agreed / norms).sum(0), atol=40 / recipe.grid)


def test_before_the_last_round_it_trains():
    recipe, batch = boosted(), made(2)
    weights = boosts.trained_weights(boosts.RECIPE, 3)
    bare = replace(recipe, holdout=Decimal(0), evaluation=None)
    for number in range(bare.rounds):
        one, other = (
            rounded_sum(some, number, weights.astype(np.float64), batch) for some in (recipe, bare)
        )
        assert not recipe.evaluates(number) and np.array_equal(one, other)
    assert recipe.rounds == bare.rounds + 1 and recipe.evaluates(bare.rounds)


def test_nobody_reads_another_unit():
    recipe, batch = boosted(), made(3)
    weights = boosts.trained_weights(boosts.RECIPE, 4).astype(np.float64)
    whole = rounded_sum(recipe, recipe.rounds - 1, weights, batch)
    alone = sum(
        rounded_sum(
            recipe,
            recipe.rounds - 1,
            weights,
            Batch(batch.features[[u]], batch.targets[[u]], batch.present[[u]]),
        )
        for u in range(40)
    )
    assert np.array_equal(whole, alone)


def test_forecasts_are_measured_without_the_two_further_features():
    boosting = replace(boosts.RECIPE, loss="mse", start=Decimal(0))
    spec = ForecastSums(8, Decimal(1000), Decimal(1000))
    recipe = replace(boosted(), window=5, method=Boosted(boosting=boosting, seed=SEED),
                     evaluation=spec)  # fmt: skip
    last, draw, batch = recipe.rounds - 1, np.random.default_rng(5), made(5)
    assert features_in(recipe, last) == features_in(recipe, 0) + 2 == 5
    base, naive = draw.uniform(3, 5, (40, 8)), draw.uniform(20, 150, (40, 8))
    rows = UnitRows(batch.features.astype(np.float32), batch.targets.astype(np.float32),
                    batch.present, np.zeros(40, np.int64))  # fmt: skip
    told = forecast_units(rows, base, naive)
    weights = boosts.trained_weights(boosting, 6).astype(np.float64) / 8
    given = Batch(told.features.astype(float), told.targets.astype(float), told.present)
    report = read(spec, rounded_sum(recipe, last, weights, given) / recipe.grid, 0.0)
    says = ensembles.predict(
        boosting, SEED, weights.astype(np.float32), told.features[..., :3].reshape(-1, 3)
    )
    actual = np.expm1(told.targets + told.features[..., 3])[told.present]
    guess = np.expm1(says.reshape(40, 8) + told.features[..., 3])[told.present]
    expected = np.abs(actual - guess).sum() / actual.sum()
    assert report.wape.value == pytest.approx(expected, rel=1e-2)


def test_the_configured_recipes_are_measured_and_gated():
    fraud = compose(["experiment=fraud_boosted", "model.holdout=0.2", "model.floor=0.1"]).task
    demand = compose(["experiment=demand_boosted", "model.holdout=0.2"]).task
    assert fraud.floor == Decimal("0.1") and isinstance(fraud.recipe.evaluation, ScoreSums)
    assert isinstance(demand.recipe.evaluation, ForecastSums)
    for task in (fraud, demand):
        plain = compose([f"experiment={task.model}_boosted"]).task.recipe
        assert task.recipe.rounds == plain.rounds + 1
        assert type(task.recipe).from_json(task.recipe.to_json()) == task.recipe
