"""The database of the books: one way to open it, and how books of version 1 are carried over.

Version 1 had no log. Its rows are kept for ever under other names, and everything they say becomes
entries of the log and rows of the new tables, in one transaction: a process that is killed on the
way leaves the old books as they were.
"""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

import sqlalchemy as sa
from sqlalchemy.engine import Engine
from sqlalchemy.pool import NullPool

from clients import books_tables, books_version1
from clients.errors import BusyError, is_busy
from federation.errors import ForeignLedgerError
from federation.ledger.database import LAYOUT, layout
from federation.ledger.places import claim, require_owner
from federation.ledger.store import (
    Log,
    existing_engine,
    open_engine,
    tables,
)
from federation.sqlite_files import DATABASE_ERROR, Connection, connect, look, module_of
from policies.errors import ForeignBooksError
from secure_compute.primitives.signature import SigningKey

VERSION: Final = 2
_KNOWN: Final = {0, VERSION}
"""What SQLite's `user_version` says of books with a log: VERSION where they were carried over."""

_FAULTS: Final[tuple[type[Exception], ...]] = (*DATABASE_ERROR, sa.exc.DatabaseError)


def open_books(where: Path | str, origin: str, key: SigningKey, at: int) -> Engine:
    """Return the database of the books at `where`, a path or a URL; empty ones if there were none.

    Raises:
        ForeignBooksError: there is something else, another's books, or those of another version.
        SilentLedgerError: a server does not answer.
        BusyError: another program holds them.
    """
    path = _file(where)
    with _told(path):
        if path is not None and path.exists():
            if _version(path) == books_version1.VERSION:
                _carry_over(path, origin, key, at)
            _require_known(path, _version(path))
        engine = open_engine(where, books_tables.beside)
        claim(engine, origin)
        return engine


def existing_books(where: Path | str, origin: str) -> Engine | None:
    """Return the database of the books at `where` to be looked at; None where there are none yet.

    Nothing is created or carried over, and no byte changes.

    Raises:
        ForeignBooksError: there is something else, another's books, or those of another version.
        SilentLedgerError: a server does not answer.
        BusyError: another program holds them.
    """
    path = _file(where)
    with _told(path):
        if path is not None and path.exists():
            with closing(look(path)) as connection:
                version = _version_of(connection)
            if version == books_version1.VERSION:
                raise ForeignBooksError(
                    f"{path.name} is of version {version}; run the node once: it carries over "
                    f"what they say, and then they can be looked at"
                )
            _require_known(path, version)
        engine = existing_engine(where, books_tables.beside)
        if engine is not None:
            require_owner(engine, origin)
        return engine


def _file(where: Path | str) -> Path | None:
    return Path(where) if isinstance(where, Path) or "://" not in where else None


@contextmanager
def _told(path: Path | None) -> Iterator[None]:
    """Tell in words of this package what is wrong with the database."""
    named = "the database" if path is None else path.name
    try:
        yield
    except ForeignLedgerError as why:
        raise ForeignBooksError(f"{named} is no account book: {why}") from why
    except _FAULTS as why:
        if is_busy(why):
            raise BusyError(named) from why
        raise ForeignBooksError(
            f"{named} is not readable as an account book; restore it, with the whole folder"
        ) from why


def _require_known(path: Path, version: int) -> None:
    if version not in _KNOWN:
        raise ForeignBooksError(
            f"{path.name} is of version {version}, this node knows version {VERSION}; "
            f"install the version that wrote it"
        )


def _version(path: Path) -> int:
    with closing(connect(path, ())) as connection:
        return _version_of(connection)


def _version_of(connection: Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def _carry_over(path: Path, origin: str, key: SigningKey, at: int) -> None:
    """The old books are carried over, or nothing was done."""
    engine = sa.create_engine(
        "sqlite://",
        creator=lambda: connect(path, ["synchronous = FULL"]),
        module=module_of(path),
        poolclass=NullPool,
    )
    sa.event.listen(engine, "begin", lambda opened: opened.exec_driver_sql("BEGIN IMMEDIATE"))
    with engine.begin() as connection:
        found = connection.exec_driver_sql("PRAGMA user_version").scalar()
        if found != books_version1.VERSION:  # somebody else was faster
            return
        books_version1.set_aside(connection)
        tables.create_all(connection)
        connection.execute(sa.insert(layout).values(version=LAYOUT))
        books_version1.carry(connection, Log(engine, origin, key), at)
        connection.exec_driver_sql(f"PRAGMA user_version = {VERSION}")
