"""What a node has claimed and not yet answered, and what it has answered: kept through crashes.

The server hands each message out once, so a message that was claimed and then forgotten is lost.
Whatever is claimed therefore stands on disk before any work starts, and an answer stands on disk
before it is sent. The same request is computed once, ever: asked again, the node repeats the
answer it gave, and when it no longer has that answer it says so instead of computing another.
"""

import hashlib
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clients.errors import BusyError, is_busy
from federation.sqlite_files import OPERATIONAL_ERROR, Connection, connect

_SCHEMA = """
CREATE TABLE IF NOT EXISTS claimed (
    message_id TEXT PRIMARY KEY, head BLOB NOT NULL, claimed_at REAL NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS answers (
    request TEXT PRIMARY KEY, payload BLOB, answered_at REAL NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS answers_by_age ON answers (answered_at) WHERE payload IS NOT NULL;
CREATE TABLE IF NOT EXISTS confirmations (
    message_id TEXT PRIMARY KEY, run_id TEXT NOT NULL, due_at REAL NOT NULL
) STRICT;
"""


@dataclass(frozen=True, slots=True)
class Parcel:
    """A message as it was claimed: its id, and the transport's own words about it."""

    message_id: str
    head: bytes


@dataclass(frozen=True, slots=True)
class Answer:
    """What was once answered to a request; `payload` is None when it has been cleared away."""

    payload: bytes | None


@dataclass(frozen=True, slots=True)
class Confirmation:
    """Leave for the server to delete a message, from `due_at` (Unix seconds) on."""

    message_id: str
    run_id: int
    due_at: float


def request_key(payload: bytes) -> str:
    """The name of a request: equal for equal bytes only."""
    return hashlib.sha256(payload).hexdigest()


class Inbox:
    """The durable inbox and outbox of one node, one SQLite file; threads may share it.

    Raises:
        BusyError: another program holds the file.
    """

    def __init__(self, path: Path) -> None:
        self._lock = threading.Lock()
        try:
            self._connection = connect(path, any_thread=True)
            self._connection.executescript(_SCHEMA)
        except OPERATIONAL_ERROR as why:
            if is_busy(why):
                raise BusyError(path.name) from why
            raise
        path.chmod(0o600)

    def claim(self, parcel: Parcel, now: float) -> None:
        """The message is ours to answer, whatever happens to this process."""
        values = (parcel.message_id, parcel.head, now)
        self._run("INSERT OR IGNORE INTO claimed VALUES (?, ?, ?)", values)

    def unanswered(self) -> list[Parcel]:
        """The claimed messages that were neither answered nor dropped, oldest first."""
        rows = self._run("SELECT message_id, head FROM claimed ORDER BY claimed_at", ())
        return [Parcel(message_id, head) for message_id, head in rows]

    def drop(self, message_id: str) -> None:
        """The message needs no answer any more."""
        self._run("DELETE FROM claimed WHERE message_id = ?", (message_id,))

    def answer(self, request: str) -> Answer | None:
        """What was answered to the request, by `request_key`; None: nothing yet."""
        rows = self._run("SELECT payload FROM answers WHERE request = ?", (request,))
        return Answer(rows[0][0]) if rows else None

    def keep(self, request: str, payload: bytes, now: float) -> bytes:
        """The answer to the request, for good: an earlier one stands and is returned."""
        self._run("INSERT OR IGNORE INTO answers VALUES (?, ?, ?)", (request, payload, now))
        kept = self.answer(request)
        return payload if kept is None or kept.payload is None else kept.payload

    def sent(self, message_id: str, run_id: int, due_at: float) -> None:
        """The message was answered; the server may delete it from `due_at` on."""
        with self._lock, _transaction(self._connection):
            self._connection.execute("DELETE FROM claimed WHERE message_id = ?", (message_id,))
            self._connection.execute(
                "INSERT OR REPLACE INTO confirmations VALUES (?, ?, ?)",
                (message_id, str(run_id), due_at),
            )

    def due(self, now: float) -> list[Confirmation]:
        """The confirmations whose time has come."""
        rows = self._run(
            "SELECT message_id, run_id, due_at FROM confirmations WHERE due_at <= ?", (now,)
        )
        return [Confirmation(message_id, int(run_id), at) for message_id, run_id, at in rows]

    def confirmed(self, message_ids: Iterable[str]) -> None:
        """The server was told."""
        with self._lock, _transaction(self._connection):
            self._connection.executemany(
                "DELETE FROM confirmations WHERE message_id = ?", [(name,) for name in message_ids]
            )

    def clear(self, before: float) -> None:
        """Answers older than `before` lose their payload; that they were given stays known."""
        self._run(
            "UPDATE answers SET payload = NULL WHERE answered_at < ? AND payload IS NOT NULL",
            (before,),
        )

    def close(self) -> None:
        """The file is closed."""
        with self._lock:
            self._connection.close()

    def _run(self, statement: str, values: Iterable[object]) -> list[tuple[Any, ...]]:
        with self._lock:
            return self._connection.execute(statement, tuple(values)).fetchall()


class _transaction:  # noqa: N801 - reads as a keyword
    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def __enter__(self) -> None:
        self._connection.execute("BEGIN IMMEDIATE")

    def __exit__(self, kind: object, value: object, trace: object) -> None:
        self._connection.execute("COMMIT" if kind is None else "ROLLBACK")
