"""The database under a ledger: its tables, its triggers, and one way to open and to lock it.

The default is one SQLite file; a PostgreSQL database is given by URL, and belongs to the party that
opened it first. The models are the same. The tables are only ever added to, and triggers refuse
every change and removal, whoever asks. What a transaction wrote is on disk when it ends. There is
one writer at a time, over all processes.

Other modules put their tables beside these (`tables`), so that what they say and the ledger entry
that says so are written together or not at all.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.engine import Connection, Engine

from federation.engines import file_of, lock_at_begin, open_at, reading, writing
from federation.errors import ForeignLedgerError, SilentLedgerError
from federation.sqlite_files import look, module_of
from federation.whole_files import sync

LAYOUT: Final = 1
_REFUSAL: Final = "a ledger is only ever added to"
_LOCK: Final = int.from_bytes(b"entrepot", "big") >> 1

tables: Final = sa.MetaData()
"""Every table that may stand in a database; those that others add get the same triggers."""

_Whole: Final = sa.BigInteger().with_variant(sa.Integer, "sqlite")  # there 64 bits, and the row id

layout = sa.Table(
    "ledger_layout", tables, sa.Column("version", sa.Integer, primary_key=True, autoincrement=False)
)
leaves = sa.Table(
    "leaves",
    tables,
    sa.Column("number", _Whole, primary_key=True, autoincrement=False),
    sa.Column("entry", sa.LargeBinary, nullable=False),
)
tiles = sa.Table(
    "tiles",
    tables,
    sa.Column("level", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("number", _Whole, primary_key=True, autoincrement=False),
    sa.Column("root", sa.LargeBinary, nullable=False),
    sa.Column("hashes", sa.LargeBinary, nullable=False),
)
heads = sa.Table(
    "heads",
    tables,
    sa.Column("size", _Whole, primary_key=True, autoincrement=False),
    sa.Column("note", sa.Text, nullable=False),
)
cosignatures = sa.Table(
    "cosignatures",
    tables,
    sa.Column("size", _Whole, primary_key=True, autoincrement=False),
    sa.Column("witness", sa.Text, primary_key=True),
    sa.Column("line", sa.Text, nullable=False),
)
witnessed = sa.Table(
    "witnessed",
    tables,
    sa.Column("origin", sa.Text, primary_key=True),
    sa.Column("size", _Whole, primary_key=True, autoincrement=False),
    sa.Column("note", sa.Text, nullable=False),
    sa.Column("at", _Whole, nullable=False),
)


_OWN: Final = tuple(tables.sorted_tables)


def open_engine(where: str | Path, beside: Iterable[sa.Table] = ()) -> Engine:
    """Return the database `where`: a path of an SQLite file, or a URL.

    It holds the tables of a log, and those `beside` it, which are of `tables` too.

    Raises:
        ForeignLedgerError: it holds something else, or a ledger of another version.
        SilentLedgerError: a server does not answer.
    """
    url, wanted = _url(where), [*_OWN, *beside]
    path = file_of(url)
    if path is not None:
        _found(path, wanted)
    engine = _engine(url)
    with telling(url):
        _prepare(engine, wanted, is_new=path is None)
    return engine


def existing_engine(where: str | Path, beside: Iterable[sa.Table] = ()) -> Engine | None:
    """Return the database `where` to be looked at; None where nothing was ever written.

    Nothing is created or completed, and whatever is asked through it, no byte changes.

    Raises:
        ForeignLedgerError: it holds something else, or a ledger of another version.
        SilentLedgerError: a server does not answer.
    """
    url = _url(where)
    path = file_of(url)
    if url.get_backend_name() == "sqlite" and (path is None or not path.exists()):
        return None
    engine = _looking(url, path)
    with telling(url):
        is_there = _holds(engine, [*_OWN, *beside], is_new=path is None)
    return engine if is_there else None


@contextmanager
def telling(url: sa.URL) -> Iterator[None]:
    """Tell in words of this package what is wrong with the database; its URL is not repeated."""
    try:
        yield
    except sa.exc.OperationalError as why:
        if url.get_backend_name() == "postgresql":
            raise SilentLedgerError(
                f"the database {named(url)} does not answer, or not to this user; see that its "
                f"server runs, and which host, user and password its URL names"
            ) from why
        raise ForeignLedgerError(f"{named(url)} is not readable as a ledger") from why
    except sa.exc.DatabaseError as why:
        raise ForeignLedgerError(f"{named(url)} is not readable as a ledger") from why


def _url(where: str | Path) -> sa.URL:
    if isinstance(where, Path) or "://" not in where:
        return sa.URL.create("sqlite", database=str(where))
    url = sa.make_url(where)
    if url.get_backend_name() == "postgresql":
        return url.set(drivername="postgresql+psycopg")
    if url.get_backend_name() == "sqlite":
        return url
    raise ForeignLedgerError("a ledger lives in SQLite or PostgreSQL; give a path or such a URL")


def _looking(url: sa.URL, path: Path | None) -> Engine:
    creator = {} if path is None else {"creator": lambda: look(path), "module": module_of(path)}
    engine = sa.create_engine(url, poolclass=sa.NullPool, **creator)
    if path is None:
        event.listen(engine, "connect", _on_connect_reader)
    lock_at_begin(engine, _LOCK)
    return engine


def _engine(url: sa.URL) -> Engine:
    return open_at(url, lock=_LOCK, pragmas=("recursive_triggers = ON",))


def _on_connect_reader(dbapi: Any, _: Any) -> None:
    dbapi.execute("SET default_transaction_read_only TO on")
    dbapi.commit()


def _found(path: Path, wanted: Sequence[sa.Table]) -> None:
    """A whole, empty ledger stands at `path`, unless something was there."""
    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=path.parent, prefix=".ledger-") as folder:
        fresh = Path(folder) / path.name
        fresh.touch(mode=0o600)
        engine = _engine(_url(fresh))
        _prepare(engine, wanted, is_new=True)
        engine.dispose()
        with suppress(FileExistsError):
            os.link(fresh, path)
    sync(path.parent)


def _prepare(engine: Engine, wanted: Sequence[sa.Table], *, is_new: bool) -> None:
    """Every table that is `wanted` is there; is_new: nothing at all may have been there before."""
    if _holds(engine, wanted, is_new=is_new, whole=False):
        return
    with writing(engine) as connection:
        tables.create_all(connection, wanted)
        if connection.scalar(sa.select(layout.c.version)) is None:
            connection.execute(sa.insert(layout).values(version=LAYOUT))


def _holds(engine: Engine, wanted: Sequence[sa.Table], *, is_new: bool, whole: bool = True) -> bool:
    """Return whether every table is there; whole: a ledger that lacks some is none.

    Raises:
        ForeignLedgerError: something else is there, or nothing where not `is_new`.
    """
    with reading(engine) as connection:
        there = set(sa.inspect(connection).get_table_names())
        if layout.name in there:
            _same_layout(connection)
        elif there:
            raise ForeignLedgerError(f"{named(engine.url)} holds tables that are no ledger's")
        elif not is_new:
            raise ForeignLedgerError(f"{named(engine.url)} is there and holds no ledger")
    is_whole = there >= {table.name for table in wanted}
    if whole and there and not is_whole:
        raise ForeignLedgerError(f"{named(engine.url)} holds a ledger that lacks tables")
    return is_whole


def _same_layout(connection: Connection) -> None:
    version = connection.scalar(sa.select(sa.func.max(layout.c.version)))
    if version != LAYOUT:
        raise ForeignLedgerError(
            f"{named(connection.engine.url)} is of version {version}, this is version {LAYOUT}; "
            f"install the version that wrote it"
        )


def named(url: sa.URL) -> str:
    """Return what a database is called; nothing else of its URL."""
    return Path(url.database or "the database").name


def _refuse_changes(
    _: sa.MetaData, connection: Connection, tables: Sequence[sa.Table], **__: Any
) -> None:
    """Every table that was just made refuses UPDATE and DELETE."""
    refusals: dict[str, Callable[[str], Iterator[str]]] = {
        "sqlite": _sqlite_refusals,
        "postgresql": _postgresql_refusals,
    }
    for table in tables:
        for statement in refusals[connection.dialect.name](table.name):
            connection.exec_driver_sql(statement)


event.listen(tables, "after_create", _refuse_changes)


def _sqlite_refusals(table: str) -> Iterator[str]:
    for verb in ("UPDATE", "DELETE"):
        yield (
            f"CREATE TRIGGER {table}_{verb.lower()} BEFORE {verb} ON {table} "
            f"BEGIN SELECT RAISE(ABORT, '{_REFUSAL}'); END"
        )


def _postgresql_refusals(table: str) -> Iterator[str]:
    yield (
        "CREATE OR REPLACE FUNCTION only_added_to() RETURNS trigger LANGUAGE plpgsql AS "
        f"$$ BEGIN RAISE EXCEPTION '{_REFUSAL}'; END $$"
    )
    yield (
        f"CREATE TRIGGER {table}_kept BEFORE UPDATE OR DELETE OR TRUNCATE ON {table} "
        f"FOR EACH STATEMENT EXECUTE FUNCTION only_added_to()"
    )
