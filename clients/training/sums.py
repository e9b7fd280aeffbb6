"""A node's part of a secure sum: each unit's vector, clipped to norm 1, rounded and added up.

    rows, weights → unit vectors [d, L] → clipped → integers → added up, modulo 2^64

Whatever a round adds up, this is where one unit's part is bounded, so every round of a run has one
sensitivity, `recipe.sensitivity`. Nothing here draws noise: the shares of it are added where the
sum is masked, and what this module returns never leaves the node as it is.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from clients.training import evaluating, histograms
from clients.training.fedavg import batch_of, require_weights
from clients.training.gradients import Array, Batch, Block, blocks
from clients.training.keys import unit_counts, with_rates
from clients.training.moments import unit_moments
from clients.training.private_sgd import clipped
from clients.training.sampling import UnitRows, poisson_sample, require_rows
from clients.training.scales import unit_votes
from clients.training.series import gradients_of, outputs_of
from federation import ensembles
from federation.boosted import Boosted
from federation.evaluation import ForecastSums
from federation.informed import Informed
from federation.models import Vector
from federation.scaled import Scaled
from federation.sum_recipes import Method, SumRecipe
from policies.budget.events import Event
from policies.evidence import Minted
from secure_compute import fixedpoint
from secure_compute.entropy import Entropy


@dataclass(frozen=True, slots=True, eq=False)
class ClippedSum(metaclass=Minted):
    """A sum in which each unit is bounded as `event` says; no noise is in it yet.

    values: [d] int64, in grid steps.
    """

    values: NDArray[np.int64]
    event: Event


def round_sum(
    weights: Vector, rows: UnitRows, recipe: SumRecipe, number: int, entropy: Entropy
) -> ClippedSum:
    """Return this node's part of round `number`, from 0, over units that are drawn anew.

    Raises:
        TrainingDataError: `rows` are not the recipe's, or the weights that came with the letter
            are out of range.
    """
    require_rows(rows, features_in(recipe, number), recipe.rows_per_unit)
    require_weights(weights)
    drawn = poisson_sample(rows, recipe.sampling_rate, number, entropy)
    values = rounded_sum(recipe, number, weights.astype(np.float64), batch_of(rows, drawn))
    return ClippedSum._mint(values, recipe.event())  # noqa: SLF001  the home of this evidence


def rounded_sum(recipe: SumRecipe, number: int, weights: Array, batch: Batch) -> NDArray[np.int64]:
    """Return the sum of the units' clipped vectors, each rounded to the grid, [d] int64.

    A unit adds at most `recipe.sensitivity` in L2. Sums beyond 64 bits wrap, as those beyond the
    ring do later: that costs accuracy and no privacy.
    """
    total = np.zeros(recipe.dimension(number), np.int64)
    with np.errstate(all="ignore"):
        for block in blocks(batch, recipe.dimension(number)):
            parts = clipped(unit_vectors(recipe, number, weights, block), 1.0)
            total += fixedpoint.encode(parts, recipe.grid).sum(1, dtype=np.int64)
    return total


def features_in(recipe: SumRecipe, number: int) -> int:
    """Return how many features the rows of a round have: forecasts are measured on a few more."""
    if isinstance(recipe.evaluation, ForecastSums) and recipe.evaluates(number):
        return recipe.method.inputs + evaluating.EXTRA
    return recipe.method.inputs


def unit_vectors(recipe: SumRecipe, number: int, weights: Array, block: Block) -> Array:
    """Return what each lane has to say in round `number`, not yet clipped, [d, L]."""
    if recipe.evaluation is None or not recipe.evaluates(number):
        return _method_vectors(recipe.method, number, weights, block)
    outputs = _outputs(recipe.method, weights, block)
    return evaluating.unit_vectors(recipe.evaluation, outputs, block, recipe.method.inputs)


def _outputs(method: Method, weights: Array, block: Block) -> Array:
    """Return what the model says of every row, [K, L], lane by lane; also where no row is."""
    if isinstance(method, Boosted):
        flat, features = weights.astype(np.float32), block.features[: method.inputs]
        return ensembles.scores(method.boosting, method.seed, flat, features)
    read = _as_read(method, weights, block)
    return outputs_of(method.model, weights[: method.model.dimension], read)


def _as_read(method: Method, weights: Array, block: Block) -> Block:
    """Return the block as the method's network reads it: released rates and scales applied."""
    if not isinstance(method, Informed | Scaled):
        return block
    return replace(block, features=method.read(weights, block.features))


def _method_vectors(method: Method, number: int, weights: Array, block: Block) -> Array:
    if isinstance(method, Informed | Scaled):
        return _informed_vectors(method, number, weights, block)
    if isinstance(method, Boosted):
        flat = weights.astype(np.float32)
        return histograms.unit_vectors(method.boosting, method.seed, number, flat, block)
    match method.stage(number):
        case "moments":
            return unit_moments(block, float(method.moment_clip), float(method.target_clip))
        case "gradient":
            gradients = gradients_of(method.model, weights, block, method.loss)
            return gradients / float(method.clip)


def _informed_vectors(
    method: Informed | Scaled, number: int, weights: Array, block: Block
) -> Array:
    """Return what is counted for statistics, or what is trained on those that were released."""
    then, inner = number - method.releases, weights[: method.then.size]
    match method:
        case Informed() if method.counts(number):
            return unit_counts(method, block)
        case Scaled() if method.counts(number):
            return unit_votes(method, block)
        case Informed():
            return _method_vectors(method.then, then, inner, with_rates(method, weights, block))
        case Scaled():
            return _method_vectors(method.then, then, inner, _as_read(method, weights, block))
