"""A boosted model as agreed values: partitions of the rows, and one flat vector of numbers.

numpy alone, and every operation works row by row, so that a node computes the score of a row
without any other row having a say in it. The vector is float32 and travels as weights do:

    intercept (1) · values · velocity · bends (each: all cells of all effects) · leaves of all trees

Velocity and bends are what `boosting_steps` remembers of earlier sums; like all of the vector
they are public.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from federation.boosting import Boosting
from federation.errors import MalformedOrderError
from federation.models import Vector
from federation.partitions import Partition, drawn


@dataclass(frozen=True, slots=True, eq=False)
class Ensemble:
    """The flat vector in its parts; they are views, so that what is written there stays.

    intercept: [1].  values, velocity, bends: one array [cells] for each effect.
    leaves:    [tree_rounds, trees, 2^depth]; 0 for rounds to come.
    """

    intercept: Vector
    values: list[Vector]
    velocity: list[Vector]
    bends: list[Vector]
    leaves: Vector


def start(recipe: Boosting) -> Vector:
    """Return the model before the first round: it gives every row the same score."""
    weights = np.zeros(size(recipe), np.float32)
    weights[0] = float(recipe.start)
    return weights


def size(recipe: Boosting) -> int:
    """Return the length of the flat vector."""
    cells = sum(effect.cells for effect in recipe.effects)
    return 1 + 3 * cells + math.prod(_leaves(recipe))


def split(recipe: Boosting, weights: Vector) -> Ensemble:
    """Return the parts of `weights`.

    Raises:
        MalformedOrderError: `weights` is not of this recipe.
    """
    if weights.shape != (size(recipe),):
        raise MalformedOrderError(
            f"The weights have shape {weights.shape}, this model needs ({size(recipe)},): "
            "use the model file of this order's version."
        )
    ends = np.cumsum([1, *[effect.cells for effect in recipe.effects] * 3])
    intercept, *cells, leaves = np.split(weights, ends)
    many = len(recipe.effects)
    values, velocity, bends = cells[:many], cells[many : 2 * many], cells[2 * many :]
    return Ensemble(intercept, values, velocity, bends, leaves.reshape(_leaves(recipe)))


def partitions(recipe: Boosting, seed: int, number: int) -> Sequence[Partition]:
    """Return what round `number` (from 0) tells of; trees follow from the order's public seed."""
    if number < recipe.effect_rounds:
        return recipe.effects
    return [
        drawn(recipe.effects, recipe.depth, f"{seed}/{number}/{tree}")
        for tree in range(recipe.trees)
    ]


def dimension(recipe: Boosting, seed: int, number: int) -> int:
    """Return the length of a unit's vector in round `number`."""
    return 2 * (1 + sum(part.cells - 1 for part in partitions(recipe, seed, number)))


def scores(
    recipe: Boosting, seed: int, weights: Vector, features: NDArray[np.floating[Any]]
) -> NDArray[np.float64]:
    """Return the model's raw output for each row of `features` [inputs, ...], [...] float64.

    For a classifier this is the logit.
    """
    model = split(recipe, weights)
    total = np.full(features.shape[1:], model.intercept[0], np.float64)
    for part, values in _terms(recipe, seed, model):
        total += values.astype(np.float64)[part.place(features)]
    return total


def predict(
    recipe: Boosting, seed: int, weights: Vector, features: NDArray[np.floating[Any]]
) -> NDArray[np.float64]:
    """Return the raw output for each row of `features` [n, inputs], as `models.forward` does."""
    return scores(recipe, seed, weights, features.T)


@dataclass(frozen=True, slots=True)
class Shape:
    """One step of a shape function: what a feature in [low, high) adds, against its rest."""

    feature: int
    low: float
    high: float
    adds: float


def shapes(recipe: Boosting, weights: Vector) -> list[list[Shape]]:
    """Return each effect as a table for a plot, lowest cell first; the rest adds 0.

    Ends are infinite where no edge is. What trees add is in no table.
    """
    tables = []
    for effect, values in zip(recipe.effects, split(recipe, weights).values, strict=True):
        edges = [-math.inf, *map(float, effect.edges), math.inf]
        ends = zip(edges, edges[1:], values.tolist(), strict=False)
        tables.append([Shape(effect.feature, *step) for step in ends])
    return tables


def to_bytes(weights: Vector) -> bytes:
    """Return the model as little-endian float32, the form in which it travels."""
    return weights.astype("<f4").tobytes()


def from_bytes(recipe: Boosting, data: bytes) -> Vector:
    """Return the model that `data` holds.

    Raises:
        MalformedOrderError: it is not of this recipe, or holds what is no finite number.
    """
    if len(data) != 4 * size(recipe):
        raise MalformedOrderError(f"The model has {len(data)} bytes, not {4 * size(recipe)}.")
    weights = np.frombuffer(data, "<f4").astype(np.float32)
    if not np.isfinite(weights).all():
        raise MalformedOrderError("The model holds what is no finite number.")
    return weights


def _terms(recipe: Boosting, seed: int, model: Ensemble) -> Iterator[tuple[Partition, Vector]]:
    """Yield every partition of the model with what its cells add."""
    yield from zip(recipe.effects, model.values, strict=True)
    for later, leaves in enumerate(model.leaves):
        if leaves.any():
            trees = partitions(recipe, seed, recipe.effect_rounds + later)
            yield from zip(trees, leaves, strict=True)


def _leaves(recipe: Boosting) -> tuple[int, int, int]:
    return recipe.tree_rounds, recipe.trees, 1 << recipe.depth
