"""Whether a column's values can be read as what a contract promises, and in which ways.

Each way of writing is tried on the values that were seen. Where two ways read all of them, and not
alike, nothing here chooses: both are returned, and somebody is asked.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from clients.drafts.meaning import code_of
from clients.drafts.profile import Seen
from clients.sources.converting import decimal_of, moment_of
from clients.sources.mapped import Form, Mark
from policies.contracts import Column

MOST_CODES: Final = 300
"""Different values of a column that may be a list of codes."""
YEARS: Final = range(1990, 2100)
"""A moment or a date outside of these is a number that was taken for one."""
EPOCHS: Final[tuple[Form, ...]] = ("epoch-s", "epoch-ms", "epoch-us")
WRITTEN: Final[tuple[Form, ...]] = ("ymd", "dmy", "mdy")
_MARKS: Final[tuple[Mark | None, ...]] = (None, ".", ",")


@dataclass(frozen=True, slots=True)
class Readings:
    """How all values can be read. Empty: they cannot. Two: they can, and mean two things."""

    marks: tuple[Mark | None, ...] = ()
    forms: tuple[Form, ...] = ()


def codes(column: Column) -> tuple[str, ...]:
    """Return the values that a column of the contract may have, where these are a list."""
    if column.type == "boolean":
        return ("false", "true")
    if column.type == "integer" and column.low == 0 and column.high == 1:
        return ("0", "1")
    return column.domain or ()


def is_id(column: Column) -> bool:
    """Whether a column names things by whole numbers: nothing bounds them, and nothing is added."""
    return column.type == "integer" and column.low is None and not column.unit


def are_names(seen: Seen) -> bool:
    """Whether all values may be names such as DE-10023: no numbers, with a figure or an @ each."""
    if seen.is_number or _is_temporal(seen) or _marks(seen):
        return False
    return all(any(c.isdecimal() or c == "@" for c in value) for value in seen.values)


def readings(column: Column, seen: Seen) -> Readings:
    """Return the ways in which every value of `seen` is one of the column's type."""
    match column.type:
        case "float":
            return Readings(marks=_marks(seen))
        case "integer":
            return Readings(marks=tuple(m for m in _marks(seen) if _are_whole(seen, m)))
        case "date" | "timestamp":
            return Readings(forms=_forms(column, seen))
        case _:
            return Readings()


def fits(column: Column, seen: Seen) -> bool:
    """Return whether `seen` can be this column; a list of codes can, whatever they are called."""
    if not seen.values:
        return column.type in {"timestamp", "date"} or bool(codes(column))
    if known := codes(column):
        few = seen.is_whole and len(seen.values) <= MOST_CODES
        return few and (len(seen.values) <= 2 if len(known) == 2 else not _is_temporal(seen))
    if column.type == "string":
        return not _is_temporal(seen)
    found = readings(column, seen)
    return bool(found.marks or found.forms) or (is_id(column) and are_names(seen))


def unknown(column: Column, seen: Seen) -> tuple[str, ...]:
    """Return the codes of `seen` that no list knows, the most frequent first."""
    known = codes(column)
    strange = [v for v in seen.values if known and code_of(column.name, known, v) is None]
    return tuple(sorted(strange, key=lambda value: (-seen.values[value], value)))


def numbers(seen: Seen, mark: Mark | None) -> dict[str, Decimal]:
    """Return the values as numbers; the others are left out."""
    found = {value: decimal_of(value, mark) for value in seen.values}
    return {value: number for value, number in found.items() if number is not None}


def outside(column: Column, values: Iterable[tuple[Decimal, int]]) -> int:
    """Return how many rows lie outside of the column's bounds, given (number, rows) of each."""
    if column.low is None or column.high is None:
        return 0
    return sum(rows for number, rows in values if not column.low <= number <= column.high)


def _marks(seen: Seen) -> tuple[Mark | None, ...]:
    if seen.is_number:
        return (None,)
    if _is_temporal(seen):
        return ()
    read = {mark: numbers(seen, mark) for mark in _MARKS}
    whole = [mark for mark in _MARKS if len(read[mark]) == len(seen.values)]
    differing = [m for at, m in enumerate(whole) if read[m] not in [read[n] for n in whole[:at]]]
    return tuple(differing)


def _are_whole(seen: Seen, mark: Mark | None) -> bool:
    return all(number == number.to_integral_value() for number in numbers(seen, mark).values())


def _forms(column: Column, seen: Seen) -> tuple[Form, ...]:
    forms: tuple[Form, ...] = WRITTEN
    if seen.is_number or all(value.isdecimal() for value in seen.values):
        forms = (*EPOCHS, "ymd") if column.type == "timestamp" else ("ymd",)
    return tuple(form for form in forms if _is_written(column, seen, form))


def _is_written(column: Column, seen: Seen, form: Form) -> bool:
    for value in seen.values:
        moment = moment_of(value, form)
        if moment is None or moment.year not in YEARS:
            return False
        is_day = moment.tzinfo is None and (moment.hour, moment.minute, moment.second) == (0, 0, 0)
        if column.type == "date" and not (is_day and not moment.microsecond):
            return False
    return True


def _is_temporal(seen: Seen) -> bool:
    kind = seen.type.upper()
    return kind.startswith(("DATE", "TIMESTAMP", "TIME"))
