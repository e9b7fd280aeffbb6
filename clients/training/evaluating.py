"""Every unit's part of an evaluation by itself: nobody else's rows can change a bit of it.

As in `gradients`, units lie side by side in lanes and every operation works lane by lane. Nothing
in a row can stop an evaluation: a score that is no number counts as the lowest, an error that is
none as the largest.

A forecast is made for a target relative to a base, so its rows carry two features beyond the
model's inputs: the base, as a logarithm, and the naive forecast, in volumes. Units must be of ONE
phase: a retailer-week stands in a row of every phase of its window.
"""

from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from clients.training.demand import volumes_of
from clients.training.gradients import Array, Block
from clients.training.sampling import UnitRows
from federation.evaluation import (
    BINS,
    EDGES,
    Evaluation,
    ForecastSums,
    ScoreSums,
    root_of_sums,
    series,
    spans,
)
from federation.models import chances

EXTRA: Final = 2
"""How many features the rows of a forecast carry beyond the model's inputs."""


def unit_vectors(spec: Evaluation, outputs: Array, block: Block, inputs: int) -> Array:
    """Return each lane's vector, [dimension, L]; empty lanes 0.

    outputs: [K, L], what a model of `inputs` features says of every row.

    Its norm is at most 1 if the unit has at most K rows, and for scores at most k rare ones.
    """
    with np.errstate(all="ignore"):
        if isinstance(spec, ScoreSums):
            return _scores(spec, outputs, block)
        return _forecasts(spec, outputs, block, inputs)


def forecast_units(rows: UnitRows, base: Array, naive: Array) -> UnitRows:
    """Return `rows` with what an evaluation of forecasts reads beyond the model's inputs.

    base:  [U, K], the logarithm that a target of 0 stands for; naive: [U, K], volumes.
    """
    features = np.concatenate([rows.features, np.stack([base, naive], axis=-1)], axis=-1)
    return replace(rows, features=features.astype(np.float32))


def inputs_alone(rows: UnitRows, inputs: int) -> UnitRows:
    """Return `rows` with what a model of `inputs` features reads, and no more."""
    return replace(rows, features=rows.features[..., :inputs])


# -- scores ----------------------------------------------------------------------------------------


def _scores(spec: ScoreSums, logits: Array, block: Block) -> Array:
    """Return the unit's counts and offsets by bin, as `evaluation.series` sends them."""
    place = _bins(logits)
    positive = block.present & (block.targets > 0.5)
    negative = block.present & ~positive
    offsets = np.where(block.present, _offsets(logits, place), 0.0)
    whole = np.concatenate(
        [
            _by_bin(place, positive.astype(np.float64)),
            _by_bin(place, negative.astype(np.float64)),
            _by_bin(place, offsets),
        ]
    )
    for here, scale in series(spec):
        whole[here] = scale * _half_summed(whole[here])
    return whole


def _bins(logits: Array) -> NDArray[np.int64]:
    """Return the bin of every logit, [K, L]; what is no number lies in the last one."""
    place = np.zeros(logits.shape, np.int64)
    for edge in EDGES:
        place += ~(logits >= edge)
    return place


def _offsets(logits: Array, place: NDArray[np.int64]) -> Array:
    """Return where in its bin each chance lies, from -1/2 at the lowest to 1/2, [K, L]."""
    low, width = (part[place] for part in spans())
    chance = chances(np.where(np.isnan(logits), -np.inf, logits))
    return np.clip((chance - low) / width - 0.5, -0.5, 0.5)


def _by_bin(place: NDArray[np.int64], values: Array) -> Array:
    """Return the sum of the values in every bin, from the first row to the last, [BINS, L]."""
    total = np.zeros((BINS, place.shape[1]))
    bins = np.arange(BINS)[:, None]
    for row, value in zip(place, values, strict=True):
        total += np.where(row == bins, value, 0.0)
    return total


def _half_summed(values: Array) -> Array:
    """Return C · values, where C · C takes running sums, lag by lag, [n, L]."""
    total = np.zeros_like(values)
    for lag, factor in enumerate(root_of_sums(len(values)).tolist()):
        total[lag:] += factor * values[: len(values) - lag]
    return total


# -- forecasts -------------------------------------------------------------------------------------


def _forecasts(spec: ForecastSums, outputs: Array, block: Block, inputs: int) -> Array:
    """Return the sums of the rows' clipped errors and volumes, [5, L]."""
    base, naive = block.features[inputs : inputs + EXTRA]
    actual, predicted = volumes_of(block.targets + base), volumes_of(outputs + base)
    volume, error = (float(bound) for bound in spec.bounds)
    missed, naively = np.abs(actual - predicted), np.abs(actual - naive)
    parts = [
        _bounded(part, bound)
        for part, bound in ((missed, error), (np.abs(actual), volume), (naively, error))
    ]
    moved = ~((missed <= error) & (np.abs(actual) <= volume) & (naively <= error))
    rows = np.stack([parts[0], parts[1], parts[0] ** 2, parts[2] ** 2, moved.astype(np.float64)])
    rows = np.where(block.present, spec.weight * rows, 0.0)
    total = np.zeros((len(rows), rows.shape[-1]))
    for row in range(rows.shape[1]):
        total += rows[:, row]
    return total


def _bounded(values: Array, bound: float) -> Array:
    """Return values >= 0 as parts of their bound, at most 1; what is no number counts as 1."""
    parts: Array = np.where(values <= bound, values / bound, 1.0)
    return parts
