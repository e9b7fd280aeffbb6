"""A node's part of a training round: a few private steps from the agreed weights."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from clients.training.errors import TrainingDataError
from clients.training.private_sgd import Batch, noised_sum
from clients.training.sampling import UnitRows, poisson_sample
from federation.models import ModelSpec, Vector
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
        TrainingDataError: `model` or `rows` are not the recipe's.
    """
    if model != recipe.model or rows.features.shape[2] != model.layers[0]:
        raise TrainingDataError(
            "The rows have another number of features than the order's model: "
            "install the version of this node's software that the order names."
        )
    if rows.features.shape[1] > recipe.rows_per_unit:
        raise TrainingDataError("The rows exceed the recipe's contribution bound: gather again.")
    torch.set_num_threads(1)
    start = weights.astype(np.float64)
    current = start.copy()
    for step in range(round * recipe.steps, (round + 1) * recipe.steps):
        drawn = poisson_sample(rows, recipe.sampling_rate, step, entropy)
        total = noised_sum(recipe, current, batch_of(rows, drawn), entropy)
        current -= float(recipe.learning_rate) / recipe.divisor * total
    delta = (current - start).astype(np.float32)
    return PrivateUpdate._mint(delta, recipe.event())  # noqa: SLF001  the home of this evidence


def batch_of(rows: UnitRows, drawn: NDArray[np.intp]) -> Batch:
    """Return the drawn units as float64 tensors."""
    return Batch(
        torch.from_numpy(rows.features[drawn].astype(np.float64)),
        torch.from_numpy(rows.targets[drawn].astype(np.float64)),
        torch.from_numpy(rows.present[drawn]),
    )
