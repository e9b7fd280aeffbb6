"""A joint query as a frozen tree, with one spelling: what every node prices, judges and runs.

    GroupBy( Bound( Where( Table ) ) )

`Bound` is the last relation before aggregation: at most `rows` rows of one unit of privacy come
through it, and every value is clipped. All numbers are integers, in steps that the plan names, so
sensitivities and sums are exact. Nothing here has a handle to rows.
"""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias, assert_never

from federation.errors import MalformedOrderError
from secure_compute import canonical
from secure_compute.canonical import JSON
from secure_compute.errors import SecureComputeError

VERSION: Final = 1

Operator: TypeAlias = Literal["=", "<>", "<", "<=", ">", ">="]
OPERATORS: Final[tuple[Operator, ...]] = ("=", "<>", "<", "<=", ">", ">=")


@dataclass(frozen=True, slots=True)
class Table:
    """The rows a node holds under one version of a data contract."""

    contract: str
    version: int


@dataclass(frozen=True, slots=True)
class Comparison:
    """`column operator value`; the value is spelled as the column's type spells it."""

    column: str
    operator: Operator
    value: str


@dataclass(frozen=True, slots=True)
class Among:
    """`column IN (values)`; the values are sorted and distinct."""

    column: str
    values: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class AllOf:
    """Every part holds; there are at least two."""

    parts: tuple["Predicate", ...]


@dataclass(frozen=True, slots=True)
class AnyOf:
    """At least one part holds; there are at least two."""

    parts: tuple["Predicate", ...]


Predicate: TypeAlias = Comparison | Among | AllOf | AnyOf


@dataclass(frozen=True, slots=True)
class Where:
    """The rows for which the predicate is true; unknown is not true."""

    child: Table
    predicate: Predicate


@dataclass(frozen=True, slots=True)
class Clip:
    """A value is held to [low, high], both whole numbers of `step` (a decimal string)."""

    column: str
    low: int
    high: int
    step: str
    unit: str

    @property
    def reach(self) -> int:
        """The most one row can add to a sum, in steps."""
        return max(abs(self.low), abs(self.high))


@dataclass(frozen=True, slots=True)
class Bound:
    """At most `rows` rows of one unit, chosen at random, with every summed value clipped.

    unit: the columns that together name a unit of privacy.
    """

    child: Table | Where
    unit: tuple[str, ...]
    rows: int
    clips: tuple[Clip, ...]

    def clip(self, column: str) -> Clip:
        """Return the clip of `column`.

        Raises:
            MalformedOrderError: the plan does not bound that column, so a sum has no price.
        """
        for clip in self.clips:
            if clip.column == column:
                return clip
        raise MalformedOrderError(f"the plan sums {column!r} without a bound; it has no price")


@dataclass(frozen=True, slots=True)
class Key:
    """A grouping column and its public domain, in the order the contract declares it."""

    column: str
    domain: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Aggregate:
    """One answer per cell: COUNT(*) has no column; SUM and AVG have one."""

    function: Literal["count", "sum", "avg"]
    column: str
    label: str


@dataclass(frozen=True, slots=True)
class GroupBy:
    """Every aggregate for every cell of the cross product of the keys' domains."""

    child: Bound
    keys: tuple[Key, ...]
    aggregates: tuple[Aggregate, ...]


Plan: TypeAlias = GroupBy


@dataclass(frozen=True, slots=True)
class Measure:
    """What a node really sums per cell: rows, rows whose value is present, or clipped values."""

    kind: Literal["rows", "present", "total"]
    column: str


def table(plan: Plan) -> Table:
    """Return the leaf of the tree."""
    match plan.child.child:
        case Where(child=child):
            return child
        case Table() as leaf:
            return leaf
        case other:
            assert_never(other)


def predicate(plan: Plan) -> Predicate | None:
    """Return the condition on rows, if there is one."""
    return plan.child.child.predicate if isinstance(plan.child.child, Where) else None


def cells(plan: Plan) -> tuple[tuple[str, ...], ...]:
    """Return every cell, the last key turning fastest; one empty tuple when there are no keys."""
    return tuple(itertools.product(*(key.domain for key in plan.keys)))


def measures(plan: Plan) -> tuple[Measure, ...]:
    """Return what is summed, each once: AVG is SUM over COUNT and needs no release of its own."""
    found: dict[Measure, None] = {}
    for aggregate in plan.aggregates:
        found.update(dict.fromkeys(parts(aggregate)))
    return tuple(found)


def parts(aggregate: Aggregate) -> tuple[Measure, ...]:
    """Return the measures that one aggregate is computed from."""
    match aggregate.function:
        case "count":
            return (Measure("rows", ""),)
        case "sum":
            return (Measure("total", aggregate.column),)
        case "avg":
            return (Measure("total", aggregate.column), Measure("present", aggregate.column))
        case other:
            assert_never(other)


def width(plan: Plan) -> int:
    """Return how many integers a node releases: measures by cells, one measure after another."""
    size = len(measures(plan))
    for key in plan.keys:
        size *= len(key.domain)
    return size


def sensitivity(plan: Plan, measure: Measure) -> int:
    """Return the L2 change of `measure` over all cells when one unit comes or goes.

    The worst case is all of a unit's K rows in one cell: K, or K times the widest clipped value.
    """
    match measure.kind:
        case "rows" | "present":
            return plan.child.rows
        case "total":
            return plan.child.rows * max(1, plan.child.clip(measure.column).reach)
        case other:
            assert_never(other)


def sensitivities(plan: Plan) -> tuple[int, ...]:
    """Return the sensitivity of every measure, in the order of `measures`."""
    return tuple(sensitivity(plan, measure) for measure in measures(plan))


def columns(plan: Plan) -> tuple[str, ...]:
    """Return every column that the plan reads, the unit's included, sorted."""
    read = set(plan.child.unit) | set(grouped(plan)) | set(filtered(plan)) | set(aggregated(plan))
    return tuple(sorted(read))


def grouped(plan: Plan) -> tuple[str, ...]:
    """Return the columns of GROUP BY, in order."""
    return tuple(key.column for key in plan.keys)


def filtered(plan: Plan) -> tuple[str, ...]:
    """Return the columns of WHERE, sorted."""
    condition = predicate(plan)
    return () if condition is None else tuple(sorted({leaf.column for leaf in leaves(condition)}))


def aggregated(plan: Plan) -> tuple[str, ...]:
    """Return the columns that are summed or averaged, sorted."""
    return tuple(sorted({item.column for item in plan.aggregates if item.column}))


def leaves(condition: Predicate) -> Iterator[Comparison | Among]:
    """Yield the simple conditions of a predicate, from left to right."""
    match condition:
        case Comparison() | Among():
            yield condition
        case AllOf(parts=inner) | AnyOf(parts=inner):
            for part in inner:
                yield from leaves(part)
        case other:
            assert_never(other)


def to_json(plan: Plan) -> dict[str, JSON]:
    """Return the canonical form."""
    leaf, condition = table(plan), predicate(plan)
    return {
        "plan": "query",
        "v": VERSION,
        "table": {"contract": leaf.contract, "version": leaf.version},
        "where": None if condition is None else _predicate_json(condition),
        "bound": {
            "unit": list(plan.child.unit),
            "rows": plan.child.rows,
            "clips": [
                {"column": c.column, "low": c.low, "high": c.high, "step": c.step, "unit": c.unit}
                for c in plan.child.clips
            ],
        },
        "keys": [{"column": key.column, "domain": list(key.domain)} for key in plan.keys],
        "aggregates": [
            {"function": item.function, "column": item.column, "label": item.label}
            for item in plan.aggregates
        ],
    }


def digest(plan: Plan) -> str:
    """Return the SHA-256 of the plan's canonical bytes, in hexadecimal."""
    return canonical.digest(to_json(plan))


def from_json(value: JSON) -> Plan:
    """Read a plan, accepting exactly what `to_json` prints.

    Raises:
        MalformedOrderError: the value is no plan of this version, or another spelling of one.
    """
    try:
        plan = _read(value)
        same = canonical.encode(to_json(plan)) == canonical.encode(value)
    except (KeyError, TypeError, AttributeError, RecursionError, SecureComputeError) as why:
        raise MalformedOrderError("the order's plan is not a query plan of this version") from why
    if not same or _has_truth(value):
        raise MalformedOrderError("the order's plan is not in its canonical form")
    return plan


def _has_truth(value: JSON) -> bool:
    """Tell whether a boolean stands anywhere: Python takes True for 1, and a plan holds none."""
    if isinstance(value, Mapping):
        return any(map(_has_truth, value.values()))
    if isinstance(value, list | tuple):
        return any(map(_has_truth, value))
    return isinstance(value, bool)


def _predicate_json(condition: Predicate) -> dict[str, JSON]:
    match condition:
        case Comparison(column, operator, value):
            return {"column": column, "operator": operator, "value": value}
        case Among(column, values):
            return {"column": column, "in": list(values)}
        case AllOf(inner):
            return {"all": [_predicate_json(part) for part in inner]}
        case AnyOf(inner):
            return {"any": [_predicate_json(part) for part in inner]}
        case other:
            assert_never(other)


def _read(value: JSON) -> Plan:
    match value:
        case {
            "plan": "query",
            "table": {"contract": str(name), "version": int(version)},
            "where": condition,
            "bound": {"unit": list(unit), "rows": int(rows), "clips": list(clips)},
            "keys": list(keys),
            "aggregates": list(aggregates),
        } if rows >= 1 and aggregates:
            leaf = Table(name, version)
            child = leaf if condition is None else Where(leaf, _read_predicate(condition))
            bound = Bound(child, _strings(unit), rows, tuple(map(_read_clip, clips)))
            return GroupBy(
                bound, tuple(map(_read_key, keys)), tuple(map(_read_aggregate, aggregates))
            )
    raise MalformedOrderError("the order's plan is not a query plan of this version")


def _read_predicate(value: JSON) -> Predicate:
    match value:
        case {"column": str(column), "operator": str(operator), "value": str(text)}:
            for known in OPERATORS:
                if known == operator:
                    return Comparison(column, known, text)
        case {"column": str(column), "in": list(values)} if values:
            texts = _strings(values)
            if list(texts) == sorted(set(texts)):
                return Among(column, texts)
        case {"all": list(inner)} if len(inner) >= 2:
            return AllOf(tuple(map(_read_predicate, inner)))
        case {"any": list(inner)} if len(inner) >= 2:
            return AnyOf(tuple(map(_read_predicate, inner)))
    raise MalformedOrderError("a condition of the order's plan is malformed")


def _read_clip(value: JSON) -> Clip:
    match value:
        case {
            "column": str(column),
            "low": int(low),
            "high": int(high),
            "step": str(step),
            "unit": str(unit),
        } if low <= high:
            return Clip(column, low, high, step, unit)
    raise MalformedOrderError("a bound of the order's plan is malformed")


def _read_key(value: JSON) -> Key:
    match value:
        case {"column": str(column), "domain": list(domain)} if domain:
            return Key(column, _strings(domain))
    raise MalformedOrderError("a key of the order's plan is malformed")


def _read_aggregate(value: JSON) -> Aggregate:
    match value:
        case {
            "function": "count" | "sum" | "avg" as name,
            "column": str(column),
            "label": str(as_),
        }:
            return Aggregate(name, column, as_)
    raise MalformedOrderError("an aggregate of the order's plan is malformed")


def _strings(values: Sequence[JSON]) -> tuple[str, ...]:
    if not all(isinstance(value, str) for value in values):
        raise MalformedOrderError("the order's plan holds something other than text in a list")
    return tuple(str(value) for value in values)
