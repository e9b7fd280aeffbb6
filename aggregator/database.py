"""Where the aggregator's state lies, whose it is and of which revision: one way to open it.

An SQLite file is its folder's, and its owner's alone. A PostgreSQL database has no folder, so it
says itself whose it is: the aggregator that opens it first owns it. What is empty is made when it
is first used. What an older Entrepôt left is carried over by `aggregator.migrating` alone, before
anything runs; what a newer one left is left alone.
"""

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Connection, Engine

from aggregator.errors import ForeignDatabaseError, SilentDatabaseError
from aggregator.tables import KINDS, Kind, create, version
from federation.at_rest import vault_of
from federation.engines import open_at, reading, writing

REVISIONS: Final = ("0001", "0002", "0003", "0004")
"""Every revision of the tables, the newest last; `aggregator/migrations` makes each from the one
before."""
HEAD: Final = REVISIONS[-1]
UNNUMBERED: Final = ""
"""The revision of files of the days before revisions were counted."""

_LOCK: Final = int.from_bytes(b"sit down", "big") >> 1
_ALONE: Final = ("secure_delete = ON",)
_ENGINES: Final = 32


@dataclass(frozen=True, slots=True)
class Server:
    """A PostgreSQL database, and the aggregator whose it is. url: a password may stand in it."""

    url: str = field(repr=False)
    owner: str


class Store:
    """One kind of the aggregator's state; safe for several threads and processes."""

    def __init__(self, where: Path | Server, kind: Kind) -> None:
        self._where = where
        self._kind = kind
        self._ready = False
        self._mine = threading.local()

    def read(self, statement: sa.Executable) -> list[tuple[Any, ...]]:
        """Return the rows of one query.

        Raises:
            ForeignDatabaseError: the database is another's, or of another revision.
            SilentDatabaseError: it does not answer.
        """
        with telling(self._where), reading(self._way()) as connection:
            return [tuple(row) for row in connection.execute(statement)]

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """Give a connection whose changes are all on disk at the end of the block, or none are.

        Raises:
            ForeignDatabaseError, SilentDatabaseError: see `read`.
        """
        with telling(self._where), writing(self._way()) as connection:
            yield connection

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep a file open within the block: a transaction is then one write to its log.

        Whoever closes a file last folds its log into it, which waits for the disk several times
        over. What is on disk at the end of a transaction is the same; what was deleted is gone from
        the log, too, at the end of the block. The transactions of the thread that holds it share
        one connection.

        Raises:
            ForeignDatabaseError, SilentDatabaseError: see `read`.
        """
        if isinstance(self._where, Server) or self._held is not None:
            yield
            return
        with telling(self._where):
            connection = self._opened().connect()
        with connection:
            self._mine.connection = connection
            try:
                yield
            finally:
                self._mine.connection = None

    @property
    def _held(self) -> Connection | None:
        return getattr(self._mine, "connection", None)

    def _way(self) -> Engine | Connection:
        """Return what a transaction of this thread goes over; one within another has its own."""
        held = self._held
        return self._opened() if held is None or held.in_transaction() else held

    def _opened(self) -> Engine:
        engine = engine_of(self._where)
        if not self._ready:
            _prepare(engine, self._where, self._kind)
            self._ready = True
        return engine


def is_there(where: Path | Server) -> bool:
    """Return whether anything was ever kept there; a server's database is not asked."""
    return isinstance(where, Server) or where.exists()


def kinds_at(where: Path | Server) -> tuple[Kind, ...]:
    """Return what lies there: everything on a server, one kind in a file.

    Raises:
        StopIteration: no kind of state has a file of this name.
    """
    if isinstance(where, Server):
        return KINDS
    return (next(kind for kind in KINDS if kind.file == where.name),)


def name_of(where: Path | Server) -> str:
    """Return what a database is called; nothing else of its URL."""
    if isinstance(where, Server):
        return f"the database {sa.make_url(where.url).database}"
    return str(where)


def engine_of(where: Path | Server) -> Engine:
    """Return the database; a file is made, its owner's alone, nothing else is asked of it yet."""
    if isinstance(where, Path):
        where.touch(mode=0o600)
        is_sealed = vault_of(where) is not None
        return _engine(sa.URL.create("sqlite", database=str(where)), is_sealed)
    return _engine(sa.make_url(where.url).set(drivername="postgresql+psycopg"))


def keep_private(where: Path | Server) -> None:
    """A file is its owner's alone, also one that an earlier version made."""
    if isinstance(where, Path):
        where.chmod(0o600)


@lru_cache(_ENGINES)
def _engine(url: sa.URL, _is_sealed: bool = False) -> Engine:
    is_file = url.get_backend_name() == "sqlite"
    return open_at(url, lock=_LOCK, pragmas=_ALONE, pooled=not is_file)


def revision(connection: Connection, where: Path | Server, kinds: Sequence[Kind]) -> str | None:
    """Return the revision of what lies there; None: nothing does.

    Raises:
        ForeignDatabaseError: it holds something else, or another aggregator's state.
    """
    there = set(sa.inspect(connection).get_table_names())
    if version.name in there:
        _require_owner(connection, where)
        known: str | None = connection.scalar(sa.select(version.c.version_num))
        return known
    if not there:
        return None
    if isinstance(where, Path) and there <= {t.name for kind in kinds for t in kind.tables}:
        return UNNUMBERED
    raise ForeignDatabaseError(
        f"{name_of(where)} holds tables that are not the aggregator's; give its state a database "
        f"of its own"
    )


def found(connection: Connection, where: Path | Server, kinds: tuple[Kind, ...]) -> None:
    """Tables of the newest revision stand in a database that was empty; it is ours from now on."""
    create(connection, kinds)
    connection.execute(sa.insert(version).values(version_num=HEAD))
    if isinstance(where, Server):
        owned = sa.Table(version.name, sa.MetaData(), comment=where.owner)
        connection.execute(sa.schema.SetTableComment(owned))


def require_known(known: str, where: Path | Server) -> None:
    """Accept a revision that this version of the program knows, old or new.

    Raises:
        ForeignDatabaseError: it is of a newer version.
    """
    if known not in {UNNUMBERED, *REVISIONS}:
        raise ForeignDatabaseError(
            f"{name_of(where)} is of revision {known}, and this version of Entrepôt knows "
            f"{HEAD} at most; nothing was changed: install the version that wrote it, or a newer "
            f"one"
        )


def _require_owner(connection: Connection, where: Path | Server) -> None:
    if isinstance(where, Path):
        return
    owner = sa.inspect(connection).get_table_comment(version.name)["text"]
    if owner != where.owner:
        raise ForeignDatabaseError(
            f"{name_of(where)} holds the state of {owner}, not of {where.owner}; give every "
            f"aggregator a database of its own"
        )


def _prepare(engine: Engine, where: Path | Server, kind: Kind) -> None:
    """The tables are there and of the newest revision; what was made before is made fit for it."""
    kinds = kinds_at(where) if isinstance(where, Server) else (kind,)
    keep_private(where)
    with reading(engine) as connection:
        known = revision(connection, where, kinds)
    if known is None:
        with writing(engine) as connection:
            known = revision(connection, where, kinds)  # somebody may have been faster
            if known is None:
                found(connection, where, kinds)
                known = HEAD
    require_known(known, where)
    if known != HEAD:
        raise ForeignDatabaseError(
            f"{name_of(where)} is of an earlier version; start the aggregator, which carries it "
            f"over, or do it with `entrepot aggregator database upgrade`"
        )


@contextmanager
def telling(where: Path | Server) -> Iterator[None]:
    """Tell in words of this package that a database does not answer; its URL is not repeated."""
    try:
        yield
    except sa.exc.OperationalError as why:
        if isinstance(where, Server):
            raise SilentDatabaseError(
                f"{name_of(where)} does not answer, or not to this user; see that its server runs, "
                f"and which host, user and password `database` in aggregator.toml names"
            ) from why
        raise SilentDatabaseError(
            f"{name_of(where)} cannot be read or written ({_cause(why)}); see that the disk has "
            f"room, and that no other program holds it"
        ) from why
    except sa.exc.DatabaseError as why:
        if isinstance(why, sa.exc.IntegrityError):
            raise
        raise ForeignDatabaseError(
            f"{name_of(where)} cannot be used for the aggregator's state ({_cause(why)})"
        ) from why


def _cause(why: sa.exc.DBAPIError) -> str:
    """Return the first line of what a database says: the rest may repeat values."""
    return str(why.orig).partition("\n")[0]


def keep_first(connection: Connection, table: sa.Table, rows: Sequence[Mapping[str, Any]]) -> None:
    """Add rows; one that is there already, by any of the table's keys, stays what it is."""
    if rows:
        connection.execute(_insert(connection, table).on_conflict_do_nothing(), rows)


def keep_last(connection: Connection, table: sa.Table, **row: Any) -> None:
    """Add a row in place of the one that has its primary key."""
    adding = _insert(connection, table).values(row)
    keys = [column.name for column in table.primary_key]
    rest = {name: adding.excluded[name] for name in row if name not in keys}
    connection.execute(adding.on_conflict_do_update(index_elements=keys, set_=rest))


def _insert(connection: Connection, table: sa.Table) -> Any:
    return {"sqlite": sqlite.insert, "postgresql": postgresql.insert}[connection.dialect.name](
        table
    )
