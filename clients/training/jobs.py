"""What the node asks of its training process: plain values, no framework."""

from dataclasses import dataclass
from pathlib import Path

from clients.books import Reservation
from federation.tasks import TrainingTask
from policies.conformance import Conformant
from policies.contracts import DataContract
from policies.engine import Permit


@dataclass(frozen=True, slots=True)
class TrainJob:
    """One order's training at this node, with the proofs that it may happen.

    table: the parquet file that holds the rows of `contract`.
    """

    order: str
    task: TrainingTask
    contract: DataContract
    table: Path
    permit: Permit
    conformant: Conformant
    reservation: Reservation
