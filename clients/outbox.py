"""What this node accepted and what it said, on disk (`outbox.sqlite`).

A reply is written here before its first byte leaves. Asked the same thing again, the node sends
the same bytes again: no fresh noise is ever drawn for a release that was already paid.
"""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Final

from clients.errors import BusyError, NodeSettingsError, is_busy
from federation.durable import Kept
from federation.sqlite_files import DATABASE_ERROR, connect, look

SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS accepted (id TEXT PRIMARY KEY, wire BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS replies (
    release_key TEXT PRIMARY KEY, wire BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS rounds (
    release_key TEXT PRIMARY KEY, order_id TEXT NOT NULL, sequence INTEGER NOT NULL);
CREATE INDEX IF NOT EXISTS rounds_of_an_order ON rounds (order_id);
"""


class Outbox:
    """Accepted orders and the replies to them; safe for several threads and processes.

    Raises:
        NodeSettingsError: the file is no outbox.
        BusyError: another program holds it.
    """

    def __init__(self, path: Path) -> None:
        self._kept = Kept(partial(connect, path, any_thread=True))
        with _told(path):
            with self._kept.connected() as db:
                db.executescript(SCHEMA)
            path.chmod(0o600)

    def hold(self) -> None:
        """Keep the file open until `let_go`; see `durable.Kept`."""
        self._kept.hold()

    def let_go(self) -> None:
        """The file is held open no longer."""
        self._kept.let_go()

    def accept(self, order: str, wire: bytes) -> None:
        """Remember that this node agreed to an order."""
        with self._kept.connected() as db:
            db.execute("INSERT OR IGNORE INTO accepted VALUES (?, ?)", (order, wire))

    def accepted(self, order: str) -> bytes | None:
        """Return the signed order, if this node agreed to it."""
        return self._one("SELECT wire FROM accepted WHERE id = ?", order)

    def keep(self, key: str, wire: bytes, order: str = "", sequence: int = 0) -> bytes:
        """Make a reply durable and return it; the first one kept under a key stays.

        order, sequence: the round of an order that it was made for, if it is a release of one.
        """
        with self._kept.writing() as db:
            db.execute("INSERT OR IGNORE INTO replies VALUES (?, ?)", (key, wire))
            if order:
                db.execute("INSERT OR IGNORE INTO rounds VALUES (?, ?, ?)", (key, order, sequence))
        return self.reply(key) or wire

    def abandoned(self, key: str, order: str, sequence: int) -> int:
        """Return how many releases of the order came to nothing, once this one is made.

        Of several releases for one round, at most one is of use.
        """
        rows = self._kept.read(
            "SELECT release_key, sequence FROM rounds WHERE order_id = ?", (order,)
        )
        made = {**dict(rows), key: sequence}
        return len(made) - len(set(made.values()))

    def releases(self, order: str) -> list[str]:
        """Return the keys of the releases that were made for an order, kept or sent."""
        rows = self._kept.read("SELECT release_key FROM rounds WHERE order_id = ?", (order,))
        return [row[0] for row in rows]

    def reply(self, key: str) -> bytes | None:
        """Return the reply that was kept under `key`."""
        return self._one("SELECT wire FROM replies WHERE release_key = ?", key)

    def _one(self, sql: str, key: str) -> bytes | None:
        rows = self._kept.read(sql, (key,))
        return bytes(rows[0][0]) if rows else None


def require_readable(path: Path) -> None:
    """Accept an outbox at `path`, or nothing; no byte of it changes.

    Raises:
        NodeSettingsError: the file is no outbox.
        BusyError: another program holds it.
    """
    if path.exists():
        with _told(path), closing(look(path)) as db:
            db.execute("SELECT name FROM sqlite_master").fetchall()


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """Tell in words of this package what is wrong with the file."""
    try:
        yield
    except DATABASE_ERROR as why:
        if is_busy(why):
            raise BusyError(path.name) from why
        raise NodeSettingsError(
            f"{path.name} is not readable as an outbox; restore it, with the books beside it"
        ) from why
