"""What the node asks of its training process: plain values, no framework."""

from dataclasses import dataclass, field

from clients.books import Reservation
from clients.ingestion import Readable
from federation.tasks import TrainingTask
from policies.conformance import Conformant
from policies.contracts import DataContract
from policies.engine import Permit


@dataclass(frozen=True, slots=True)
class TrainJob:
    """One order's training at this node, with the proofs that it may happen.

    readable: the rows of `contract` that are paid for.
    coins:    decides, by a stream of its own, which units are held out; one secret for an order
              of sums, and None for others, which hold nothing out.
    """

    order: str
    task: TrainingTask
    contract: DataContract
    readable: Readable
    permit: Permit
    conformant: Conformant
    reservation: Reservation
    coins: bytes | None = field(repr=False)
