"""The private step of rows that stand alone, compiled: what `network.py` and `ghost.py` say, fused.

Array by array, a step of a small network is bound by memory: it goes over every lane some thirty
times. Here a tile of lanes goes through all layers while it lies in the processor's cache. The
operations of a lane are the same, in the same order, and none is reordered or contracted
(no `fastmath`), so the sums are the same to the last bit; `test_kernels.py` holds both to that.

Matrices lie one after another in flat arrays, rows of all layers below each other in one
[rows, L]: a compiled function takes networks of any depth that way. Loops go along lanes, a row at
a time, which is what compilers turn into vector instructions. An array put into a part of another
(`a[:] = b`) takes seconds to compile; a loop does not.

All of it is one file, and reads no other one's constants: what is kept on disk goes by this file's
content alone.
"""

from collections.abc import Callable
from typing import Any, Final, NamedTuple, TypeVar, cast

import numba
import numpy as np
from numpy.typing import NDArray

from clients.training.exact import Floats, Integers, Lanes

F = TypeVar("F", bound=Callable[..., Any])
_FINEST: Final = 2.0**40  # as in `exact.scaled`
_SMALLEST: Final = 2.0**-500  # as in `exact.onto_grid`
_STEEPEST: Final = 2.0**65  # as in `ghost.clipped_shares`


class Plan(NamedTuple):
    """A network of integers and what its shares are held to; a number for each layer in each array.

    sizes:    entries of a row that enters each layer and, last, leaves the network: [layers + 1].
    matrices: `Network.layers`, one after another, biases with them.
    turned:   those between the first and the last, without biases, transposed.
    scales:   the matrices' scales.
    entering: to what norm rows that enter a layer are scaled.
    leaving:  to what norm slopes that leave it backward are; not read for the first and last.
    steps:    of the fine grids per 1.0.
    clips:    reach over the clip in these steps.
    most:     what no partial sum of a product may be above.
    error:    of a bound of a squared norm, relatively.
    margin:   to what part of the clip a unit is scaled, so that rounding finds room.
    """

    sizes: Integers
    matrices: Floats
    turned: Floats
    scales: Lanes
    entering: Lanes
    leaving: Lanes
    steps: Lanes
    clips: Lanes
    most: Lanes
    error: float
    margin: float


class Tile(NamedTuple):
    """What a tile's lanes hold between forward and backward.

    inputs:  what enters the layers, in integers, 1 after each: [Σ (n + 1), L].
    sums:    what hidden layers give, before activation: [Σ m, L]; later their slopes.
    scales:  of `inputs`, [layers, L].
    outputs: of the network, [L].
    """

    inputs: Floats
    sums: Floats
    scales: Lanes
    outputs: Lanes


def _compiled(function: F) -> F:
    """Compile at the first call, for one signature each, and keep that on disk (`compiled.py`)."""
    inner = function.__name__.startswith("_")  # called by what is compiled alone
    options = {"error_model": "numpy", "no_cfunc_wrapper": True, "no_cpython_wrapper": inner}
    return cast("F", numba.njit(cache=True, **options)(function))


@_compiled
def forward(plan: Plan, features: Floats, present: NDArray[np.bool_]) -> Tile:
    """Return what a tile's rows [n, L] become on their way through the network."""
    sizes, lanes, depth = plan.sizes, features.shape[1], len(plan.scales)
    inputs = np.empty((sizes[:-1].sum() + depth, lanes), features.dtype)
    sums = np.empty((sizes[1:-1].sum(), lanes), features.dtype)
    scales, ones = np.empty((depth, lanes)), np.ones(lanes)
    values, entered, left, place = features, 0, 0, 0
    for layer in range(depth):
        n, m = sizes[layer], sizes[layer + 1]
        rows = inputs[entered : entered + n + 1]
        _onto_grid(values, rows, ones, plan.entering[layer], layer > 0, scales[layer])
        if layer == 0:
            _without_the_unsound(rows, scales[0])
        if layer < depth - 1:
            values = sums[left : left + m]
            matrix = plan.matrices[place : place + m * (n + 1)].reshape(m, n + 1)
            np.dot(matrix, rows, values)
            _multiplied(scales[layer], plan.scales[layer], ones)
        entered, left, place = entered + n + 1, left + m, place + m * (n + 1)
    outputs = _outputs(plan, inputs, scales)
    _without_the_absent(plan, inputs, present)
    return Tile(inputs, sums, scales, outputs)


@_compiled
def _multiplied(scales: Lanes, by: float, into: Lanes) -> None:
    """Make `into` by · scales."""
    for lane in range(len(scales)):
        into[lane] = scales[lane] * by


@_compiled
def _outputs(plan: Plan, inputs: Floats, scales: Lanes) -> Lanes:
    """Return what the last layer gives, [L]."""
    n = plan.sizes[-2] + 1
    sums = np.dot(plan.matrices[-n:].reshape(1, n), inputs[-n:])
    outputs = np.empty(inputs.shape[1])
    for lane in range(len(outputs)):
        outputs[lane] = sums[0, lane] / (scales[-1, lane] * plan.scales[-1])
    return outputs


@_compiled
def _without_the_absent(plan: Plan, inputs: Floats, present: NDArray[np.bool_]) -> None:
    """Where a lane holds nobody, what 1 has become is 0."""
    end = 0
    for layer in range(len(plan.scales)):
        end += plan.sizes[layer] + 1
        one = inputs[end - 1]
        for lane in range(len(present)):
            if not present[lane]:
                one[lane] = 0.0


@_compiled
def _onto_grid(
    values: Floats, rows: Floats, ones: Lanes, room: float, rectified: bool, scales: Lanes
) -> None:
    """`exact.onto_grid`, from `values` [n, L] into `rows` [n + 1, L]; those below 0 as 0 if asked.

    scales: what values become in `rows`, where a product's are `ones` for each of its own.
    """
    n, lanes = values.shape
    zero = values.dtype.type(0)
    squared, factor = np.zeros(lanes, values.dtype), np.empty(lanes, values.dtype)
    for i in range(n):
        row = values[i]
        for lane in range(lanes):
            value = zero if rectified and row[lane] < zero else row[lane]
            squared[lane] += value * value
    one = rows[n]
    for lane in range(lanes):
        found = room / np.sqrt(np.float64(squared[lane]) + ones[lane] * ones[lane])
        found = found if np.isfinite(found) and ones[lane] >= _SMALLEST else 0.0
        scales[lane] = found * ones[lane]
        factor[lane] = min(found, room)
        one[lane] = np.fmax(found * ones[lane], 0.0)  # 0 also where that is no number
        one[lane] = np.rint(one[lane])
    for i in range(n):
        row, whole = values[i], rows[i]
        for lane in range(lanes):
            value = zero if rectified and row[lane] < zero else row[lane]
            whole[lane] = np.rint(value * factor[lane])


@_compiled
def _without_the_unsound(rows: Floats, scales: Lanes) -> None:
    """Rows that have no norm become 0, and their scale no number."""
    for lane in range(len(scales)):
        if not scales[lane] > 0.0:
            rows[:, lane] = 0.0
            scales[lane] = np.nan


@_compiled
def add_shares(plan: Plan, tile: Tile, slopes: Lanes, totals: Integers) -> int:
    """Add the tile's shares to `totals`, and return how many units were cut back once more.

    slopes: of the loss by the outputs, [L]. totals: layers' [m, n + 1], one after another.
    `tile.sums` are the shares of the hidden layers afterwards.
    """
    factors, squared = _backward(plan, tile)
    last, cut = _clip(plan, tile, slopes, factors, squared)
    sizes, depth = plan.sizes, len(plan.sizes) - 1
    entered, left, place = 0, 0, 0
    for layer in range(depth):
        n, m = sizes[layer] + 1, sizes[layer + 1]
        total = totals[place : place + m * n].reshape(m, n)
        rows = tile.inputs[entered : entered + n]
        if layer < depth - 1:
            _add_products(total, tile.sums[left : left + m], rows, plan.most[layer])
        else:
            _add_product(total[0], last, rows)
        entered, left, place = entered + n, left + m, place + m * n
    return cut


@_compiled
def _backward(plan: Plan, tile: Tile) -> tuple[Lanes, Floats]:
    """`network._backward`: each layer's factor and its slopes' sums of squares, [layers, L]."""
    sizes, sums = plan.sizes, tile.sums
    depth, lanes = len(sizes) - 1, sums.shape[1]
    factors, squared = np.ones((depth, lanes)), np.ones((depth, lanes), sums.dtype)
    end, place = len(sums), len(plan.turned)
    for layer in range(depth - 1, 0, -1):
        n, m = sizes[layer], sizes[layer + 1]
        rows, factor = sums[end - n : end], factors[layer - 1]
        for lane in range(lanes):
            factor[lane] = factors[layer, lane] * plan.scales[layer]
        if layer == depth - 1:
            _gated_weights(plan.matrices[-(n + 1) : -1], rows, squared[layer - 1])
        else:
            turned = plan.turned[place - n * m : place].reshape(n, m)
            _gated(np.dot(turned, sums[end : end + m]), rows, squared[layer - 1])
            place -= n * m
            if layer > 1:
                _scaled(rows, squared[layer - 1], plan.leaving[layer], factor)
        end -= n
    return factors, squared


@_compiled
def _gated_weights(weights: Floats, rows: Floats, squared: Floats) -> None:
    """Make `rows` [n, L] the last layer's weights [n] where they are above 0, and 0 elsewhere."""
    zero = rows.dtype.type(0)
    squared[:] = 0.0
    for i in range(len(rows)):
        row, weight = rows[i], weights[i]
        for lane in range(len(row)):
            row[lane] = weight if row[lane] > zero else zero
            squared[lane] += row[lane] * row[lane]


@_compiled
def _gated(slopes: Floats, rows: Floats, squared: Floats) -> None:
    """Make `rows` [n, L] the slopes where they are above 0, and 0 elsewhere."""
    zero = rows.dtype.type(0)
    squared[:] = 0.0
    for i in range(len(rows)):
        row, slope = rows[i], slopes[i]
        for lane in range(len(row)):
            value = slope[lane] if row[lane] > zero else zero
            row[lane] = value
            squared[lane] += value * value


@_compiled
def _scaled(rows: Floats, squared: Floats, room: float, factors: Lanes) -> None:
    """`exact.scaled`: multiply `factors` by what rows are multiplied by; their squares change."""
    factor = np.empty(len(factors), rows.dtype)
    for lane in range(len(factors)):
        found = room / np.sqrt(np.float64(squared[lane]))
        found = min(found, _FINEST) if np.isfinite(found) else 1.0
        factors[lane] *= found
        factor[lane] = found
    _round(rows, factor, squared)


@_compiled
def _round(rows: Floats, factor: Floats, squared: Floats) -> None:
    """Make `rows` [n, L] integers near factor [L] · rows, and `squared` their squares' sums."""
    squared[:] = 0.0
    for i in range(len(rows)):
        row = rows[i]
        for lane in range(len(row)):
            value = np.rint(row[lane] * factor[lane])
            row[lane] = value
            squared[lane] += value * value


@_compiled
def _clip(
    plan: Plan, tile: Tile, slopes: Lanes, factors: Lanes, squared: Floats
) -> tuple[Lanes, int]:
    """`ghost.clipped_shares`, in `tile.sums`; return the last layer's, and how many were cut."""
    depth, lanes = factors.shape
    weights, loads = np.empty((depth, lanes)), np.zeros(lanes)
    for layer in range(depth):
        step, clip = plan.steps[layer], plan.clips[layer]
        for lane in range(lanes):
            by = factors[layer, lane] * tile.scales[layer, lane]
            weights[layer, lane] = slopes[lane] / by * step
            long = weights[layer, lane] * clip
            loads[lane] += long * long * np.float64(squared[layer, lane])
    for lane in range(lanes):
        load = np.sqrt((1.0 + plan.error) * loads[lane])
        loads[lane] = min(plan.margin / load, 1.0) if np.isfinite(load) else 0.0
    for layer in range(depth):
        for lane in range(lanes):
            value = max(min(weights[layer, lane] * loads[lane], _STEEPEST), -_STEEPEST)
            weights[layer, lane] = value if loads[lane] > 0.0 else 0.0
    last = np.rint(weights[depth - 1])
    return last, _held(plan, tile.sums, last, _rounded(plan, tile.sums, last, weights))


@_compiled
def _rounded(plan: Plan, sums: Floats, last: Lanes, weights: Lanes) -> Lanes:
    """Make `sums` the hidden layers' shares, and return the units' loads, [L]."""
    depth, lanes = weights.shape
    loads, left = np.zeros(lanes), 0
    factor, squared = np.empty(lanes, sums.dtype), np.empty(lanes, sums.dtype)
    for layer in range(depth - 1):
        m, clip = plan.sizes[layer + 1], plan.clips[layer]
        for lane in range(lanes):
            factor[lane] = weights[layer, lane]
        _round(sums[left : left + m], factor, squared)
        for lane in range(lanes):
            loads[lane] += clip * clip * np.float64(squared[lane])
        left += m
    clip = plan.clips[depth - 1]
    for lane in range(lanes):
        load = loads[lane] + clip * clip * (last[lane] * last[lane])
        loads[lane] = np.sqrt((1.0 + plan.error) * load)
    return loads


@_compiled
def _held(plan: Plan, sums: Floats, last: Lanes, loads: Lanes) -> int:
    """`ghost._held`: cut whoever is above the clip towards 0, or to 0 if that is not enough."""
    cut = 0
    for lane in range(len(loads)):
        if not loads[lane] <= 1.0:
            by = plan.margin / loads[lane]
            if not _cut(plan, sums, last, lane, by if np.isfinite(by) else 0.0) <= 1.0:
                sums[:, lane] = 0.0
                last[lane] = 0.0
            cut += 1
    return cut


@_compiled
def _cut(plan: Plan, sums: Floats, last: Lanes, lane: int, by: float) -> float:
    """Cut one unit's shares towards 0, and return its load."""
    depth, left, load = len(plan.sizes) - 1, 0, 0.0
    factor = sums.dtype.type(by)
    for layer in range(depth - 1):
        squared, clip = sums.dtype.type(0), plan.clips[layer]
        for i in range(left, left + plan.sizes[layer + 1]):
            value = np.trunc(sums[i, lane] * factor)
            sums[i, lane] = value
            squared += value * value
        load += clip * clip * np.float64(squared)
        left += plan.sizes[layer + 1]
    last[lane] = np.trunc(last[lane] * by)
    clip = plan.clips[depth - 1]
    load += clip * clip * (last[lane] * last[lane])
    return float(np.sqrt((1.0 + plan.error) * load))


@_compiled
def _longest(rows: Floats) -> float:
    """Return the largest of the rows' squared norms."""
    longest = 0.0
    for i in range(len(rows)):
        longest = max(longest, np.float64(np.dot(rows[i], rows[i])))
    return longest


@_compiled
def _add_products(total: Integers, one: Floats, other: Floats, most: float) -> None:
    """`exact.add_products`: all lanes at once if no partial sum is above `most`, or halves."""
    start, width = 0, one.shape[1]
    left, right = one, other
    while start < one.shape[1]:
        if width < one.shape[1]:
            left = one[:, start : start + width].copy()
            right = other[:, start : start + width].copy()
        if width > 1 and not np.sqrt(_longest(left) * _longest(right)) <= most:
            width = (width + 1) // 2
            continue
        product = np.dot(left, right.T)
        for i in range(len(total)):
            for k in range(total.shape[1]):
                total[i, k] += np.int64(product[i, k])
        start += width


@_compiled
def _add_product(total: Integers, one: Lanes, other: Floats) -> None:
    """`exact.add_products` for one output, [n], in double precision.

    Its grid has at most 2^42 steps to the clip, which no lane's term is above: so no sum over a
    tile is above 2^53. Eight strands add up at once: a sum of integers does not know its order.
    """
    strands = np.empty(8)
    for i in range(len(total)):
        row = other[i]
        strands[:] = 0.0
        for start in range(0, len(one), 8):  # a tile's lanes are a multiple of eight
            for strand in range(8):
                strands[strand] += one[start + strand] * row[start + strand]
        total[i] += np.int64(strands.sum())
