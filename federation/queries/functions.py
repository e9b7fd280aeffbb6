"""The closed list of functions: what each takes, what it is, and its value; all of them total.

`kind` says type, unit and bounds from the arguments' kinds and refuses what does not fit. `value`
is the meaning on one row, in memory; DuckDB's spelling of it is in `clients/queries/scalars.py`,
and tests hold the two together. NULL in an argument gives NULL, except where `strict` is False.
"""

import datetime
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, NoReturn

from federation.errors import UnsupportedQueryError
from federation.queries import intervals
from federation.queries.expressions import MAX_ARGUMENTS, Type, Value
from federation.queries.intervals import Interval
from federation.queries.kinds import Kind, days, image, number, union

Kinds = Sequence[Kind]


@dataclass(frozen=True, slots=True)
class Function:
    """One function. title: how SQL calls it.

    mapped: whether a public domain of the result may be worked out by `value`; not where DuckDB
            might spell or read a text in another way.
    """

    title: str
    kind: Callable[[str, Kinds], Kind]
    value: Callable[..., Value]
    strict: bool = True
    mapped: bool = True

    def __call__(self, *values: Value) -> Value:
        """Return the value on one row."""
        if self.strict and None in values:
            return None
        return self.value(*values)


def _refuse(title: str, takes: str, kinds: Kinds) -> NoReturn:
    given = ", ".join(kind.type for kind in kinds) or "nothing"
    raise UnsupportedQueryError(f"{title} takes {takes}, and was given {given}: write it anew")


def _need(title: str, kinds: Kinds, *types: Type) -> None:
    if tuple(kind.type for kind in kinds) != types:
        _refuse(title, ", ".join(types), kinds)


def _alike(title: str, kinds: Kinds, allowed: frozenset[str], least: int = 1) -> None:
    if len(kinds) < least or len({k.type for k in kinds}) != 1 or kinds[0].type not in allowed:
        _refuse(title, f"arguments of one type ({', '.join(sorted(allowed))})", kinds)


ANY: Final = frozenset({"number", "text", "boolean", "date", "timestamp"})
ORDERED: Final = frozenset({"number", "date", "timestamp"})


def _common_unit(kinds: Kinds) -> str:
    units = {kind.unit for kind in kinds if kind.unit}
    return units.pop() if len(units) == 1 else ""


def _same_unit(title: str, kinds: Kinds) -> str:
    units = sorted({kind.unit for kind in kinds if kind.unit})
    if len(units) > 1:
        raise UnsupportedQueryError(
            f"{title} mixes {' and '.join(units)}: put values of one unit together"
        )
    return units[0] if units else ""


def _sum(rule: Callable[[Interval, Interval], Interval]) -> Callable[[str, Kinds], Kind]:
    def kind(title: str, kinds: Kinds) -> Kind:
        _need(title, kinds, "number", "number")
        x, y = kinds
        whole = x.whole and y.whole
        return number(rule(x.interval, y.interval), whole=whole, unit=_same_unit(title, kinds))

    return kind


def _product(title: str, kinds: Kinds) -> Kind:
    _need(title, kinds, "number", "number")
    x, y = kinds
    unit = "·".join(kind.unit for kind in kinds if kind.unit)
    whole = x.whole and y.whole
    return number(intervals.multiply(x.interval, y.interval), whole=whole, unit=unit)


def _quotient(title: str, kinds: Kinds) -> Kind:
    _need(title, kinds, "number", "number")
    x, y = kinds
    unit = x.unit if not y.unit else "" if x.unit == y.unit else f"{x.unit or '1'}/{y.unit}"
    return number(intervals.divide(x.interval, y.interval, whole=y.whole), unit=unit)


def _one(
    rule: Callable[[Interval], Interval], *, whole: bool | None = None
) -> Callable[[str, Kinds], Kind]:
    def kind(title: str, kinds: Kinds) -> Kind:
        _need(title, kinds, "number")
        kept = kinds[0].whole if whole is None else whole
        return number(rule(kinds[0].interval), whole=kept, unit=kinds[0].unit)

    return kind


def _stepped(function: Callable[[float], float]) -> Callable[[str, Kinds], Kind]:
    return _one(lambda x: intervals.monotone(x, function), whole=True)


def _extreme(rule: Callable[..., Interval]) -> Callable[[str, Kinds], Kind]:
    def kind(title: str, kinds: Kinds) -> Kind:
        _alike(title, kinds, frozenset({"number"}), 2)
        found = rule(*(k.interval for k in kinds))
        whole = all(k.whole for k in kinds)
        return replace(
            number(found, whole=whole, unit=_same_unit(title, kinds)), domain=_kept(kinds, found)
        )

    return kind


def _kept(kinds: Kinds, found: Interval) -> tuple[Value, ...] | None:
    domain = union(kinds)
    if domain is None:
        return None
    return tuple(x for x in domain if isinstance(x, float) and found[0] <= x <= found[1])


def _choice(title: str, results: Kinds) -> Kind:
    """Return what one of several results is."""
    _alike(title, results, ANY)
    low, high = intervals.hull(*(k.interval for k in results))
    unit = _same_unit(title, results) if results[0].type == "number" else ""
    whole = all(k.whole for k in results)
    return Kind(
        type=results[0].type, low=low, high=high, whole=whole, unit=unit, domain=union(results)
    )


def _case(title: str, kinds: Kinds) -> Kind:
    conditions, results = kinds[: len(kinds) // 2 * 2 : 2], [*kinds[1::2]]
    if len(kinds) < 2 or any(k.type != "boolean" for k in conditions):
        _refuse(title, "conditions and results in turn", kinds)
    return _choice(title, [*results, *kinds[len(kinds) // 2 * 2 :]])


def _coalesce(title: str, kinds: Kinds) -> Kind:
    if len(kinds) < 2:
        _refuse(title, "two values or more", kinds)
    return replace(_choice(title, kinds), missing=all(kind.missing for kind in kinds))


def _compared(allowed: frozenset[str], most: int = 2) -> Callable[[str, Kinds], Kind]:
    def kind(title: str, kinds: Kinds) -> Kind:
        _alike(title, kinds, allowed, 2)
        if len(kinds) > most:
            _refuse(title, "two values", kinds)
        if kinds[0].type == "number":
            _same_unit(title, kinds)
        return Kind(type="boolean")

    return kind


def _truth(least: int, most: int) -> Callable[[str, Kinds], Kind]:
    def kind(title: str, kinds: Kinds) -> Kind:
        if not least <= len(kinds) <= most or any(k.type != "boolean" for k in kinds):
            _refuse(title, "conditions", kinds)
        return Kind(type="boolean")

    return kind


def _is_null(title: str, kinds: Kinds) -> Kind:
    if len(kinds) != 1:
        _refuse(title, "one value", kinds)
    return Kind(type="boolean", missing=False)


def _to_number(title: str, kinds: Kinds) -> Kind:
    if len(kinds) != 1 or kinds[0].type not in {"text", "boolean"}:
        _refuse(title, "text or boolean", kinds)
    return number((0.0, 1.0), whole=True) if kinds[0].type == "boolean" else number()


def _to_date(title: str, kinds: Kinds) -> Kind:
    if len(kinds) != 1 or kinds[0].type not in {"text", "timestamp"}:
        _refuse(title, "text or timestamp", kinds)
    return days("date", kinds[0].interval)


def _part(low: float, high: float) -> Callable[[str, Kinds], Kind]:
    def kind(title: str, kinds: Kinds) -> Kind:
        _calendar(title, kinds, 1)
        return number((low, high), whole=True)

    return kind


def _year(title: str, kinds: Kinds) -> Kind:
    _calendar(title, kinds, 1)
    low, high = (float(datetime.date.fromordinal(int(end)).year) for end in kinds[0].interval)
    return number((low, high), whole=True)


def _calendar(title: str, kinds: Kinds, count: int) -> None:
    if len(kinds) != count or any(k.type not in {"date", "timestamp"} for k in kinds):
        _refuse(title, "a date" if count == 1 else "two dates", kinds)


def _hour(title: str, kinds: Kinds) -> Kind:
    _need(title, kinds, "timestamp")
    return number((0.0, 23.0), whole=True)


def _truncated(unit: str) -> Callable[[str, Kinds], Kind]:
    def kind(title: str, kinds: Kinds) -> Kind:
        _calendar(title, kinds, 1)
        low, high = (
            float(truncate(unit, datetime.date.fromordinal(int(end))).toordinal())
            for end in kinds[0].interval
        )
        known = replace(kinds[0], type="date")
        return replace(days("date", (low, high)), domain=_steps(unit, known))

    return kind


def _steps(unit: str, kind: Kind) -> tuple[Value, ...] | None:
    """Return the first days of all units that touch the interval, if it is public and short."""
    return image([replace(kind, domain=None)], lambda day: day and truncate(unit, day))


def _difference(unit: str) -> Callable[[str, Kinds], Kind]:
    def kind(title: str, kinds: Kinds) -> Kind:
        _calendar(title, kinds, 2)
        (a, b), (c, d) = (
            tuple(datetime.date.fromordinal(int(end)) for end in k.interval) for k in kinds
        )
        found = difference(unit, b, c), difference(unit, a, d)
        return number(found, whole=True, unit=f"{unit}s")

    return kind


def _lower(title: str, kinds: Kinds) -> Kind:
    _need(title, kinds, "text")
    domain = kinds[0].domain
    if domain is None or not all(isinstance(x, str) and x.isascii() for x in domain):
        return Kind(type="text")
    return Kind(type="text", domain=tuple(dict.fromkeys(str(x).lower() for x in domain)))


def _prefix(title: str, kinds: Kinds) -> Kind:
    _need(title, kinds, "text", "text")
    return Kind(type="boolean")


def truncate(unit: str, day: datetime.date) -> datetime.date:
    """Return the first day of the week, month, quarter or year that `day` lies in."""
    day = datetime.date(day.year, day.month, day.day)
    match unit:
        case "week":
            return day - datetime.timedelta(days=day.weekday())
        case "month":
            return day.replace(day=1)
        case "quarter":
            return day.replace(month=(day.month - 1) // 3 * 3 + 1, day=1)
        case "year":
            return day.replace(month=1, day=1)
    return day


def difference(unit: str, first: datetime.date, second: datetime.date) -> float:
    """Return how many boundaries of `unit` lie between two days: DuckDB's date_diff."""
    if unit == "day":
        return float(second.toordinal() - first.toordinal())
    years = second.year - first.year
    return float(years if unit == "year" else years * 12 + second.month - first.month)


def _finite(x: float) -> float | None:
    return x if math.isfinite(x) else None


def _below(x: float) -> float:
    return float(math.floor(x))


def _above(x: float) -> float:
    return float(math.ceil(x))


def _even(x: float) -> float:
    return float(round(x))


def _whole(x: float) -> float | None:
    return _even(x) if -(2.0**63) <= round(x) < 2.0**63 else None


def _and(*values: Value) -> Value:
    return False if any(x is False for x in values) else None if None in values else True


def _or(*values: Value) -> Value:
    return True if any(x is True for x in values) else None if None in values else False


def _in(x: Value, *values: Value) -> Value:
    return _or(*(None if x is None or v is None else x == v for v in values))


def _case_value(*values: Value) -> Value:
    for place in range(0, len(values) - 1, 2):
        if values[place] is True:
            return values[place + 1]
    return values[-1] if len(values) % 2 else None


def _first(*values: Value) -> Value:
    return next((x for x in values if x is not None), None)


def _number_of(x: Any) -> Value:
    try:
        return _finite(float(x))
    except ValueError:
        return None


def _day_of(x: Any) -> Value:
    if isinstance(x, datetime.date):
        return datetime.date(x.year, x.month, x.day)
    try:
        return datetime.date.fromisoformat(x)
    except ValueError:
        return None


def _function(unit: str) -> tuple[Callable[[Any], Value], Callable[[Any, Any], Value]]:
    return lambda x: truncate(unit, x), lambda x, y: difference(unit, x, y)


FUNCTIONS: Final[Mapping[str, Function]] = {
    "add": Function("+", _sum(intervals.add), lambda x, y: _finite(x + y)),
    "subtract": Function("-", _sum(intervals.subtract), lambda x, y: _finite(x - y)),
    "multiply": Function("*", _product, lambda x, y: _finite(x * y)),
    "divide": Function("/", _quotient, lambda x, y: _finite(x / y) if y else None),
    "negate": Function("-", _one(intervals.negate), lambda x: -x),
    "abs": Function("ABS", _one(intervals.absolute), abs),
    "floor": Function("FLOOR", _stepped(_below), _below),
    "ceil": Function("CEIL", _stepped(_above), _above),
    "round": Function("ROUND", _stepped(intervals.half_away), intervals.half_away),
    "to_whole": Function("CAST AS INTEGER", _stepped(_even), _whole),
    "least": Function("LEAST", _extreme(intervals.least), min),
    "greatest": Function("GREATEST", _extreme(intervals.greatest), max),
    "eq": Function("=", _compared(ANY), lambda x, y: x == y),
    "ne": Function("<>", _compared(ANY), lambda x, y: x != y),
    "lt": Function("<", _compared(ORDERED), lambda x, y: x < y),
    "le": Function("<=", _compared(ORDERED), lambda x, y: x <= y),
    "gt": Function(">", _compared(ORDERED), lambda x, y: x > y),
    "ge": Function(">=", _compared(ORDERED), lambda x, y: x >= y),
    "in": Function("IN", _compared(ANY, MAX_ARGUMENTS), _in, strict=False),
    "and": Function("AND", _truth(2, MAX_ARGUMENTS), _and, strict=False),
    "or": Function("OR", _truth(2, MAX_ARGUMENTS), _or, strict=False),
    "not": Function("NOT", _truth(1, 1), lambda x: not x),
    "is_null": Function("IS NULL", _is_null, lambda x: x is None, strict=False),
    "case": Function("CASE", _case, _case_value, strict=False),
    "coalesce": Function("COALESCE", _coalesce, _first, strict=False),
    "to_number": Function("CAST AS DOUBLE", _to_number, _number_of, mapped=False),
    "to_date": Function("CAST AS DATE", _to_date, _day_of, mapped=False),
    "lower": Function("LOWER", _lower, lambda x: x.lower(), mapped=False),
    "starts_with": Function("LIKE", _prefix, lambda x, y: x.startswith(y)),
    "year": Function("YEAR", _year, lambda x: float(x.year)),
    "quarter": Function("QUARTER", _part(1, 4), lambda x: float((x.month + 2) // 3)),
    "month": Function("MONTH", _part(1, 12), lambda x: float(x.month)),
    "day": Function("DAY", _part(1, 31), lambda x: float(x.day)),
    "weekday": Function("DAYOFWEEK", _part(0, 6), lambda x: float(x.isoweekday() % 7)),
    "hour": Function("HOUR", _hour, lambda x: float(x.hour)),
    **{
        f"trunc_{unit}": Function(f"DATE_TRUNC {unit}", _truncated(unit), _function(unit)[0])
        for unit in ("day", "week", "month", "quarter", "year")
    },
    **{
        f"diff_{unit}": Function(f"DATE_DIFF {unit}", _difference(unit), _function(unit)[1])
        for unit in ("day", "month", "year")
    },
}
