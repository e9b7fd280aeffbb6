"""A small SQLite database whose every transaction is on disk at its end; and files exchanged whole.

The database is its owner's alone, is made when it is first opened, and keeps no byte of what was
deleted from its tables.
"""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final

WAIT: Final = 30.0
"""Seconds for which a transaction waits for another one's end."""

_SETTINGS: Final = (
    *("journal_mode = WAL", "synchronous = FULL", "secure_delete = ON", "foreign_keys = ON"),
)


class Database:
    """The database in one file; safe for several threads and processes."""

    def __init__(self, path: Path, schema: str) -> None:
        self._path = path
        self._schema = schema
        self._ready = False

    def read(self, sql: str, values: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
        """Return the rows of one query."""
        with closing(self._open()) as db:
            return db.execute(sql, values).fetchall()

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """Give a connection whose changes are all on disk at the end of the block, or none are."""
        with closing(self._open()) as db:
            db.execute("BEGIN IMMEDIATE")
            try:
                yield db
            except BaseException:
                db.execute("ROLLBACK")
                raise
            db.execute("COMMIT")

    def wipe(self) -> None:
        """Leave no byte of what was deleted in the log beside the file."""
        self.read("PRAGMA wal_checkpoint(TRUNCATE)")

    def _open(self) -> sqlite3.Connection:
        self._path.touch(mode=0o600)
        db = sqlite3.connect(self._path, timeout=WAIT, isolation_level=None)
        for setting in _SETTINGS:
            db.execute(f"PRAGMA {setting}")
        if not self._ready:
            self._path.chmod(0o600)
            db.executescript(self._schema)
            self._ready = True
        return db


def replace_file(path: Path, content: bytes, mode: int = 0o644) -> None:
    """Put a whole file in its place, durably: a crash leaves the old one or the new one."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with os.fdopen(handle, "wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
    draft.replace(path)
    number = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


def keep_file(path: Path, content: bytes, mode: int = 0o600) -> None:
    """`replace_file` of what is its owner's alone unless said otherwise; makes its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_file(path, content, mode)
