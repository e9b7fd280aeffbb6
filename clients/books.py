"""The node's privacy account on disk: rows are added, never changed, and every answer is durable.

    reserve ──settle──settle──…──close

An order's releases are set aside together, in every account they touch, before its rows are read;
each release is settled, under a key made of its round and its input, before its first byte leaves;
closing gives back only what never left. Whatever changes an account is written in one transaction
as rows of the books and as an entry of the node's log, which witnesses see: a process may be killed
between any two instructions, and both are on disk or neither is. What was acknowledged is on disk;
what was not may be asked again, because `reserve` and `settle` are idempotent. Writers in other
processes are serialised by the database, which decides one admission at a time; nothing is
remembered in memory between two calls.

What is not here: the law, clocks, rows, other parties' keys. A copy of the file put back later
gives back what was spent since; that is found by witnesses, not by the file.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from clients import books_accounts, books_entries, books_orders, books_statements
from clients.books_accounts import Holding
from clients.books_log import BookLog
from clients.errors import GivenBackError
from federation.ledger.withheld import GiveBack
from policies.budget.account import Charge, Price, Scope, admit
from policies.budget.events import Event
from policies.budget.statement import Statement
from policies.errors import ClosedOrderError, OverdrawnError
from policies.evidence import Minted


@dataclass(frozen=True, slots=True)
class Reservation(metaclass=Minted):
    """The releases of `order_id` are set aside, durably, in the account of every charge."""

    order_id: str
    charges: tuple[Charge, ...]

    @property
    def event(self) -> Event:
        """What one release does to a unit of the contract that is read."""
        return self.charges[0].event

    @property
    def scopes(self) -> tuple[Scope, ...]:
        """The accounts that pay, the contract's own unit first."""
        return tuple(charge.scope for charge in self.charges)


class Books(BookLog):
    """The accounts of a node, in the database of its log."""

    # -- spending --------------------------------------------------------------------------------

    def reserve(
        self, charges: Sequence[Charge], order_id: str, *, abandoned: int = 0
    ) -> Reservation:
        """Set all of `charges` aside, and as many more releases as may be abandoned, or nothing.

        The same order twice is set aside once.

        Raises:
            InsufficientBudgetError: an account cannot pay; it says which, and what would pass.
            ChangedOrderError: the order was reserved with other contents.
            ClosedOrderError: the order was reserved and is closed.
            UnitMismatchError: the same subjects were charged in another kind of unit before.
        """
        asked = tuple(each.with_spare(abandoned) for each in charges)
        if not asked or len({each.scope.account for each in asked}) < len(asked):
            raise ValueError("an order is charged at least once, and once to each account")
        with self._writing() as connection:
            if not books_orders.is_known(connection, order_id, asked):
                books_accounts.require_kinds(connection, [each.scope for each in asked])
                found = books_accounts.find(connection, asked)
                admit([books_accounts.asked(each, found) for each in asked])
                books_entries.enter_reserved(
                    connection, self._log, order_id, asked, self._at(), found=found
                )
        return Reservation._mint(order_id, asked)  # noqa: SLF001  the home of this evidence

    def quote(self, charges: Sequence[Charge]) -> tuple[Price, ...]:
        """Return what `charges` would cost each account now; nothing is set aside.

        Raises:
            InsufficientBudgetError: an account could not pay.
            UnitMismatchError: the same subjects were charged in another kind of unit before.
        """
        with self._reading() as connection:
            books_accounts.require_kinds(connection, [each.scope for each in charges])
            found = books_accounts.find(connection, charges)
        return admit([books_accounts.asked(each, found) for each in charges])

    def settle(self, order_id: str, release_key: str, *, masked: bool = False) -> bool:
        """Charge the release `release_key`; it may leave once this has returned.

        masked: whether it leaves so that nobody can read it unless enough others answer too.

        True when it is charged now; False when it was charged before, so that the stored bytes of
        that release may leave again, and no others.

        Raises:
            UnknownReservationError: nothing was reserved for the order.
            GivenBackError: the release was given back.
            ClosedOrderError: the order is closed.
            OverdrawnError: every reserved release has another key.
        """
        with self._writing() as connection:
            order = books_orders.standing(connection, order_id, release_key)
            if order.is_returned:
                raise GivenBackError(
                    f"a release of order {order_id[:12]} was given back; it never leaves again"
                )
            if order.is_made:
                return False
            if order.is_closed:
                raise ClosedOrderError(f"order {order_id[:12]} is closed; propose a new one")
            if order.made >= order.allowed:
                raise OverdrawnError(
                    f"order {order_id[:12]} reserved {order.allowed} releases and has made them "
                    f"all; propose a new order for more"
                )
            books_entries.enter_settled(
                connection, self._log, order_id, release_key, self._at(), masked=int(masked)
            )
            return True

    def is_settled(self, order_id: str, release_key: str) -> bool:
        """Return whether the release `release_key` was charged, and so may have left."""
        with self._reading() as connection:
            return books_orders.is_made(connection, order_id, release_key)

    def is_doubted(self, order_id: str) -> bool:
        """Return whether all of the order was charged because nobody here knew what had left."""
        return self.is_settled(order_id, _doubt(1))

    def give_back(self, order_id: str, release_key: str, evidence: GiveBack) -> None:
        """A masked release that nobody can open any more is not spent, and never leaves again.

        Raises:
            UnknownReservationError: nothing was reserved for the order.
            GivenBackError: the evidence is about another release, or this one was never charged,
                or it could be read as it left.
        """
        if (evidence.order, evidence.release) != (order_id, release_key):
            raise GivenBackError(f"what was withheld is no release of order {order_id[:12]}")
        with self._writing() as connection:
            order = books_orders.standing(connection, order_id, release_key)
            if not order.is_masked:
                raise GivenBackError(
                    f"no such release of order {order_id[:12]} left, or it could be read when it "
                    f"did; what could be read stays spent"
                )
            if not order.is_returned:
                books_entries.enter_given_back(
                    connection, self._log, order_id, release_key, evidence.statements, self._at()
                )

    def close(self, order_id: str) -> None:
        """End the order: what never left is given back, what left stays spent.

        Raises:
            UnknownReservationError: nothing was reserved for the order.
        """
        with self._writing() as connection:
            if not books_orders.standing(connection, order_id).is_closed:
                books_entries.enter_closed(connection, self._log, order_id, self._at())

    def require_kinds(self, scopes: Iterable[Scope]) -> None:
        """Return if `scopes` charge their subjects in the kind of unit they were always charged in.

        Raises:
            UnitMismatchError: they do not; a second account would forget what was spent.
        """
        with self._reading() as connection:
            books_accounts.require_kinds(connection, scopes)

    def doubt(self, order_id: str) -> int:
        """Charge all that was set aside for the order, and end it; return how many releases.

        For an order of which nobody here knows what left: all of it may have. Nothing is charged
        for one that is closed.

        Raises:
            UnknownReservationError: nothing was reserved for the order.
        """
        with self._writing() as connection:
            order, at = books_orders.standing(connection, order_id), self._at()
            if order.is_closed:
                return 0
            rest = order.allowed - order.made
            for number in range(1, rest + 1):
                books_entries.enter_settled(connection, self._log, order_id, _doubt(number), at)
            books_entries.enter_closed(connection, self._log, order_id, at)
            return rest

    # -- looking ---------------------------------------------------------------------------------

    def open_orders(self) -> list[str]:
        """Return the orders that hold a reservation and are not closed, sorted."""
        with self._reading() as connection:
            return books_orders.open_orders(connection)

    def statement(self, scopes: Sequence[Scope] = ()) -> list[Statement]:
        """Return one statement per account, also for those of `scopes` never charged yet."""
        with self._reading() as connection:
            return books_statements.statements(connection, scopes)

    def holding(self, account: str) -> Holding:
        """Return the events of an account: those that left, and those that still may."""
        with self._reading() as connection:
            return books_accounts.held(connection, [account])[account]

    def history(self, account: str) -> list[tuple[int, Event]]:
        """Return when each order was set aside, seconds since 1970, and what it took or may take.

        Orders of books of version 1, which kept no times, are not among them.
        """
        with self._reading() as connection:
            taken = books_accounts.orders(connection, [account])
        return [(order.at, order.event) for order in taken if order.at]


def _doubt(number: int) -> str:
    """Return the key of a release that may have left; no digest reads like it."""
    return f"doubt/{number}"
