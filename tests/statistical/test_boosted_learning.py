"""Boosting learns what it should from noised sums, and nothing from noise alone."""

from dataclasses import replace
from decimal import Decimal
from itertools import pairwise

import numpy as np
from sklearn.metrics import average_precision_score, roc_auc_score

from clients.training.gradients import Batch
from federation import ensembles
from federation.boosting_steps import advance
from policies.budget import accountant
from tests.boosts import GRID, RECIPE, rounded_sum, trained, without_trees
from tests.steps import batch as made_batch

UNITS = 4000
FRAUD = replace(RECIPE, start=Decimal(-3), effect_rounds=6)


def rows(seed: int, logit) -> Batch:
    """Return units of up to 3 rows whose targets follow `logit` of the row [.., 3]."""
    generator = np.random.default_rng(seed)
    features = generator.normal(size=(UNITS, 3, 3))
    if logit is crossed:  # both sides as likely
        features[..., :2] = generator.integers(0, 2, (UNITS, 3, 2))
    targets = generator.random((UNITS, 3)) < 1 / (1 + np.exp(-logit(features)))
    present = generator.random((UNITS, 3)) < 0.6
    return made_batch(features, targets, present)


def additive(features):
    return -4.5 + 2.0 * (features[..., 0] > 0.5) + 2.0 * (features[..., 2] > 1)


def crossed(features):
    """Both 0, or both 1: neither feature says anything by itself."""
    same = features[..., 0] == features[..., 1]
    return -4.0 + 3.0 * same


def multiplier(rounds: int) -> float:
    """Return the noise of a sum at epsilon 2 whose eight nodes tolerate one colluder."""
    return accountant.calibrate(1.0, rounds, 2.0, 1e-6) * (8 / 7) ** 0.5


def precision(recipe, weights, test: Batch) -> tuple[float, float]:
    """Return the average precision on `test`, and that of a model that knows nothing."""
    features, truth = test.features.reshape(-1, 3), test.targets.ravel()
    scores = ensembles.predict(recipe, 1, weights, features)
    return float(average_precision_score(truth, scores)), float(truth.mean())


def test_a_private_model_knows_what_features_say():
    recipe, test = without_trees(FRAUD), rows(9, additive)
    best = float(average_precision_score(test.targets.ravel(), additive(test.features).ravel()))
    for seed in range(3):
        weights = trained(recipe, rows(seed, additive), multiplier(recipe.rounds), seed)
        found, nothing = precision(recipe, weights, test)
        assert found > nothing + 0.7 * (best - nothing)


def test_shape_functions_are_the_ones_that_made_the_data():
    recipe = without_trees(FRAUD)
    weights = trained(recipe, rows(1, additive), multiplier(recipe.rounds), 1)
    first, second, third = ensembles.shapes(recipe, weights)
    assert max(first, key=height).low == 0.5 and height(max(first, key=height)) > 0.5
    assert max(third, key=height).low in {1.0, 2.0} and height(max(third, key=height)) > 0.5
    assert max(abs(step.adds) for step in second) < 0.5


def height(step: ensembles.Shape) -> float:
    return step.adds


def test_trees_know_what_no_feature_says_by_itself():
    test, train = rows(9, crossed), rows(2, crossed)
    alone = without_trees(FRAUD)
    assert area(alone, trained(alone, train, 0.0, 1), test) < 0.6
    deep = replace(FRAUD, tree_rounds=6, trees=6, tree_rate=Decimal("0.5"), tree_spread=Decimal(2))
    assert area(deep, trained(deep, train, 0.0, 1), test) > 0.7


def area(recipe, weights, test: Batch) -> float:
    scores = ensembles.predict(recipe, 1, weights, test.features.reshape(-1, 3))
    return float(roc_auc_score(test.targets.ravel(), scores))


def test_without_noise_every_round_makes_the_loss_smaller():
    recipe, train = replace(FRAUD, tree_rounds=4), rows(3, additive)
    weights, losses = ensembles.start(recipe), []
    for number in range(recipe.rounds):
        losses.append(loss(recipe, weights, train))
        total = rounded_sum(recipe, number, weights, train) / GRID
        weights = advance(recipe, 1, number, weights, total, 0.0)
    losses.append(loss(recipe, weights, train))
    assert all(later < earlier for earlier, later in pairwise(losses))


def test_noise_alone_makes_no_model():
    """A cohort without rows: steps do not take noise in the bends for many rows."""
    recipe = without_trees(FRAUD)
    nobody = made_batch(np.zeros((1, 1, 3)), np.zeros((1, 1)), np.zeros((1, 1)))
    highest = []
    for seed in range(20):
        weights = trained(recipe, nobody, 30 * multiplier(recipe.rounds), seed)
        highest.append(max(np.abs(part).max() for part in ensembles.split(recipe, weights).values))
    assert np.mean(highest) < 0.5


def test_squared_loss_finds_the_steps_of_a_forecast():
    recipe = replace(
        without_trees(RECIPE), loss="mse", start=Decimal(0), bend=Decimal(1), effect_rounds=12
    )
    generator = np.random.default_rng(5)
    features = generator.normal(size=(UNITS, 1, 3))
    wanted = 0.5 * (features[..., 0] > 0.5) - 0.4 * (features[..., 2] > 1)
    targets = wanted + 0.2 * generator.normal(size=wanted.shape)
    batch = made_batch(features, targets, np.ones((UNITS, 1)))
    for noise in (0.0, multiplier(recipe.rounds)):
        weights = trained(recipe, batch, noise, 1)
        error = ensembles.predict(recipe, 1, weights, features[:, 0]) - wanted[:, 0]
        assert np.sqrt(np.mean(error**2)) < 0.1


def loss(recipe, weights, batch: Batch) -> float:
    scores = ensembles.scores(recipe, 1, weights, np.moveaxis(batch.features, -1, 0))
    each = np.logaddexp(0.0, scores) - batch.targets * scores
    return float(each[batch.present].sum())
