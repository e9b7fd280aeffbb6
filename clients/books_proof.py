"""Whether the books say what the log beside them says.

The log tells the account as a story, the tables hold what it led to. Both are written together, so
that they differ only where somebody wrote to the database with other tools than these.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, TypeAlias

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from clients import books_accounts, books_orders, books_windows
from clients.books_tables import closings, limits, reservations, returns, settlements, windows
from clients.errors import BrokenBooksError
from federation.errors import FederationError
from federation.ledger import merkle
from federation.ledger.entries import Entry, EntryKind, decode
from federation.ledger.replay import Accounts, replay
from federation.ledger.store import Log
from federation.ledger.succession import Succession
from secure_compute.primitives.signature import VerifyKey

Rows: TypeAlias = set[tuple[Any, ...]]

_ADVICE = "restore the newest copy of the whole folder; nothing is spent from this one"


def require_replay(connection: Connection, log: Log, key: VerifyKey) -> None:
    """Return if every row of the books is said by the log, and every entry stands in the books.

    Raises:
        BrokenBooksError: one does not, or the log is not the one that was signed.
    """
    written = log.entries(connection)
    try:
        entries = [decode(entry) for entry in written]
        _require_signed(connection, log, Succession.of(log.origin, entries), key, written)
        told = replay(entries)
    except FederationError as why:
        raise BrokenBooksError(f"the log of these books is not whole: {why}; {_ADVICE}") from why
    for name, expected in _rows_of(entries).items():
        if _stored(connection, name) != expected:
            raise BrokenBooksError(f"the {name} in the books are not those in the log; {_ADVICE}")
    _require_held(connection, told)


def _require_signed(
    connection: Connection, log: Log, keys: Succession, key: VerifyKey, written: Sequence[bytes]
) -> None:
    """Return if the entries are as many as there should be, under the last head that was signed."""
    note = log.last_note(connection)
    head = None if note is None else keys.open(note, key)
    size = log.size(connection)
    roots = merkle.roots(written, () if head is None else (head.size,))
    if len(written) != size or (head is not None and roots.get(head.size) != head.root):
        raise BrokenBooksError(f"the log of these books is not the one it signed; {_ADVICE}")
    if log.root(connection, size) != roots[size]:
        raise BrokenBooksError(f"the hashes of these books are not those of its log; {_ADVICE}")


def _require_held(connection: Connection, told: Accounts) -> None:
    held = books_accounts.held(connection, books_accounts.accounts(connection))
    stored = {
        account: (
            {line.event: line.spent for line in own.lines if line.spent},
            {line.event: line.pending for line in own.lines if line.pending},
        )
        for account, own in held.items()
    }
    said = {account: told.held(account) for account in told.accounts}
    if stored != {account: (own.spent, own.pending) for account, own in said.items()}:
        raise BrokenBooksError(f"an account does not hold what its log says; {_ADVICE}")
    opened = books_windows.opened(connection)
    if (tuple(books_orders.open_orders(connection)), opened) != (told.open_orders, told.windows):
        raise BrokenBooksError(f"open orders or windows are not those of the log; {_ADVICE}")


def _rows_of(entries: Iterable[Entry]) -> Mapping[str, Rows]:
    """Return the rows that entries tell, by table, each with the number of its entry."""
    told: dict[str, Rows] = {name: set() for name in _COLUMNS}
    stated: dict[tuple[str, str], tuple[Any, ...]] = {}
    for number, entry in enumerate(entries):
        body: Mapping[str, Any] = entry.body
        match entry.kind:
            case EntryKind.RESERVED:
                for charge in body["charges"]:
                    row = tuple(charge[name] for name in _CHARGE)
                    told["reservations"].add((entry.order, *row, number))
                    _state(told["limits"], stated, charge, number)
            case EntryKind.LIMIT_SET:
                _state(told["limits"], stated, body, number)
            case EntryKind.SETTLED:
                told["settlements"].add((entry.order, body["release"], body["masked"], number))
            case EntryKind.GIVEN_BACK:
                told["returns"].add((entry.order, body["release"], number))
            case EntryKind.CLOSED:
                told["closings"].add((entry.order, number))
            case EntryKind.WINDOW_OPENED:
                row = (body["subjects"], body["window"], body["sequence"], number)
                told["windows"].add(row)
            case _:
                pass
    return told


def _state(
    rows: Rows,
    stated: dict[tuple[str, str], tuple[Any, ...]],
    limit: Mapping[str, Any],
    number: int,
) -> None:
    """Tell a limit, unless it is what the same dataset stated last."""
    key = (limit["account"], limit["dataset"])
    purses = (limit["epsilon"], limit["delta"], limit["failures"])
    if stated.get(key) != purses:
        stated[key] = purses
        rows.add((*key, *purses, number))


_CHARGE: Final = ("account", "event", "releases", "spare")
_COLUMNS: Mapping[str, tuple[sa.Column[Any], ...]] = {
    "reservations": tuple(reservations.c[name] for name in ("order_id", *_CHARGE, "number")),
    "settlements": tuple(
        settlements.c[name] for name in ("order_id", "release_key", "masked", "number")
    ),
    "returns": tuple(returns.c[name] for name in ("order_id", "release_key", "number")),
    "closings": tuple(closings.c[name] for name in ("order_id", "number")),
    "limits": tuple(
        limits.c[name] for name in ("account", "dataset", "epsilon", "delta", "failures", "number")
    ),
    "windows": tuple(windows.c[name] for name in ("subjects", "label", "sequence", "number")),
}


def _stored(connection: Connection, name: str) -> Rows:
    return {tuple(row) for row in connection.execute(sa.select(*_COLUMNS[name]))}
