"""One private step: clip each unit's summed gradient, add up, round, add exact noise.

Ghost clipping for linear layers: with inputs A [K, in] and gradients D [K, out] of a
layer's outputs, one unit's gradient is DᵀA and its squared norm is the sum of
(D Dᵀ) ⊙ (A Aᵀ + 1), the 1 being the bias.  So one backward pass over the activations
gives every unit's norm, and a second product gives the clipped sum; no unit's own
gradient is ever formed.

All arithmetic is float64 and meets the conditions of `fixedpoint.FLOAT_SLACK`.  What the
slack cannot cover is a ReLU whose input lies within one rounding of zero; tanh has no
such point.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from clients.training.errors import TrainingDataError
from clients.training.losses import row_losses
from federation.models import ModelSpec
from federation.recipes import Loss, Recipe
from secure_compute import fixedpoint, noise
from secure_compute.entropy import Entropy

MOST_UNITS: Final = 1 << 16
MOST_ROWS: Final = 1 << 19
MOST_ROWS_PER_UNIT: Final = 1 << 7

_CANCELLATION: Final = 16.0
_NORM_SLACK: Final = 2.0**-30


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """Units drawn for one step: features [U, K, inputs], targets and present [U, K]."""

    features: Tensor
    targets: Tensor
    present: Tensor


@dataclass(frozen=True, slots=True, eq=False)
class LayerPass:
    """One layer's inputs [U, K, in] and the loss gradients of its outputs [U, K, out]."""

    inputs: Tensor
    gradients: Tensor


def noised_sum(
    recipe: Recipe, weights: NDArray[np.float64], batch: Batch, entropy: Entropy
) -> NDArray[np.float64]:
    """Return the clipped gradient sum plus discrete Gaussian noise, [d] float64.

    The noise scale is the recipe's z times its integer sensitivity, whatever the batch
    holds: an empty batch returns noise alone.

    Raises:
        TrainingDataError: the batch is larger than the proof of the sensitivity allows.
    """
    total = clipped_sum(recipe.model, weights, batch, recipe.loss, float(recipe.clip))
    exact = fixedpoint.encode(total, recipe.grid)
    drawn = noise.discrete_gaussian(recipe.noise_scale, len(exact), entropy)
    return fixedpoint.decode(exact + drawn, recipe.grid)


def clipped_sum(
    model: ModelSpec, weights: NDArray[np.float64], batch: Batch, loss: Loss, clip: float
) -> NDArray[np.float64]:
    """Return the sum over units of their gradients, each scaled to L2 norm <= clip, [d] float64.

    A unit's gradient is that of the sum of its rows' losses.  A unit whose gradient is not
    finite contributes 0.
    """
    units, rows, _ = batch.features.shape
    if units > MOST_UNITS or units * rows > MOST_ROWS or rows > MOST_ROWS_PER_UNIT:
        raise TrainingDataError(
            "A step would draw more units or rows than its noise is proven for: "
            "lower the recipe's sampling_rate or rows_per_unit."
        )
    if units == 0:
        return np.zeros(model.dimension)
    passes = _finite_units(layer_passes(model, weights, batch, loss))
    factors = _clip_factors(passes, clip)
    parts: list[Tensor] = []
    for layer in passes:
        scaled = (layer.gradients * factors[:, None, None]).flatten(0, 1)
        parts += [(scaled.T @ layer.inputs.flatten(0, 1)).flatten(), scaled.sum(0)]
    total: NDArray[np.float64] = torch.cat(parts).numpy()
    return total


def layer_passes(
    model: ModelSpec, weights: NDArray[np.float64], batch: Batch, loss: Loss
) -> list[LayerPass]:
    """Return every layer's inputs and output gradients from one forward and one backward."""
    inputs: list[Tensor] = []
    outputs: list[Tensor] = []
    values = batch.features
    for matrix, bias in model.split(weights):
        if outputs:
            values = torch.relu(values) if model.activation == "relu" else torch.tanh(values)
        inputs.append(values.detach())
        values = torch.nn.functional.linear(
            values, torch.as_tensor(matrix), torch.as_tensor(bias)
        ).requires_grad_()
        outputs.append(values)
    losses = row_losses(values[..., 0], batch.targets, loss)
    gradients = torch.autograd.grad(torch.where(batch.present, losses, 0.0).sum(), outputs)
    return [LayerPass(a, d) for a, d in zip(inputs, gradients, strict=True)]


def _clip_factors(passes: list[LayerPass], clip: float) -> Tensor:
    """Return the factor in [0, 1] that brings each unit's gradient to L2 norm <= clip, [U].

    Where rows nearly cancel, the computed norm may be too small by rounding: so it is taken
    a little too large, and rows whose norms add up to more than 16 · clip are scaled too.
    """
    squared = torch.zeros(len(passes[0].inputs), dtype=torch.float64)
    by_row = torch.zeros(passes[0].inputs.shape[:2], dtype=torch.float64)
    for layer in passes:
        a, d = layer.inputs, layer.gradients
        squared += (torch.bmm(d, d.mT) * (torch.bmm(a, a.mT) + 1.0)).sum((1, 2))
        by_row += d.square().sum(2) * (a.square().sum(2) + 1.0)
    apart = by_row.sqrt().sum(1)
    norm = (squared.clamp(min=0.0) + _NORM_SLACK * apart.square()).sqrt()
    bound = torch.maximum(norm, apart / _CANCELLATION)
    return (clip / bound).clamp(max=1.0)


def _finite_units(passes: list[LayerPass]) -> list[LayerPass]:
    """Return the passes with units that overflowed, or nearly, set to zero."""
    sound = torch.ones(len(passes[0].inputs), dtype=torch.bool)
    for layer in passes:
        for values in (layer.inputs, layer.gradients):
            # Also false for NaN; products of two such values stay finite.
            sound &= (values.abs() < 2.0**200).flatten(1).all(1)
    if bool(sound.all()):
        return passes
    keep = sound[:, None, None]
    return [
        LayerPass(torch.where(keep, p.inputs, 0.0), torch.where(keep, p.gradients, 0.0))
        for p in passes
    ]
