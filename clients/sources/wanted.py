"""What is taken from a source: the columns that contracts promise, in one order, and which rows."""

import datetime
import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from clients.errors import SourceError
from clients.rowkeys import key_columns
from clients.sources.declared import Filter, Source, Span
from clients.sources.mapped import NUMERIC, TEMPORAL, Way
from policies.contracts import ColumnType, DataContract

SPANS: Final = frozenset({"integer", "date", "timestamp"})
LISTS: Final = frozenset({"integer", "string", "boolean"})
MOMENTS: Final = frozenset({"timestamp"})
NUMBERS: Final = frozenset({"integer", "float"})


@dataclass(frozen=True, slots=True)
class Wanted:
    """The columns and rows of one table.

    columns:  name → type, in the snapshot's order: what names a row, then the rest, each sorted.
    optional: those that the source may lack.
    rows:     conditions over `columns`, each value in the one spelling that its type has.
    ways:     how columns come from others of the source; one that is not in it has its name there.
    as_text:  those that are read as the text that they have, whatever type the source gives them.
    meant:    column of the source → that of the contract it is for, for what is said of it.
    """

    table: str
    columns: Mapping[str, ColumnType]
    optional: frozenset[str] = frozenset()
    rows: Filter = field(default_factory=dict)
    ways: Mapping[str, Way] = field(default_factory=dict)
    as_text: frozenset[str] = frozenset()
    meant: Mapping[str, str] = field(default_factory=dict)

    def way(self, column: str) -> Way:
        """Return how a column comes from the source."""
        return self.ways.get(column) or Way(source=column)

    def asked(self) -> "Wanted":
        """Return what is read of the source, by the names it has there.

        Rows are chosen there by those columns alone whose values are as the contract has them.
        """
        if not self.ways:
            return self
        columns: dict[str, ColumnType] = {}
        texts, needed, meant, rows = set(), set(), {}, {}
        for name, kind in self.columns.items():
            way = self.way(name)
            for read in way.sources:
                if way.said or columns.setdefault(read, kind) != kind:
                    columns[read] = "string"
                    texts.add(read)
                meant[read] = name
                needed |= set() if name in self.optional else {read}
            if name in self.rows:
                rows[way.source] = self.rows[name]
        rows = {name: item for name, item in rows.items() if name not in texts}
        optional = frozenset(columns.keys() - needed)
        return Wanted(self.table, columns, optional, rows, {}, frozenset(texts), meant)

    def among(self, there: Iterable[str], spoken: str) -> "Wanted":
        """Return what of this `spoken` has, whose columns are `there`.

        Raises:
            SourceError: it lacks a column.
        """
        known = set(there)
        for name in self.columns.keys() - known - self.optional:
            promised = "it" if name == self.meant.get(name, name) else self.meant[name] + " from it"
            raise SourceError(
                f"{spoken} has no column {name} that can be read, and a contract of {self.table} "
                f"promises {promised}{nearest(name, sorted(known))}; add it, or mark it optional "
                f"in a new version of the contract"
            )
        for name in self.rows.keys() - known:
            raise SourceError(f"{spoken} has no column {name}, by which its rows are chosen")
        return replace(self, columns={n: t for n, t in self.columns.items() if n in known})


def wanted_of(source: Source, contracts: Iterable[DataContract]) -> Wanted:
    """Return what the contracts over a source's table read of it.

    Raises:
        SourceError: no contract reads it, two contradict each other, or the rows are chosen by what
            no contract promises.
    """
    reading = [contract for contract in contracts if contract.table == source.table]
    if not reading:
        tables = sorted({contract.table for contract in contracts})
        raise SourceError(
            f"no contract reads a table {source.table}{nearest(source.table, tables)}; name the "
            f"table of a contract in [sources]"
        )
    types: dict[str, ColumnType] = {}
    for column in (column for contract in reading for column in contract.columns):
        known = types.setdefault(column.name, column.type)
        if known != column.type and {known, column.type} != NUMBERS:
            raise SourceError(
                f"contracts over {source.table} say that {column.name} is {known} and that it is "
                f"{column.type}; let them say the same"
            )
        if known != column.type:
            types[column.name] = "integer"
    keys = sorted({name for contract in reading for name in key_columns(contract)})
    order = [*keys, *sorted(types.keys() - set(keys))]
    optional = {c.name for contract in reading for c in contract.columns if c.optional}
    needed = {c.name for contract in reading for c in contract.columns if not c.optional}
    return Wanted(
        source.table,
        {name: types[name] for name in order},
        frozenset(optional - needed),
        {name: _condition(name, types, item) for name, item in source.rows.items()},
        {name: _fitting(name, types, way) for name, way in source.ways.items()},
    )


def nearest(name: str, known: Sequence[str]) -> str:
    """Return a suggestion to append to a refusal; "" when nothing is near."""
    by_lower = {one.lower(): one for one in known}
    close = difflib.get_close_matches(name.lower(), list(by_lower), n=1)
    return f": did you mean {by_lower[close[0]]!r}?" if close else ""


def _fitting(name: str, types: Mapping[str, ColumnType], way: Way) -> Way:
    kind = types.get(name)
    if kind is None:
        raise SourceError(
            f"node.toml says where {name} comes from, which no contract promises"
            f"{nearest(name, sorted(types))}; name a column of the contract"
        )
    fits = {
        **dict.fromkeys(NUMERIC, NUMBERS),
        **dict.fromkeys(TEMPORAL, MOMENTS),
        "form": MOMENTS | {"date"},
        "codes": LISTS,
        "ids": frozenset({"integer"}),
    }
    for word in sorted(way.said):
        if kind not in fits[word]:
            raise SourceError(
                f"node.toml says {word} of {name}, which is {kind}; numbers are multiplied, "
                f"moments have a zone, text, truth and whole numbers have codes, and ids become "
                f"whole numbers"
            )
    return way


def _condition(
    name: str, types: Mapping[str, ColumnType], item: tuple[str, ...] | Span
) -> tuple[str, ...] | Span:
    kind = types.get(name)
    if kind is None:
        raise SourceError(
            f"rows are chosen by {name}, which no contract promises{nearest(name, sorted(types))}; "
            f"choose by a column of the contract, or by a view in the database"
        )
    if kind not in (SPANS if isinstance(item, Span) else LISTS):
        raise SourceError(
            f"rows cannot be chosen so by {name}, which is {kind}: whole numbers, text and truth "
            f"are listed, and whole numbers, dates and times have a from and a before"
        )
    try:
        if isinstance(item, Span):
            return Span(*(end and _spelt(kind, end) for end in (item.start, item.end)))
        return tuple(_spelt(kind, value) for value in item)
    except ValueError:
        raise SourceError(f"rows are chosen by {name}, and a value there is no {kind}") from None


def _spelt(kind: ColumnType, text: str) -> str:
    """Return the value in the one spelling that its type has.

    Raises:
        ValueError: it is none.
    """
    match kind:
        case "integer":
            return str(int(text))
        case "boolean" if text in {"true", "false"}:
            return text
        case "date":
            return datetime.date.fromisoformat(text).isoformat()
        case "timestamp":
            moment = datetime.datetime.fromisoformat(text)
            if moment.tzinfo is not None:
                moment = moment.astimezone(datetime.UTC).replace(tzinfo=None)
            return moment.isoformat(" ")
        case "string" if text.isprintable():
            return text
    raise ValueError(text)
