"""Every unit's second moments by itself, lane by lane like its gradients (`gradients.py`)."""

import numpy as np

from clients.training.gradients import Array, Block, over_rows
from federation import moments


def unit_moments(block: Block, moment_clip: float, target_clip: float) -> Array:
    """Return for each lane its rows' [Σ x xᵀ / moment_clip, Σ x y / target_clip], [m, L].

    They lie as `federation.moments` says, with m = p(p + 3)/2 for p - 1 features. Rows that are not
    there count nothing.
    """
    inputs = np.concatenate([block.features, np.ones_like(block.features[:1])])
    inputs *= block.present  # a row that is not there has no bias either
    first, second = moments.triangle(len(inputs))
    scales = (moments.weights(len(inputs)) / moment_clip)[:, None]
    products = scales * over_rows(inputs[first], inputs[second])
    targets = over_rows(inputs, block.targets[None]) / target_clip
    return np.concatenate([products, targets])
