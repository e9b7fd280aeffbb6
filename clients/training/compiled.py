"""Who takes the compiled way through a private step, and what it needs to know of the network.

It computes what `ghost.py` would, bit for bit, for rectified networks and units of one row. Where
numba cannot be loaded, everything goes array by array: slower, and not otherwise.
"""

from collections.abc import Sequence
from functools import cache
from types import ModuleType
from typing import TYPE_CHECKING, Final

import numpy as np
from threadpoolctl import ThreadpoolController  # type: ignore[import-untyped]

from clients.training.exact import NEARLY, Integers, room
from clients.training.gradients import Block, loss_slopes
from clients.training.network import Network
from federation.losses import Loss
from federation.models import ModelSpec

if TYPE_CHECKING:
    from clients.training.ghost import Grid
    from clients.training.kernels import Plan

LANES: Final = 1024
"""Of a tile: so many rows of a small network, and what becomes of them, lie in a core's cache.

A tile's sums in double precision stay below 2^53 (`kernels._add_product`).
"""


@cache
def kernels() -> ModuleType | None:
    """Return the compiled functions, or None where numba is missing or told not to compile."""
    try:
        import numba
    except ImportError:  # or it does not go with this numpy or this Python
        return None
    if numba.config.DISABLE_JIT:
        return None
    from clients.training import kernels as found

    return found


@cache
def _libraries() -> ThreadpoolController:
    """Return a hold on the threads of scipy's matrix products, which are what numba calls."""
    import scipy.linalg  # noqa: F401  else it is loaded, with all its threads, when it is called

    return ThreadpoolController()


def usable(model: ModelSpec) -> bool:
    """Whether units of one row go the compiled way.

    Not through tanh, which is a library's own, in its own bits; nor through a hidden layer of one
    output, which may have another precision than the others (`ghost.layer_grids`).
    """
    fit = model.activation == "relu" and 1 not in model.layers[1:-1]
    return fit and kernels() is not None


def plan_of(network: Network, grids: Sequence["Grid"], error: float, margin: float) -> "Plan":
    """Return the network as kernels take it.

    error: what a bound of a squared norm may err by, relatively; margin: below the clip.
    """
    from clients.training.kernels import Plan

    precision, matrices = network.precision, [matrix for matrix, _ in network.layers]
    sizes = [matrix.shape[1] - 1 for matrix in matrices]
    turned = [matrix[:, :-1].T for matrix in matrices[1:-1]]
    return Plan(
        sizes=np.array([*sizes, 1]),
        matrices=np.concatenate(matrices, axis=None),
        turned=np.concatenate([matrices[0][:0], *turned], axis=None),
        scales=np.array([scale for _, scale in network.layers]),
        entering=np.array([room(n + 1, precision.reach, precision) for n in sizes]),
        leaving=np.array([room(n, precision.reach, precision) for n in sizes]),
        steps=np.array([grid.steps for grid in grids]),
        clips=np.array([precision.reach / grid.clip for grid in grids]),
        most=np.array([2.0**grid.precision.bits * NEARLY for grid in grids]),
        error=error,
        margin=margin,
    )


def add_shares(plan: "Plan", block: Block, loss: Loss, totals: Integers) -> int:
    """Add the shares of a block of units of one row; return how many were cut back once more.

    totals: the layers' [m, n + 1], one after another. block: its features have a row to spare.
    """
    from clients.training import kernels

    present = block.present[0]
    # A tile's products are too small to be shared out: two threads take longer, and twice the time.
    with _libraries().limit(limits=1, user_api="blas"):
        tile = kernels.forward(plan, block.features[:-1, 0], present)
        slopes = np.where(present, loss_slopes(tile.outputs, block.targets[0], loss), 0.0)
        cut: int = kernels.add_shares(plan, tile, slopes, totals)
    return cut
