"""When a node's answer to a joint question leaves, and what leaves where there is none. Pure.

How long rows take to read, and whether reading them fails, would tell of rows. So an answer leaves
when its slot ends, which follows from the signed order alone, and takes as many bytes as the order
gives it. A node without one then sends as many zeros in its place: no signature verifies them.
"""

from typing import Final

from federation.queries.sensitivity import width
from federation.tasks import QueryTask
from secure_compute.primitives.signature import SIGNATURE_SIZE
from secure_compute.threshold.listing import Commitment
from secure_compute.threshold.question import Question

SLOT_SECONDS: Final = 3.0
"""What any question has: enough for some millions of rows, or for a machine that is busy."""

_NUMBERS_A_SECOND: Final = 50_000
"""Numbers of a plan for which a node has another second: they are noised and encrypted."""

_HASH: Final = "0" * 64


def slot_seconds(task: QueryTask) -> float:
    """Return after how many seconds a node's answer leaves, counted from when it was asked.

    The order's deadline; without one `SLOT_SECONDS`, and more for many numbers.
    """
    if task.deadline:
        return task.deadline / 1000
    return SLOT_SECONDS + width(task.plan) / _NUMBERS_A_SECOND


def late(question: Question, party: str) -> bytes:
    """Return what a party sends that has no commitment in time: as many zeros."""
    hashes = (_HASH,) * question.layout.chunks
    said = Commitment(
        question=question.digest, party=party, chunks=hashes, signature=bytes(SIGNATURE_SIZE)
    )
    return bytes(len(said.to_bytes()))
