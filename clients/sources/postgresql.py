"""Rows of a PostgreSQL relation in Arrow batches, through ADBC, within one transaction.

The transaction is read only and repeatable-read, so all batches are of one moment. The rows come
over COPY as they are read. What Arrow holds as it is comes in binary; decimals, dates, moments and
enumerations come as text, which `clients.sources.shaping` reads as it reads that of any source.
"""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from typing import Any, Final

import pyarrow as pa

from clients.sources.declared import Database
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

BATCH_BYTES: Final = 4 << 20
BEGIN: Final = (
    "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY",
    "SET LOCAL standard_conforming_strings = on",
    "SET LOCAL TIME ZONE 'UTC'",
    "SET LOCAL datestyle = 'ISO, YMD'",
)
_HIDDEN: Final = "pg_catalog', 'information_schema"
_COLUMNS: Final = """
SELECT a.attname::text, CASE WHEN e.typtype = 'e' THEN 'enum' ELSE e.typname::text END,
       CASE WHEN t.typtype = 'd' THEN t.typtypmod ELSE a.atttypmod END
FROM pg_catalog.pg_attribute a
JOIN pg_catalog.pg_class c ON c.oid = a.attrelid
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
JOIN pg_catalog.pg_type e ON e.oid = CASE WHEN t.typtype = 'd' THEN t.typbasetype ELSE t.oid END
WHERE a.attnum > 0 AND NOT a.attisdropped AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
  AND n.nspname = $1 AND c.relname = $2
  AND pg_catalog.has_column_privilege(c.oid, a.attnum, 'SELECT')
"""
_RELATIONS: Final = f"""
SELECT CASE WHEN n.nspname = 'public' THEN '' ELSE n.nspname || '.' END || c.relname
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND n.nspname NOT IN ('{_HIDDEN}')
  AND n.nspname NOT LIKE 'pg\\_%'
"""  # noqa: S608  two constants
_INTEGERS: Final = ("int2", "int4", "int8")
_TEXTS: Final = ("text", "varchar", "bpchar", "name", "citext", "uuid", "enum")
_WAYS: Final[Mapping[ColumnType, Mapping[str, str]]] = {
    "integer": {**dict.fromkeys(_INTEGERS, "{}"), "numeric": "{}::text"},
    "float": {**dict.fromkeys((*_INTEGERS, "float4", "float8"), "{}"), "numeric": "{}::text"},
    "boolean": {"bool": "{}"},
    "string": dict.fromkeys(_TEXTS, "{}::text"),
    "date": {"date": "{}::text"},
    "timestamp": {"timestamp": "{}::text", "timestamptz": "({} AT TIME ZONE 'UTC')::text"},
}
"""By the contract's type and the column's, how it is read."""
_PLAIN: Final[Mapping[str, str]] = {
    **dict.fromkeys((*_INTEGERS, *_TEXTS, "numeric", "float4", "float8"), "{}::text"),
    **dict.fromkeys(("bool", "date", "timestamp"), "{}::text"),
    "timestamptz": "({} AT TIME ZONE 'UTC')::text || '+00'",
}
"""By the column's type, how it is read as the text that it has; a moment keeps its zone."""
_REFUSALS: Final = ("password", "authentication", "does not exist", "pg_hba.conf")
_LOCALLY: Final = "certificate file"
"""In what libpq says of a file of this machine's, before any server has said something."""
_PLACES: Final = 0x7FF
"""In a decimal's modifier, less 4: how many places it has."""


@contextmanager
def reading(place: Database, password: str | None, wanted: Wanted) -> Iterator[Batches]:
    """Give the wanted rows, in batches of some megabytes.

    Raises:
        NodeSettingsError: the driver is missing.
        SourceError: the relation or a column is not there, or is of another type.
        UnreachableSourceError: the server is not there, or the connection ended.
    """
    api = driver("adbc_driver_postgresql.dbapi", "postgres", place)
    with ExitStack() as held:
        connection = _connected(api, place, password)
        held.callback(connection.close)
        cursor = held.enter_context(connection.cursor())
        batches = held.enter_context(closing(_told(api, place, _batches(cursor, place, wanted))))
        yield batches


def _told(api: Any, place: Database, batches: Batches) -> Batches:
    try:
        yield from batches
    except (api.Error, pa.ArrowException, OSError) as why:
        stopped(place, getattr(why, "sqlstate", None))


def described(place: Database, password: str | None) -> list[Found]:
    """Return the columns of the relation that can be read, as its catalogue has them.

    Raises:
        NodeSettingsError, SourceError, UnreachableSourceError: as `reading`.
    """
    api = driver("adbc_driver_postgresql.dbapi", "postgres", place)
    nothing = Wanted(place.spoken, {})
    with ExitStack() as held:
        connection = _connected(api, place, password)
        held.callback(connection.close)
        cursor = held.enter_context(connection.cursor())
        try:
            found = _there(cursor, place)
            require_columns(place, nothing, found, lambda: _relations(cursor))
        except (api.Error, OSError) as why:
            stopped(place, getattr(why, "sqlstate", None))
    return [column for column in found.values() if _plain(column, "") is not None]


def _there(cursor: Any, place: Database) -> dict[str, Found]:
    for statement in BEGIN:
        cursor.execute(statement)
    cursor.execute(_COLUMNS, place.names)
    return {name: _found(name, kind, size) for name, kind, size in cursor.fetchall()}


def _batches(cursor: Any, place: Database, wanted: Wanted) -> Batches:
    found = _there(cursor, place)
    there = require_columns(place, wanted, found, lambda: _relations(cursor))
    option = {"adbc.postgresql.batch_size_hint_bytes": str(BATCH_BYTES)}
    cursor.adbc_statement.set_options(**option)
    cursor.execute(DIALECT.select(place, there, found))
    with cursor.fetch_record_batch() as batches:
        yield from batches


def _relations(cursor: Any) -> list[str]:
    cursor.execute(_RELATIONS)
    return [name for (name,) in cursor.fetchall()]


def _found(name: str, kind: str, modifier: int) -> Found:
    whole = kind == "numeric" and modifier >= 4 and not (modifier - 4) & _PLACES
    return Found(name, kind, whole)


def _read(column: Found, kind: ColumnType, name: str) -> str | None:
    if kind == "integer" and column.type == "numeric" and not column.whole:
        return None
    way = _WAYS[kind].get(column.type)
    return way and way.format(name)


def _plain(column: Found, name: str) -> str | None:
    way = _PLAIN.get(column.type)
    return None if way is None else way.format(name)


def _connected(api: Any, place: Database, password: str | None) -> Any:
    try:
        return api.connect(_conninfo(place, password))
    except (api.Error, OSError) as why:
        said = str(why)
        if _LOCALLY not in said and any(word in said for word in _REFUSALS):
            refused(place)
        unreachable(place)


def _conninfo(place: Database, password: str | None) -> str:
    """Return what libpq connects by; over a network it asks for TLS and the server's name."""
    sure = {"sslmode": "verify-full"} if place.is_asked_who_it_is else {}
    words: dict[str, object] = {"connect_timeout": WAIT_SECONDS, **sure}
    words |= {**place.options, "user": place.user, "dbname": place.database}
    words |= {"host": place.host, "port": place.port, "password": password}
    words |= {"client_encoding": "UTF8", "application_name": "entrepot"}
    return " ".join(f"{key}={_quoted(str(value))}" for key, value in words.items() if value)


def _quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


DIALECT: Final = Dialect('"', _text, _read, _plain)
