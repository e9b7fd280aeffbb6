"""Rows of a MySQL or MariaDB relation in Arrow batches, through PyMySQL, within one transaction.

A cursor on the server's side hands over rows as they are read. The protocol carries text, and that
is left as it came: `clients.sources.shaping` reads it as it reads that of any source. Moments come
in UTC, and a number of single precision as what it is, not as what the server would print of it.
"""

import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, Final

import pyarrow as pa

from clients.sources.declared import PORTS, Database
from clients.sources.reading import (
    WAIT_SECONDS,
    Batches,
    Dialect,
    Found,
    driver,
    refused,
    require_columns,
    stopped,
    unreachable,
)
from clients.sources.wanted import Wanted
from policies.contracts import ColumnType

BATCH_ROWS: Final = 1 << 13
SILENCE_SECONDS: Final = 600
"""How long a server may say nothing in the middle."""
BEGIN: Final = (
    "SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ",
    "SET SESSION time_zone = '+00:00'",
    "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY",
)
_COLUMNS: Final = """
SELECT column_name, data_type, column_type, numeric_scale FROM information_schema.columns
WHERE table_schema = %s AND table_name = %s
"""
_RELATIONS: Final = "SELECT table_name FROM information_schema.tables WHERE table_schema = %s"
_REFUSALS: Final = frozenset({1044, 1045, 1049, 1130, 1142, 1143, 1698})
_INTEGERS: Final = ("tinyint", "tinyint(1)", "smallint", "mediumint", "int", "bigint", "year")
_TEXTS: Final = ("char", "varchar", "tinytext", "text", "mediumtext", "longtext", "enum", "uuid")
_TRUTHS: Final = ("tinyint(1)", "bit(1)")
_WAYS: Final[Mapping[ColumnType, Mapping[str, str]]] = {
    "integer": dict.fromkeys((*_INTEGERS, "decimal"), "{}"),
    "float": {**dict.fromkeys((*_INTEGERS, "decimal", "double"), "{}"), "float": "{} + 0e0"},
    "boolean": dict.fromkeys(_TRUTHS, "{} <> 0"),
    "string": dict.fromkeys(_TEXTS, "{}"),
    "date": {"date": "{}"},
    "timestamp": dict.fromkeys(("datetime", "timestamp"), "{}"),
}
"""By the contract's type and the column's, how it is read."""
_PLAIN: Final[Mapping[str, str]] = {
    **dict.fromkeys((*_INTEGERS, *_TEXTS, "decimal", "double", "date", "datetime"), "{}"),
    "bit(1)": "{} + 0",
    "float": "{} + 0e0",
    "timestamp": "CONCAT({}, '+00:00')",
}
"""By the column's type, how it is read as the text that it has; a moment keeps its zone."""


@contextmanager
def reading(place: Database, password: str | None, wanted: Wanted) -> Iterator[Batches]:
    """Give the wanted rows, some thousands at a time.

    Raises:
        NodeSettingsError: the driver is missing.
        SourceError: the relation or a column is not there, or is of another type.
        UnreachableSourceError: the server is not there, or the connection ended.
    """
    api = driver("pymysql", "mysql", place)
    connection = _connected(api, place, password)
    cursor = connection.cursor()
    try:
        yield _told(api, place, _batches(cursor, place, wanted))
    finally:
        _drop(connection, cursor)


def _told(api: Any, place: Database, batches: Batches) -> Batches:
    try:
        yield from batches
    except (api.MySQLError, OSError) as why:
        stopped(place, why.args[0] if isinstance(why, api.MySQLError) and why.args else None)


def described(place: Database, password: str | None) -> list[Found]:
    """Return the columns of the relation that can be read, as its catalogue has them.

    Raises:
        NodeSettingsError, SourceError, UnreachableSourceError: as `reading`.
    """
    api = driver("pymysql", "mysql", place)
    connection = _connected(api, place, password)
    cursor = connection.cursor()
    try:
        found = _there(cursor, place)
        nothing = Wanted(place.spoken, {})
        require_columns(place, nothing, found, lambda: _relations(cursor, place))
    except (api.MySQLError, OSError) as why:
        stopped(place, why.args[0] if isinstance(why, api.MySQLError) and why.args else None)
    finally:
        _drop(connection, cursor)
    return [column for column in found.values() if _plain(column, "") is not None]


def _there(cursor: Any, place: Database) -> dict[str, Found]:
    for statement in BEGIN:
        cursor.execute(statement)
    cursor.execute(_COLUMNS, (place.database, place.relation[-1]))
    return {row[0]: _found(*row) for row in cursor.fetchall()}


def _batches(cursor: Any, place: Database, wanted: Wanted) -> Batches:
    found = _there(cursor, place)
    there = require_columns(place, wanted, found, lambda: _relations(cursor, place))
    text = Dialect("`", cursor.connection.escape, _read, _plain).select(place, there, found)
    cursor.execute(text)
    while rows := cursor.fetchmany(BATCH_ROWS):
        columns = zip(*rows, strict=True)
        yield pa.RecordBatch.from_arrays(
            [pa.array(values, pa.string()) for values in columns], names=list(there.columns)
        )


def _relations(cursor: Any, place: Database) -> list[str]:
    cursor.execute(_RELATIONS, (place.database,))
    return [name for (name,) in cursor.fetchall()]


def _found(name: str, kind: str, spelt: str, scale: str | None) -> Found:
    whole = kind == "decimal" and scale == "0"
    return Found(name, spelt if spelt in _TRUTHS else kind, whole)


def _read(column: Found, kind: ColumnType, name: str) -> str | None:
    if kind == "integer" and column.type == "decimal" and not column.whole:
        return None
    way = _WAYS[kind].get(column.type)
    return way and way.format(name)


def _plain(column: Found, name: str) -> str | None:
    way = _PLAIN.get(column.type)
    return None if way is None else way.format(name)


def _connected(api: Any, place: Database, password: str | None) -> Any:
    own = {name: made for name, made in api.converters.conversions.items() if callable(name)}
    try:
        return api.connect(
            user=place.user,
            password=password or "",
            database=place.database,
            charset="utf8mb4",
            conv=own,  # ways to write values, and none to read them: text stays text
            cursorclass=api.cursors.SSCursor,
            read_timeout=SILENCE_SECONDS,
            **_ways(place),
        )
    except (api.MySQLError, OSError) as why:
        if why.args and why.args[0] in _REFUSALS:
            refused(place)
        unreachable(place)


def _ways(place: Database) -> dict[str, Any]:
    """Return how the server is reached; over a network with TLS and by its name."""
    options = place.options
    ways: dict[str, Any] = {
        "host": place.host,
        "port": place.port or PORTS[place.kind],
        "unix_socket": options.get("unix_socket"),
        "connect_timeout": int(options.get("connect_timeout", WAIT_SECONDS)),
    }
    if options.get("ssl_disabled") == "true":
        return {**ways, "ssl_disabled": True}
    return {**ways, "ssl": _believing(options)} if place.is_asked_who_it_is else ways


def _believing(options: Mapping[str, str]) -> ssl.SSLContext:
    """Return whom to believe: one whom `ssl_ca`, else any authority of this machine's, vouches for.

    PyMySQL would make one of the same options, but compare no name unless `ssl_ca` is among them.
    """
    context = ssl.create_default_context(cafile=options.get("ssl_ca"))
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT  # MySQL's own authorities lack what it wants
    context.check_hostname = options.get("ssl_verify_identity") != "false"
    if "ssl_cert" in options:
        context.load_cert_chain(options["ssl_cert"], options.get("ssl_key"))
    return context


def _drop(connection: Any, cursor: Any) -> None:
    """Close the connection, also in the middle of rows, which are not waited for."""
    rows = vars(cursor).get("_result")  # would read all that is left before it is forgotten
    if rows is not None:
        rows.unbuffered_active = False
    cursor.connection = None
    with suppress(Exception):
        connection.close()
