"""Gradients of every unit by any network: of linear layers, or over a series of steps.

Lane by lane, as in `gradients.py`: the chain rule backward through what `federation.sequences.read`
left behind. All sums run in an order that the network alone decides, so a unit's numbers are a
function of its own rows and of the weights, to the last bit.
"""

from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np

from clients.training.gradients import (
    Array,
    Block,
    loss_slopes,
    over_rows,
    product,
    unit_gradients,
    unit_outputs,
)
from federation.losses import Loss
from federation.models import Layer, ModelSpec
from federation.sequences import Network, Reading, SequenceSpec, read, taps_of

Add: TypeAlias = Callable[[int, Array, Array], None]
"""Adds to a part's gradient: which part, the derivatives of what leaves it, what entered it."""


def gradients_of(network: Network, weights: Array, block: Block, loss: Loss) -> Array:
    """Return for each lane the gradient of the sum of its rows' losses, [d, L]; empty lanes 0."""
    if isinstance(network, ModelSpec):
        return unit_gradients(network, weights, block, loss)
    layers = network.split(np.asarray(weights, np.float64))
    seen = read(network, layers, block.features, product)
    slopes = np.where(block.present, loss_slopes(seen.outputs, block.targets, loss), 0.0)
    return _gradients(network, layers, seen, slopes)


def outputs_of(network: Network, weights: Array, block: Block) -> Array:
    """Return the network's output for every row of a block, [K, L]; also where no row is.

    Features beyond the network's inputs are not read.
    """
    if isinstance(network, ModelSpec):
        return unit_outputs(network, weights, block)
    layers = network.split(np.asarray(weights, np.float64))
    return read(network, layers, block.features, product).outputs


def _gradients(
    network: SequenceSpec, layers: Sequence[Layer], seen: Reading, slopes: Array
) -> Array:
    """Return the gradient, [d, L], of rows whose losses' derivatives are `slopes`, [K, L]."""
    lanes = slopes.shape[-1]
    matrices = [np.zeros((*matrix.shape, lanes)) for matrix, _ in layers]
    biases = [np.zeros((len(matrix), lanes)) for matrix, _ in layers]

    def add(place: int, leaves: Array, enters: Array) -> None:
        matrices[place] += over_rows(leaves[:, None], enters[None])
        biases[place] += over_rows(leaves)

    back = _back_through_time if network.kind == "gru" else _back_through_layers
    add(len(layers) - 1, slopes[None], seen.last)
    back(layers, seen, product(layers[-1][0].T, slopes[None])[: network.hidden], add)
    pairs = zip(matrices, biases, strict=True)
    return np.concatenate([part for m, b in pairs for part in (m.reshape(-1, lanes), b)])


def _back_through_time(layers: Sequence[Layer], seen: Reading, state: Array, add: Add) -> None:
    for values, before, reset, update, new, recurs in reversed(seen.trace):
        news = state * (1.0 - update) * (1.0 - new * new)
        updates = state * (before - new) * update * (1.0 - update)
        resets = news * recurs * reset * (1.0 - reset)
        recurring = np.concatenate([resets, updates, news * reset])
        add(0, np.concatenate([resets, updates, news]), values)
        add(1, recurring, before)
        state = state * update + product(layers[1][0].T, recurring)


def _back_through_layers(layers: Sequence[Layer], seen: Reading, state: Array, add: Add) -> None:
    slopes = [*(np.zeros_like(state) for _ in seen.trace[-1][1:]), state]
    for place in range(len(layers) - 2, -1, -1):
        below = [np.zeros_like(values) for values in seen.trace[place]]
        taps = taps_of(seen.trace[place], place)
        for step, (pair, left) in enumerate(zip(taps, seen.trace[place + 1], strict=True)):
            inner = slopes[step] * (1.0 - left * left)
            add(place, inner, pair)
            here, before = np.split(product(layers[place][0].T, inner), 2)
            below[step] += here
            if step >= 1 << place:
                below[step - (1 << place)] += before
        slopes = below
