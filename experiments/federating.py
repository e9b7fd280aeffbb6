"""A whole training run in one process: the recipe's own rounds over rows that the caller owns."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from decimal import Decimal
from types import MappingProxyType
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

Louder: TypeAlias = Mapping[Any, int]


def federate(
    task: TrainingTask,
    rows: Mapping[Any, UnitRows],
    *,
    private: bool,
    tell: Tell = lambda *_: None,
    louder: Louder = MappingProxyType({}),
    noised: bool = True,
) -> Vector:
    """Return the weights that the parties come to, [d] float32.

    Without `private` the same rounds run without sampling, clipping, masks and noise.

    louder: by what parties multiply what they send, after it was clipped. No node's software does.
    noised: False for sums that are clipped and rounded, and neither masked nor noised: a study's.
    """
    recipe = for_nodes(task, len(rows)).recipe if private else task.recipe
    if isinstance(recipe, SumRecipe):
        # Whoever owns all rows measures the model on what it likes.
        recipe = replace(recipe, holdout=Decimal(0), evaluation=None)
        return _summed(recipe, task.seed, rows, tell, louder, private=private, noised=noised)
    return _averaged(recipe, task.seed, rows, tell, louder, private=private)


def _averaged(
    recipe: Recipe,
    seed: int,
    rows: Mapping[Any, UnitRows],
    tell: Tell,
    louder: Louder,
    *,
    private: bool,
) -> Vector:
    from clients.training.fedavg import local_round
    from clients.training.plain import plain_round

    progress, entropy = Progress.start(recipe, seed), SystemEntropy()
    for number in range(recipe.rounds):
        updates = [
            louder.get(party, 1)
            * (
                local_round(progress.weights, recipe.model, part, recipe, number, entropy).vector
                if private
                else plain_round(progress.weights, part, recipe, number)
            )
            for party, part in rows.items()
        ]
        progress = progress.advance(recipe, updates)
        tell(number + 1, recipe.rounds)
    return progress.weights


def _summed(
    recipe: SumRecipe,
    seed: int,
    rows: Mapping[Any, UnitRows],
    tell: Tell,
    louder: Louder,
    *,
    private: bool,
    noised: bool,
) -> Vector:
    from clients.training.plain import plain_sum
    from clients.training.sums import round_sum

    method, entropy = recipe.method, SystemEntropy()
    state = method.start(seed)
    circle = Circle(tuple(rows), entropy) if private and noised else None
    for number in range(recipe.rounds):
        parts: dict[Any, Any] = {
            party: louder.get(party, 1)
            * (
                round_sum(state.weights, part, recipe, number, entropy).values
                if private
                else plain_sum(state.weights, part, recipe, number)
            )
            for party, part in rows.items()
        }
        if circle is None:
            total, noise = np.sum([*parts.values()], axis=0) / (recipe.grid if private else 1), 0.0
        else:
            total, noise = circle.sum(recipe, number, parts)
        state = method.advance(state, number, total, noise)
        tell(number + 1, recipe.rounds)
    return state.weights
