"""The node's privacy account on disk: rows are added, never changed, and every answer is durable.

    reserve ──settle──settle──…──close

An order's releases are reserved together before its rows are read; each release is settled, under
a key made of its round and its input, before its first byte leaves; closing gives back only what
never left. A process may be killed between any two instructions: what was acknowledged is on disk
(write-ahead log, full synchronisation), and what was not acknowledged may be asked again, because
`reserve` and `settle` are idempotent. Writers in other processes are serialised by SQLite, which
decides one admission at a time; nothing is remembered in memory between two calls.

What is not here: the law, clocks, rows. A copy of the file put back later gives back what was spent
since; that is found by witnesses, not by the file.
"""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Final

from clients import bookfile
from policies.budget.account import Price, Scope, charge
from policies.budget.events import Event, Repeated, dumps, loads
from policies.budget.statement import Statement, draw_up
from policies.contracts import UnitKind
from policies.errors import (
    ChangedOrderError,
    ClosedOrderError,
    OverdrawnError,
    UnknownReservationError,
)
from policies.evidence import Minted

_HELD: Final = """
SELECT r.event,
       SUM(s.released),
       SUM(CASE WHEN c.order_id IS NULL THEN r.releases - s.released ELSE 0 END)
FROM reservations r
JOIN (SELECT q.order_id, (SELECT COUNT(*) FROM settlements t WHERE t.order_id = q.order_id)
             AS released FROM reservations q WHERE q.account = :account) s
     ON s.order_id = r.order_id
LEFT JOIN closings c ON c.order_id = r.order_id
WHERE r.account = :account
GROUP BY r.event
"""

_LIMIT: Final = """
SELECT dataset, subjects, unit, time_window, epsilon, delta FROM limits
WHERE account = ? AND seq IN (SELECT MAX(seq) FROM limits WHERE account = ? GROUP BY dataset)
ORDER BY dataset
"""


@dataclass(frozen=True, slots=True)
class Reservation(metaclass=Minted):
    """The releases of `order_id` are set aside, durably, in the account of `scope`."""

    order_id: str
    scope: Scope
    event: Event
    releases: int


@dataclass(frozen=True, slots=True)
class _Held:
    """What one account holds: events that left, events that still may, and how many left."""

    spent: tuple[Event, ...]
    pending: tuple[Event, ...]
    releases: int


class Books:
    """The account book in the file `path`; any number of processes may hold one at a time.

    Raises:
        ForeignBooksError: the file is no account book, or one of another version.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        bookfile.ready(path)

    def reserve(self, scope: Scope, order_id: str, event: Event, releases: int) -> Reservation:
        """Set aside `releases` times `event`, or change nothing at all.

        The same order twice is set aside once.

        Raises:
            InsufficientBudgetError: the account cannot pay all of it.
            ChangedOrderError: the order was reserved with other contents.
            ClosedOrderError: the order was reserved and is closed.
        """
        with self._transaction() as connection:
            known = connection.execute(
                "SELECT event, releases FROM reservations WHERE order_id = ? AND account = ?",
                (order_id, scope.account),
            ).fetchone()
            if known is not None:
                _same_order(connection, order_id, known, (dumps(event), releases))
            else:
                self._admit(connection, scope, order_id, event, releases)
        return Reservation._mint(order_id, scope, event, releases)  # noqa: SLF001  their home

    def quote(self, scope: Scope, event: Event, releases: int) -> Price:
        """Return what `releases` times `event` would cost now; nothing is set aside.

        Raises:
            InsufficientBudgetError: the account could not pay.
        """
        with closing(self._connect()) as connection:
            held = _held(connection, scope.account)
            effective = _effective(connection, scope)
        return charge(effective, held.spent, held.pending, Repeated(event, releases))

    def settle(self, order_id: str, release_key: str) -> bool:
        """Charge the release `release_key`; it may leave once this has returned.

        True when it is charged now; False when it was charged before, so that the stored bytes of
        that release may leave again, and no others.

        Raises:
            UnknownReservationError: nothing was reserved for the order.
            ClosedOrderError: the order is closed.
            OverdrawnError: every reserved release has another key.
        """
        with self._transaction() as connection:
            most = connection.execute(
                "SELECT MIN(releases) FROM reservations WHERE order_id = ?", (order_id,)
            ).fetchone()[0]
            if most is None:
                raise UnknownReservationError(f"order {order_id[:12]} has no reservation here")
            pair = (order_id, release_key)
            if _exists(connection, "settlements WHERE order_id = ? AND release_key = ?", pair):
                return False
            if _is_closed(connection, order_id):
                raise ClosedOrderError(f"order {order_id[:12]} is closed; propose a new one")
            if _released(connection, order_id) >= most:
                raise OverdrawnError(
                    f"order {order_id[:12]} reserved {most} releases and has made them all; "
                    f"propose a new order for more"
                )
            connection.execute("INSERT INTO settlements VALUES (?, ?)", pair)
            return True

    def is_settled(self, order_id: str, release_key: str) -> bool:
        """Return whether the release `release_key` was charged, and so may have left."""
        with closing(self._connect()) as connection:
            pair = (order_id, release_key)
            return _exists(connection, "settlements WHERE order_id = ? AND release_key = ?", pair)

    def close(self, order_id: str) -> None:
        """End the order: what never left is given back, what left stays spent.

        Raises:
            UnknownReservationError: nothing was reserved for the order.
        """
        with self._transaction() as connection:
            if not _exists(connection, "reservations WHERE order_id = ?", (order_id,)):
                raise UnknownReservationError(f"order {order_id[:12]} has no reservation here")
            connection.execute("INSERT OR IGNORE INTO closings VALUES (?)", (order_id,))

    def open_orders(self) -> list[str]:
        """Return the orders that hold a reservation and are not closed, sorted."""
        with closing(self._connect()) as connection:
            rows = connection.execute(
                "SELECT DISTINCT order_id FROM reservations "
                "WHERE order_id NOT IN (SELECT order_id FROM closings) ORDER BY order_id"
            ).fetchall()
        return [row[0] for row in rows]

    def statement(self, scopes: Sequence[Scope] = ()) -> list[Statement]:
        """Return one statement per account, also for those of `scopes` never charged yet."""
        with closing(self._connect()) as connection:
            connection.execute("BEGIN")
            stored = [_stored(connection, account) for account in _accounts(connection)]
            known = {scope.account: [scope] for scope in scopes}
            for group in stored:
                known[group[0].account] = [*known.get(group[0].account, ()), *group]
            held = {account: _held(connection, account) for account in known}
        return [_stated(known[account], held[account]) for account in sorted(known)]

    def _admit(
        self, connection: sqlite3.Connection, scope: Scope, order_id: str, event: Event, count: int
    ) -> None:
        if _is_closed(connection, order_id):
            raise ClosedOrderError(f"order {order_id[:12]} is closed; propose a new one")
        if _released(connection, order_id):
            # Its releases were charged elsewhere alone; they cannot join an account afterwards.
            raise ChangedOrderError(f"order {order_id[:12]} has already made releases")
        held = _held(connection, scope.account)
        wanted = Repeated(event, count)
        charge(_effective(connection, scope), held.spent, held.pending, wanted)
        _remember_limit(connection, scope)
        connection.execute(
            "INSERT INTO reservations VALUES (?, ?, ?, ?)",
            (order_id, scope.account, dumps(event), count),
        )

    def _connect(self) -> sqlite3.Connection:
        return bookfile.connect(self._path)

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """Hold the one write lock; leave with everything on disk, or with nothing changed."""
        with closing(self._connect()) as connection:
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
            except BaseException:
                connection.execute("ROLLBACK")
                raise
            connection.execute("COMMIT")


def _same_order(
    connection: sqlite3.Connection, order_id: str, known: tuple[str, int], asked: tuple[str, int]
) -> None:
    if known != asked:
        raise ChangedOrderError(f"order {order_id[:12]} was reserved with other contents")
    if _is_closed(connection, order_id):
        raise ClosedOrderError(f"order {order_id[:12]} is closed; propose a new one")


def _held(connection: sqlite3.Connection, account: str) -> _Held:
    rows = connection.execute(_HELD, {"account": account}).fetchall()
    events = [(loads(text), spent, pending) for text, spent, pending in rows]
    return _Held(
        spent=tuple(Repeated(event, spent) for event, spent, _ in events if spent),
        pending=tuple(Repeated(event, pending) for event, _, pending in events if pending),
        releases=sum(spent for _, spent, _ in events),
    )


def _accounts(connection: sqlite3.Connection) -> list[str]:
    rows = connection.execute("SELECT DISTINCT account FROM limits ORDER BY account").fetchall()
    return [row[0] for row in rows]


def _stored(connection: sqlite3.Connection, account: str) -> list[Scope]:
    rows = connection.execute(_LIMIT, (account, account)).fetchall()
    return [_scope(*row) for row in rows]


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


def _effective(connection: sqlite3.Connection, scope: Scope) -> Scope:
    """Return `scope` under the smallest limit that any dataset sharing its account last stated."""
    others = [s for s in _stored(connection, scope.account) if s.dataset != scope.dataset]
    return _strictest([scope, *others])


def _strictest(scopes: Sequence[Scope]) -> Scope:
    first = scopes[0]
    return Scope(
        dataset=first.dataset,
        subjects=first.subjects,
        unit=first.unit,
        window=first.window,
        epsilon=min(scope.epsilon for scope in scopes),
        delta=min(scope.delta for scope in scopes),
    )


def _stated(scopes: Sequence[Scope], held: _Held) -> Statement:
    latest = {scope.dataset: scope for scope in reversed(scopes)}
    strictest = _strictest(list(latest.values()))
    return draw_up(strictest, list(latest), held.spent, held.pending, held.releases)


def _remember_limit(connection: sqlite3.Connection, scope: Scope) -> None:
    if scope in _stored(connection, scope.account):
        return
    connection.execute(
        "INSERT INTO limits (account, dataset, subjects, unit, time_window, epsilon, delta) "
        "VALUES (?, ?, ?, ?, ?, ?, ?)",
        (
            scope.account,
            scope.dataset,
            scope.subjects,
            scope.unit,
            scope.window,
            str(scope.epsilon),
            str(scope.delta),
        ),
    )


def _exists(connection: sqlite3.Connection, where: str, values: tuple[str, ...]) -> bool:
    found = connection.execute(f"SELECT 1 FROM {where} LIMIT 1", values)  # noqa: S608  our own text
    return found.fetchone() is not None


def _is_closed(connection: sqlite3.Connection, order_id: str) -> bool:
    return _exists(connection, "closings WHERE order_id = ?", (order_id,))


def _released(connection: sqlite3.Connection, order_id: str) -> int:
    count: int = connection.execute(
        "SELECT COUNT(*) FROM settlements WHERE order_id = ?", (order_id,)
    ).fetchone()[0]
    return count
