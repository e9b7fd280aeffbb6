"""The gradient sums of many runs at once: what nodes compute one by one, as matrix products.

A benchmark trains the same model hundreds of times, and a node's own sum (`clients.training.sums`)
goes lane by lane, so that no unit can move another's last bit. Here the order of additions is left
to the library: the same numbers but for those last bits, which rounding to the grid takes away.
`require_same` compares both on the rows of every benchmark; nothing here protects anybody.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from clients.training.fedavg import batch_of
from clients.training.sampling import UnitRows
from clients.training.sums import rounded_sum
from experiments.errors import UsageError
from federation.models import Vector, chances
from federation.second_order import SecondOrder
from federation.sum_recipes import SumRecipe

Array: TypeAlias = NDArray[np.float64]
Integers: TypeAlias = NDArray[np.int64]

_NUMBERS: Final = 1 << 18
"""Numbers of the largest array on the way, so that it stays in the processor's cache."""

_APART: Final = 2
"""Grid steps by which a coordinate may differ: units whose part lies between two of them."""


@dataclass(frozen=True, slots=True, eq=False)
class Units:
    """All parties' units of as many rows, n: inputs [U, n, p], 1 for the bias last; targets [U, n].

    present: [U, n], 0 where a row is not there.
    """

    inputs: Array
    targets: Array
    present: Array

    def parts(self, runs: int) -> Iterator["Units"]:
        """Yield the units in parts that `runs` models pass through within the cache."""
        step = max(1, _NUMBERS // (self.inputs.shape[2] * runs))
        for start in range(0, len(self.inputs), step):
            here = slice(start, start + step)
            yield Units(self.inputs[here], self.targets[here], self.present[here])


def lay_out(rows: Sequence[UnitRows]) -> tuple[Units, ...]:
    """Return the units of all parties, those of as many rows side by side.

    Raises:
        UsageError: units take turns, so that a round does not read all of them.
    """
    if any(part.phases > 1 for part in rows):
        raise UsageError("units that take turns cannot be added up for many runs at once")
    return tuple(
        units
        for reach in range(1, rows[0].present.shape[1] + 1)
        if len((units := _of_reach(rows, reach)).inputs)
    )


def _of_reach(rows: Sequence[UnitRows], reach: int) -> Units:
    last = [(part.present * np.arange(1, part.present.shape[1] + 1)).max(1) for part in rows]
    here = [np.flatnonzero(one == reach) for one in last]
    pairs = list(zip(rows, here, strict=True))
    features = np.concatenate([part.features[at, :reach] for part, at in pairs])
    return Units(
        np.concatenate([features, np.ones((*features.shape[:2], 1))], axis=2, dtype=np.float64),
        np.concatenate([part.targets[at, :reach] for part, at in pairs], dtype=np.float64),
        np.concatenate([part.present[at, :reach] for part, at in pairs], dtype=np.float64),
    )


def gradient_sums(recipe: SumRecipe, units: Sequence[Units], weights: Array) -> Integers:
    """Return, for every model of `weights` [S, d], the sum of all units' gradients, [S, d] int64.

    Each unit's is divided by the clip, clipped to norm 1 and rounded to the grid, as at a node.
    """
    total = np.zeros(weights.shape, np.int64)
    for size in units:
        for part in size.parts(len(weights)):
            total += np.rint(_clipped(recipe, part, weights)).sum(0).astype(np.int64)
    return total


def _clipped(recipe: SumRecipe, units: Units, weights: Array) -> Array:
    """Return every unit's clipped gradient at every model, in grid steps, [U, S, d]."""
    outputs = units.inputs @ weights.T
    slopes = (chances(outputs) - units.targets[..., None]) * units.present[..., None]
    if slopes.shape[1] == 1:  # one row: its gradient is as long as its slope times its inputs
        row = units.inputs[:, 0]
        norms = np.abs(slopes[:, 0]) * np.linalg.norm(row, axis=1)[:, None]
        return (slopes[:, 0] * _factors(recipe, norms))[..., None] * row[:, None]
    gradients: Array = np.matmul(slopes.transpose(0, 2, 1), units.inputs)
    norms = np.sqrt(np.einsum("usd,usd->us", gradients, gradients))
    gradients *= _factors(recipe, norms)[..., None]
    return gradients


def second_order(recipe: SumRecipe) -> SecondOrder:
    """Return the method of a recipe that this benchmark can follow.

    Raises:
        UsageError: it is another one.
    """
    if not isinstance(recipe.method, SecondOrder):
        raise UsageError("this benchmark is of moments and gradients: choose model=fraud")
    return recipe.method


def _factors(recipe: SumRecipe, norms: Array) -> Array:
    """Return what brings gradients of these norms to norm 1 at most, times the grid."""
    return recipe.grid / np.maximum(norms, float(second_order(recipe).clip))


def exact_sum(
    recipe: SumRecipe, number: int, weights: Vector, rows: Sequence[UnitRows]
) -> Integers:
    """Return the sum over all parties' units as their nodes compute it, [d] int64."""
    start = weights.astype(np.float64)
    total = np.zeros(recipe.dimension(number), np.int64)
    for part in rows:
        total += rounded_sum(recipe, number, start, batch_of(part, np.arange(len(part))))
    return total


def require_same(
    recipe: SumRecipe,
    number: int,
    weights: Vector,
    rows: Sequence[UnitRows],
    units: Sequence[Units],
) -> None:
    """Accept `units` if their sum in round `number` is what the parties' nodes compute of `rows`.

    Raises:
        AssertionError: it is not, to the grid's rounding.
    """
    ours = gradient_sums(recipe, units, weights[None].astype(np.float64))[0]
    apart = int(np.abs(ours - exact_sum(recipe, number, weights, rows)).max())
    if apart > _APART:
        raise AssertionError(f"sums of the benchmark and of the nodes are {apart} steps apart")
