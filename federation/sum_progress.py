"""A run by secure sums as arithmetic: from one public state and one noised sum to the next.

    moments … moments → start        gradient: v ← βv + g,  w ← w - η (M + λI)⁻¹ v

All that is read here was released, so that nothing here has a price. numpy alone.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from federation import moments
from federation.models import LARGEST_WEIGHT, Vector
from federation.sum_recipes import SumRecipe

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class SumProgress:
    """Where a run stands.

    weights:  what every node computes the next round from, [d] float32.
    velocity: [d] float64, then the moments added up so far, [moments' dimension] or none.
    """

    weights: Vector
    velocity: Array

    @classmethod
    def start(cls, recipe: SumRecipe, seed: int) -> "SumProgress":
        """Return the state before the first round; the seed is of the initial weights alone."""
        memory = recipe.model.dimension + (recipe.dimension(0) if recipe.moments else 0)
        return cls(recipe.model.init(seed), np.zeros(memory))

    def advance(
        self, recipe: SumRecipe, number: int, total: NDArray[np.floating[Any]]
    ) -> "SumProgress":
        """Return the state after round `number`, from 0, whose sum over all nodes was `total`."""
        velocity, added = np.split(self.velocity, [recipe.model.dimension])
        if recipe.stage(number) == "moments":
            added = added + total
            begins = number + 1 == recipe.moments
            weights = start_from(recipe, added) if begins else self.weights
            return SumProgress(weights, np.concatenate([velocity, added]))
        velocity = float(recipe.momentum) * velocity + float(recipe.clip) * total
        step = float(recipe.learning_rate) * _inverse(recipe, added, velocity)
        return SumProgress(_bounded(self.weights - step), np.concatenate([velocity, added]))


def start_from(recipe: SumRecipe, added: Array) -> Vector:
    """Return the weights that ridge makes of moments that were added up, [d] float32.

    Under `bce` a regression's weights have the wrong scale and the wrong bias for a logit: they are
    brought to the recipe's `start_norm`, and the bias to its `base_rate`.
    """
    _, targets = _means(recipe, added)
    weights = _inverse(recipe, added, targets)
    if recipe.loss == "bce":
        norm, chance = float(np.linalg.norm(weights[:-1])), float(recipe.base_rate)
        if recipe.start_norm:
            weights = weights * (float(recipe.start_norm) / max(norm, 1e-12))
        weights[-1] = np.log(chance / (1.0 - chance))
    return _bounded(weights)


def _inverse(recipe: SumRecipe, added: Array, vector: Array) -> Array:
    """Return (M + λI)⁻¹ · `vector`; without moments M is the expected number of units.

    M is noised, so its eigenvalues may be below 0, where they count as 0.
    """
    if not len(added):
        expected = float(recipe.expected_units) * float(recipe.sampling_rate)
        return vector / (expected + float(recipe.ridge))
    matrix, _ = _means(recipe, added)
    values, vectors = np.linalg.eigh(matrix)
    metric = np.maximum(values, 0.0) + float(recipe.ridge)
    inverse: Array = vectors @ ((vectors.T @ vector) / metric)
    return inverse


def _bounded(weights: Array) -> Vector:
    return np.clip(weights, -LARGEST_WEIGHT, LARGEST_WEIGHT).astype(np.float32)


def _means(recipe: SumRecipe, added: Array) -> tuple[Array, Array]:
    """Return the mean round's Σ x xᵀ [p, p] and Σ x y [p], p with the bias, from their sum."""
    matrix, targets = moments.unpack(added / recipe.moments, recipe.inputs + 1)
    return matrix * float(recipe.moment_clip), targets * float(recipe.target_clip)
