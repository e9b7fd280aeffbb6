"""A small SQLite database whose every transaction is on disk at its end.

The database is its owner's alone, is made when it is first opened, and keeps no byte of what was
deleted from its tables; the log beside it may, while the file is held open.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final

from federation.sqlite_files import DURABLE, Connection, connect

_SETTINGS: Final = (*DURABLE, "secure_delete = ON", "foreign_keys = ON")


class Kept:
    """A connection to one file that stays open between `hold` and `let_go`; threads may share it.

    At all other times one is opened for each use. open: opens one that any thread may use.

    Whoever closes a file last folds its log into it, which waits for the disk several times over;
    held, a transaction is one write to the log. What is on disk at its end is the same.
    """

    def __init__(self, open_: Callable[[], Connection]) -> None:
        self._open = open_
        self._guard = threading.RLock()
        self._held: Connection | None = None

    def hold(self) -> None:
        """The file stays open from now on."""
        with self._guard:
            if self._held is None:
                self._held = self._open()

    def let_go(self) -> None:
        """The file is held open no longer; what its log still has of deleted rows is gone."""
        with self._guard:
            held, self._held = self._held, None
            if held is not None:
                held.close()

    @contextmanager
    def connected(self) -> Iterator[Connection]:
        """Give the connection that is held, to nobody else meanwhile, or one for the block."""
        with self._guard:
            if self._held is not None:
                yield self._held
                return
        with closing(self._open()) as db:
            yield db

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """Give a connection whose changes are all on disk at the end of the block, or none are."""
        with self.connected() as db:
            db.execute("BEGIN IMMEDIATE")
            try:
                yield db
            except BaseException:
                db.execute("ROLLBACK")
                raise
            db.execute("COMMIT")

    def read(self, sql: str, values: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
        """Return the rows of one query."""
        with self.connected() as db:
            return db.execute(sql, values).fetchall()


class Database(Kept):
    """The database in one file; safe for several threads and processes."""

    def __init__(self, path: Path, schema: str) -> None:
        super().__init__(self._connect)
        self._path = path
        self._schema = schema
        self._ready = False

    def wipe(self) -> None:
        """Leave no byte of what was deleted in the log beside the file."""
        self.read("PRAGMA wal_checkpoint(TRUNCATE)")

    def _connect(self) -> Connection:
        self._path.touch(mode=0o600)
        db = connect(self._path, _SETTINGS, any_thread=True)  # whoever lets go may be another
        if not self._ready:
            self._path.chmod(0o600)
            db.executescript(self._schema)
            self._ready = True
        return db
