"""The private step by ghost clipping: every unit's norm without its gradient, every sum exact.

By a row of slopes δ and inputs a, a layer's gradient is δ ⊗ (a, 1). So the rows k of one customer
have, over all layers, a gradient of squared norm

    Σ_layers Σ_kk' (δ_k · δ_k') ((a_k, 1) · (a_k', 1))

(Goodfellow 2015, https://arxiv.org/abs/1510.01799, for one row; Lee and Kifer 2021,
https://arxiv.org/abs/2009.03106), and the clipped gradients of all customers add up to one matrix
product a layer. Nobody's gradient is ever formed.

What one unit can do, step by step:

1. `network.py` gives the unit its δ_k and (a_k, 1): functions of its rows and the weights alone.
   (a_k, 1) are integers, of norm at most `reach`.
2. δ_k is scaled by the unit's clip factor to a layer's fine grid and rounded. The unit's share of
   a layer's sum is now Σ_k δ_k ⊗ (a_k, 1), in integers.
3. The norm of that share, *after* rounding, is bounded from above by the formula: a row's own
   inputs count as `reach`, and the bound adds what float arithmetic may err by (`_Grams`). A unit
   above the clip is cut towards 0 and looked at again; one that is still above counts as 0
   (`_held`). So ‖share‖ <= C · (1 + 2^-40) in L2, all layers together, each in its own steps per
   1.0: what is left is that of a few operations in float64.
4. Shares add up exactly, as integers (`exact.add_products`): one unit more or less moves the
   sums by its share and by nothing else, bit for bit.
5. The sum is rounded to the recipe's grid once: neighbours' sums differ by the share, and each
   coordinate by less than 1 more. So one unit moves the result by less than
   grid · C · (1 + 2^-40) + √d, which is below `Recipe.sensitivity`.

Blocks end with their units, in steps of 32 lanes. That changes no bit either: between products
every lane is computed by operations of IEEE 754, and where a library's own (exp, tanh) work on
several lanes at once, all but a block's idle ones lie in whole groups, as in any other block.

No batch is too large: the coarse part of a sum wraps modulo 2^64, which costs nothing, as in
`private_sgd.rounded_sum`.
"""

from collections.abc import Iterator, Sequence
from copy import copy
from dataclasses import dataclass
from functools import cache, partial
from math import floor, log2, sqrt
from types import ModuleType
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from clients.training import compiled
from clients.training.exact import (
    AT_ONCE,
    DOUBLE,
    SINGLE,
    Floats,
    Integers,
    Lanes,
    Precision,
    add_products,
    products,
    squares,
)
from clients.training.gradients import IDLE, Array, Batch, grouped
from clients.training.network import Network, Part, parts
from federation.recipes import Recipe

if TYPE_CHECKING:
    from clients.training.kernels import Plan

SMALL: Final = 1 << 10
"""Parameters up to which products are in double precision: there they are not what costs."""
LARGE: Final = 1 << 13
"""Parameters up to which they are so too where a layer has few inputs: its grid is a coarse one."""
_FEW: Final = 16

_ENTRIES: Final = 1 << 20  # of a block's widest layer
_STEP: Final = 32  # lanes
_MOST_LANES: Final = 8320
_MOST_COLUMNS: Final = 1 << 14
_FINEST: Final = 42
_AT_ONCE: Final = 1 << 17
"""Units whose shares add up to less than 2^63 fine steps, and to less than 2^53 in single."""

_HEADROOM: Final = 8
_STEEPEST: Final = 2.0**65  # of what a slope is multiplied by, so that single precision holds it


@dataclass(frozen=True, slots=True)
class Grid:
    """A layer's fine grid: recipe.grid · 2^shift = `steps` per 1.0, and `clip` to the clip."""

    shift: int
    steps: float
    clip: float
    precision: Precision


def rounded_sum(recipe: Recipe, weights: Array, batch: Batch) -> Integers:
    """Return the sum of the units' clipped gradients, rounded once to the grid, [d] int64.

    One unit moves it by at most `recipe.sensitivity` in L2.
    """
    grids = layer_grids(recipe)
    masks = [(1 << max(grid.shift, 0)) - 1 for grid in grids]
    before: Sequence[Integers | int] = [(mask + 1) >> 1 for mask in masks]
    coarse: list[Integers] = []
    for some in _portions(batch):
        carried = [sums & mask for sums, mask in zip(before, masks, strict=True)]
        fine = exact_sums(recipe, weights, some)
        for sums, rest in zip(fine, carried, strict=True):
            np.add(sums, rest, out=sums)
        coarse.append(np.concatenate([*_whole(fine, grids)], axis=None))
        before = fine
    return sum(coarse[1:], coarse[0])


def _whole(fine: Sequence[Integers], grids: Sequence[Grid]) -> Iterator[Integers]:
    """Yield the integer parts on the recipe's grid of each layer's matrix and bias."""
    for layer, grid in zip(fine, grids, strict=True):
        sums = layer >> grid.shift if grid.shift > 0 else layer << -grid.shift
        yield sums[:, :-1]
        yield sums[:, -1]


def exact_sums(recipe: Recipe, weights: Array, batch: Batch) -> list[Integers]:
    """Return for each layer the sum of the units' shares on its fine grid, [m, n + 1] int64.

    For at most 2^17 units the sum of what it is for each unit alone, bit for bit.
    """
    return sums_by(compiled.fitting(recipe.model, model_precision(recipe)), recipe, weights, batch)


def sums_by(
    kernels: ModuleType | None, recipe: Recipe, weights: Array, batch: Batch
) -> list[Integers]:
    """Return the `exact_sums`: units of one row go through the kernels if there are any."""
    grids, precision = layer_grids(recipe), model_precision(recipe)
    flat = np.zeros(recipe.model.dimension, np.int64)
    totals = [*_matrices(flat, recipe)]
    _keep_memory()
    with np.errstate(all="ignore"):
        held: Floats = weights.astype(precision.dtype)
        if np.isfinite(held).all():
            network = Network.of(recipe.model, held, precision)
            plan = None if kernels is None else _plan(network, grids)
            lanes = partial(_lanes, recipe, plan is not None)
            for block in grouped(batch, lanes, _STEP, precision.dtype, spare=1):
                if kernels is not None and plan is not None and len(block.present) == 1:
                    compiled.add_shares(kernels, plan, block, recipe.loss, flat)
                else:
                    _add_shares(totals, parts(network, block, recipe.loss), grids, precision)
    return totals


def _matrices(flat: Integers, recipe: Recipe) -> Iterator[Integers]:
    """Yield the layers' [m, n + 1] of what holds one after another."""
    start = 0
    for m, n in recipe.model.shapes():
        yield flat[start : start + m * (n + 1)].reshape(m, n + 1)
        start += m * (n + 1)


def _plan(network: Network, grids: Sequence[Grid]) -> "Plan":
    """Return the network and its grids as kernels take them."""
    widest = max(sum(matrix.shape) for matrix, _ in network.layers)
    error = _norm_error(widest, network.precision)
    return compiled.plan_of(network, grids, error, _margin(network.precision))


def _add_shares(
    totals: Sequence[Integers], found: Sequence[Part], grids: Sequence[Grid], precision: Precision
) -> None:
    """Add the shares of a block's units to each layer's total."""
    shares = clipped_shares(found, grids, precision)
    for share, part, grid, total in zip(shares, found, grids, totals, strict=True):
        add_products(total, share, part.inputs, grid.precision)


@cache
def _keep_memory() -> None:
    """Let the C library keep what is freed between blocks: it learns that from one large piece.

    Otherwise every block's arrays go back to the system, which costs as much as their products.
    """
    np.empty(1 << 24, np.uint8)


def _portions(batch: Batch) -> Iterator[Batch]:
    for start in range(0, max(len(batch.features), 1), _AT_ONCE):
        yield batch.of(slice(start, start + _AT_ONCE))


def _lanes(recipe: Recipe, fused: bool, rows: int) -> int:
    """Return the most lanes of a block, with the idle ones: from the recipe alone."""
    if fused and rows == 1:
        return compiled.LANES + IDLE
    columns = min(max(_ENTRIES // max(recipe.model.layers), 256), _MOST_LANES)
    units = max(columns // rows, min(128, _MOST_COLUMNS // rows))
    return _STEP * max(units // _STEP, 1) + IDLE


def model_precision(recipe: Recipe) -> Precision:
    """Return what the recipe's products are computed in."""
    narrow = min(recipe.model.layers[:-1]) < _FEW
    return DOUBLE if recipe.model.dimension <= (LARGE if narrow else SMALL) else SINGLE


def layer_grids(recipe: Recipe) -> Sequence[Grid]:
    """Return the layers' fine grids: as fine as typical sums of a block's shares have room for.

    A product has room for twice the clip. One output has few entries, and large ones: its sums are
    always in double.
    """
    return _layer_grids(
        recipe.model.layers, float(recipe.clip), recipe.grid, model_precision(recipe)
    )


@cache
def _layer_grids(
    layers: tuple[int, ...], clip: float, coarse: int, hidden: Precision
) -> Sequence[Grid]:
    steps, grids = clip * coarse, []
    for m, n in zip(layers[1:], layers[:-1], strict=True):
        precision = DOUBLE if m == 1 else hidden
        wanted = 2.0**precision.bits * sqrt(m * (n + 1)) / (AT_ONCE * _HEADROOM)
        wanted = min(wanted, 2.0 ** min(_FINEST, precision.bits - 2))
        shift = floor(log2(wanted / steps))
        grids.append(Grid(shift, coarse * 2.0**shift, steps * 2.0**shift, precision))
    return tuple(grids)


def clipped_shares(
    found: Sequence[Part], grids: Sequence[Grid], precision: Precision
) -> list[Floats]:
    """Return each layer's slopes, clipped and rounded to its fine grid, [m, K, L] integers."""
    grams = _Grams(found, grids, precision)
    steps = np.array([grid.steps for grid in grids])[:, None, None]
    weights = np.array([part.weight for part in found]) * steps
    loads = grams.loads([part.slopes for part in found], weights)
    factor = np.where(np.isfinite(loads), np.minimum(_margin(precision) / loads, 1.0), 0.0)
    by = np.where(factor > 0.0, np.clip(weights * factor, -_STEEPEST, _STEEPEST), 0.0)
    shares = []
    for part, one, grid in zip(found, by, grids, strict=True):
        # a layer of one output has the fine grid also where the others' slopes are single
        share: Floats = part.slopes.astype(grid.precision.dtype, copy=False)
        share *= one.astype(grid.precision.dtype)
        shares.append(np.rint(share, out=share))
    return _held(shares, grams, precision)


def _norm_error(widest: int, precision: Precision) -> float:
    """Return what a bound of a share's squared norm may err by, relatively."""
    return 2.0 * (widest + 16) * precision.error + 2.0**-30


def _margin(precision: Precision) -> float:
    """Return how far below the clip a unit is scaled, so that rounding seldom lifts it above."""
    return 1.0 - (2.0**-8 if precision is SINGLE else 2.0**-13)


class _Grams:
    """What bounds the norm of a block's shares from above: the inputs of its rows, in pairs."""

    def __init__(self, found: Sequence[Part], grids: Sequence[Grid], precision: Precision) -> None:
        rows = len(found[0].weight)
        widest = max(len(part.inputs) + len(part.slopes) for part in found)
        self._error = _norm_error(widest, precision)
        clip = np.array([grid.clip for grid in grids])[:, None, None]
        most = np.array([2.0 ** (grid.precision.bits - 1) for grid in grids])[:, None, None]
        self._clips, self._longest = precision.reach / clip, np.square(clip / most)
        self._inputs = [
            np.stack([products(p.inputs[:, :-apart], p.inputs[:, apart:]) for p in found])
            / precision.reach**2
            for apart in range(1, rows)
        ]

    def of(self, lanes: NDArray[np.intp]) -> "_Grams":
        """Return those of some lanes."""
        some = copy(self)
        some._inputs = [grams.take(lanes, -1) for grams in self._inputs]  # noqa: SLF001  a copy
        return some

    def loads(self, slopes: Sequence[Floats], weights: Lanes) -> Lanes:
        """Return for each unit a bound of ‖Σ_k weight_k · slopes_k ⊗ inputs_k‖ over the clip, [L].

        weights: [layers, K, L], in fine steps; the last axis may be 1.
        Above 1 also where one row's part is too long for a product; a row that is alone has room
        within the clip (`layer_grids`). A dot product of n numbers errs by at most n operations'
        errors of the norms' product, and so does a product of two: the rows' norms together,
        squared, times `_error`, is more than all of it.
        """
        clips = weights * self._clips
        rows = np.square(clips) * np.array([squares(slope) for slope in slopes])
        if not self._inputs:
            alone: Lanes = np.sqrt((1.0 + self._error) * rows.sum((0, 1)))
            return alone
        layers = rows.sum(1) + self._error * np.square(np.sqrt(rows).sum(1))
        for apart, grams in enumerate(self._inputs, 1):
            pairs = np.stack([products(slope[:, :-apart], slope[:, apart:]) for slope in slopes])
            layers += 2.0 * (clips[:, :-apart] * clips[:, apart:] * pairs * grams).sum(1)
        rows *= self._longest
        loads: Lanes = np.sqrt(np.maximum(np.maximum(layers, 0.0).sum(0), rows.max((0, 1))))
        return loads


def _held(shares: list[Floats], grams: _Grams, precision: Precision) -> list[Floats]:
    """Return the shares, those above the clip cut towards 0, or 0 if that is not enough."""
    ones = np.ones((len(shares), shares[0].shape[1], 1))
    loads = grams.loads(shares, ones)
    above = np.flatnonzero(~(loads <= 1.0))
    if len(above) == 0:
        return shares
    # In as many lanes as a block could have: what holds there of idle lanes holds here.
    idle = -len(above) % _STEP + IDLE
    lanes = np.concatenate([above, np.full(idle, above[0])])
    by = np.nan_to_num(_margin(precision) / loads[lanes])
    cut = [np.trunc(share.take(lanes, -1) * by.astype(share.dtype)) for share in shares]
    kept = grams.of(lanes).loads(cut, ones) <= 1.0
    for share, less in zip(shares, cut, strict=True):
        share[..., above] = (less * kept)[..., : len(above)]
    return shares
