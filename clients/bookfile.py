"""The file of the books: its tables, its triggers, and one way to open it.

The tables are only ever added to; triggers refuse every change and removal, whoever asks.
"""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from policies.errors import ForeignBooksError

_SCHEMA: Final = """
CREATE TABLE limits (
    seq INTEGER PRIMARY KEY, account TEXT NOT NULL, dataset TEXT NOT NULL,
    subjects TEXT NOT NULL, unit TEXT NOT NULL, time_window TEXT NOT NULL,
    epsilon TEXT NOT NULL, delta TEXT NOT NULL) STRICT;
CREATE INDEX limits_account ON limits (account, dataset, seq);
CREATE TABLE reservations (
    order_id TEXT NOT NULL, account TEXT NOT NULL, event TEXT NOT NULL,
    releases INTEGER NOT NULL CHECK (releases > 0),
    PRIMARY KEY (order_id, account)) STRICT, WITHOUT ROWID;
CREATE INDEX reservations_account ON reservations (account);
CREATE TABLE settlements (
    order_id TEXT NOT NULL, release_key TEXT NOT NULL,
    PRIMARY KEY (order_id, release_key)) STRICT, WITHOUT ROWID;
CREATE TABLE closings (order_id TEXT NOT NULL PRIMARY KEY) STRICT, WITHOUT ROWID;
"""

_VERSION: Final = 1
_TABLES: Final = ("limits", "reservations", "settlements", "closings")


def ready(path: Path) -> None:
    """Make sure that `path` holds books of this version, empty ones if there was no file.

    Raises:
        ForeignBooksError: the file is no account book, or one of another version.
    """
    if not path.exists():
        _create(path)
    try:
        with closing(connect(path)) as connection:
            version = connection.execute("PRAGMA user_version").fetchone()[0]
    except sqlite3.DatabaseError as why:
        raise ForeignBooksError(f"{path.name} is not readable as an account book") from why
    if version != _VERSION:
        raise ForeignBooksError(
            f"{path.name} is of version {version}, this node knows version {_VERSION}; "
            f"install the version that wrote it"
        )


def connect(path: Path) -> sqlite3.Connection:
    """Return a connection whose commits are on disk before they return."""
    connection = sqlite3.connect(path, timeout=30.0, isolation_level=None)
    connection.execute("PRAGMA synchronous = FULL")
    return connection


def _create(path: Path) -> None:
    """Put complete, empty books at `path` in one step, unless somebody else just did."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=path.parent, prefix=".books-") as folder:
        fresh = Path(folder) / path.name
        fresh.touch(mode=0o600)
        with closing(sqlite3.connect(fresh, isolation_level=None)) as connection:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.executescript(_SCHEMA + "".join(_refusals()))
            connection.execute(f"PRAGMA user_version = {_VERSION}")
        with suppress(FileExistsError):
            os.link(fresh, path)
    folder_handle = os.open(path.parent, os.O_RDONLY)
    os.fsync(folder_handle)
    os.close(folder_handle)


def _refusals() -> Iterator[str]:
    for table in _TABLES:
        for verb in ("UPDATE", "DELETE"):
            yield (
                f"CREATE TRIGGER {table}_{verb.lower()} BEFORE {verb} ON {table} "
                f"BEGIN SELECT RAISE(ABORT, 'the books are only ever added to'); END;\n"
            )
