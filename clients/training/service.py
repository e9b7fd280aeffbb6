"""What the training process does with a job: rows once, then a round at a time."""

import numpy as np

from clients.errors import ComputeError
from clients.training.fedavg import local_round
from clients.training.jobs import TrainJob
from clients.training.sampling import UnitRows
from clients.training.tables import load_rows
from secure_compute.entropy import SystemEntropy


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
            where = job.readable
            rows = load_rows(job.task, job.contract, where.table, self._entropy, where.positions)
            where.require_unchanged()
            self._rows, self._order = rows, job.order
        return self._rows
