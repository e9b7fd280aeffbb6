"""What the aggregator makes of an opened sum: the rows the asker reads. Pure."""

from collections.abc import Iterable

from aggregator.errors import MalformedReplyError
from federation.answers import answer
from federation.envelopes import Envelope
from federation.orders import WorkOrder
from federation.tasks import QueryTask
from policies.disclosure import Releasable, clear
from policies.parties import PartyId


def opened_answer(
    order: WorkOrder, letter: Envelope, asked: Iterable[PartyId], organisations: int
) -> Releasable:
    """Return the answer that the keyholder opened, past the disclosure gate.

    Raises:
        MalformedReplyError: the keyholder opened something else than it was given.
        SmallCohortError: too few organisations stand behind it.
    """
    match letter.body:
        case {"values": list(values), "contributors": list(contributors)} if contributors == sorted(
            asked
        ) and all(type(value) is int for value in values):
            task = QueryTask.from_json(order.parameters)
            numbers = [int(str(value)) for value in values]
            rows = answer(task.plan, task.noise_multiplier, len(contributors), numbers)
            return clear(rows, organisations, order.minimum)
    raise MalformedReplyError("the keyholder opened another sum than the one it was given")
