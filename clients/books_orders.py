"""What the books know of one order: what it may release, what it released, and whether it ended.

Every function works within the transaction of its caller.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from clients.books_accounts import spelt
from clients.books_tables import closings, reservations, returns, settlements
from policies.budget.account import Charge
from policies.errors import ChangedOrderError, ClosedOrderError, UnknownReservationError

_ORDER: Final[Any] = sa.bindparam("order")
_KEY: Final[Any] = sa.bindparam("key")


@dataclass(frozen=True, slots=True)
class Standing:
    """Where an order stands.

    allowed: how many releases were set aside for it.
    made:    how many left, without those that were given back.
    is_made, is_masked, is_returned: whether the release that was asked about left, left so that
        nobody can read it alone, and was given back.
    """

    allowed: int
    made: int
    is_closed: bool
    is_made: bool
    is_masked: bool
    is_returned: bool


def _count(table: sa.Table) -> "sa.ScalarSelect[int]":
    return sa.select(sa.func.count()).where(table.c.order_id == _ORDER).scalar_subquery()


def _with_key(table: sa.Table) -> "sa.ScalarSelect[int]":
    own = sa.and_(table.c.order_id == _ORDER, table.c.release_key == _KEY)
    return sa.select(sa.func.count()).where(own).scalar_subquery()


_STANDING: Final = sa.select(
    sa.select(sa.func.min(reservations.c.releases))
    .where(reservations.c.order_id == _ORDER)
    .scalar_subquery(),
    _count(settlements) - _count(returns),
    _count(closings),
    _with_key(settlements),
    sa.select(sa.func.max(settlements.c.masked))
    .where(settlements.c.order_id == _ORDER, settlements.c.release_key == _KEY)
    .scalar_subquery(),
    _with_key(returns),
)
_RESERVED: Final = sa.select(
    reservations.c.account, reservations.c.event, reservations.c.releases
).where(reservations.c.order_id == _ORDER)
_OPEN: Final = (
    sa.select(reservations.c.order_id)
    .distinct()
    .outerjoin(closings, closings.c.order_id == reservations.c.order_id)
    .where(closings.c.order_id.is_(None))
    .order_by(reservations.c.order_id)
)
_IS_MADE: Final = sa.select(_with_key(settlements))
_NUMBER: Final = sa.select(sa.func.min(reservations.c.number)).where(
    reservations.c.order_id == _ORDER
)


def standing(connection: Connection, order_id: str, release_key: str = "") -> Standing:
    """Return where the order stands, also with one of its releases.

    Raises:
        UnknownReservationError: nothing was reserved for it.
    """
    row = connection.execute(_STANDING, {"order": order_id, "key": release_key}).one()
    if row[0] is None:
        raise UnknownReservationError(f"order {order_id[:12]} has no reservation here")
    return Standing(row[0], row[1], *map(bool, row[2:]))


def is_made(connection: Connection, order_id: str, release_key: str) -> bool:
    """Return whether the release was ever charged."""
    found = connection.execute(_IS_MADE, {"order": order_id, "key": release_key})
    return bool(found.scalar_one())


def is_known(connection: Connection, order_id: str, charges: Sequence[Charge]) -> bool:
    """Return whether exactly these charges were set aside for the order, and it is open.

    Raises:
        ClosedOrderError: the order is closed.
        ChangedOrderError: other charges were set aside for it.
    """
    rows = connection.execute(_RESERVED, {"order": order_id})
    known = {account: (event, releases) for account, event, releases in rows}
    if not known:
        return False
    if standing(connection, order_id).is_closed:
        raise ClosedOrderError(f"order {order_id[:12]} is closed; propose a new one")
    if known != {c.scope.account: (spelt(c.event), c.releases) for c in charges}:
        raise ChangedOrderError(f"order {order_id[:12]} was reserved with other contents")
    return True


def number_of(connection: Connection, order_id: str) -> int | None:
    """Return the number of the log entry that set the order's releases aside."""
    found: int | None = connection.execute(_NUMBER, {"order": order_id}).scalar()
    return found


def open_orders(connection: Connection) -> list[str]:
    """Return the orders that hold a reservation and are not closed, sorted."""
    return list(connection.scalars(_OPEN))
