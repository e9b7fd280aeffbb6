"""What one unit says in a round of boosting: a vector by itself, whoever stands beside it.

Like `gradients`: units lie side by side in lanes, every operation works lane by lane, and rows are
added up from the first to the last, so that a unit's vector has the same bits in any company. A
unit's rows enter together, and whoever clips this vector clips all that the unit says.
"""

from collections.abc import Iterator

import numpy as np

from clients.training.gradients import Array, Batch, Block, blocks, over_rows
from federation.boosting import Boosting, BoostingLoss
from federation.ensembles import partitions, scores
from federation.models import Vector, chances
from federation.partitions import told_cells


def histogram_blocks(recipe: Boosting, batch: Batch) -> Iterator[Block]:
    """Yield the units that have rows, in blocks whose shape follows from unit and recipe alone."""
    return blocks(batch, recipe.inputs + 1)


def unit_vectors(recipe: Boosting, seed: int, number: int, weights: Vector, block: Block) -> Array:
    """Return for each lane the unit's vector in round `number`, [dimension, L]; empty lanes 0.

    First the slopes, of all rows and of each told cell of each partition: how much the sum of the
    rows' losses falls per step of the score there. Then second derivatives in the same order,
    `bend` times as large. All is divided by the recipe's clip, so that a norm of 1 is that of a
    typical unit that has much to say. Nothing is clipped here.

    A lane whose numbers overflow holds infinities or NaN, and no other lane does for it.
    """
    falls, bends = _derivatives(
        scores(recipe, seed, weights, block.features), block.targets, recipe.loss
    )
    falls = np.where(block.present, falls, 0.0)
    bends = np.where(block.present, float(recipe.bend) * bends, 0.0)
    parts = [[over_rows(falls)[None]], [over_rows(bends)[None]]]
    for partition in partitions(recipe, seed, number):
        here = partition.place(block.features) == told_cells(partition)[:, None, None]
        for kind, rows in zip(parts, (falls, bends), strict=True):
            kind.append(float(partition.weight) * over_rows(np.where(here, rows, 0.0)))
    clip = recipe.clip if number < recipe.effect_rounds else recipe.tree_clip
    return np.concatenate(parts[0] + parts[1]) / float(clip)


def _derivatives(outputs: Array, targets: Array, loss: BoostingLoss) -> tuple[Array, Array]:
    """Return minus the first and the second derivative of `losses.row_losses` by the output."""
    match loss:
        case "bce":
            chance = chances(outputs)
            return targets - chance, chance * (1.0 - chance)
        case "mse":
            return targets - outputs, np.ones_like(outputs)
