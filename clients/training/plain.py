"""Training WITHOUT privacy: baselines, and simulations on data that the caller owns.

The same models and losses as the private path, without clipping, sampling or noise.
Nothing here returns a `PrivateUpdate`, so nothing here can leave a node.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from clients.training.fedavg import batch_of
from clients.training.gradients import blocks
from clients.training.losses import row_losses
from clients.training.sampling import UnitRows
from clients.training.scales import rows_as_read
from clients.training.sums import unit_vectors
from federation.informed import Informed
from federation.losses import Loss
from federation.models import ModelSpec, Vector
from federation.recipes import Recipe
from federation.scaled import Scaled
from federation.sequences import Network, SequenceSpec
from federation.sum_recipes import SumRecipe
from federation.tasks import AnyRecipe

Weights: TypeAlias = tuple[torch.Tensor, torch.Tensor]

_BLOCK: Final = 1 << 13  # units at once, so that memory stays small


def plain_round(
    weights: Vector,
    rows: UnitRows,
    recipe: Recipe,
    round: int,  # noqa: A002  the protocol's word
) -> Vector:
    """Return the change of `weights` by the recipe's steps over all units of each phase.

    The divisor is the recipe's expected units, so that a node with more units counts more,
    as in the private path.
    """
    torch.set_num_threads(1)
    start = weights.astype(np.float64)
    current = start.copy()
    for step in range(round * recipe.steps, (round + 1) * recipe.steps):
        here = np.flatnonzero(rows.phase == step % rows.phases)
        total = gradient_sum(recipe.model, current, rows, here, recipe.loss)
        pull = float(recipe.proximal) * (current - start)
        current -= float(recipe.learning_rate) * (total / recipe.expected_units + pull)
    return (current - start).astype(np.float32)


def plain_sum(
    weights: Vector, rows: UnitRows, recipe: SumRecipe, number: int
) -> NDArray[np.float64]:
    """Return the sum of all units' vectors in round `number`, from 0, unclipped, [d]."""
    here = np.flatnonzero(rows.phase == number % rows.phases)
    total = np.zeros(recipe.dimension(number))
    for start in range(0, len(here), _BLOCK):
        batch = batch_of(rows, here[start : start + _BLOCK])
        for block in blocks(batch, recipe.dimension(number)):
            total += unit_vectors(recipe, number, weights.astype(np.float64), block).sum(1)
    return total


def with_own_statistics(recipe: AnyRecipe, rows: UnitRows) -> tuple[UnitRows, Vector]:
    """Return the rows as a model reads them by their own exact statistics, and these, [numbers].

    They are rates by key and scales, as the recipe's weights end with them. Where it releases none,
    the rows as they are, and none.
    """
    method = recipe.method if isinstance(recipe, SumRecipe) else None
    if not isinstance(recipe, SumRecipe) or not isinstance(method, Informed | Scaled):
        return rows, np.zeros(0, np.float32)
    state = method.start(0)
    for number in range(method.statistics):
        state = method.advance(state, number, plain_sum(state.weights, rows, recipe, number), 0.0)
    return rows_as_read(method, state.weights, rows), state.weights[method.model.dimension :]


def fit(
    weights: Vector,
    rows: UnitRows,
    model: Network,
    loss: Loss,
    *,
    steps: int = 400,
    learning_rate: float = 0.02,
    decay: float = 1e-3,
    parts: int = 1,
) -> Vector:
    """Return weights after `steps` of Adam, from `weights`.

    This is what a party could do on its own, or somebody who had everybody's rows. Each step
    reads one of `parts` equal parts of the units, in turn.
    """
    torch.set_num_threads(1)
    count = max(int(rows.present.sum()) / parts, 1.0)
    current = weights.astype(np.float64)
    first, second = np.zeros_like(current), np.zeros_like(current)
    for step in range(1, steps + 1):
        here = np.arange(step % parts, len(rows), parts)
        gradient = gradient_sum(model, current, rows, here, loss) / count + decay * current
        first = 0.9 * first + 0.1 * gradient
        second = 0.999 * second + 0.001 * gradient**2
        scale = np.sqrt(second / (1.0 - 0.999**step)) + 1e-8
        current -= learning_rate * first / (1.0 - 0.9**step) / scale
    return current.astype(np.float32)


def gradient_sum(
    model: Network,
    weights: NDArray[np.float64],
    rows: UnitRows,
    units: NDArray[np.intp],
    loss: Loss,
) -> NDArray[np.float64]:
    """Return the sum of the loss gradients of these units, unclipped, [d] float64."""
    current = torch.from_numpy(weights.astype(np.float64)).requires_grad_()
    total = torch.zeros(model.dimension, dtype=torch.float64)
    for start in range(0, len(units), _BLOCK):
        here = units[start : start + _BLOCK]
        present = rows.present[here]
        values = torch.from_numpy(rows.features[here][present].astype(np.float64))
        targets = torch.from_numpy(rows.targets[here][present].astype(np.float64))
        losses = row_losses(_outputs(model, current, values), targets, loss)
        total += torch.autograd.grad(losses.sum(), current)[0]
    gradient: NDArray[np.float64] = total.numpy()
    return gradient


def _outputs(model: Network, weights: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """Return the model's output for each row of `values` [n, inputs], [n]."""
    shapes = [*model.shapes()]
    sizes = [size for outputs, inputs in shapes for size in (outputs * inputs, outputs)]
    parts = iter(torch.split(weights, sizes))
    layers = [(next(parts).reshape(shape), next(parts)) for shape in shapes]
    if isinstance(model, SequenceSpec):
        values = _read(model, layers, values)
    for place, (matrix, bias) in enumerate(layers if isinstance(model, ModelSpec) else layers[-1:]):
        if place and isinstance(model, ModelSpec):
            values = torch.relu(values) if model.activation == "relu" else torch.tanh(values)
        values = functional.linear(values, matrix, bias)
    return values[:, 0]


def _read(model: SequenceSpec, layers: Sequence[Weights], values: torch.Tensor) -> torch.Tensor:
    """Return what the output reads, [n, hidden + statics], of rows [n, inputs]."""
    end = model.steps * model.channels
    series = values[:, :end].reshape(-1, model.steps, model.channels)
    if model.kind == "gru":
        (entering, first), (recurring, second), _ = layers
        state = torch.zeros((len(values), model.hidden), dtype=values.dtype)
        for step in range(model.steps):
            state = torch.gru_cell(series[:, step], state, entering, recurring, first, second)
    else:
        taps = series.transpose(1, 2)
        for place, (matrix, bias) in enumerate(layers[:-1]):
            now, before = torch.chunk(matrix, 2, 1)
            kernel, apart = torch.stack([before, now], 2), 1 << place
            padded = functional.pad(taps, (apart, 0))
            taps = torch.tanh(functional.conv1d(padded, kernel, bias, dilation=apart))
        state = taps[:, :, -1]
    return torch.cat([state, values[:, end:]], 1)


def pooled(parts: list[UnitRows]) -> UnitRows:
    """Return the units of all parties in one place, as no federation ever has them."""
    first = parts[0]
    return replace(
        first,
        features=np.concatenate([part.features for part in parts]),
        targets=np.concatenate([part.targets for part in parts]),
        present=np.concatenate([part.present for part in parts]),
        phase=np.concatenate([part.phase for part in parts]),
    )
