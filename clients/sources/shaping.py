"""Rows as a source has them to rows as their contract types them, sorted, in one Parquet file.

DuckDB casts, chooses and sorts, with little memory and whatever room on disk that takes, and
reaches the one folder it works in and the one file it reads. What a type cannot hold is missing
afterwards, and how many values that were is told; no value stops it.

The order is that of the values, never the source's: a database keeps rows where there is room, so
that one unit's rows may change places because another's came or went, and then other rows of a unit
would pass its bound. The same rows give the same bytes.
"""

import csv
import re
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from clients.errors import SourceError
from clients.queries.relations import quoted
from clients.sources.converting import Convert, converter
from clients.sources.declared import Span
from clients.sources.wanted import Wanted
from policies.contracts import ColumnType

MEMORY: Final = "256MB"
GROUP_ROWS: Final = 1 << 14
"""Rows that are written together: as many of a usual width as fit beside the sorting."""
_RAW: Final = "read_parquet($raw)"
_LINE: Final = re.compile(r"Line: (\d+)")
_TYPES: Final[Mapping[ColumnType, str]] = {
    "float": "DOUBLE",
    "integer": "BIGINT",
    "string": "VARCHAR",
    "boolean": "BOOLEAN",
    "date": "DATE",
    "timestamp": "TIMESTAMP",
}


@dataclass(frozen=True, slots=True)
class Raw:
    """Rows as they came, in a Parquet file.

    columns: what it has
    spoken:  what the operator calls the source
    lost:    of which columns how many values could not be converted, and are missing since
    """

    path: Path
    columns: tuple[str, ...]
    spoken: str
    lost: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Shaped:
    """How many rows there are, and of which columns how many values their type could not hold."""

    rows: int
    lost: Mapping[str, int]


def parquet(path: Path, spoken: str) -> Raw:
    """Return the rows of a Parquet file.

    Raises:
        SourceError: it is not there, or cannot be read.
    """
    _require_there(path)
    described = f"DESCRIBE SELECT * FROM {_RAW}"  # noqa: S608  a constant
    with closing(_database(path, path)) as db:
        rows = _told(lambda: db.execute(described, {"raw": str(path)}).fetchall(), spoken)
    return Raw(path, tuple(row[0] for row in rows), spoken)


def _require_there(path: Path) -> None:
    if not path.is_file():
        raise SourceError(f"there is no file {path}; bring it back, or say where it lies now")


def first_line(path: Path, spoken: str, delimiter: str) -> list[str]:
    """Return the columns of a CSV file; no line but the first is looked at.

    Raises:
        SourceError: it is not there, cannot be read, or names a column twice or not at all.
    """
    _require_there(path)
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            names = next(csv.reader(file, delimiter=delimiter), [])
    except (OSError, UnicodeDecodeError, csv.Error):
        raise SourceError(f"{spoken} cannot be read as CSV in UTF-8; export it again") from None
    if not names or len(set(names)) < len(names):
        raise SourceError(f"{spoken} does not name each of its columns once in its first line")
    return names


def comma_separated(
    path: Path, spoken: str, wanted: Wanted | None, made: Path, delimiter: str = ","
) -> Raw:
    """Leave the wanted texts of a CSV file at `made`; all of them, if nobody says which.

    Commas between, or what is said, quotes doubled, UTF-8, names in line 1.

    Its columns are cast only from there: DuckDB would have the reader of CSV do that, which fails
    where a cast that may fail gives NULL.

    Raises:
        SourceError: it is not there, cannot be read, or names a column twice or not at all.
    """
    names = first_line(path, spoken, delimiter)
    columns = ", ".join(f"{_text(name)}: 'VARCHAR'" for name in names)
    ends = f"delim = {_text(delimiter)}, quote = '\"', escape = '\"'"
    how = f"header = true, auto_detect = false, {ends}"
    kept = "nullstr = '', allow_quoted_nulls = false"
    there = names if wanted is None else list(wanted.among(names, spoken).columns)
    chosen = ", ".join(map(quoted, there))
    read = f"SELECT {chosen} FROM read_csv($raw, columns = {{{columns}}}, {how}, {kept})"  # noqa: S608
    with closing(_database(path, made.parent)) as db:
        _told(lambda: db.execute(_written(read, made), {"raw": str(path)}), spoken)
    return Raw(made, tuple(there), spoken)


class Looking:
    """Reads one file of rows, and nothing else; closed when it was read."""

    def __init__(self, raw: Raw, work: Path) -> None:
        self._raw = raw
        self._db = _database(raw.path, work)

    def close(self) -> None:
        """Let go of the file."""
        self._db.close()

    def types(self) -> list[tuple[str, str]]:
        """Return each column and its type."""
        return [(row[0], row[1]) for row in self._rows(f"DESCRIBE SELECT * FROM {_RAW}")]  # noqa: S608

    def one(self, counted: str) -> tuple[Any, ...]:
        """Return one aggregate, in SQL that the caller wrote, of all rows."""
        (row,) = self._rows(f"SELECT {counted} FROM {_RAW}")  # noqa: S608  names are quoted
        return tuple(row)

    def each(self, text: str, order: str, most: int) -> list[tuple[str, int]]:
        """Return the first values `v` of an expression in an order, and how many rows have each."""
        values = f"SELECT {text} AS v FROM {_RAW}"  # noqa: S608  names are quoted
        counted = f"SELECT v, count(*) FROM ({values}) WHERE v IS NOT NULL GROUP BY v"  # noqa: S608
        return [(v, n) for v, n in self._rows(f"{counted} ORDER BY {order}, v LIMIT {most}")]

    def _rows(self, text: str) -> list[Any]:
        own = {"raw": str(self._raw.path)}
        found: list[Any] = _told(lambda: self._db.execute(text, own).fetchall(), self._raw.spoken)
        return found


def unified(raw: Raw, wanted: Wanted, made: Path) -> Raw:
    """Leave the source's values at `made` by the contract's names, units, zone and codes.

    Raises:
        SourceError: a column is missing, or the source cannot be read.
    """
    if not wanted.ways:
        return raw
    wanted.asked().among(raw.columns, raw.spoken)
    there = [name for name in wanted.columns if set(wanted.way(name).sources) <= {*raw.columns}]
    chosen, converted = [], {}
    for name in there:
        way = wanted.way(name)
        text = f"CAST({quoted(way.source)} AS VARCHAR)" if way.said else quoted(way.source)
        chosen.append(f"{text} AS {quoted(name)}")
        if way.said:
            converted[name] = converter(way, wanted.columns[name])
            money = f"CAST({quoted(way.currency)} AS VARCHAR)" if way.currency else "NULL::VARCHAR"
            chosen.append(f"{money} AS {quoted(_currency(name))}")
    texts = made.with_name("texts.parquet")
    read = f"SELECT {', '.join(chosen)} FROM {_RAW}"  # noqa: S608  names are quoted
    with closing(_database(raw.path, made.parent)) as db:
        _told(lambda: db.execute(_written(read, texts), {"raw": str(raw.path)}), raw.spoken)
    return Raw(made, tuple(there), raw.spoken, _rewritten(texts, there, converted, made))


def _currency(name: str) -> str:
    return f"{name} currency"


def _rewritten(
    texts: Path, names: list[str], converted: Mapping[str, Convert], made: Path
) -> Mapping[str, int]:
    """Convert the texts, some thousands at a time; return how many values became missing."""
    lost = dict.fromkeys(converted, 0)
    with pq.ParquetFile(texts) as file:
        kinds = {n: file.schema_arrow.field(n).type for n in names}
        schema = pa.schema({n: pa.string() if n in converted else kinds[n] for n in names})
        with pq.ParquetWriter(made, schema, compression="zstd") as writer:
            for batch in file.iter_batches(GROUP_ROWS):
                columns = []
                for name in names:
                    column = batch.column(name)
                    if name in converted:
                        money = batch.column(_currency(name))
                        before, column = column.null_count, _each(converted[name], column, money)
                        lost[name] += column.null_count - before
                    columns.append(column)
                writer.write_batch(pa.RecordBatch.from_arrays(columns, schema=schema))
    return lost


def _each(convert: Convert, column: Any, money: Any) -> Any:
    rows = zip(column.to_pylist(), money.to_pylist(), strict=True)
    found = [None if text is None else convert(text, currency) for text, currency in rows]
    return pa.array(found, pa.string())


def shape(raw: Raw, wanted: Wanted, made: Path) -> Shaped:
    """Leave the wanted rows at `made`, in a folder for it alone.

    Raises:
        SourceError: a column is missing, the source cannot be read, or no row is left.
    """
    there = wanted.among(raw.columns, raw.spoken)
    chosen = ", ".join(f"{_as(n, t)} AS {quoted(n)}" for n, t in there.columns.items())
    typed = f"SELECT {chosen} FROM {_RAW}"  # noqa: S608  names are quoted
    only = " AND ".join(_only(n, there.columns[n], item) for n, item in there.rows.items())
    kept = f"SELECT * FROM ({typed}) WHERE {only or 'true'} ORDER BY ALL"  # noqa: S608
    lost = ", ".join(f"count({quoted(n)}) - count({_as(n, t)})" for n, t in there.columns.items())
    counted = f"SELECT {lost} FROM {_RAW}"  # noqa: S608
    own = {"raw": str(raw.path)}
    with closing(_database(raw.path, made.parent)) as db:
        (rows,) = _told(lambda: db.execute(_written(kept, made), own).fetchone(), raw.spoken)
        gone = _told(lambda: db.execute(counted, own).fetchone(), raw.spoken)
    if not rows:
        raise SourceError(
            f"{raw.spoken} has no rows for {wanted.table}; put data into it, or choose others"
        )
    counts = {n: k + raw.lost.get(n, 0) for n, k in zip(there.columns, gone, strict=True)}
    return Shaped(rows, {n: k for n, k in counts.items() if k})


def _written(rows: str, place: Path) -> str:
    how = f"FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE {GROUP_ROWS}"
    return f"COPY ({rows}) TO {_text(str(place))} ({how})"


def _as(name: str, kind: ColumnType) -> str:
    """Return a value as its type holds it, from another type or from text; NULL where it cannot."""
    raw = quoted(name)
    cast = f"TRY_CAST({raw} AS {_TYPES[kind]})"
    match kind:
        case "integer":  # a cast of text would round
            whole = f"TRY_CAST({raw} AS DOUBLE) = CAST({cast} AS DOUBLE)"
            return f"CASE WHEN {whole} THEN {cast} END"
        case "float" | "date":
            return f"CASE WHEN isfinite({cast}) THEN {cast} END"
        case "timestamp":  # a cast of text to a moment without a zone would forget the zone
            moment = f"TRY_CAST({raw} AS TIMESTAMPTZ)"
            return f"CASE WHEN isfinite({moment}) THEN {moment} AT TIME ZONE 'UTC' END"
        case _:
            return cast


def _only(name: str, kind: ColumnType, item: tuple[str, ...] | Span) -> str:
    def constant(value: str) -> str:
        return f"CAST({_text(value)} AS {_TYPES[kind]})"

    if isinstance(item, Span):
        ends = [(">=", item.start), ("<", item.end)]
        return " AND ".join(f"{quoted(name)} {sign} {constant(end)}" for sign, end in ends if end)
    return f"{quoted(name)} IN ({', '.join(map(constant, item))})"


def _database(read: Path, work: Path) -> Any:
    """Return a database that reads one file and writes in the folder `work`, and nothing else."""
    db = duckdb.connect(":memory:", config={"threads": "1"})
    for name in ("autoinstall_known_extensions", "autoload_known_extensions"):
        db.execute(f"SET {name}=false")
    db.execute("SET allow_community_extensions=false")
    db.execute("SET enable_progress_bar=false")
    db.execute("SET TimeZone='UTC'")
    db.execute(f"SET memory_limit='{MEMORY}'")
    db.execute(f"SET temp_directory={_text(str(work / 'spilt'))}")
    db.execute(f"SET allowed_paths=[{_text(str(read))}]")
    db.execute(f"SET allowed_directories=[{_text(str(work))}]")
    db.execute("SET enable_external_access=false")
    db.execute("SET lock_configuration=true")
    return db


def _told(run: Callable[[], Any], spoken: str) -> Any:
    try:
        return run()
    except duckdb.OutOfMemoryException:
        raise SourceError(
            f"{spoken} has rows too long to be sorted in {MEMORY}; leave long texts out in a view "
            f"of the database, or in the file"
        ) from None
    except duckdb.Error as why:  # its words hold a line of the file
        line = _LINE.search(str(why))
        where = f" (line {line[1]})" if line else ""
        raise SourceError(
            f"{spoken} cannot be read to its end{where}: see that it is a whole file and that "
            f"there is room on the disk, then ask again"
        ) from None


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"
