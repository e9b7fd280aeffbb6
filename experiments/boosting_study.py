"""Private boosting beside the best that anybody does with all rows and no privacy.

It generates commerce, one world for each seed, and says how good both are on the orders after the
cut; `entrepot bench learning` shows it. The noise is Gaussian of the variance that n nodes leave
who tolerate c colluders, and comes from a seed: it measures what noise costs and protects nobody.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

import numpy as np

from clients.training.gradients import Batch, Block
from clients.training.histograms import histogram_blocks, unit_vectors
from clients.training.private_sgd import clipped
from clients.training.sampling import UnitRows
from experiments.errors import UsageError
from experiments.fraud_data import FraudSplit, mean_precision, pooled_train
from experiments.learning_ratios import ratio
from experiments.learning_sets import LearningSet, make_set
from experiments.ordering import for_nodes
from experiments.settings import compose
from federation import ensembles
from federation.boosted import Boosted
from federation.boosting import Boosting
from federation.boosting_steps import advance
from federation.models import Vector
from federation.sum_recipes import SumRecipe

WORLDS: Final = (301, 302, 303, 304, 305)
"""Seeds of worlds that no number of the recipe was chosen on."""

DRAWS: Final = 4
"""Noise seeds in each world."""


def recipe_for(nodes: int) -> SumRecipe:
    """Return the configured recipe, whose price and noise are those of a run among `nodes`."""
    recipe = for_nodes(compose(["experiment=fraud_boosted"]).task, nodes).recipe
    if not isinstance(recipe, SumRecipe) or not isinstance(recipe.method, Boosted):
        raise UsageError("this study is of boosting by secure sums")
    return recipe


def deviation(recipe: SumRecipe) -> float:
    """Return the standard deviation of the noise when nobody is lost; a unit adds at most 1."""
    left = recipe.shares(recipe.parameters(recipe.nodes)).left(0)
    return float(np.sqrt(float(left))) / recipe.grid


def boosted(recipe: Boosting, parties: Sequence[UnitRows], deviation: float, seed: int) -> Vector:
    """Return the model after all rounds over the units of all parties.

    seed: of the trees, and of noise that protects nobody. Without noise nothing is clipped either.
    """
    generator = np.random.default_rng(seed)
    weights, blocks = ensembles.start(recipe), [*_blocks(recipe, parties)]
    for number in range(recipe.rounds):
        total = np.zeros(ensembles.dimension(recipe, seed, number))
        for block in blocks:
            vectors = unit_vectors(recipe, seed, number, weights, block)
            with np.errstate(divide="ignore"):
                total += (clipped(vectors, 1.0) if deviation else vectors).sum(1)
        total += deviation * generator.normal(size=len(total))
        weights = advance(recipe, seed, number, weights, total, deviation)
    return weights


def _blocks(recipe: Boosting, parties: Sequence[UnitRows]) -> Iterator[Block]:
    for rows in parties:
        features, targets = rows.features.astype(np.float64), rows.targets.astype(np.float64)
        yield from histogram_blocks(recipe, Batch(features, targets, rows.present))


def precision(recipe: Boosting, seed: int, weights: Vector, splits: Sequence[FraudSplit]) -> float:
    """Return the mean average precision of the parties' tests."""
    return mean_precision(
        splits,
        {s.party: ensembles.predict(recipe, seed, weights, s.test_features) for s in splits},
    )


def pooled_precision(splits: Sequence[FraudSplit]) -> float:
    """Return what scikit-learn makes of all rows in one place, without any privacy.

    Its numbers were the best of a short search on generated commerce of other seeds.
    """
    from sklearn.ensemble import HistGradientBoostingClassifier

    rows = pooled_train(splits)
    model = HistGradientBoostingClassifier(
        learning_rate=0.05,
        max_iter=150,
        max_leaf_nodes=8,
        l2_regularization=10.0,
        min_samples_leaf=40,
        early_stopping=False,
    ).fit(rows.features, rows.targets)
    scores = {s.party: model.decision_function(s.test_features) for s in splits}
    return mean_precision(splits, scores)


def hybrid_ratio(
    worlds: Sequence[int] = WORLDS, tell: Callable[[str], None] = lambda _: None
) -> dict[str, Any]:
    """Return private boosting over pooled scikit-learn, as a result of `bench learning`."""
    private, best, frauds = [], [], []
    for world in worlds:
        chosen = make_set("small", world)
        recipe = recipe_for(len(chosen.splits))
        scores = [_private(recipe, chosen, draw) for draw in range(DRAWS)]
        private.append(scores)
        best.append([pooled_precision(chosen.splits)] * DRAWS)
        frauds.append(float(chosen.frauds))
        tell(f"boosting, world {world}: private {np.mean(scores):.4f}, pooled {best[-1][0]:.4f}")
    found = ratio(np.array(private), np.array(best), np.array(frauds))
    return {
        "name": "hybrid_ratio_eps2",
        "value": round(found.value, 4),
        "unit": "ratio",
        "peer": "scikit-learn's HistGradientBoosting on all rows, NOT PRIVATE",
        "peer_value": round(float(np.mean(best)), 4),
        "private": round(float(np.mean(private)), 4),
        "se": None if found.seeds is None else round(found.seeds, 5),
        "se_sets": None if found.sets is None else round(found.sets, 5),
        "test_frauds": int(sum(frauds)),
    }


def _private(recipe: SumRecipe, chosen: LearningSet, draw: int) -> float:
    method, rows = recipe.method, chosen.rows["customer"]
    if not isinstance(method, Boosted):
        raise UsageError("this study is of boosting by secure sums")
    seed = chosen.seed * DRAWS + draw
    weights = boosted(method.boosting, rows, deviation(recipe), seed)
    return precision(method.boosting, seed, weights, chosen.splits)
