"""The relations of a plan as DuckDB's WITH: tables read as promised, filtered, joined, looked at.

Every table brings its unit as texts and a place for each of its rows. A join equates the units'
texts, and a window is partitioned by them, always: no row here depends on another unit's rows.
Window sums run over whole steps, so that their order never matters.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Final

from clients.queries.scalars import CASTS, Scalars, finite_years
from federation.queries.fitting_relations import ORDERED
from federation.queries.relations import Contracts, scope_of_source, summed
from federation.queries.sources import Filter, Join, Order, Scan, Source, Window, scans
from policies.contracts import Column, DataContract

PARQUET: Final = "read_parquet($data, file_row_number = true)"
"""The relation of a Parquet file, whose path is the parameter `data`."""

PARQUET_PLACE: Final = "file_row_number"
"""The place of a row in its Parquet file."""

MOST_MET: Final = 1000
"""Rows of one unit that either side of a join brings: the first of the table, for every unit."""


@dataclass(frozen=True, slots=True)
class Table:
    """Where the rows of one contract are.

    present:  the columns that the relation has; one that it lacks is NULL in every row
    relation: DuckDB text that the caller wrote; never a word of the plan
    place:    the expression that numbers the relation's rows
    owner:    "" where the rows are as they were found; else they are a `prepared` copy's, read as
              promised already, and this is the column that numbers the units
    """

    present: frozenset[str]
    relation: str = PARQUET
    place: str = PARQUET_PLACE
    owner: str = ""


@dataclass(frozen=True, slots=True)
class Rows:
    """A relation in the statement: its name, the unit's texts, places of columns and of rows."""

    name: str
    units: tuple[str, ...]
    columns: Mapping[str, str]
    positions: tuple[str, ...]


def quoted(name: str) -> str:
    """Return a name as DuckDB reads it, whatever is in it."""
    return '"' + name.replace('"', '""') + '"'


@dataclass(slots=True)
class Relations:
    """Spells relations, one after the other, and keeps the constants they name.

    read: the columns that the plan reads, without those that name a unit
    """

    contracts: Contracts
    tables: Mapping[str, Table]
    read: frozenset[str]
    constants: Scalars
    parts: list[str] = field(default_factory=list)
    leaves: int = 0
    placed: int = 0

    def rows(self, relation: Source) -> Rows:
        """Add the text of a relation and of what it reads; return what it is called."""
        match relation:
            case Scan():
                return self._scanned(relation)
            case Filter(child, condition):
                below = self.rows(child)
                chosen = self._over(child, below).text(condition)
                return self._kept(below, "*", f" WHERE {chosen}")
            case Window():
                return self._window(relation)
            case Join():
                return self._joined(relation)

    def _scanned(self, leaf: Scan) -> Rows:
        contract, table = self.contracts[leaf.contract], self.tables[leaf.contract]
        at, self.leaves = self.leaves, self.leaves + 1
        mark = f"s{at}" if at else ""
        units = tuple(f"{mark}u{place}" for place in range(len(contract.unit.columns)))
        position = f"{mark}position"
        columns: dict[str, str] = {}
        texts = [
            f"{_unit(name, table)} AS {as_}"
            for name, as_ in zip(contract.unit.columns, units, strict=True)
        ]
        for name in sorted(self.read):
            column = _column_of(leaf, contract, name)
            if column is not None:
                columns[name] = f"c{self.placed}"
                self.placed += 1
                texts.append(f"{self._read(contract, column, table)} AS {columns[name]}")
        chosen = ", ".join([*texts, f"{table.place} AS {position}"])
        text = f"SELECT {chosen} FROM {table.relation}"  # noqa: S608  names are quoted
        return self._add(text, units, columns, (position,))

    def _joined(self, join: Join) -> Rows:
        left, right = (self._limited(self.rows(side)) for side in (join.left, join.right))
        how = "JOIN" if join.kind == "inner" else "LEFT JOIN"
        names = {**self._named(join.left, left), **self._named(join.right, right)}
        equal = [f"{x} = {y}" for x, y in zip(left.units, right.units, strict=True)]
        for first, second in join.on:
            pair = f"{names[first]} = {names[second]}"
            equal += [] if pair in equal else [pair]
        text = (
            f"SELECT {left.name}.*, {right.name}.* FROM {left.name} {how} {right.name} "  # noqa: S608
            f"ON {' AND '.join(equal)}"
        )
        columns = {**left.columns, **right.columns}
        return self._add(text, left.units, columns, left.positions + right.positions)

    def _limited(self, below: Rows) -> Rows:
        """Let a unit bring few enough rows that no unit can fill the memory by a join."""
        over = f"PARTITION BY {', '.join(below.units)} ORDER BY {', '.join(below.positions)}"
        return self._kept(below, "*", f" QUALIFY row_number() OVER ({over}) <= {MOST_MET}")

    def _named(self, relation: Source, made: Rows) -> dict[str, str]:
        """Return what the columns of a relation are called, those of its first unit included."""
        first = scans(relation)[0]
        names = self.contracts[first.contract].unit.columns
        units = {first.column(n): as_ for n, as_ in zip(names, made.units, strict=True)}
        return {**made.columns, **units}

    def _window(self, window: Window) -> Rows:
        below = self.rows(window.child)
        scalars = self._over(window.child, below)
        apart = [*below.units, *map(scalars.text, window.partition)]
        order = [f"{scalars.text(item.expression)} {_way(item)}" for item in window.order]
        if window.function in ORDERED or _framed(window):
            order += below.positions  # equal rows are told apart by their place in the table
        frame = f" ROWS BETWEEN {window.frame} PRECEDING AND CURRENT ROW" if _framed(window) else ""
        by = f" ORDER BY {', '.join(order)}" if order else ""
        over = f"OVER (PARTITION BY {', '.join(apart)}{by}{frame})"
        name = f"w{self.placed}"
        self.placed += 1
        text = self._looked(window, scalars, over)
        made = self._kept(below, f"*, {text} AS {name}")
        return Rows(made.name, made.units, {**made.columns, window.name: name}, made.positions)

    def _looked(self, window: Window, scalars: Scalars, over: str) -> str:
        inner = "*" if window.argument is None else scalars.text(window.argument)
        match window.function:
            case "row_number":
                return f"CAST(row_number() {over} AS DOUBLE)"
            case "count":
                return f"CAST(count({inner}) {over} AS DOUBLE)"
            case "sum":
                value = summed(window, scope_of_source(window.child, self.contracts))
                steps = held(inner, value.low, value.high, value.step)
                step = Decimal(value.step)
                scale = f"/ {int(1 / step)}" if step < 1 else f"* {int(step)}"
                return f"(CAST(sum({steps}) {over} AS DOUBLE) {scale})"
            case "min" | "max":
                return f"{window.function}({inner}) {over}"
            case "lag" | "lead":
                return f"{window.function}({inner}, {window.offset}) {over}"

    def _over(self, relation: Source, made: Rows) -> Scalars:
        known = scope_of_source(relation, self.contracts)
        return Scalars(known, made.columns, self.constants.parameters)

    def _kept(self, below: Rows, chosen: str, where: str = "") -> Rows:
        text = f"SELECT {chosen} FROM {below.name}{where}"  # noqa: S608  written here, no names
        return self._add(text, below.units, below.columns, below.positions)

    def _add(
        self,
        text: str,
        units: tuple[str, ...],
        columns: Mapping[str, str],
        positions: tuple[str, ...],
    ) -> Rows:
        name = f"rows{len(self.parts)}" if self.parts else "rows"
        self.parts.append(f"{name} AS (\n                {text}\n            )")
        return Rows(name, units, columns, positions)

    def _read(self, contract: DataContract, column: Column, table: Table) -> str:
        if table.owner:
            return promised(contract, column)
        return self._column(column, table.present)

    def _column(self, column: Column, present: frozenset[str]) -> str:
        raw = quoted(column.name) if column.name in present else "NULL"
        match column.type:
            case "float" | "integer":
                return self._number(column, raw)
            case "date" | "timestamp":
                return finite_years(f"TRY_CAST({raw} AS {CASTS[column.type]})")
            case "boolean":
                return f"TRY_CAST({raw} AS BOOLEAN)"
            case "string":
                return self._within(column, f"TRY_CAST({raw} AS VARCHAR)", "VARCHAR")

    def _number(self, column: Column, raw: str) -> str:
        value = f"TRY_CAST({raw} AS DOUBLE)"
        if column.type == "integer":
            value = f"TRY_CAST(TRY_CAST({raw} AS BIGINT) AS DOUBLE)"
        clipped = value
        if column.low is not None and column.high is not None:
            low, high = (
                self.constants.constant(str(end), "DOUBLE") for end in (column.low, column.high)
            )
            clipped = f"greatest(least({value}, {high}), {low})"
        clipped = f"CASE WHEN isfinite({value}) THEN {clipped} END"
        return self._within(column, clipped, "DOUBLE") if column.type == "integer" else clipped

    def _within(self, column: Column, text: str, kind: str) -> str:
        if column.domain is None:
            return text
        values = ", ".join(self.constants.constant(value, kind) for value in column.domain)
        return f"CASE WHEN {text} IN ({values}) THEN {text} END"


def promised(contract: DataContract, column: Column) -> str:
    """Return what a column is called in a prepared copy, whatever its name."""
    return f"promised{contract.columns.index(column)}"


def held(text: str, low: int, high: int, step: str) -> str:
    """Return a value as a whole number of steps within its bounds; NULL stays NULL."""
    clipped = f"greatest(least({in_steps(text, step)}, {high}), {low})"
    return f"CASE WHEN ({text}) IS NOT NULL THEN CAST({clipped} AS BIGINT) END"


def in_steps(text: str, step: str) -> str:
    """Return a value as a whole number of steps, still a double; NULL stays NULL."""
    size = Decimal(step)
    scaled = f"({text}) * {int(1 / size)}" if size < 1 else f"({text}) / {int(size)}"
    return f"round({scaled})"


def _unit(name: str, table: Table) -> str:
    if table.owner:
        return table.owner
    return f"TRY_CAST({quoted(name) if name in table.present else 'NULL'} AS VARCHAR)"


def _column_of(leaf: Scan, contract: DataContract, name: str) -> Column | None:
    found = (column for column in contract.columns if leaf.column(column.name) == name)
    return next(found, None)


def _way(item: Order) -> str:
    return f"{'DESC' if item.falling else 'ASC'} NULLS LAST"


def _framed(window: Window) -> bool:
    return window.frame is not None
