"""One way to open a database and to lock it: an SQLite file, or a PostgreSQL database by its URL.

What a transaction wrote is on disk when it ends. There is one writer at a time, over all threads
and processes: SQLite's own lock, or an advisory lock whose number the caller chooses.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.engine import Connection, Engine

from federation.sqlite_files import DURABLE, engine_options


def open_at(
    url: sa.URL,
    *,
    lock: int,
    pragmas: Sequence[str] = (),
    pooled: bool = True,
) -> Engine:
    """Return the database at `url`; nothing is asked of it yet.

    Args:
        url:     of SQLite or of PostgreSQL.
        lock:    of the one writer, on a server: 63 bits. A server's other writer is waited for.
        pragmas: what SQLite is told beside keeping every transaction on disk.
        pooled:  whether connections stay open between transactions.
    """
    said: dict[str, Any] = {} if pooled else {"poolclass": sa.NullPool}
    if path := file_of(url):
        said |= engine_options(path) | {"execution_options": {"compiled_cache": _COMPILED}}
    engine = sa.create_engine(url, **said)
    is_sqlite = url.get_backend_name() == "sqlite"
    event.listen(
        engine, "connect", _to_sqlite((*DURABLE, *pragmas)) if is_sqlite else _to_postgresql
    )
    event.listen(engine, "checkout", _leave_inherited)
    lock_at_begin(engine, lock)
    return engine


class _Compiled(sa.util.LRUCache[Any, Any]):
    """What statements were compiled to, for all SQLite files: compiling takes longer than asking.

    SQLAlchemy asks by dialect, of which every engine has its own; those of one DB-API module are
    alike.
    """

    __slots__ = ()

    def get(self, key: Any, default: Any = None) -> Any:
        return super().get(_by_module(key), default)

    def __setitem__(self, key: Any, value: Any) -> None:
        super().__setitem__(_by_module(key), value)


def _by_module(key: Sequence[Any]) -> tuple[Any, ...]:
    return (key[0].dbapi, *key[1:])


_COMPILED: Final = _Compiled(500)
"""As many as SQLAlchemy keeps for one engine."""


def file_of(url: sa.URL) -> Path | None:
    """Return the file that an SQLite database is; None for one in memory or on a server."""
    is_file = url.get_backend_name() == "sqlite" and url.database not in {None, "", ":memory:"}
    return Path(str(url.database)) if is_file else None


@contextmanager
def writing(on: Engine | Connection) -> Iterator[Connection]:
    """A transaction of the one writer: all of it is on disk afterwards, or nothing was done.

    on: a database, or a connection to one that has no transaction.
    """
    with _connected(on) as connection:
        writer = connection.execution_options(one_writer=True)
        with writer.begin():
            yield writer


@contextmanager
def reading(on: Engine | Connection) -> Iterator[Connection]:
    """A transaction that sees the database as it stood when it began to look; on: as above."""
    with _connected(on) as connection:
        connection.execution_options(one_writer=False)
        if connection.dialect.name == "postgresql":
            connection.execution_options(isolation_level="REPEATABLE READ")
        with connection.begin():
            yield connection


@contextmanager
def _connected(on: Engine | Connection) -> Iterator[Connection]:
    if isinstance(on, Connection):
        yield on
        return
    with on.connect() as connection:
        yield connection


def lock_at_begin(engine: Engine, lock: int) -> None:
    """Transactions of an engine begin as a reader's or as the one writer's."""

    def begin(connection: Connection) -> None:
        writer = connection.get_execution_options().get("one_writer", False)
        if connection.dialect.name == "sqlite":
            connection.exec_driver_sql("BEGIN IMMEDIATE" if writer else "BEGIN")
        elif writer:
            connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({lock})")

    event.listen(engine, "begin", begin)


def _to_sqlite(pragmas: Sequence[str]) -> Callable[[Any, Any], None]:
    def tell(dbapi: Any, record: Any) -> None:
        record.info["pid"] = os.getpid()
        dbapi.isolation_level = None  # transactions begin where this module says so
        for pragma in pragmas:
            dbapi.execute(f"PRAGMA {pragma}")

    return tell


def _to_postgresql(dbapi: Any, record: Any) -> None:
    record.info["pid"] = os.getpid()
    dbapi.execute("SET synchronous_commit TO on")
    dbapi.commit()


_INHERITED: Final[list[Any]] = []
"""Connections of a parent process: to close them here would disturb it."""


def _leave_inherited(dbapi: Any, record: Any, proxy: Any) -> None:
    if record.info["pid"] != os.getpid():
        _INHERITED.append(dbapi)
        record.dbapi_connection = proxy.dbapi_connection = None
        raise sa.exc.DisconnectionError("this connection belongs to the parent process")
