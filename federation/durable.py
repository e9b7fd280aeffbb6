"""A small SQLite database whose every transaction is on disk at its end.

The database is its owner's alone, is made when it is first opened, and keeps no byte of what was
deleted from its tables.
"""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final

from federation.sqlite_files import DURABLE, Connection, connect

_SETTINGS: Final = (*DURABLE, "secure_delete = ON", "foreign_keys = ON")


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
    def writing(self) -> Iterator[Connection]:
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

    def _open(self) -> Connection:
        self._path.touch(mode=0o600)
        db = connect(self._path, _SETTINGS)
        if not self._ready:
            self._path.chmod(0o600)
            db.executescript(self._schema)
            self._ready = True
        return db
