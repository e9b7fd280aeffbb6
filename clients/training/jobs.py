"""What the node asks of its training process: plain values, no framework."""

from dataclasses import dataclass, field

from clients.books import Reservation
from clients.ingestion import Readable
from federation.tasks import TrainingTask
from policies.conformance import Conformant
from policies.contracts import DataContract
from policies.engine import Permit
from secure_compute.primitives.seed_stream import SEED_SIZE


@dataclass(frozen=True, slots=True)
class TrainJob:
    """One order's training at this node, with the proofs that it may happen.

    readable: the rows of `contract` that are paid for.
    coins:    decides, by a stream of its own, which units are held out; one secret for an order.
    """

    order: str
    task: TrainingTask
    contract: DataContract
    readable: Readable
    permit: Permit
    conformant: Conformant
    reservation: Reservation
    coins: bytes = field(default=bytes(SEED_SIZE), repr=False)
