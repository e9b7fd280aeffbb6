"""Which messages a work order allows: they follow from what it asks for; no others belong to it.

A node answers a message about an order if the order it accepted is of that kind. What brings an
order, ends it, or is about ledgers and keys alone belongs to orders of every kind. What a node
computes for a secure sum has no noise of its own: such an order gives no update.
"""

from collections.abc import Mapping
from typing import Final

from federation.messages import Kind
from federation.orders import WorkOrder
from federation.tasks import sums_of

UPDATES: Final = frozenset({Kind.TRAIN_ROUND})
SUMS: Final = frozenset({Kind.SUM_ROUND, Kind.SUM_ASK})

_KINDS: Final[Mapping[str, frozenset[Kind]]] = {
    "query": frozenset(
        {
            *(Kind.QUERY_COMMIT, Kind.QUERY_ENDORSE, Kind.QUERY_REVEAL),
            *(Kind.QUERY_BIND, Kind.QUERY_OPEN),
        }
    ),
    "match": frozenset({Kind.MATCH_STEP}),
}


def kinds_of(order: WorkOrder) -> frozenset[Kind]:
    """Return the kinds of messages in which work on an order is asked for.

    Raises:
        MalformedOrderError: it trains by no recipe of this version.
    """
    if order.kind == "train":
        return UPDATES if sums_of(order) is None else SUMS
    return _KINDS[order.kind]
