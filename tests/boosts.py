"""Boosting recipes and made-up rows, for tests."""

from dataclasses import replace
from decimal import Decimal

import numpy as np

from clients.training.gradients import Batch
from clients.training.histograms import histogram_blocks, unit_vectors
from clients.training.private_sgd import clipped
from federation import ensembles
from federation.boosting import Boosting
from federation.boosting_steps import advance
from federation.partitions import Effect
from secure_compute import fixedpoint

GRID = 1 << 16

RECIPE = Boosting(
    inputs=3,
    effects=(
        Effect(0, (Decimal("-0.5"), Decimal("0.5")), 1),
        Effect(1, (Decimal("0.25"),), 0, Decimal("0.5")),
        Effect(2, tuple(Decimal(edge) for edge in (-1, 0, 1, 2)), 2),
    ),
    loss="bce",
    start=Decimal(-1),
    effect_rounds=3,
    clip=Decimal("1.5"),
    bend=Decimal(2),
    rate=Decimal("0.3"),
    momentum=Decimal("0.5"),
    spread=Decimal(1),
    reach=Decimal("0.6"),
    limit=Decimal(1),
    tree_rounds=2,
    trees=3,
    depth=2,
    tree_clip=Decimal(2),
    tree_rate=Decimal("0.25"),
    tree_spread=Decimal("0.5"),
)


def trained_weights(recipe: Boosting, seed: int) -> np.ndarray:
    """Return a model that no data made: every number of it at random."""
    drawn = np.random.default_rng(seed).normal(size=ensembles.size(recipe))
    return drawn.astype(np.float32)


def rounded_sum(recipe: Boosting, number: int, weights, batch: Batch) -> np.ndarray:
    """Return what a node would sum: each unit clipped to 1 and rounded by itself, [d] int64."""
    total = np.zeros(ensembles.dimension(recipe, 1, number), np.int64)
    with np.errstate(all="ignore"):
        for block in histogram_blocks(recipe, batch):
            parts = clipped(unit_vectors(recipe, 1, number, weights, block), 1.0)
            total += fixedpoint.encode(parts, GRID).sum(1, dtype=np.int64)
    return total


def trained(recipe: Boosting, batch: Batch, noise: float, seed: int) -> np.ndarray:
    """Return the model after all rounds of clipped, rounded and noised sums."""
    generator, weights = np.random.default_rng(seed), ensembles.start(recipe)
    for number in range(recipe.rounds):
        total = rounded_sum(recipe, number, weights, batch) / GRID
        total += noise * generator.normal(size=total.shape)
        weights = advance(recipe, 1, number, weights, total, noise)
    return weights


def without_trees(recipe: Boosting) -> Boosting:
    return replace(recipe, tree_rounds=0)
