"""Every unit's gradient by itself: nobody else's rows can change a bit of it.

A matrix product is free to add up in an order that depends on how many rows it is given and
on where they lie, so one more unit could move the gradients of all others. Nothing here is a
matrix product. Units lie side by side in lanes, in blocks of one shape that the recipe fixes,
and every operation works lane by lane: additions and multiplications of IEEE 754, in an order
that the model alone decides. The last `IDLE` lanes of a block hold nobody, so that a library
which treats the end of an array in another way treats no unit in another way.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from federation.losses import Loss, Pinball
from federation.models import Activation, ModelSpec, chances

Array: TypeAlias = NDArray[np.float64]
Kind = TypeVar("Kind", np.float32, np.float64, np.bool_)

IDLE: Final = 8
_FEWEST_LANES: Final = 16
_MOST_LANES: Final = 1024
_BLOCK_SIZE: Final = 1 << 15  # numbers in a block's largest array, unless lanes are at their fewest


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """Units drawn for one step: features [U, K, inputs], targets and present [U, K]."""

    features: Array
    targets: Array
    present: NDArray[np.bool_]

    def of(self, units: slice | NDArray[np.intp]) -> "Batch":
        """Return some of the units."""
        return Batch(self.features[units], self.targets[units], self.present[units])


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """Some units of a batch, one to a lane: features [inputs, K, L], targets and present [K, L]."""

    features: NDArray[Any]
    targets: Array
    present: NDArray[np.bool_]


def blocks(batch: Batch, numbers: int, width: int = 0) -> Iterator[Block]:
    """Yield the units that have rows, in blocks whose shape follows from the unit alone.

    numbers: how many are computed of each unit; width: most of each row on the way there.
    """
    wide = max(width, batch.features.shape[2])
    return grouped(batch, lambda reach: _lanes(max(numbers, reach * wide)))


def grouped(
    batch: Batch,
    lanes_of: Callable[[int], int],
    step: int | None = None,
    dtype: type[np.float32] | type[np.float64] = np.float64,
    spare: int = 0,
) -> Iterator[Block]:
    """Yield the units that have rows, in blocks of `lanes_of(rows)` lanes.

    A unit of n rows stands among units of as many, rounded up to a power of two or to K.
    step: blocks end this often, and after those who are there; None for full blocks alone.
    dtype: what features are rounded to; after them stand `spare` rows of zeros.
    """
    most = batch.present.shape[1]
    rows = (batch.present * np.arange(1, most + 1)).max(1, initial=0)
    reaches = sorted({min(most, 1 << place) for place in range(most.bit_length() + 1)})
    for below, reach in pairwise([0, *reaches]):
        here = np.flatnonzero((rows > below) & (rows <= reach))
        most = lanes_of(reach) - IDLE
        for start in range(0, len(here), most):
            units = here[start : start + most]
            lanes = (-(-len(units) // step) * step if step else most) + IDLE
            alike = units[-1] - units[0] < len(units)  # no picking out, which would be a copy
            some = batch.of(slice(units[0], units[-1] + 1) if alike else units)
            yield Block(
                _laid(some.features[:, :reach], lanes, dtype, spare),
                _laid(some.targets[:, :reach], lanes, np.float64),
                _laid(some.present[:, :reach], lanes, np.bool_),
            )


def unit_gradients(model: ModelSpec, weights: Array, block: Block, loss: Loss) -> Array:
    """Return for each lane the gradient of the sum of its rows' losses, [d, L]; empty lanes 0.

    A lane whose numbers overflow holds infinities or NaN, and no other lane does for it.
    """
    layers = model.split(np.asarray(weights, np.float64))
    inputs, outputs = _forward(layers, model.activation, block.features)
    slopes = np.where(block.present, loss_slopes(outputs, block.targets, loss), 0.0)[None]
    parts: list[Array] = []
    for (matrix, _), values in zip(reversed(layers), reversed(inputs), strict=True):
        by_weight = over_rows(slopes[:, None], values[None])
        parts += [over_rows(slopes), by_weight.reshape(-1, by_weight.shape[-1])]
        if len(parts) < 2 * len(layers):
            slopes = product(matrix.T, slopes) * _steepness(values, model.activation)
    return np.concatenate(parts[::-1])


def unit_outputs(model: ModelSpec, weights: Array, block: Block) -> Array:
    """Return the model's output for every row of a block, [K, L]; also where no row is.

    Features beyond the model's inputs are not read.
    """
    layers = model.split(np.asarray(weights, np.float64))
    return _forward(layers, model.activation, block.features[: model.inputs])[1]


def fold(values: Array) -> Array:
    """Return the sum over the first axis, added up in halves: an order fixed by its length."""
    while len(values) > 1:
        half = len(values) // 2
        folded = values[:half] + values[half : 2 * half]
        values = np.concatenate([folded, values[2 * half :]]) if len(values) % 2 else folded
    total: Array = values[0]
    return total


def _forward(
    layers: Sequence[tuple[NDArray[np.floating[Any]], NDArray[np.floating[Any]]]],
    activation: Activation,
    features: Array,
) -> tuple[list[Array], Array]:
    """Return what enters each layer, [inputs, K, L], and what leaves the last one, [K, L]."""
    inputs, values = [], features
    for place, (matrix, bias) in enumerate(layers):
        values = _activated(values, activation) if place else values
        inputs.append(values)
        values = product(matrix, values) + bias[:, None, None]
    return inputs, values[0]


def _lanes(largest: int) -> int:
    """Return the lanes of a block: a function of public numbers, never of how many were drawn."""
    lanes = _BLOCK_SIZE // largest
    return min(_MOST_LANES, max(_FEWEST_LANES, lanes))


def _laid(values: NDArray[Any], lanes: int, dtype: type[Kind], spare: int = 0) -> NDArray[Kind]:
    """Return `values` [U, ...] with axes reversed, so that units come last, padded to `lanes`."""
    first, *others = values.shape[:0:-1]
    whole: NDArray[Kind] = np.zeros((first + spare, *others, lanes), dtype)
    whole[:first, ..., : len(values)] = values.T
    return whole


def product(matrix: NDArray[np.floating[Any]], values: Array) -> Array:
    """Return matrix [m, n] times values [n, K, L], added up from first to last, [m, K, L]."""
    total = np.zeros((len(matrix), *values.shape[1:]))
    term = np.empty_like(total)
    for place, value in enumerate(values):
        np.multiply(matrix[:, place, None, None], value, out=term)
        total += term
    return total


def over_rows(slopes: Array, values: Array | float = 1.0) -> Array:
    """Return Σ_k slopes[..., k, :] · values[..., k, :], from the first row to the last."""
    values = np.asarray(values)
    many = values.ndim > 0
    total: Array = slopes[..., 0, :] * (values[..., 0, :] if many else values)
    term = np.empty_like(total)
    for row in range(1, slopes.shape[-2]):
        np.multiply(slopes[..., row, :], values[..., row, :] if many else values, out=term)
        total += term
    return total


def _activated(values: Array, activation: Activation) -> Array:
    activated: Array = np.maximum(values, 0.0) if activation == "relu" else np.tanh(values)
    return activated


def _steepness(activated: Array, activation: Activation) -> Array:
    """Return the activation's derivative, from its value."""
    steepness: Array = 1.0 - activated * activated
    return (activated > 0.0).astype(np.float64) if activation == "relu" else steepness


def loss_slopes(outputs: Array, targets: Array, loss: Loss) -> Array:
    """Return the derivative of each row's loss (`losses.row_losses`) by the model's output."""
    match loss:
        case "bce":
            return chances(outputs) - targets
        case "huber":
            return np.clip(outputs - targets, -1.0, 1.0)
        case "mse":
            return outputs - targets
        case Pinball(quantile):
            level = float(quantile)
            above = np.where(outputs < targets, -level, 0.0)
            return np.asarray(np.where(outputs > targets, 1.0 - level, above))
