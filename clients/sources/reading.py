"""What both databases have in common: one statement, and how its failures are told.

A driver's own words are never repeated: they may hold a value of a row, or how a connection was
opened. What is told is who failed at what, and the code by which a database's manual explains it.
"""

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any, NoReturn

from clients.errors import NodeSettingsError, SourceError, UnreachableSourceError
from clients.sources.declared import Database, Span, identifier
from clients.sources.wanted import Wanted, nearest
from policies.contracts import ColumnType

Batches = Generator[Any, None, None]
"""pyarrow record batches, each small beside the memory of a node."""

WAIT_SECONDS = 10
"""How long a server may take to let this node in."""


@dataclass(frozen=True, slots=True)
class Found:
    """One column of a relation, as the database's catalogue has it.

    type:  its name there, without sizes
    whole: whether it is a decimal number that has no places
    """

    name: str
    type: str
    whole: bool = False


@dataclass(frozen=True, slots=True)
class Dialect:
    """How one database spells what is asked of it.

    quote:   the mark around names; no name has it, see `declared.identifier`
    text:    a text as a constant
    read:    a column's name in SQL → the expression that is read, or None where its type cannot
             hold what the contract promises
    plain:   the same, to the text that the column has
    """

    quote: str
    text: Callable[[str], str]
    read: Callable[[Found, ColumnType, str], str | None]
    plain: Callable[[Found, str], str | None]

    def name(self, *parts: str) -> str:
        """Return a name of one or more parts."""
        return ".".join(f"{self.quote}{identifier(part, 'the name')}{self.quote}" for part in parts)

    def select(self, place: Database, wanted: Wanted, found: Mapping[str, Found]) -> str:
        """Return the statement that reads the wanted columns and no row that is not wanted.

        The conditions may let more through than they say, since text compares as the database likes
        and here as it is written: `clients.sources.shaping` applies them again.

        Raises:
            SourceError: a column is of a type that the contract's cannot hold.
        """
        chosen = {name: self._read(place, found[name], wanted) for name in wanted.columns}
        columns = ", ".join(f"{text} AS {self.name(name)}" for name, text in chosen.items())
        where = [self._only(wanted, name, chosen[name]) for name in wanted.rows]
        rows = f" WHERE {' AND '.join(where)}" if where else ""
        return f"SELECT {columns} FROM {self.name(*place.names)}{rows}"  # noqa: S608  quoted

    def _read(self, place: Database, column: Found, wanted: Wanted) -> str:
        kind, name = wanted.columns[column.name], self.name(column.name)
        is_plain = column.name in wanted.as_text
        text = self.plain(column, name) if is_plain else self.read(column, kind, name)
        if text is None:
            raise SourceError(
                f"{place.spoken}: column {column.name} is {column.type}, which cannot be read as "
                f"the {kind} that a contract of {wanted.table} promises; convert it in a view of "
                f"the database, or write a new version of the contract"
            )
        return text

    def _only(self, wanted: Wanted, column: str, read: str) -> str:
        item, name = wanted.rows[column], self.name(column)
        plain = wanted.columns[column] in {"integer", "boolean"}
        spelt: Callable[[str], str] = str if plain else self.text
        if isinstance(item, Span):
            ends = [(">=", item.start), ("<", item.end)]
            return " AND ".join(f"{name} {sign} {spelt(end)}" for sign, end in ends if end)
        one = read if wanted.columns[column] != "integer" else name
        return f"({one}) IN ({', '.join(map(spelt, item))})"


def require_columns(
    place: Database, wanted: Wanted, found: Mapping[str, Found], relations: Callable[[], list[str]]
) -> Wanted:
    """Return what of `wanted` the relation has.

    relations: what else there is, asked only where the relation is not.

    Raises:
        SourceError: there is no such relation, or it lacks a column.
    """
    if not found:
        others = [name for name in relations() if name != place.spoken]
        raise SourceError(
            f"{place.database} has no relation {place.spoken} that {place.user} may read"
            f"{nearest(place.spoken, others)}; name it in [sources] as it is spelt there"
        )
    return wanted.among(found, place.spoken)


def driver(module: str, extra: str, place: Database) -> Any:
    """Return a driver's module.

    Raises:
        NodeSettingsError: it is not installed.
    """
    try:
        return import_module(module)
    except ImportError:
        raise NodeSettingsError(
            f"{place.spoken} lies in a {place.kind} database, and its driver is missing; install "
            f"entrepot[{extra}]"
        ) from None


def refused(place: Database) -> NoReturn:
    """Say that the server does not let this node in as it is."""
    raise SourceError(
        f"the {place.kind} server of {place.spoken} does not accept {place.user} with this "
        f"password, or not for {place.database}; see [sources] in node.toml and where the password "
        f"is"
    ) from None


def unreachable(place: Database) -> NoReturn:
    """Say that there is no connection."""
    raise UnreachableSourceError(
        f"the {place.kind} server of {place.spoken} at {place.host or 'its socket'} cannot be "
        f"reached, or not as its TLS options ask; see that it runs, then ask again"
    ) from None


def stopped(place: Database, code: object) -> NoReturn:
    """Say that the connection ended, or a statement failed, in the middle."""
    raise UnreachableSourceError(
        f"{place.kind} stopped while {place.spoken} was read (code {code or 'none'}); what was "
        f"read of it is dropped; ask again"
    ) from None
