"""From the noised sum of a round to the next public model: Newton steps that know the noise.

A cell's slope g (how much loss falls per step of its score) comes with noise of variance s²: of
the round's, divided by T where T rounds look at the same cell. Before any data is seen an effect's
cells are believed to be Gaussian with covariance K, `spread`² exp(-distance/`reach`), and to be 0
at the rest. To second order g = h·δ + noise of variance h + s², h being the cell's bend, so the
step to be expected after the sum is

    δ = K H (H K H + H + S)⁻¹ g,   H = diag(h), S = diag(s²)

[Rasmussen, Williams 2006, Gaussian Processes for Machine Learning, (2.25)]. Where noise drowns h,
δ goes to 0, and an h that noise may have made counts as one row's; where neighbours say the same,
they believe one another. Leaves of trees have no neighbours: K is diagonal. Common to all rows is
what the intercept can say, so that is taken out of each g first: otherwise every effect of a round
would correct it again.

Everything here follows from public numbers, and costs no privacy.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from federation.boosting import Boosting
from federation.ensembles import Ensemble, partitions, split
from federation.errors import MalformedOrderError
from federation.models import Vector
from federation.partitions import Effect, Partition, told_cells

Array: TypeAlias = NDArray[np.float64]

_MEMORY: Final = 0.5  # of the bends of earlier rounds
_LEAST_BEND: Final = 1.0  # of a cell, so that nothing is divided by what noise made
_SURE: Final = 1.5  # deviations of noise from which on a cell is believed to hold rows
_LEAST_TOTAL: Final = 10.0  # of all rows


def advance(
    recipe: Boosting, seed: int, number: int, weights: Vector, total: Array, noise: float
) -> Vector:
    """Return the model after round `number` (from 0), from the round's noised sum.

    total: [dimension], the sum of the units' vectors, each of norm at most 1, and noise.
    noise: standard deviation of the noise in each coordinate of `total`; 0 if there is none.

    Raises:
        MalformedOrderError: the sum is not of this round, or holds what is no finite number.
    """
    parts = partitions(recipe, seed, number)
    of_effects = number < recipe.effect_rounds
    clip = float(recipe.clip if of_effects else recipe.tree_clip)
    scale = noise * clip
    told = _told(recipe, parts, total, clip, scale)
    after = weights.copy()
    model = split(recipe, after)
    if of_effects:
        _move_effects(recipe, model, told, scale, first=number == 0)
    else:
        leaves = model.leaves[number - recipe.effect_rounds]
        _set_leaves(recipe, parts, leaves, told, scale)
    return after


@dataclass(frozen=True, slots=True, eq=False)
class _Told:
    """A noised sum in raw units.

    common:        the step that all rows ask for alike; `bend` over all rows.
    slopes, bends: for each partition, [told cells].
    """

    common: float
    bend: float
    slopes: list[Array]
    bends: list[Array]

    def own_slopes(self, place: int, bends: Array) -> Array:
        """Return the slopes that are left when all rows took the common step, given the bends."""
        return self.slopes[place] - bends * self.common


def _told(
    recipe: Boosting, parts: Sequence[Partition], total: Array, clip: float, scale: float
) -> _Told:
    ends = np.cumsum([0, 1, *[part.cells - 1 for part in parts]])
    if total.shape != (2 * ends[-1],) or not np.isfinite(total).all():
        raise MalformedOrderError("The sum is not of this round: it has another length, or gaps.")
    raw = (total * clip).reshape(2, -1) / [[1.0], [float(recipe.bend)]]
    weights = [1.0, *[float(part.weight) for part in parts]]
    slopes, bends = (
        [
            row[low:high] / weight
            for (low, high), weight in zip(pairwise(ends), weights, strict=True)
        ]
        for row in raw
    )
    bend = np.maximum(bends[0], _LEAST_TOTAL)
    common = _expected(np.eye(1) * float(recipe.spread) ** 2, bend, slopes[0], scale)
    return _Told(float(common[0]), float(bend[0]), slopes[1:], bends[1:])


def _move_effects(
    recipe: Boosting, model: Ensemble, told: _Told, scale: float, *, first: bool
) -> None:
    """Take one step in every effect, and in the intercept what is left."""
    limit, rate, momentum = float(recipe.limit), float(recipe.rate), float(recipe.momentum)
    moved = 0.0
    for place, effect in enumerate(recipe.effects):
        cells = told_cells(effect)
        seen = told.bends[place]
        bends = seen if first else _MEMORY * model.bends[place][cells] + (1 - _MEMORY) * seen
        least = _sure(bends, scale / float(recipe.bend * effect.weight))
        slopes = told.own_slopes(place, least)
        share = scale / float(effect.weight) / np.sqrt(recipe.effect_rounds)
        step = _expected(_prior(recipe, effect), least, slopes, share)
        velocity = momentum * model.velocity[place][cells] + np.clip(step, -limit, limit)
        moved += rate * float(np.sum(np.maximum(bends, 0.0) * velocity))
        model.bends[place][cells] = bends
        model.velocity[place][cells] = velocity
        model.values[place][cells] += rate * velocity
    eager = min(1.0, rate / (1.0 - momentum))
    step = eager * np.clip(told.common, -limit, limit) - moved / told.bend
    model.intercept[0] += np.float32(np.clip(step, -limit, limit))


def _set_leaves(
    recipe: Boosting, parts: Sequence[Partition], leaves: Vector, told: _Told, scale: float
) -> None:
    """Give every tree of the round its leaves, once and for all; the rest stays 0."""
    limit, spread = float(recipe.limit), float(recipe.tree_spread)
    for place, part in enumerate(parts):
        prior = np.eye(part.cells - 1) * spread**2
        least = _sure(told.bends[place], scale / float(recipe.bend))
        step = _expected(prior, least, told.own_slopes(place, least), scale)
        step = np.clip(step, -limit, limit)
        leaves[place][told_cells(part)] = float(recipe.tree_rate) * step


def _expected(prior: Array, bends: Array, slopes: Array, scale: float) -> Array:
    """Return K H (H K H + H + S)⁻¹ g, [cells]."""
    spread = bends[:, None] * prior * bends + np.diag(bends + scale**2)
    expected: Array = prior @ (bends * np.linalg.solve(spread, slopes))
    return expected


def _sure(bends: Array, noise: float) -> Array:
    """Return the bends, and that of one row where noise of that deviation may have made it."""
    return np.where(bends > _SURE * noise, np.maximum(bends, _LEAST_BEND), _LEAST_BEND)


def _prior(recipe: Boosting, effect: Effect) -> Array:
    """Return the covariance of the told cells of an effect, given that its rest is 0."""
    spread, reach = float(recipe.spread), float(recipe.reach)
    places = np.arange(effect.cells) / effect.cells
    whole = spread**2 * np.exp(-np.abs(places[:, None] - places) / reach)
    rest = whole[:, effect.rest]
    cells = told_cells(effect)
    given: Array = (whole - np.outer(rest, rest) / rest[effect.rest])[np.ix_(cells, cells)]
    return given
