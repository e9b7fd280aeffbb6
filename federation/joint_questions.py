"""Which question a signed order is under a key: every side derives it, and nobody is told it."""

from federation.membership import Roster
from federation.orders import WorkOrder
from federation.queries import tree
from federation.queries.pricing import reach
from federation.queries.sensitivity import width
from federation.secure_sums import signers
from federation.tasks import QueryTask
from secure_compute.threshold.question import Question
from secure_compute.threshold.terms import Terms


def question_of(order: WorkOrder, roster: Roster, terms: Terms, key: str) -> Question:
    """Return the question that `order` asks under a key. key: the digest that this side added up.

    It holds against as many colluders as the key does, t − 1: a node that fears more refuses the
    key. The recipient is who signed the order, whatever a letter says.

    Raises:
        MalformedOrderError: the order is no query.
        RosterError: the cohort names a party that is not on the roster.
        PeerProtocolError: no list of this cohort could hide anybody; or it names two nodes of one
            organisation.
    """
    task = QueryTask.from_json(order.parameters)
    members = signers(roster)
    return Question(
        query=order.id,
        plan=tree.digest(task.plan),
        key=key,
        cohort=tuple(members.find(party) for party in sorted(order.cohort)),
        colluding=terms.threshold - 1,
        minimum=order.minimum,
        recipient=order.proposer,
        cells=width(task.plan),
        reach=reach(task.plan, task.noise_multiplier),
    )
