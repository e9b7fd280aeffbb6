"""An answer as people and programs read it: a table, CSV, JSON, Arrow; always with intervals."""

import csv
import io
import itertools
import json
from collections.abc import Iterator, Sequence
from typing import Any, Final, Literal, TypeAlias

from rich.console import Console
from rich.table import Table
from rich.text import Text

from experiments.errors import UsageError
from experiments.telling import moment
from federation.queries.answers import Answer, Cell, read_answer
from federation.queries.readouts import COUNTED

Format: TypeAlias = Literal["table", "csv", "json", "arrow"]
PARTS: Final = ("", "_error", "_low", "_high", "_note")
"""What a value is followed by, in CSV and Arrow: half its 95 % interval, the ends, a note."""

WIDTH: Final = 160
"""Characters of a line in a file."""


def rendered(value: dict[str, Any], format_: Format) -> bytes:
    """Return the answer of `entrepot query --json` in one of the formats."""
    match format_:
        case "json":
            return f"{json.dumps(value, ensure_ascii=False)}\n".encode()
        case "csv":
            return as_csv(read_answer(value["answer"])).encode()
        case "arrow":
            return as_arrow(value)
        case "table":
            told = io.StringIO()
            show_answer(value, Console(file=told, width=WIDTH))
            return told.getvalue().encode()


def show_answer(value: dict[str, Any], console: Console | None = None) -> None:
    """Print an answer as a table, every figure with its 95 % interval."""
    console = console or Console()
    answer = read_answer(value["answer"])
    table = Table(title=Text(value["sql"]), title_justify="left")
    titles, lines = headings(answer), list(wide(answer))
    if not answer.keys or _width(titles, lines) > console.width:
        titles, lines = (*answer.keys, *LONG), list(long(answer))
    for place, title in enumerate(titles):
        is_name = place < len(answer.keys) or title == LONG[0]
        table.add_column(Text(title), justify="left" if is_name else "right")
    for line in lines:
        table.add_row(*map(Text, line))
    console.print(table)
    console.print(
        f"ε = {value['epsilon']} at δ = {value['delta']} per {value['unit']} and node; "
        f"{len(value['parties'])} nodes answered; ± is half the 95 % interval of the noise."
    )
    for note in answer.notes:
        console.print(Text(note))
    if reused := value.get("reused"):
        console.print(reused_line(reused))


def reused_line(reused: dict[str, Any]) -> str:
    """Return which past release an answer repeats."""
    at, run = moment(int(reused["asked_at"])), str(reused["run"])[:12]
    return f"a past release answers this, {run} of {at} UTC: no ε is charged (--fresh pays anew)"


LONG: Final = ("column", "value", "95 % from", "to")


def headings(answer: Answer) -> tuple[str, ...]:
    """Return the titles of a wide table: keys, then every value and the ends of its interval."""
    titles = [part for title in _titles(answer) for part in (title, "95 % from", "to")]
    return (*answer.keys, *titles)


def wide(answer: Answer) -> Iterator[tuple[str, ...]]:
    """Yield one line for every row, `value ± error` and the interval's ends for every value."""
    for row in answer.rows:
        yield (*row.keys, *(part for cell in row.cells for part in _spread(cell)))


def long(answer: Answer) -> Iterator[tuple[str, ...]]:
    """Yield one line for every value: keys, what it is, `value ± error`, the interval's ends."""
    for row in answer.rows:
        for title, cell in zip(_titles(answer), row.cells, strict=True):
            yield (*row.keys, title, *_spread(cell))


def spoken(cell: Cell) -> str:
    """Return `value ± error`, or why there is none."""
    if cell.value is None:
        return cell.note
    return cell.value if cell.error is None else f"{cell.value} ± {cell.error}"


def as_csv(answer: Answer) -> str:
    """Return the rows as CSV (RFC 4180): keys, then every value with error, ends and note."""
    buffer = io.StringIO()
    writer = csv.writer(buffer)
    writer.writerow(columns_of(answer))
    for row in answer.rows:
        parts = (part for cell in row.cells for part in _parts(cell))
        writer.writerow([*row.keys, *("" if part is None else part for part in parts)])
    return buffer.getvalue()


def as_arrow(value: dict[str, Any]) -> bytes:
    """Return the rows as an Arrow IPC file; everything else stands in the schema's metadata.

    Keys and notes are text, what was counted is int64, every other number float64.
    """
    import pyarrow as pa

    answer = read_answer(value["answer"])
    parts = [[*row.keys, *itertools.chain(*map(_parts, row.cells))] for row in answer.rows]
    types = _types(answer, pa)
    arrays = [
        pa.array([_typed(row[place], kind, pa) for row in parts], kind)
        for place, kind in enumerate(types)
    ]
    about = {key: part for key, part in value.items() if key != "answer"}
    about["answer"] = {key: part for key, part in value["answer"].items() if key != "rows"}
    metadata = {"entrepot": json.dumps(about, ensure_ascii=False)}
    fields = [pa.field(name, kind) for name, kind in zip(columns_of(answer), types, strict=True)]
    table = pa.Table.from_arrays(arrays, schema=pa.schema(fields, metadata=metadata))
    buffer = io.BytesIO()
    with pa.ipc.new_file(buffer, table.schema) as writer:
        writer.write_table(table)
    return buffer.getvalue()


def columns_of(answer: Answer) -> tuple[str, ...]:
    """Return the names of the columns in CSV and Arrow.

    Raises:
        UsageError: two columns would have one name.
    """
    names = (*answer.keys, *(label + part for label in answer.labels for part in PARTS))
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise UsageError(
            f"two columns would be called {twice[0]!r}: name the aggregates otherwise with AS, or "
            "take --format json"
        )
    return names


def _width(titles: Sequence[str], lines: Sequence[Sequence[str]]) -> int:
    """Return how wide a table is whose every cell stands in one line."""
    return 1 + sum(3 + max(map(len, column)) for column in zip(titles, *lines, strict=True))


def _titles(answer: Answer) -> list[str]:
    return [
        f"{label} ({unit})" if unit and unit != "rows" else label
        for label, unit in zip(answer.labels, answer.units, strict=True)
    ]


def _spread(cell: Cell) -> tuple[str, str, str]:
    return spoken(cell), cell.low or "", cell.high or ""


def _parts(cell: Cell) -> tuple[str | None, ...]:
    return cell.value, cell.error, cell.low, cell.high, cell.note


def _types(answer: Answer, pa: Any) -> Sequence[Any]:
    found = [pa.string()] * len(answer.keys)
    for unit in answer.units:
        number = pa.int64() if unit in COUNTED else pa.float64()
        found += [number] * (len(PARTS) - 1) + [pa.string()]
    return found


def _typed(part: str | None, kind: Any, pa: Any) -> str | int | float | None:
    if part is None or kind == pa.string():
        return part
    return int(part) if kind == pa.int64() else float(part)
