"""Private steps taken apart, for tests."""

import numpy as np

from clients.training.gradients import Batch, blocks, unit_gradients
from clients.training.private_sgd import clipped
from federation.models import ModelSpec


def batch(features, targets, present) -> Batch:
    return Batch(
        np.asarray(features, np.float64), np.asarray(targets, np.float64), np.asarray(present, bool)
    )


def first(given: Batch, count: int) -> Batch:
    return Batch(given.features[:count], given.targets[:count], given.present[:count])


def chosen(given: Batch, units: list[int]) -> Batch:
    return Batch(given.features[units], given.targets[units], given.present[units])


def clipped_units(model: ModelSpec, weights, given: Batch, loss, clip: float) -> np.ndarray:
    """Return every unit's clipped gradient as floats, [U, d]; 0 where a unit has no rows."""
    parts = np.zeros((len(given.features), model.dimension))
    for unit in range(len(parts)):
        for block in blocks(chosen(given, [unit]), model.dimension, max(model.layers)):
            parts[unit] = clipped(unit_gradients(model, weights, block, loss), clip)[:, 0]
    return parts


def clipped_sum(model: ModelSpec, weights, given: Batch, loss, clip: float) -> np.ndarray:
    """Return the sum of all units' clipped gradients, before any rounding, [d]."""
    total = np.zeros(model.dimension)
    with np.errstate(all="ignore"):
        for block in blocks(given, model.dimension, max(model.layers)):
            total += clipped(unit_gradients(model, weights, block, loss), clip).sum(1)
    return total
