"""What the training process does with a job: rows once, then a round at a time."""

from decimal import Decimal
from typing import Final

import numpy as np

from clients.errors import ComputeError
from clients.training.evaluating import inputs_alone
from clients.training.fedavg import local_round
from clients.training.jobs import TrainJob
from clients.training.private_sgd import ready
from clients.training.sampling import UnitRows, hold_out
from clients.training.sums import round_sum
from clients.training.tables import load_rows
from federation.recipes import Recipe
from federation.sum_recipes import SumRecipe
from secure_compute.entropy import SystemEntropy
from secure_compute.primitives.seed_stream import SeedStream

_HELD_OUT: Final = b"entrepot/hold-out/1"


class Trainer:
    """Holds the rows of the order it works on."""

    def __init__(self) -> None:
        self._entropy = SystemEntropy()
        self._order = ""
        self._rows: UnitRows | None = None
        self._held: UnitRows | None = None

    def perform(self, job: TrainJob, round_: int, weights: bytes | None) -> bytes:
        """Return what one round needs of this node's rows; b"" when only warming up.

        By FedAvg that is a noised update, little-endian float32; for a secure sum it is the clipped
        sum, little-endian int64, which is noised where it is masked.

        Raises:
            ComputeError: the weights are not those of the order's model.
        """
        rows, held = self._load(job)
        recipe, number = job.task.recipe, job.task.begun + round_
        if weights is None:
            if isinstance(recipe, Recipe):
                ready(recipe)
            return b""
        size = recipe.method.size if isinstance(recipe, SumRecipe) else recipe.model.dimension
        if len(weights) != 4 * size:
            raise ComputeError("the weights are those of a model from another version")
        start = np.frombuffer(weights, "<f4").astype(np.float32)
        if isinstance(recipe, SumRecipe):
            chosen = held if recipe.evaluates(number) else rows
            part = round_sum(start, chosen, recipe, number, self._entropy)
            ran, result = part.event, part.values.astype("<i8").tobytes()
        else:
            update = local_round(start, recipe.model, rows, recipe, number, self._entropy)
            ran, result = update.event, update.vector.astype("<f4").tobytes()
        if job.reservation.event != ran:
            raise ComputeError("what ran is not what was reserved; nothing is sent")
        return result

    def _load(self, job: TrainJob) -> tuple[UnitRows, UnitRows]:
        """Return the order's rows: those that train, and those held out once for all its rounds."""
        if self._rows is None or self._held is None or self._order != job.order:
            where = job.readable
            rows = load_rows(job.task, job.contract, where.table, self._entropy, where.positions)
            where.require_unchanged()
            self._rows, self._held = _apart(rows, job)
            self._order = job.order
        return self._rows, self._held


def _apart(rows: UnitRows, job: TrainJob) -> tuple[UnitRows, UnitRows]:
    """Return the units that train, and those that a run measures its model on in its last round.

    A held-out row's target week is no training row's: measured demand has one horizon. It may be
    among the weeks that other rows look back on.
    """
    recipe = job.task.recipe
    coins = SystemEntropy() if job.coins is None else SeedStream(job.coins, _HELD_OUT)
    if not isinstance(recipe, SumRecipe):
        return hold_out(rows, Decimal(0), coins)
    if recipe.holdout and job.coins is None:
        raise ComputeError("there is no secret to hold units out by; nothing is computed")
    trains, held = hold_out(rows, recipe.holdout, coins, recipe.method.rounds)
    return inputs_alone(trains, recipe.method.inputs), held
