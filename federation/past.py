"""When a release that was made before answers a question that is asked again. Pure.

An answer that was paid for may be given out again at no ε: nothing new is computed from rows. That
holds for the very same question alone: the same plan, of the same versions of the same contracts,
over the same windows, put to the same cohort. The same plan put to a smaller cohort is another
release, and the difference of two such answers would be one party's.
"""

from decimal import Decimal

from federation.errors import MalformedOrderError
from federation.orders import WorkOrder
from federation.queries import tree
from federation.tasks import QueryTask
from policies.parties import PartyId

PAST = "past"
"""Name of the field of an offer, and of an acceptance, that names the order of a past release."""


def is_same_question(past: WorkOrder, asked: WorkOrder) -> bool:
    """Return whether a release of `past` would be a release of `asked`, whatever their noise.

    Neither who asks nor how the SQL is spelled matters; what the parties' windows were at the time
    is not in the orders, so every node compares its own. An order of another version of the query
    language asks another question.
    """
    try:
        return past.kind == asked.kind == "query" and _question(past) == _question(asked)
    except MalformedOrderError:
        return False


def is_fine_enough(past: WorkOrder, asked: WorkOrder) -> bool:
    """Return whether the noise of `past` is no more than what `asked` would get."""
    noises = [QueryTask.from_json(order.parameters).noise_multiplier for order in (past, asked)]
    return Decimal(noises[0]) <= Decimal(noises[1])


def may_see(order: WorkOrder, party: PartyId) -> bool:
    """Return whether `party` is one of those that the releases of `order` were made for."""
    return party == order.proposer or party in order.recipients


def _question(order: WorkOrder) -> tuple[object, ...]:
    return (
        order.federation,
        tree.digest(QueryTask.from_json(order.parameters).plan),
        order.reads,
        (order.unit, order.delta),
        frozenset(order.windows),
        frozenset(order.cohort),
    )
