"""A node's cells of a joint question: rows to partial, with this node's noise in it."""

from collections.abc import Sequence

from clients.ingestion import Readable
from clients.queries.partial import Preparations, noisy_partial
from clients.verdicts import Agreed
from federation.orders import WorkOrder
from federation.tasks import QueryTask
from secure_compute.entropy import Entropy


def noised_cells(
    order: WorkOrder,
    agreed: Agreed,
    readables: Sequence[Readable],
    entropy: Entropy,
    prepared: Preparations,
) -> tuple[int, ...]:
    """Return this node's noised partial, [width], each number within the plan's reach.

    readables: the paid rows of each contract that was agreed to, in their order.
    prepared:  gives the copy of a table, if there is one.

    Raises:
        ComputeError: the plan does not cost what was reserved, or a file cannot be read.
    """
    task = QueryTask.from_json(order.parameters)
    partial = noisy_partial(
        task.plan,
        task.noise_multiplier,
        contracts=agreed.contracts,
        readables=readables,
        permit=agreed.permit,
        reservation=agreed.reservation,
        entropy=entropy,
        prepared=prepared,
    )
    return partial.values
