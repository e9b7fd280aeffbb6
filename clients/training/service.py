"""What the training process does with a job: rows once, then a round at a time."""

from pathlib import Path

import numpy as np
import pandas as pd

from clients.errors import ComputeError
from clients.training.demand import DemandBounds, demand_rows, private_units
from clients.training.fedavg import local_round
from clients.training.fraud import fraud_rows
from clients.training.jobs import TrainJob
from clients.training.sampling import UnitRows, gather_units
from federation.tasks import TrainingTask
from policies.contracts import DataContract
from secure_compute.entropy import Entropy, SystemEntropy

EVER = 2**62


def load_rows(
    task: TrainingTask, contract: DataContract, table: Path, entropy: Entropy
) -> UnitRows:
    """Return the rows of a task by unit of privacy, bounded as its recipe says.

    Raises:
        TrainingDataError: the table lacks what the model needs.
    """
    frame = pd.read_parquet(table)
    recipe = task.recipe
    if task.model == "demand":
        return private_units(demand_rows(frame, recipe.window, demand_bounds(contract)))
    rows = fraud_rows(frame, contract, task.until or EVER)
    return gather_units(rows.features, rows.targets, rows.units, recipe.rows_per_unit, entropy)


def demand_bounds(contract: DataContract) -> DemandBounds:
    """Return the public bounds that scale the demand features."""
    volume, price = contract.column("volume"), contract.column("price")
    if volume.high is None or price.low is None or price.high is None:
        raise ComputeError(f"contract {contract.name} must bound volume and price")
    return DemandBounds(float(volume.high), float(price.low), float(price.high))


class Trainer:
    """Holds the rows of the order it works on."""

    def __init__(self) -> None:
        self._entropy = SystemEntropy()
        self._order = ""
        self._rows: UnitRows | None = None

    def perform(self, job: TrainJob, round_: int, weights: bytes | None) -> bytes:
        """Return the update of one round, little-endian float32; b"" when only warming up.

        Raises:
            ComputeError: the weights are not those of the order's model.
        """
        rows = self._load(job)
        if weights is None:
            return b""
        model = job.task.recipe.model
        if len(weights) != 4 * model.dimension:
            raise ComputeError("the weights are those of a model from another version")
        start = np.frombuffer(weights, "<f4").astype(np.float32)
        update = local_round(start, model, rows, job.task.recipe, round_, self._entropy)
        if job.reservation.event != update.event:
            raise ComputeError("what ran is not what was reserved; nothing is sent")
        return update.vector.astype("<f4").tobytes()

    def _load(self, job: TrainJob) -> UnitRows:
        if self._rows is None or self._order != job.order:
            self._rows = load_rows(job.task, job.contract, job.table, self._entropy)
            self._order = job.order
        return self._rows
