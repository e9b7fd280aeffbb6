"""A whole training run in one process: the recipe's own rounds over rows that the caller owns."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from decimal import Decimal
from functools import partial
from types import MappingProxyType
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from clients.training.sampling import UnitRows
from experiments.circle import Circle
from experiments.engines import Ask, Engine, Vectors, in_process
from experiments.ordering import for_nodes
from federation.groups import Total, divide
from federation.models import Vector
from federation.recipes import Progress, Recipe
from federation.secure_sums import made_of
from federation.sum_recipes import SumRecipe
from federation.sum_states import Array
from federation.tasks import AnyRecipe, TrainingTask
from secure_compute.entropy import SystemEntropy
from secure_compute.primitives.seed_stream import SEED_SIZE

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
    engine: Engine = in_process,
) -> Vector:
    """Return the weights that the parties come to, [d] float32.

    Without `private` the same rounds run without sampling, clipping, masks and noise.

    louder: by what parties multiply what they send, after it was clipped. No node's software does.
    noised: False for sums that are clipped and rounded, and neither masked nor noised: a study's.
    engine: where the parties' parts are made.
    """
    grouped = isinstance(task.recipe, SumRecipe) and task.recipe.groups > 1
    recipe = for_nodes(task, len(rows)).recipe if private or grouped else task.recipe
    if isinstance(recipe, SumRecipe):
        # Whoever owns all rows measures the model on what it likes.
        recipe = replace(recipe, holdout=Decimal(0), evaluation=None)
        circle = Circle(tuple(rows), SystemEntropy()) if private and noised else None
        run = partial(_summed, recipe, task.seed, circle, tell, rounded=private)
    else:
        run = partial(_averaged, recipe, task.seed, tell)
    return engine(
        partial(_part, recipe, private), rows, lambda ask: run(partial(_louder, ask, louder))
    )


def _part(
    recipe: AnyRecipe, private: bool, weights: Vector, rows: UnitRows, number: int
) -> NDArray[Any]:
    """Return what one party sends in a round, before it is masked."""
    from clients.training.fedavg import local_round
    from clients.training.plain import plain_round, plain_sum
    from clients.training.sums import round_sum

    entropy = SystemEntropy()
    if isinstance(recipe, SumRecipe):
        if private:
            return round_sum(weights, rows, recipe, number, entropy).values
        return plain_sum(weights, rows, recipe, number)
    if private:
        return local_round(weights, recipe.model, rows, recipe, number, entropy).vector
    return plain_round(weights, rows, recipe, number)


def _louder(ask: Ask, louder: Louder, weights: Vector, number: int) -> Vectors:
    """Return all parts, those of louder parties multiplied."""
    found = ask(weights, number)
    return {party: louder.get(party, 1) * vector for party, vector in found.items()}


def _averaged(recipe: Recipe, seed: int, tell: Tell, ask: Ask) -> Vector:
    progress = Progress.start(recipe, seed)
    for number in range(recipe.rounds):
        updates = ask(progress.weights, number)
        progress = progress.advance(recipe, [*updates.values()])
        tell(number + 1, recipe.rounds)
    return progress.weights


def _summed(
    recipe: SumRecipe, seed: int, circle: Circle | None, tell: Tell, ask: Ask, *, rounded: bool
) -> Vector:
    method = recipe.method
    state = method.start(seed)
    for number in range(recipe.rounds):
        parts = ask(state.weights, number)
        if circle is None:
            total, noise = _bare(recipe, number, parts, recipe.grid if rounded else 1), 0.0
        else:
            total, noise = circle.sum(recipe, number, parts)
        state = method.advance(state, number, total, noise)
        tell(number + 1, recipe.rounds)
    return state.weights


def _bare(recipe: SumRecipe, number: int, parts: Mapping[Any, Any], grid: int) -> Array:
    """Return what a round comes to without masks and noise; its groups are drawn by nobody else."""
    drawn = SystemEntropy().bytes(SEED_SIZE).hex()
    division = divide([*parts], recipe.sums(number), drawn)
    sums = [np.sum([parts[party] for party in group], axis=0) / grid for group in division]
    totals = [Total(one, 0.0, len(group)) for one, group in zip(sums, division, strict=True)]
    return made_of(recipe, number, totals).values
