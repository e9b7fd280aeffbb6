"""Where a run by secure sums stands. Everything in it follows from released sums."""

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from federation.models import Vector

Array: TypeAlias = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class State:
    """What the next round starts from.

    weights: what every node computes from, [d] float32; memory: what the server alone goes on
             from, [m] float64, as the method lays it out.
    """

    weights: Vector
    memory: Array
