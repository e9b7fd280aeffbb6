"""The keys that keyholders made ahead, on disk: each is handed to one order, and to no other.

    begin ─(the keyholders' letters)─ keep ─ hand ─ drop

A batch that was begun is named before its first letter leaves, and what keyholders said in a step
is kept before the next one, so that a crash takes up the same batch where it was: nobody begins it
twice. Handing out is one transaction: an order that asks again, after whatever crash, gets the key
it had, and a key that was handed out is never handed out again, also when it is made again.
"""

import sqlite3
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from federation.durable import Database
from federation.joint_keys import Package
from policies.parties import PartyId

SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS batches (
    id TEXT NOT NULL PRIMARY KEY, ended INTEGER NOT NULL DEFAULT 0) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS packages (
    number INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, package BLOB NOT NULL, job TEXT UNIQUE)
    STRICT;
CREATE TABLE IF NOT EXISTS letters (
    batch TEXT NOT NULL, step TEXT NOT NULL, party TEXT NOT NULL, part BLOB NOT NULL,
    PRIMARY KEY (batch, step, party)) STRICT;
CREATE TRIGGER IF NOT EXISTS packages_serve_one BEFORE UPDATE OF job ON packages
    WHEN old.job IS NOT NULL AND new.job IS NOT old.job
    BEGIN SELECT RAISE(ABORT, 'a key is handed to one order'); END;
CREATE TRIGGER IF NOT EXISTS packages_stay BEFORE DELETE ON packages
    BEGIN SELECT RAISE(ABORT, 'a key is never forgotten'); END;
"""

_HAND: Final = """
UPDATE packages SET job = ? WHERE number = (SELECT min(number) FROM packages WHERE job IS NULL)
RETURNING package
"""


class KeyPool:
    """The packages in the database `path`; safe for several processes."""

    def __init__(self, path: Path) -> None:
        self._database = Database(path, SCHEMA)

    @property
    def ready(self) -> int:
        """How many keys wait for an order."""
        ((count,),) = self._database.read("SELECT count(*) FROM packages WHERE job IS NULL")
        return int(count)

    def has(self, job: str) -> bool:
        """Return whether this order has a key, or there is one for it."""
        rows = self._database.read(
            "SELECT 1 FROM packages WHERE job IS NULL OR job = ? LIMIT 1", (job,)
        )
        return bool(rows)

    def begun(self) -> str | None:
        """Return the id of the batch that was begun and has not ended."""
        rows = self._database.read("SELECT id FROM batches WHERE ended = 0 LIMIT 1")
        return str(rows[0][0]) if rows else None

    def begin(self, batch: str) -> None:
        """Name a batch before anybody is asked for it."""
        with self._database.writing() as db:
            db.execute("INSERT INTO batches (id) VALUES (?)", (batch,))

    def give_up(self, batch: str) -> None:
        """End a batch that its keyholders will not see through; nothing of it is used."""
        with self._database.writing() as db:
            _end(db, batch)

    def keep_step(self, batch: str, step: str, parts: Mapping[PartyId, bytes]) -> None:
        """Keep what every keyholder said in a step of a batch."""
        rows = [(batch, step, party, part) for party, part in parts.items()]
        with self._database.writing() as db:
            db.executemany("INSERT OR IGNORE INTO letters VALUES (?, ?, ?, ?)", rows)

    def step(self, batch: str, step: str) -> dict[PartyId, bytes]:
        """Return what every keyholder said in a step of a batch; nothing where it is not over."""
        rows = self._database.read(
            "SELECT party, part FROM letters WHERE batch = ? AND step = ? ORDER BY party",
            (batch, step),
        )
        return {PartyId(party): bytes(part) for party, part in rows}

    def keep(self, batch: str, packages: Mapping[str, bytes]) -> None:
        """Keep what was made of a batch, by digest of the key, and end the batch."""
        with self._database.writing() as db:
            db.executemany(
                "INSERT OR IGNORE INTO packages (key, package) VALUES (?, ?)", packages.items()
            )
            _end(db, batch)

    def hand(self, job: str) -> bytes | None:
        """Return the package that is this order's for ever, or None where none is left."""
        with self._database.writing() as db:
            mine = db.execute("SELECT package FROM packages WHERE job = ?", (job,)).fetchall()
            found = mine or db.execute(_HAND, (job,)).fetchall()
        return bytes(found[0][0]) if found else None

    def retire_others(self, roster: str) -> int:
        """Hand every key of another roster than this one to nobody, for ever; return how many.

        roster: digest of what masks and keys rest on, as the terms of keys have it.
        """
        rows = self._database.read("SELECT number, package FROM packages WHERE job IS NULL")
        old = [number for number, package in rows if _roster_of(bytes(package)) != roster]
        with self._database.writing() as db:
            db.executemany(
                "UPDATE packages SET job = 'retired/' || number, package = x'' WHERE number = ?",
                [(number,) for number in old],
            )
        return len(old)

    def drop(self, job: str) -> None:
        """Forget the bytes of a key whose order has ended; that it was handed out stays known."""
        with self._database.writing() as db:
            db.execute("UPDATE packages SET package = x'' WHERE job = ?", (job,))


def _roster_of(package: bytes) -> str:
    return Package.read(package).terms.roster


def _end(db: sqlite3.Connection, batch: str) -> None:
    db.execute("UPDATE batches SET ended = 1 WHERE id = ?", (batch,))
    db.execute("DELETE FROM letters WHERE batch = ?", (batch,))
