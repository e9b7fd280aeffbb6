"""Forward and backward through a network of integers, every matrix product of which is exact.

Weights, what enters a layer and slopes are rounded to integers (`exact.py`), with one scale per
matrix and one per row. Between products everything works lane by lane, in blocks with idle
lanes at their end, as in `gradients.py`. So a unit's numbers are a function of its own rows
and of the weights, to the last bit, whoever stands beside it.

Rounding moves what enters a layer by about √n · 2^-13 of its norm in single precision, and weights
by less: as much as training in half precision does. In double it is √n · 2^-28.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from clients.training.exact import (
    Floats,
    Lanes,
    Precision,
    multiplied,
    onto_grid,
    rounded,
    scaled,
)
from clients.training.gradients import Block, loss_slopes
from federation.losses import Loss
from federation.models import Activation, ModelSpec

_STEEPEST: Final = 2.0**100


@dataclass(frozen=True, slots=True, eq=False)
class Network:
    """A model in integers: layers (matrix and bias [outputs, inputs + 1], their scale)."""

    layers: Sequence[tuple[Floats, float]]
    activation: Activation
    precision: Precision

    @classmethod
    def of(cls, model: ModelSpec, weights: Floats, precision: Precision) -> "Network":
        """Return the network whose integers are near multiples of finite `weights`."""
        layers = [
            np.concatenate([matrix, bias[:, None]], 1)
            for matrix, bias in model.split(weights.astype(precision.dtype, copy=False))
        ]
        hidden = [rounded(layer, precision.counterpart, precision) for layer in layers[:-1]]
        # The last one's row is also what slopes begin with.
        last = rounded(layers[-1], min(precision.reach, precision.counterpart), precision)
        return cls([*hidden, last], model.activation, precision)


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """A block's gradients by one layer: row (k, l) has weight[k, l] · slopes ⊗ inputs.

    inputs:  [n + 1, K, L], integers of norm <= reach; the last is what 1 has become, or 0 for
             rows not present.
    slopes:  [m, K, L].
    weight:  [K, L]; 0 for rows not present, no number where something overflowed.
    """

    inputs: Floats
    slopes: Floats
    weight: Lanes


def parts(network: Network, block: Block, loss: Loss) -> list[Part]:
    """Return the gradients of a block's rows, layer by layer.

    block: its features have an entry to spare, and become the first part's inputs.
    """
    entered, scale = _entering(block, network.precision)
    inputs, scales, gates = [entered], [scale], []
    for matrix, by in network.layers[:-1]:
        sums, scale = multiplied(matrix, inputs[-1], 1), scales[-1] * by
        gate, one = _activate(sums[:-1], scale, network.activation)
        scales.append(onto_grid(sums, one, network.precision) * one)
        inputs.append(sums)
        gates.append(gate)
    matrix, by = network.layers[-1]
    outputs = multiplied(matrix, inputs[-1])[0] / (scales[-1] * by)
    slopes = np.where(block.present, loss_slopes(outputs, block.targets, loss), 0.0)
    steps = _backward(network, gates, slopes.shape)
    for into in inputs:
        into[-1] *= block.present  # where 1 is all there is, it is as long as a row may be
    return [
        Part(into, back, slopes / (by * at))
        for into, at, (back, by) in zip(inputs, scales, steps, strict=True)
    ]


def _entering(block: Block, precision: Precision) -> tuple[Floats, Lanes]:
    """Make the block's rows and a 1 integers; their scales are no number where a row is none."""
    rows = block.features
    rows[:, ~block.present] = 0.0
    scale = onto_grid(rows, 1.0, precision)
    sound = scale > 0.0
    if not sound.all():
        rows[:, ~sound] = 0.0
    return rows, np.where(sound, scale, np.nan)


def _activate(sums: Floats, scale: Lanes, activation: Activation) -> tuple[Floats, Lanes | float]:
    """Make scale · sums what leaves a layer; return the derivative, and what 1 is beside it."""
    if activation == "relu":
        np.maximum(sums, np.zeros_like(sums[0]), out=sums)
        return np.minimum(sums, np.ones_like(sums[0])), scale  # integers: 0, or 1 and more
    sums *= np.fmin(1.0 / scale, _STEEPEST).astype(sums.dtype)
    np.tanh(sums, out=sums)
    return 1.0 - sums * sums, 1.0


def _backward(
    network: Network, gates: Sequence[Floats], shape: tuple[int, ...]
) -> list[tuple[Floats, Lanes]]:
    """Return each layer's derivatives of the output, times a factor, and the factor, [K, L].

    The first layer's may be any floats; what enters a product is integers within reach.
    """
    last = len(gates)
    steps: list[tuple[Floats, Lanes]] = [(np.ones((1, *shape), np.float64), np.ones(shape))]
    for place in range(last, 0, -1):
        matrix, by = network.layers[place]
        before, factor = steps[-1]
        slopes: Floats
        if place == last:
            slopes = np.multiply(matrix[0, :-1, None, None], gates[place - 1])
        else:
            slopes = multiplied(matrix[:, :-1].T, before)
            slopes *= gates[place - 1]
        factor = factor * by
        if place > 1 and (place < last or network.activation == "tanh"):
            factor = factor * scaled(slopes, network.precision)
        steps.append((slopes, factor))
    return steps[::-1]
