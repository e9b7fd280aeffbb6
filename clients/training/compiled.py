"""Who takes the compiled way through a private step, and what it needs to know of the network.

It computes what `ghost.py` would, bit for bit, for rectified networks in single precision and units
of one row. What is compiled is believed once it has given the sums of arrays in a trial. Where it
does not, or cannot be compiled or kept, everything goes array by array: slower, and not otherwise.
"""

import logging
import os
import shutil
from collections.abc import Sequence
from functools import cache
from hashlib import sha256
from pathlib import Path
from stat import S_IMODE
from threading import Lock
from types import ModuleType
from typing import TYPE_CHECKING, Final

import numpy as np
from threadpoolctl import ThreadpoolController  # type: ignore[import-untyped]

from clients.training import trial
from clients.training.exact import NEARLY, SINGLE, Integers, Precision, room
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

log = logging.getLogger(__name__)
_ALONE: Final = Lock()


def fitting(model: ModelSpec, precision: Precision) -> ModuleType | None:
    """Return the kernels if units of one row go through them, or None.

    They do not for tanh, which is a library's own, in its own bits; in double precision, where a
    small network's products are not what costs; nor through a hidden layer of one output, which
    may have another precision than the others (`ghost.layer_grids`).
    """
    rectified = model.activation == "relu" and 1 not in model.layers[1:-1]
    return kernels() if rectified and precision is SINGLE else None


@cache
def kernels() -> ModuleType | None:
    """Return the compiled functions, after a trial, or None: then this process does without.

    Compiling takes 8 s, for each version once on a machine: it is kept in a folder of this user's.
    One that could not be written or read, or held what gives other sums, is taken away.
    """
    folder, why = None, "numba is told not to compile"
    try:
        import numba

        if not numba.config.DISABLE_JIT:
            folder = _folder(numba.__version__)
            numba.config.CACHE_DIR = str(folder)
            from clients.training import kernels as found

            if trial.agrees(found):
                return found
            why = "here they give other sums than arrays do"
    except Exception as error:  # noqa: BLE001  whatever a compiler or a file says, arrays go on
        why = f"{type(error).__name__}: {error}"
    if folder is not None:
        shutil.rmtree(folder, ignore_errors=True)
    log.warning("private steps are not compiled, and take longer: %s", why)
    return None


def _folder(version: str) -> Path:
    """Make the folder of what is compiled from this very source, for this user alone to write to.

    What lies in it is run. Another version has another folder, so nothing of the one is ever
    taken for the other's.

    Raises:
        OSError: there is none that could be written to, or somebody else could write to it.
    """
    source = Path(__file__).with_name("kernels.py").read_bytes()
    name = sha256(version.encode() + b"\0" + source).hexdigest()[:32]
    cached = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(cached, "entrepot", name)
    folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.mkdir(mode=0o700, exist_ok=True)
    for one in (folder, folder.parent):
        found = one.stat()
        if found.st_uid != os.getuid() or S_IMODE(found.st_mode) & 0o022:
            raise PermissionError(f"others may write to {one}, where what is compiled would lie")
    return folder


@cache
def _libraries() -> ThreadpoolController:
    """Return a hold on the threads of scipy's matrix products, which are what numba calls."""
    import scipy.linalg  # noqa: F401  else it is loaded, with all its threads, when it is called

    return ThreadpoolController()


def plan_of(network: Network, grids: Sequence["Grid"], error: float, margin: float) -> "Plan":
    """Return the network as kernels take it.

    error: what a bound of a squared norm may err by, relatively; margin: as a part of the clip.
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


def add_shares(
    kernels: ModuleType, plan: "Plan", block: Block, loss: Loss, totals: Integers
) -> int:
    """Add the shares of a block of units of one row; return how many were cut back once more.

    totals: the layers' [m, n + 1], one after another. block: its features have a row to spare, and
    its lanes are a multiple of 8.
    """
    present = block.present[0]
    # Products of a tile are too small to be shared out among threads: they only take longer. The
    # limit is the whole process's, and two that overlap would leave it behind.
    with _ALONE, _libraries().limit(limits=1, user_api="blas"):
        tile = kernels.forward(plan, block.features[:-1, 0], present)
        slopes = np.where(present, loss_slopes(tile.outputs, block.targets[0], loss), 0.0)
        cut: int = kernels.add_shares(plan, tile, slopes, totals)
    return cut
