"""One private step: clip each unit's gradient, round it to the grid, add up, add exact noise.

From the weights to integers every unit is by itself (`gradients.py`), and integers add up
exactly, whatever their order and number. So one unit added or removed moves the sum by its own
rounded contribution and by nothing else, for any finite weights, any activation and any rows.
No batch is too large and no sum too big: nothing in the rows can make a step fail.

Models with a hidden layer go by `ghost.py`, which has the same guarantee and matrix products. Lane
by lane is the way of linear models, whose gradients are as short as their rows, and what
`ghost.py` is compared with.
"""

import numpy as np
from numpy.typing import NDArray

from clients.training import ghost
from clients.training.gradients import Array, Batch, blocks, fold, unit_gradients
from federation.recipes import Recipe
from secure_compute import fixedpoint, noise
from secure_compute.entropy import Entropy


def noised_sum(recipe: Recipe, weights: Array, batch: Batch, entropy: Entropy) -> Array:
    """Return the clipped gradient sum plus discrete Gaussian noise, [d] float64.

    The noise scale is the recipe's z times its integer sensitivity, whatever the batch
    holds: an empty batch returns noise alone.
    """
    hidden = len(recipe.model.layers) > 2
    exact = (ghost.rounded_sum if hidden else rounded_sum)(recipe, weights, batch)
    drawn = noise.discrete_gaussian(recipe.noise_scale, len(exact), entropy)
    return fixedpoint.decode(exact + drawn, recipe.grid)


def ready(recipe: Recipe) -> None:
    """Compile what the recipe's steps run, or find it compiled: rows that wait need not."""
    if len(recipe.model.layers) > 2:
        row, there = np.zeros((1, 1, recipe.model.inputs)), np.ones((1, 1), bool)
        nobody = Batch(row, np.zeros((1, 1)), there)
        ghost.rounded_sum(recipe, np.zeros(recipe.model.dimension), nobody)


def rounded_sum(recipe: Recipe, weights: Array, batch: Batch) -> NDArray[np.int64]:
    """Return the sum of the units' clipped gradients, each rounded to the grid, [d] int64.

    Lane by lane.  A unit adds at most `recipe.sensitivity` in L2.  Sums beyond 64 bits wrap:
    modulo 2^64 the noised sum is a function of the noised sum without bound, so that costs nothing.
    """
    total = np.zeros(recipe.model.dimension, np.int64)
    with np.errstate(all="ignore"):
        for block in blocks(batch, recipe.model.dimension, max(recipe.model.layers)):
            gradients = unit_gradients(recipe.model, weights, block, recipe.loss)
            parts = fixedpoint.encode(clipped(gradients, float(recipe.clip)), recipe.grid)
            total += parts.sum(1, dtype=np.int64)
    return total


def clipped(gradients: Array, clip: float) -> Array:
    """Return each column of `gradients` [d, L], scaled to L2 norm <= clip · (1 + 2^-40).

    A column whose norm is not finite becomes 0; no column reads another.
    """
    norms = np.sqrt(fold(np.square(gradients)))
    sound = np.isfinite(norms)
    factors = np.minimum(clip / norms, 1.0)  # a norm of 0 gives an infinity, so 1
    return np.where(sound, gradients * factors, 0.0)
