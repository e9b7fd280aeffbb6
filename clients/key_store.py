"""Where a keyholder keeps its pools of keys (`keys.sqlite`): one state for each, changed whole.

A change is on disk before it is told of. The seeds of pieces stand in it, so the file is its
owner's alone, and what is deleted is overwritten.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, TypeVar

from clients.errors import RefusedWorkError
from federation.durable import Database
from federation.sqlite_files import Connection
from secure_compute.threshold.memory import keyholder_from_bytes, keyholder_to_bytes
from secure_compute.threshold.pool import Keyholder

T = TypeVar("T")

MOST_POOLS: Final = 32
"""Beyond these the oldest pool is given up: keys that were never used are no reason to grow."""

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS pools (
    number INTEGER PRIMARY KEY, id TEXT UNIQUE NOT NULL, asked TEXT NOT NULL,
    deals BLOB NOT NULL, state BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS keys (
    id TEXT PRIMARY KEY, pool INTEGER NOT NULL REFERENCES pools ON DELETE CASCADE);
CREATE TABLE IF NOT EXISTS openings (
    query TEXT PRIMARY KEY, listing TEXT NOT NULL, key TEXT NOT NULL, secret BLOB NOT NULL,
    expires INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS roster (digest TEXT NOT NULL);
"""


@dataclass(frozen=True, slots=True)
class Opening:
    """A list that is bound.

    secret:  from which boxes are sealed; b"" once the key is retired, or of a key given up.
    expires: when the order does, seconds since 1970.
    """

    query: str
    listing: str
    key: str
    secret: bytes = field(repr=False)
    expires: int


class KeyStore:
    """The pools of one keyholder; safe for several threads and processes."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._database = Database(path, _SCHEMA)

    def begin(self, pool: str, asked: str, state: Keyholder, deals: bytes) -> None:
        """Keep a pool that was begun, with what is dealt; the oldest beyond the most is given up.

        asked: digest of the request that began it.
        """
        with self._database.writing() as db:
            row = (pool, asked, deals, keyholder_to_bytes(state))
            db.execute("INSERT INTO pools (id, asked, deals, state) VALUES (?, ?, ?, ?)", row)
            number = db.execute("SELECT number FROM pools WHERE id = ?", (pool,)).fetchone()[0]
            keys = [(key.terms.digest, number) for key in state.keys]
            db.executemany("INSERT INTO keys VALUES (?, ?)", keys)
            db.execute("DELETE FROM pools WHERE number <= ?", (number - MOST_POOLS,))

    def begun(self, pool: str) -> tuple[str, bytes] | None:
        """Return by which request a pool was begun, and what was dealt; None if it was not."""
        rows = self._database.read("SELECT asked, deals FROM pools WHERE id = ?", (pool,))
        return (str(rows[0][0]), bytes(rows[0][1])) if rows else None

    def pool_of(self, key: str) -> str:
        """Return the pool of a key.

        Raises:
            RefusedWorkError: there is no such key here.
        """
        rows = self._database.read(
            "SELECT pools.id FROM keys JOIN pools ON number = pool WHERE keys.id = ?", (key,)
        )
        if not rows:
            raise RefusedWorkError("this node holds nothing of that key; take another pool's")
        return str(rows[0][0])

    def change(self, pool: str, step: Callable[[Keyholder], tuple[Keyholder, T]]) -> T:
        """Replace a pool's state by what `step` makes of it, and return what it says beside.

        Raises:
            RefusedWorkError: the pool was not begun here, or was given up.
        """
        with self._database.writing() as db:
            return self._changed(db, pool, step)

    def bind(
        self,
        opening: Callable[[str], Opening],
        pool: str,
        step: Callable[[Keyholder], tuple[Keyholder, str]],
    ) -> Opening:
        """Bind what `step` says is the listing; `step` knows every query that was ever opened.

        opening: what is kept of a listing that is new here.
        """
        with self._database.writing() as db:
            known = db.execute("SELECT query, listing FROM openings ORDER BY query").fetchall()
            queries = tuple((str(query), str(listing)) for query, listing in known)
            listing = self._changed(db, pool, lambda state: step(replace(state, queries=queries)))
            made = opening(listing)
            row = (made.query, made.listing, made.key, made.secret, made.expires)
            db.execute("INSERT OR IGNORE INTO openings VALUES (?, ?, ?, ?, ?)", row)
            found = db.execute("SELECT * FROM openings WHERE query = ?", (made.query,)).fetchone()
        return Opening(*found)

    def openings(self) -> dict[str, Opening]:
        """Return what was ever bound, by query."""
        rows = self._database.read("SELECT * FROM openings")
        return {row[0]: Opening(*row) for row in rows}

    def give_up(self, openings: Mapping[str, str]) -> None:
        """Delete every pool, and believe these openings (listing by query)."""
        with self._database.writing() as db:
            db.execute("DELETE FROM pools")
            db.execute("UPDATE openings SET secret = x''")
            rows = [(query, listing, "", b"", 0) for query, listing in openings.items()]
            db.executemany("INSERT OR REPLACE INTO openings VALUES (?, ?, ?, ?, ?)", rows)
        self.wipe()

    def retire_others(self, roster: str) -> int:
        """Delete every pool of another roster than this one; return how many.

        roster: digest of what masks and keys rest on, as pools have it.
        """
        if not self._path.exists():
            return 0
        with self._database.writing() as db:
            known = db.execute("SELECT digest FROM roster").fetchall()
            if known == [(roster,)]:
                return 0
            rows = db.execute("SELECT id, state FROM pools").fetchall()
            old = [(name,) for name, state in rows if _roster_of(bytes(state)) != roster]
            db.executemany("DELETE FROM pools WHERE id = ?", old)
            db.execute("DELETE FROM roster")
            db.execute("INSERT INTO roster VALUES (?)", (roster,))
        if old:
            self.wipe()
        return len(old)

    def retired(self, query: str) -> None:
        """Forget what a query's boxes were sealed from."""
        with self._database.writing() as db:
            db.execute("UPDATE openings SET secret = x'' WHERE query = ?", (query,))

    def wipe(self) -> None:
        """Leave no byte of what was deleted in the files of the database."""
        self._database.wipe()

    def _changed(
        self, db: Connection, pool: str, step: Callable[[Keyholder], tuple[Keyholder, T]]
    ) -> T:
        row = db.execute("SELECT state FROM pools WHERE id = ?", (pool,)).fetchone()
        if row is None:
            raise RefusedWorkError("no such pool was begun here, or it was given up; begin another")
        before = keyholder_from_bytes(bytes(row[0]))
        after, said = step(before)
        if after != before:
            state = keyholder_to_bytes(after)
            db.execute("UPDATE pools SET state = ? WHERE id = ?", (state, pool))
        return said


def _roster_of(state: bytes) -> str:
    return keyholder_from_bytes(state).epoch.roster
