"""A node's part of a training round: a few private steps from the agreed weights."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clients.training.errors import TrainingDataError
from clients.training.gradients import Batch
from clients.training.private_sgd import noised_sum
from clients.training.sampling import UnitRows, poisson_sample, require_rows
from federation.models import LARGEST_WEIGHT, ModelSpec, Vector
from federation.recipes import Recipe
from policies.budget.events import Event
from policies.evidence import Minted
from secure_compute.entropy import Entropy


@dataclass(frozen=True, slots=True, eq=False)
class PrivateUpdate(metaclass=Minted):
    """A change of the weights that was clipped and noised at the price of `event`.

    vector: [d] float32, new weights minus old.
    """

    vector: Vector
    event: Event


def local_round(
    weights: Vector,
    model: ModelSpec,
    rows: UnitRows,
    recipe: Recipe,
    round: int,  # noqa: A002  the protocol's word
    entropy: Entropy,
) -> PrivateUpdate:
    """Take the recipe's private steps from `weights` and return the change, noised.

    Only noised sums steer the steps, so the update is a function of them and of public
    values.  Rounds count from 0; step s of round r is of phase r · steps + s.  Called
    again, it draws units and noise anew: a repetition is another release.

    Raises:
        TrainingDataError: `model` or `rows` are not the recipe's, or the weights that came
            with the letter are out of range.
    """
    if model != recipe.model:
        raise TrainingDataError("The model is not the order's: it was made for another recipe.")
    require_rows(rows, model.layers[0], recipe.rows_per_unit)
    require_weights(weights)
    start = weights.astype(np.float64)
    current = start.copy()
    for step in range(round * recipe.steps, (round + 1) * recipe.steps):
        drawn = poisson_sample(rows, recipe.sampling_rate, step, entropy)
        total = noised_sum(recipe, current, batch_of(rows, drawn), entropy)
        pull = float(recipe.proximal) * (current - start)
        moved = current - float(recipe.learning_rate) * (total / recipe.divisor + pull)
        current = np.clip(moved, -LARGEST_WEIGHT, LARGEST_WEIGHT)
    delta = (current - start).astype(np.float32)
    return PrivateUpdate._mint(delta, recipe.event())  # noqa: SLF001  the home of this evidence


def require_weights(weights: Vector) -> None:
    """Accept starting weights that a training run can have come to: they are public.

    Raises:
        TrainingDataError: a weight is not finite, or larger than 2^20.
    """
    if not np.all(np.abs(weights) <= LARGEST_WEIGHT):  # also false for NaN
        raise TrainingDataError(
            "The letter's weights are not all numbers of at most 2^20: whoever leads this "
            "training sent them, and must start it again with a smaller learning rate."
        )


def batch_of(rows: UnitRows, drawn: NDArray[np.intp]) -> Batch:
    """Return the drawn units in float64."""
    return Batch(
        rows.features[drawn].astype(np.float64),
        rows.targets[drawn].astype(np.float64),
        rows.present[drawn],
    )
