"""Changes of the books: each writes its rows and the log entry that says so.

They are written within the one transaction of their caller, who has judged that they may be.
"""

from collections.abc import Sequence
from typing import Final

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from clients import books_accounts
from clients.books_accounts import Found
from clients.books_orders import standing
from clients.books_tables import closings, reservations, returns, settlements
from federation.ledger.entries import Entry, EntryKind
from federation.ledger.store import Log
from policies.budget.account import Charge, Scope
from policies.budget.events import spell
from secure_compute.canonical import JSON

_RESERVE: Final = sa.insert(reservations)
_SETTLE: Final = sa.insert(settlements)
_RETURN: Final = sa.insert(returns)
_CLOSE: Final = sa.insert(closings)


def enter_limit(connection: Connection, log: Log, scope: Scope, at: int) -> None:
    """A dataset states the limit of its account, unless that is what it stated last."""
    if scope in books_accounts.stated(connection, [scope.account])[scope.account]:
        return
    entry = Entry(EntryKind.LIMIT_SET, at, "", _limit(scope))
    books_accounts.state(connection, log.append(connection, [entry]), [scope])


def enter_reserved(
    connection: Connection,
    log: Log,
    order_id: str,
    charges: Sequence[Charge],
    at: int,
    *,
    found: Found,
    since: int | None = None,
) -> None:
    """All of `charges` are pending, and their limits are stated.

    found: the accounts as they stand. since: when the order was set aside, if that is not now.
    """
    entry = Entry(EntryKind.RESERVED, at, order_id, {"charges": [_charge(c) for c in charges]})
    number = log.append(connection, [entry])
    new = [c.scope for c in charges if c.scope not in found.stated[c.scope.account]]
    books_accounts.state(connection, number, new)
    lines = books_accounts.with_new_lines(connection, found.held, charges)
    rows = [
        {
            "order_id": order_id,
            "account": line.account,
            "event": line.event,
            "releases": charge.releases,
            "spare": charge.spare,
            "line": line.line,
            "number": number,
            "at": at if since is None else since,
        }
        for charge, line in zip(charges, lines, strict=True)
    ]
    connection.execute(_RESERVE, rows)
    moved = [line.moved(0, c.releases) for c, line in zip(charges, lines, strict=True)]
    books_accounts.write(connection, number, moved)


def enter_settled(
    connection: Connection, log: Log, order_id: str, release_key: str, at: int, *, masked: int = 0
) -> None:
    """One release of the order has left, in every account it is charged to.

    masked: 1 where nobody can read it unless enough others answer too.
    """
    body: dict[str, JSON] = {"release": release_key, "masked": masked}
    entry = Entry(EntryKind.SETTLED, at, order_id, body)
    number = log.append(connection, [entry])
    values = {"order_id": order_id, "release_key": release_key, "number": number}
    connection.execute(_SETTLE, {**values, "masked": masked})
    _move(connection, order_id, number, 1, -1)


def enter_given_back(
    connection: Connection,
    log: Log,
    order_id: str,
    release_key: str,
    statements: Sequence[str],
    at: int,
) -> None:
    """A release that nobody can read is not spent; while the order is open, another may be made."""
    body: dict[str, JSON] = {"release": release_key, "statements": list(statements)}
    number = log.append(connection, [Entry(EntryKind.GIVEN_BACK, at, order_id, body)])
    values = {"order_id": order_id, "release_key": release_key, "number": number}
    again = 0 if standing(connection, order_id).is_closed else 1
    connection.execute(_RETURN, values)
    _move(connection, order_id, number, -1, again)


def enter_closed(connection: Connection, log: Log, order_id: str, at: int) -> None:
    """The order is over, and nothing of it is pending any more."""
    made = standing(connection, order_id).made
    number = log.append(connection, [Entry(EntryKind.CLOSED, at, order_id)])
    connection.execute(_CLOSE, {"order_id": order_id, "number": number})
    lines = books_accounts.lines_of(connection, order_id)
    over = [line.moved(0, made - allowed) for line, allowed in lines if allowed > made]
    books_accounts.write(connection, number, over)


def _move(connection: Connection, order_id: str, number: int, spent: int, pending: int) -> None:
    lines = books_accounts.lines_of(connection, order_id)
    books_accounts.write(connection, number, [line.moved(spent, pending) for line, _ in lines])


def _limit(scope: Scope) -> dict[str, JSON]:
    return {
        "account": scope.account,
        "dataset": scope.dataset,
        "subjects": scope.subjects,
        "unit": scope.unit,
        "window": scope.window,
        "epsilon": spell(scope.epsilon),
        "delta": spell(scope.delta),
        "failures": spell(scope.failures),
    }


def _charge(charge: Charge) -> dict[str, JSON]:
    event = books_accounts.spelt(charge.event)
    counts: dict[str, JSON] = {"releases": charge.releases, "spare": charge.spare}
    return {**_limit(charge.scope), "event": event, **counts}
