"""Books of version 1, which had no log: what they say, said anew.

Nothing is judged here: what was set aside, left and was closed stays so, whatever a limit says now.
Version 1 kept no times, so that its orders have no place in the history of an account.
"""

from collections.abc import Iterable
from dataclasses import replace
from decimal import Decimal
from typing import Final

from sqlalchemy.engine import Connection

from clients import books_accounts, books_windows
from clients.books_entries import enter_closed, enter_limit, enter_reserved, enter_settled
from federation.ledger.store import Log
from policies.budget import accountant
from policies.budget.account import Charge, Scope
from policies.budget.events import Repeated, loads
from policies.contracts import UnitKind

VERSION: Final = 1
_TABLES: Final = ("limits", "reservations", "settlements", "closings")
_UNKNOWN: Final = 0  # when it was

_LIMITS: Final = """
SELECT dataset, subjects, unit, time_window, epsilon, delta FROM version1_limits AS stated
WHERE seq = (SELECT MAX(seq) FROM version1_limits WHERE account = stated.account
             AND dataset = stated.dataset)
ORDER BY seq
"""


def set_aside(connection: Connection) -> None:
    """The tables of version 1 have other names, and are still only ever added to."""
    connection.exec_driver_sql("DROP INDEX limits_account")
    connection.exec_driver_sql("DROP INDEX reservations_account")
    for table in _TABLES:
        connection.exec_driver_sql(f"ALTER TABLE {table} RENAME TO version1_{table}")
        for verb in ("update", "delete"):
            connection.exec_driver_sql(f"DROP TRIGGER {table}_{verb}")
            connection.exec_driver_sql(
                f"CREATE TRIGGER version1_{table}_{verb} BEFORE {verb} ON version1_{table} "
                f"BEGIN SELECT RAISE(ABORT, 'the books are only ever added to'); END"
            )


def carry(connection: Connection, log: Log, at: int) -> None:
    """Whatever the old tables say stands in the new ones and in the log."""
    scopes = [_scope(*row) for row in connection.exec_driver_sql(_LIMITS)]
    for scope in scopes:
        books_windows.open_window(connection, log, scope.subjects, scope.window, at)
    latest = {scope.account: _roomy(connection, scope) for scope in scopes}
    for (order,) in _rows(connection, "SELECT DISTINCT order_id FROM version1_reservations"):
        held = _rows(
            connection,
            "SELECT account, event, releases FROM version1_reservations WHERE order_id = ?",
            order,
        )
        charges = [Charge(latest[account], loads(text), int(n)) for account, text, n in held]
        found = books_accounts.find(connection, charges)
        enter_reserved(connection, log, order, charges, at, found=found, since=_UNKNOWN)
    for order, key in _rows(connection, "SELECT order_id, release_key FROM version1_settlements"):
        enter_settled(connection, log, order, key, at)
    for (order,) in _rows(connection, "SELECT order_id FROM version1_closings"):
        enter_closed(connection, log, order, at)
    for scope in scopes:
        enter_limit(connection, log, scope, at)


def _roomy(connection: Connection, scope: Scope) -> Scope:
    """Return `scope` with room for all that was ever set aside in it.

    Limits may have been lowered since, and what was closed is told after what was set aside. The
    limit that holds is told last.
    """
    rows = _rows(
        connection,
        "SELECT event, releases FROM version1_reservations WHERE account = ?",
        scope.account,
    )
    ever = [Repeated(loads(text), int(releases)) for text, releases in rows]
    price = Decimal(repr(accountant.epsilon(ever, float(scope.delta))))
    return replace(scope, epsilon=max(scope.epsilon, price))


def _rows(connection: Connection, sql: str, *values: str) -> Iterable[tuple[str, ...]]:
    found = connection.exec_driver_sql(f"{sql} ORDER BY 1, 2" if "," in sql else sql, values)
    return [tuple(row) for row in found]


def _scope(
    dataset: str, subjects: str, unit: UnitKind, window: str, epsilon: str, delta: str
) -> Scope:
    return Scope(
        dataset=dataset,
        subjects=subjects,
        unit=unit,
        window=window,
        epsilon=Decimal(epsilon),
        delta=Decimal(delta),
    )
