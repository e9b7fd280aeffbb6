"""One batch that compiled code has to add up as arrays do before it is believed.

It would show code of another version, a compiler's error in what the batch goes through, or a
processor on which a library fuses additions with multiplications.
"""

from decimal import Decimal
from types import ModuleType
from typing import Final

import numpy as np

from clients.training.gradients import Array, Batch
from federation.models import ModelSpec
from federation.recipes import Recipe

_MODEL: Final = ModelSpec((17, 40, 20, 18, 1))
_UNITS: Final = 1100  # more than a tile


def agrees(kernels: ModuleType) -> bool:
    """Whether compiled functions add the trial's units up as arrays do, to the last bit."""
    from clients.training import ghost  # which asks for what is compiled itself

    recipe, weights, batch = _recipe(), _waves(_MODEL.dimension), _batch()
    found = ghost.sums_by(kernels, recipe, weights, batch)
    expected = ghost.sums_by(None, recipe, weights, batch)
    return all(np.array_equal(one, other) for one, other in zip(found, expected, strict=True))


def _waves(count: int) -> Array:
    """Return numbers between -1 and 1 that look like chance and are none."""
    return np.sin(np.square(np.arange(count, dtype=np.float64)))


def _batch() -> Batch:
    """Return rows of all sizes, among them one of zeros and some that no float holds."""
    features = _waves(_UNITS * _MODEL.inputs).reshape(_UNITS, 1, _MODEL.inputs)
    features *= 2.0 ** (20.0 * _waves(_UNITS))[:, None, None]
    features[5] = 0.0
    features[6, 0, 3], features[7, 0, 1], features[8, 0, 2] = np.nan, np.inf, 1e250
    targets = (_waves(_UNITS) > 0.0).astype(np.float64)[:, None]
    return Batch(features, targets, np.ones((_UNITS, 1), np.bool_))


def _recipe() -> Recipe:
    return Recipe(
        model=_MODEL,
        loss="bce",
        rounds=1,
        steps=1,
        sampling_rate=Decimal(1),
        clip=Decimal(1),
        noise_multiplier=Decimal(1),
        grid=4096,
        learning_rate=Decimal(1),
        expected_units=_UNITS,
        rows_per_unit=1,
    )
