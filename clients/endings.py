"""How orders end at this node: what never left is given back, as far as this process knows.

A process knows what left since it started and nothing of what left before: the folder may be a copy
that was put back. So an order that is open when a process starts is over. Whatever was set aside
for it counts as spent, and nothing new is made for it; only a process that set an order's price
aside itself gives back what it never released.
"""

import logging
import threading
from collections.abc import Callable

from clients.books import Books
from clients.turns import Turns
from federation.orders import WorkOrder

log = logging.getLogger(__name__)


class Endings:
    """The open orders of one process.

    now:   the node's clock, in seconds since 1970.
    turns: an order is not ended while a release of it is made, by its id.
    """

    def __init__(self, books: Books, now: Callable[[], float], turns: Turns) -> None:
        self._books = books
        self._now = now
        self._turns = turns
        self._lock = threading.Lock()
        self._own: dict[str, int] = {}
        self._unpriced: dict[str, int] = {}

    def begin(self) -> None:
        """Every order that an earlier process left open is over, and paid whole."""
        for order in self._books.open_orders():
            releases = self._books.doubt(order)
            log.warning(
                "order %s was open when this node started: the %d releases that it might still "
                "have made count as spent",
                order[:12],
                releases,
            )

    def reserved(self, order: WorkOrder) -> None:
        """This very process has set aside what the order may cost."""
        with self._lock:
            self._own[order.id] = order.expires

    def accepted_unpriced(self, order: WorkOrder) -> None:
        """An order for which nothing is set aside is under way until it is closed or expires."""
        with self._lock:
            self._unpriced[order.id] = order.expires

    def while_idle(self, act: Callable[[], None]) -> None:
        """Do something that no order may see happen, unless one is under way.

        An order reads nothing before it is told of here, so that it comes before or after.
        """
        now = self._now()
        with self._lock:
            self._unpriced = {o: expires for o, expires in self._unpriced.items() if expires > now}
            if not self._own and not self._unpriced:
                act()

    def is_own(self, order: str) -> bool:
        """Return whether this process set the order's price aside, and it is not over."""
        return order in self._own

    def close(self, order: str) -> None:
        """End an order; what never left is given back where this process knows what did.

        Raises:
            UnknownReservationError: nothing was reserved for the order.
        """
        with self._turns.of(order):
            self._end(order)

    def _end(self, order: str) -> None:
        with self._lock:
            self._unpriced.pop(order, None)
            if self._own.pop(order, None) is None:
                self._books.doubt(order)
            else:
                self._books.close(order)

    def close_expired(self) -> None:
        """Give back what orders that nobody closed had set aside and never released.

        An order of which a release is made right now is left to the next time.
        """
        now = self._now()
        with self._lock:
            over = [order for order, expires in self._own.items() if expires <= now]
        for order in over:
            with self._turns.if_free(order) as free:
                if free:
                    self._end(order)
