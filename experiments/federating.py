"""A whole training run in one process: the recipe's own rounds over rows that the caller owns."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from decimal import Decimal
from typing import Any, TypeAlias

import numpy as np

from clients.training.sampling import UnitRows
from experiments.circle import Circle
from experiments.ordering import for_nodes
from federation.models import Vector
from federation.recipes import Progress, Recipe
from federation.sum_recipes import SumRecipe
from federation.tasks import TrainingTask
from secure_compute.entropy import SystemEntropy

Tell: TypeAlias = Callable[[int, int], None]
"""Called with how many rounds are done, and of how many."""


def federate(
    task: TrainingTask,
    rows: Mapping[Any, UnitRows],
    *,
    private: bool,
    tell: Tell = lambda *_: None,
) -> Vector:
    """Return the weights that the parties come to, [d] float32.

    Without `private` the same rounds run without sampling, clipping, masks and noise.
    """
    recipe = for_nodes(task, len(rows)).recipe if private else task.recipe
    if isinstance(recipe, SumRecipe):
        # Whoever owns all rows measures the model on what it likes.
        recipe = replace(recipe, holdout=Decimal(0), evaluation=None)
        return _summed(recipe, task.seed, rows, tell, private=private)
    return _averaged(recipe, task.seed, rows, tell, private=private)


def _averaged(
    recipe: Recipe, seed: int, rows: Mapping[Any, UnitRows], tell: Tell, *, private: bool
) -> Vector:
    from clients.training.fedavg import local_round
    from clients.training.plain import plain_round

    progress, entropy = Progress.start(recipe, seed), SystemEntropy()
    for number in range(recipe.rounds):
        updates = [
            local_round(progress.weights, recipe.model, part, recipe, number, entropy).vector
            if private
            else plain_round(progress.weights, part, recipe, number)
            for part in rows.values()
        ]
        progress = progress.advance(recipe, updates)
        tell(number + 1, recipe.rounds)
    return progress.weights


def _summed(
    recipe: SumRecipe, seed: int, rows: Mapping[Any, UnitRows], tell: Tell, *, private: bool
) -> Vector:
    from clients.training.plain import plain_sum
    from clients.training.sums import round_sum

    method, entropy = recipe.method, SystemEntropy()
    state = method.start(seed)
    circle = Circle(tuple(rows), entropy) if private else None
    for number in range(recipe.rounds):
        if circle is None:
            parts = [plain_sum(state.weights, part, recipe, number) for part in rows.values()]
            total, noise = np.sum(parts, axis=0), 0.0
        else:
            total, noise = circle.sum(
                recipe,
                number,
                {
                    party: round_sum(state.weights, part, recipe, number, entropy).values
                    for party, part in rows.items()
                },
            )
        state = method.advance(state, number, total, noise)
        tell(number + 1, recipe.rounds)
    return state.weights
