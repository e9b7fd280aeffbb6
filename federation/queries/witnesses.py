"""Which cells a party's rows can reach: possible rows are made up from public domains and tried.

A column with a public domain is tried at every value, another at its ends, around the constants of
the query, and between. A cell that no row was found for may still be reachable, except where every
column was tried at all that it can be; `Reach.exact` says which.
"""

import datetime
import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from federation.queries.expressions import (
    Call,
    Column,
    Expression,
    Literal,
    Type,
    Value,
    columns,
    walk,
)
from federation.queries.functions import FUNCTIONS
from federation.queries.intervals import half_away
from federation.queries.kinds import FIRST_DAY, LAST_DAY, Kind, spelled
from federation.queries.tree import Key
from federation.queries.tree import Value as Summed
from policies.contracts import Column as Declared

MAX_TRIED: Final = 20_000
"""Most made-up rows for one group of conditions that share columns."""

FINE: Final = 256
"""Points at which a column without a domain is tried where parties differ in it."""

COARSE: Final = 6

Row = Mapping[str, Value]


class TooManyError(Exception):
    """More made-up rows than are tried: too many columns stand in one condition."""


@dataclass(frozen=True, slots=True)
class Held:
    """What a party may hold of one column: its values, or the two ends between which they lie."""

    type: Type
    values: tuple[Value, ...] | None = None
    low: float = -math.inf
    high: float = math.inf
    whole: bool = False


@dataclass(frozen=True, slots=True)
class Reader:
    """What tells cells apart: a key, or the bins of an aggregate."""

    label: str
    expression: Expression
    domain: tuple[str, ...]
    value: Summed | None = None

    def read(self, row: Row) -> str | None:
        """Return the cell that a row falls into; None for a row that no cell counts."""
        found = evaluated(self.expression, row)
        if self.value is None or not isinstance(found, float):
            return None if found is None else spelled(found)
        low, high = self.value.low, self.value.high
        steps = max(low, min(high, int(half_away(found / float(Decimal(self.value.step))))))
        return str((steps - low) * len(self.domain) // (high - low + 1))


@dataclass(frozen=True, slots=True)
class Reach:
    """The cells that a row was found for. exact: no row can reach another."""

    cells: frozenset[tuple[str, ...]]
    exact: bool


@dataclass(frozen=True, slots=True)
class Together:
    """Conditions and keys that share columns, and so have to be tried together."""

    columns: frozenset[str]
    conditions: tuple[Expression, ...]
    readers: tuple[Reader, ...]


def key_reader(key: Key) -> Reader:
    """Return how a key tells cells apart."""
    return Reader(key.label, key.expression, key.domain)


def together(
    conditions: Sequence[Expression], readers: Sequence[Reader], apart: frozenset[str]
) -> tuple[Together, ...]:
    """Return the groups of conditions and keys that share columns, with those of `apart` alone."""
    groups: list[frozenset[str]] = []
    for names in (columns(item) for item in [*conditions, *(r.expression for r in readers)]):
        merged = names.union(*(group for group in groups if group & names))
        groups = [*(group for group in groups if not group & names), merged]
    return tuple(
        Together(
            group,
            tuple(item for item in conditions if columns(item) & group),
            tuple(reader for reader in readers if columns(reader.expression) & group),
        )
        for group in groups
        if group & apart
    )


def reached(
    group: Together, held: Mapping[str, Held], apart: frozenset[str], known: Iterable[Literal]
) -> Reach:
    """Return the cells of a group that one party's rows may fall into.

    held:  what the party may hold of the group's columns
    apart: columns in which parties differ; NULL, which anybody may hold, is not tried for them
    known: the constants of the query

    Raises:
        TooManyError: there are more combinations than are tried.
    """
    names, literals = sorted(group.columns), tuple(dict.fromkeys(known))
    tried = {name: _samples(held[name], name in apart, literals) for name in names}
    if math.prod(len(values) for values, _ in tried.values()) > MAX_TRIED:
        raise TooManyError
    cells: set[tuple[str, ...]] = set()
    for values in itertools.product(*(tried[name][0] for name in names)):
        row = dict(zip(names, values, strict=True))
        if all(evaluated(condition, row) is True for condition in group.conditions):
            cell = [reader.read(row) for reader in group.readers]
            cells.add(tuple(part for part in cell if part is not None))
    exact = all(whole for _, whole in tried.values())
    return Reach(frozenset(cell for cell in cells if len(cell) == len(group.readers)), exact)


def evaluated(expression: Expression, row: Row) -> Value:
    """Return the value of an expression on one made-up row."""
    match expression:
        case Column(name):
            return row[name]
        case Literal():
            return expression.value
        case Call(name, arguments):
            return FUNCTIONS[name](*(evaluated(part, row) for part in arguments))


def held_of(column: Declared) -> Held:
    """Return what a party may hold of a column, by its own contract."""
    if column.domain is not None:
        texts = column.holds or column.domain
        values = tuple(float(x) for x in texts) if column.type == "integer" else texts
        return Held("number" if column.type == "integer" else "text", values)
    if column.type == "boolean":
        return Held("boolean", (True, False))
    if column.type == "string":
        return Held("text")
    return _between(column)


def held_of_kind(kind: Kind) -> Held:
    """Return what any party may hold of a column that a window makes."""
    return Held(kind.type, kind.domain, kind.low, kind.high, kind.whole)


def shared_part(held: Sequence[tuple[str, Held]], least: int) -> str:
    """Return the part of a column that at least `least` organisations may hold, as SQL says it."""
    if all(item.values is not None for _, item in held):
        every = dict.fromkeys(x for _, item in held for x in item.values or ())
        common = [x for x in every if _holders(x, held) >= least]
        return f"IN ({', '.join(_quoted(x) for x in common)})" if common else ""
    lows = sorted({who: item.low for who, item in held}.values())
    highs = sorted({who: item.high for who, item in held}.values())
    if len(lows) < least or lows[least - 1] > highs[-least]:
        return ""
    low, high = lows[least - 1], highs[-least]
    return f"BETWEEN {_end(held[0][1].type, low)} AND {_end(held[0][1].type, high)}"


def _holders(value: Value, held: Sequence[tuple[str, Held]]) -> int:
    return len({who for who, item in held if value in (item.values or ())})


def _between(column: Declared) -> Held:
    dated = column.type in {"date", "timestamp"}
    kind: Type = "number"
    if column.type in {"date", "timestamp"}:
        kind = "date" if column.type == "date" else "timestamp"
    low, high = (FIRST_DAY, LAST_DAY) if dated else (-math.inf, math.inf)
    ends = column.holds
    if ends is not None and dated:
        low, high = (datetime.date.fromisoformat(end).toordinal() for end in ends)
    elif ends is not None:
        low, high = (float(end) for end in ends)
    elif column.low is not None and column.high is not None:
        low, high = float(column.low), float(column.high)
    return Held(kind, None, float(low), float(high), column.type == "integer")


def _samples(held: Held, apart: bool, known: Sequence[Literal]) -> tuple[list[Value], bool]:
    """Return values of a column, and whether they are all that it can have."""
    missing: list[Value] = [] if apart else [None]
    if held.values is not None:
        return [*held.values, *missing], True
    said = [item.value for item in known if item.type == held.type or _is_day(held, item)]
    if held.type == "text":
        texts = [x for x in said if isinstance(x, str)]
        return list(dict.fromkeys([*texts, *(f"{x}~" for x in texts), "~", *missing])), False
    if held.type == "number":
        found = _numbers(held, [x for x in said if isinstance(x, float)], apart)
        whole = held.whole and held.high - held.low < FINE
        return [*found, *missing], whole and apart
    return [*_days(held, [x for x in said if isinstance(x, datetime.date)], apart), *missing], False


def _is_day(held: Held, item: Literal) -> bool:
    return held.type in {"date", "timestamp"} and item.type in {"date", "timestamp"}


def _numbers(held: Held, said: Sequence[float], apart: bool) -> list[float]:
    near = [x + d for x in said for d in (0.0, -1.0, 1.0, -0.5, 0.5)]
    ends = [x for x in (held.low, held.high) if math.isfinite(x)]
    points = [*near, *ends, 0.0, 1.0]
    if len(ends) == 2:
        count = FINE if apart else COARSE
        points += [held.low + (held.high - held.low) * at / count for at in range(count + 1)]
    if held.whole:
        points = [float(edge(x)) for x in points for edge in (math.floor, math.ceil)]
    return sorted({x for x in points if held.low <= x <= held.high})


def _days(held: Held, said: Sequence[datetime.date], apart: bool) -> list[datetime.date]:
    low, high = int(held.low), int(held.high)
    near = [day.toordinal() + d for day in said for d in (-1, 0, 1)]
    count = FINE if apart else COARSE
    spread = [x for x in near if low <= x <= high]
    first, last = (min(spread), max(spread)) if spread else (low, high)
    grid = [first + (last - first) * at // count for at in range(count + 1)]
    wide = [low + (high - low) * at // COARSE for at in range(COARSE + 1)]
    days = sorted({*spread, *grid, *wide})
    dates = [datetime.date.fromordinal(day) for day in days]
    if held.type == "date":
        return dates
    hours = range(0, 24, 4)
    return [datetime.datetime(d.year, d.month, d.day, hour) for d in dates for hour in hours]  # noqa: DTZ001  the table's own clock


def _quoted(value: Value) -> str:
    return f"'{value}'" if isinstance(value, str) else spelled(value)


def _end(kind: Type, end: float) -> str:
    if kind in {"date", "timestamp"}:
        return f"'{datetime.date.fromordinal(int(end)).isoformat()}'"
    return format(Decimal(str(end)).normalize(), "f")


def constants(expressions: Iterable[Expression]) -> tuple[Literal, ...]:
    """Return the constants of several expressions, each once."""
    found = (node for item in expressions for node in walk(item) if isinstance(node, Literal))
    return tuple(dict.fromkeys(found))
