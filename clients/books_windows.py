"""The windows of every group of subjects, in the order they were opened, and the greatest time.

A window begins where the books say so, never at a row's own date: rows belong to the window that
was the last one opened when they first came in. Every function works within the transaction of its
caller.
"""

from collections.abc import Mapping
from typing import Final

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from clients.books_tables import times, windows
from federation.ledger.entries import Entry, EntryKind
from federation.ledger.store import Log
from secure_compute.canonical import JSON

_OPENED: Final = (
    sa.select(windows.c.subjects, windows.c.label)
    .where(windows.c.number < sa.bindparam("before"))
    .order_by(windows.c.subjects, windows.c.sequence)
)
_LAST: Final = sa.select(sa.func.max(windows.c.sequence)).where(
    windows.c.subjects == sa.bindparam("subjects")
)
_ONE: Final = sa.select(windows.c.sequence).where(
    windows.c.subjects == sa.bindparam("subjects"), windows.c.label == sa.bindparam("label")
)
_HIGHEST: Final = sa.select(sa.func.max(times.c.at))
_EVER: Final = 2**62


def opened(connection: Connection, before: int | None = None) -> Mapping[str, tuple[str, ...]]:
    """Return the labels of each group of subjects, in order; `before` a log entry, or all."""
    found: dict[str, tuple[str, ...]] = {}
    rows = connection.execute(_OPENED, {"before": _EVER if before is None else before})
    for subjects, label in rows:
        found[subjects] = (*found.get(subjects, ()), label)
    return found


def open_window(connection: Connection, log: Log, subjects: str, label: str, at: int) -> int:
    """Open a window, unless it is open; return its place among those of `subjects`, from 1."""
    wanted = {"subjects": subjects, "label": label}
    there: int | None = connection.execute(_ONE, wanted).scalar()
    if there is not None:
        return there
    last: int | None = connection.execute(_LAST, {"subjects": subjects}).scalar()
    sequence = (last or 0) + 1
    body: dict[str, JSON] = {"subjects": subjects, "window": label, "sequence": sequence}
    number = log.append(connection, [Entry(EntryKind.WINDOW_OPENED, at, "", body)])
    connection.execute(windows.insert(), {**wanted, "sequence": sequence, "number": number})
    return sequence


def highest_time(connection: Connection) -> int:
    """Return the greatest time a witness ever named, in seconds since 1970; 0 when none has."""
    return connection.execute(_HIGHEST).scalar() or 0


def raise_time(connection: Connection, at: int) -> None:
    """Remember `at`, unless a greater time is known."""
    if at > highest_time(connection):
        connection.execute(times.insert(), {"at": at})
