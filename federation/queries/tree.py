"""A joint query, version 2, as a frozen tree with one spelling.

    Release( Group( Bound( Source ) ) )
    Source = Scan | Filter( Source ) | Window( Source ) | Join( Source, Source )

`Bound` stands after everything that reads rows and right before the last aggregation: at most
`rows` rows of one unit of privacy come through it. A window's partition and a join's condition
always name the unit, so that no row before `Bound` depends on another unit's rows. Every value that
is summed carries its bounds as whole numbers of a step, so sums and sensitivities are exact
integers. `Release` computes with released numbers alone. Nothing here has a handle to rows.
"""

import math
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias, get_args

from federation.errors import MalformedOrderError
from federation.queries import expressions
from federation.queries.expressions import Expression
from federation.queries.fields import each, fields, maybe, maybe_json, text, whole
from federation.queries.sources import (
    Filter,
    Join,
    Scan,
    Source,
    Window,
    read_source,
    said,
    scans,
    source_json,
    sources,
)
from secure_compute import canonical
from secure_compute.canonical import JSON
from secure_compute.errors import SecureComputeError

__all__ = ["Filter", "Scan"]  # beside what is defined here

VERSION: Final = 2

Name: TypeAlias = Literal[
    "count", "units", "sum", "avg", "var_pop", "var_samp", "stddev_pop", "stddev_samp",
    "covar_pop", "covar_samp", "corr", "coefficient", "quantile", "bin",
]  # fmt: skip
NAMES: Final[tuple[str, ...]] = get_args(Name)


@dataclass(frozen=True, slots=True)
class Bound:
    """At most `rows` rows of one unit, which the columns `unit` name together."""

    child: Source
    unit: tuple[str, ...]
    rows: int


@dataclass(frozen=True, slots=True)
class Key:
    """What is grouped by, its name in the answer, and its public domain in order."""

    expression: Expression
    label: str
    domain: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Value:
    """An expression held to [low, high], both whole numbers of `step` (a decimal string)."""

    expression: Expression
    low: int
    high: int
    step: str
    unit: str

    @property
    def reach(self) -> int:
        """The most one row can add to a sum, in steps."""
        return max(1, abs(self.low), abs(self.high))

    @property
    def centre(self) -> int:
        """The step from which moments are taken: the middle of the bounds, rounded down."""
        return (self.low + self.high) // 2

    @property
    def half(self) -> int:
        """The most a value can lie from the centre, in steps."""
        return max(1, self.high - self.centre)


@dataclass(frozen=True, slots=True)
class Aggregate:
    """One number per cell.

    values:    what is summed; none for COUNT(*) and COUNT(DISTINCT unit). A regression names what
               is explained first.
    counted:   of COUNT(expression) alone: what must be present.
    parameter: of a quantile, which one (a decimal string); of a coefficient or a bin, its place.
    bins:      of a quantile or bin, how many equal parts the bounds are cut into.
    """

    function: Name
    label: str
    values: tuple[Value, ...] = ()
    counted: Expression | None = None
    parameter: str = ""
    bins: int = 0


@dataclass(frozen=True, slots=True)
class Group:
    """Every aggregate for every cell of the cross product of the keys' domains."""

    child: Bound
    keys: tuple[Key, ...]
    aggregates: tuple[Aggregate, ...]


@dataclass(frozen=True, slots=True)
class Output:
    """One column of the answer: an expression over the labels of aggregates."""

    label: str
    expression: Expression


@dataclass(frozen=True, slots=True)
class Release:
    """What is shown: outputs, for the cells whose released numbers fulfil `having`."""

    child: Group
    outputs: tuple[Output, ...]
    having: Expression | None


Plan: TypeAlias = Release


def scan(plan: Plan) -> Scan:
    """Return the first leaf of the tree, whose unit of privacy is the plan's."""
    return scans(plan.child.child.child)[0]


def contracts(plan: Plan) -> tuple[tuple[str, int], ...]:
    """Return names and versions of all contracts whose rows are read, each once, in order."""
    leaves = scans(plan.child.child.child)
    return tuple(dict.fromkeys((leaf.contract, leaf.version) for leaf in leaves))


def source(plan: Plan) -> Source:
    """Return the rows that the plan's own condition chooses from."""
    leaf = plan.child.child.child
    return leaf.child if isinstance(leaf, Filter) else leaf


def condition(plan: Plan) -> Expression | None:
    """Return the plan's own condition on rows, if there is one."""
    leaf = plan.child.child.child
    return leaf.condition if isinstance(leaf, Filter) else None


def cells(plan: Plan) -> int:
    """Return how many cells there are; 1 without keys."""
    return math.prod(len(key.domain) for key in plan.child.keys)


def inputs(plan: Plan) -> tuple[Expression, ...]:
    """Return every expression over rows: of relations, condition, keys, values; each once."""
    group = plan.child
    found: dict[Expression, None] = {}
    for relation in sources(source(plan)):
        found.update(dict.fromkeys(said(relation)))
    where = condition(plan)
    found.update(dict.fromkeys(() if where is None else (where,)))
    found.update(dict.fromkeys(key.expression for key in group.keys))
    for item in group.aggregates:
        found.update(dict.fromkeys(value.expression for value in item.values))
        found.update(dict.fromkeys(() if item.counted is None else (item.counted,)))
    return tuple(found)


def columns(plan: Plan) -> tuple[str, ...]:
    """Return every column of a contract that the plan reads, the unit's included, sorted."""
    read = set(plan.child.child.unit).union(*map(expressions.columns, inputs(plan)))
    for relation in sources(source(plan)):
        match relation:
            case Join(on=on):
                read.update(name for pair in on for name in pair)
            case Window(name=name):
                read.discard(name)
            case Scan() | Filter():
                pass
    return tuple(sorted(read))


def reads(plan: Plan) -> dict[str, frozenset[str]]:
    """Return the columns that the plan reads of every contract, by the contract's name."""
    read = set(columns(plan))
    found: dict[str, frozenset[str]] = {}
    for leaf in scans(plan.child.child.child):
        mark = leaf.column("")
        names = frozenset(name[len(mark) :] for name in read if name.startswith(mark))
        found[leaf.contract] = found.get(leaf.contract, frozenset()) | names
    return found


def digest(plan: Plan) -> str:
    """Return the SHA-256 of the plan's canonical bytes, in hexadecimal."""
    return canonical.digest(to_json(plan))


def to_json(plan: Plan) -> dict[str, JSON]:
    """Return the canonical form."""
    where, group = condition(plan), plan.child
    return {
        "plan": "query",
        "v": VERSION,
        "scan": source_json(source(plan)),
        "filter": maybe_json(where),
        "bound": {"unit": list(group.child.unit), "rows": group.child.rows},
        "keys": [
            {
                "key": expressions.to_json(key.expression),
                "label": key.label,
                "domain": list(key.domain),
            }
            for key in group.keys
        ],
        "aggregates": [_aggregate_json(item) for item in group.aggregates],
        "outputs": [
            {"label": item.label, "is": expressions.to_json(item.expression)}
            for item in plan.outputs
        ],
        "having": maybe_json(plan.having),
    }


def from_json(value: JSON) -> Plan:
    """Read a plan, accepting exactly what `to_json` prints.

    Raises:
        MalformedOrderError: the value is no plan of this version, or another spelling of one.
    """
    try:
        plan = _read(value)
        same = canonical.encode(to_json(plan)) == canonical.encode(value)
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as why:
        raise MalformedOrderError("the order's plan is not a query plan of version 2") from why
    except SecureComputeError as why:
        raise MalformedOrderError("the order's plan is not in its canonical form") from why
    if not same:
        raise MalformedOrderError("the order's plan is not in its canonical form")
    return plan


def _aggregate_json(item: Aggregate) -> dict[str, JSON]:
    return {
        "function": item.function,
        "label": item.label,
        "values": [
            {
                "value": expressions.to_json(value.expression),
                "low": value.low,
                "high": value.high,
                "step": value.step,
                "unit": value.unit,
            }
            for value in item.values
        ],
        "counted": maybe_json(item.counted),
        "parameter": item.parameter,
        "bins": item.bins,
    }


def _read(value: JSON) -> Plan:
    top = fields(value, "plan v scan filter bound keys aggregates outputs having")
    if (top["plan"], whole(top["v"])) != ("query", VERSION):
        raise MalformedOrderError("the order's plan is not a query plan of version 2")
    bound = fields(top["bound"], "unit rows")
    child = read_source(top["scan"])
    where = maybe(top["filter"])
    group = Group(
        Bound(
            child if where is None else Filter(child, where),
            each(bound["unit"], text),
            whole(bound["rows"]),
        ),
        each(top["keys"], _read_key),
        each(top["aggregates"], _read_aggregate),
    )
    return Release(group, each(top["outputs"], _read_output), maybe(top["having"]))


def _read_key(value: JSON) -> Key:
    raw = fields(value, "key label domain")
    return Key(expressions.from_json(raw["key"]), text(raw["label"]), each(raw["domain"], text))


def _read_value(value: JSON) -> Value:
    raw = fields(value, "value low high step unit")
    expression = expressions.from_json(raw["value"])
    low, high = whole(raw["low"]), whole(raw["high"])
    return Value(expression, low, high, text(raw["step"]), text(raw["unit"]))


def _read_aggregate(value: JSON) -> Aggregate:
    raw = fields(value, "function label values counted parameter bins")
    for name in get_args(Name):
        if raw["function"] == name:
            return Aggregate(
                name,
                text(raw["label"]),
                each(raw["values"], _read_value),
                maybe(raw["counted"]),
                text(raw["parameter"]),
                whole(raw["bins"]),
            )
    raise MalformedOrderError("an aggregate of the order's plan is malformed")


def _read_output(value: JSON) -> Output:
    raw = fields(value, "label is")
    return Output(text(raw["label"]), expressions.from_json(raw["is"]))
