"""The relations of a plan as a frozen tree: rows of one unit each, before they are bounded.

    Source = Scan | Filter( Source ) | Window( Source ) | Join( Source, Source )

A window's partition and a join's condition name the unit of privacy, so that no row depends on
another unit's rows.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias, get_args

from federation.queries import expressions
from federation.queries.expressions import Expression
from federation.queries.fields import among, each, fields, maybe, maybe_json, text, whole
from secure_compute.canonical import JSON

WindowName: TypeAlias = Literal["row_number", "count", "sum", "min", "max", "lag", "lead"]
JoinKind: TypeAlias = Literal["inner", "left"]
WINDOWS: Final[tuple[WindowName, ...]] = get_args(WindowName)
JOINS: Final[tuple[JoinKind, ...]] = get_args(JoinKind)
MAX_SOURCES: Final = 64
"""How deeply relations may stand in one another."""


@dataclass(frozen=True, slots=True)
class Scan:
    """The rows a node holds under one version of a data contract.

    name: where several relations are read, what stands before the names of this one's columns, as
          in `orders.amount`; "" where there is one.
    """

    contract: str
    version: int
    name: str = ""

    def column(self, name: str) -> str:
        """Return what a column of the contract is called in the plan."""
        return f"{self.name}.{name}" if self.name else name


@dataclass(frozen=True, slots=True)
class Filter:
    """The rows for which the condition is true; unknown is not true."""

    child: "Source"
    condition: Expression


@dataclass(frozen=True, slots=True)
class Order:
    """What rows are ordered by, NULL last."""

    expression: Expression
    falling: bool


@dataclass(frozen=True, slots=True)
class Window:
    """The same rows with one column more, made from rows of the same unit alone.

    name:      what the new column is called
    argument:  what is counted, summed or looked up; None for row_number and COUNT(*)
    partition: by what rows are told apart further, within those of one unit
    order:     ties are taken in the table's order, except where SQL lets equal rows count together
    frame:     how many rows before the current one are read; None for SQL's own frame
    offset:    of lag and lead, how many rows away; else 0
    """

    child: "Source"
    name: str
    function: WindowName
    argument: Expression | None
    partition: tuple[Expression, ...]
    order: tuple[Order, ...]
    frame: int | None
    offset: int


@dataclass(frozen=True, slots=True)
class Join:
    """Pairs of rows of one unit; `left` keeps rows without a partner.

    on: columns that are equal, left then right; those of the unit are among them.
    """

    left: "Source"
    right: "Source"
    kind: JoinKind
    on: tuple[tuple[str, str], ...]


Source: TypeAlias = Scan | Filter | Window | Join


def scans(source: Source) -> tuple[Scan, ...]:
    """Return the leaves under `source`, from left to right."""
    match source:
        case Scan():
            return (source,)
        case Join(left, right):
            return scans(left) + scans(right)
        case Filter(child) | Window(child):
            return scans(child)


def sources(top: Source) -> tuple[Source, ...]:
    """Return every relation of the tree, what is read before what reads it."""
    match top:
        case Scan():
            return (top,)
        case Join(left, right):
            return (*sources(left), *sources(right), top)
        case Filter(child) | Window(child):
            return (*sources(child), top)


def said(relation: Source) -> tuple[Expression, ...]:
    """Return the expressions that one relation evaluates over the rows below it."""
    match relation:
        case Filter(_, chosen):
            return (chosen,)
        case Window():
            ordered = tuple(item.expression for item in relation.order)
            argument = () if relation.argument is None else (relation.argument,)
            return (*argument, *relation.partition, *ordered)
        case Scan() | Join():
            return ()


def source_json(top: Source) -> dict[str, JSON]:
    """Return the canonical form of a relation."""
    match top:
        case Scan():
            name: dict[str, JSON] = {"as": top.name} if top.name else {}
            return {"contract": top.contract, "version": top.version, **name}
        case Filter(child, chosen):
            return {"of": source_json(child), "where": expressions.to_json(chosen)}
        case Join():
            return {
                "join": top.kind,
                "left": source_json(top.left),
                "right": source_json(top.right),
                "on": [list(pair) for pair in top.on],
            }
        case Window():
            return _window_json(top)


def _window_json(top: Window) -> dict[str, JSON]:
    return {
        "of": source_json(top.child),
        "window": top.name,
        "function": top.function,
        "argument": maybe_json(top.argument),
        "partition": [expressions.to_json(item) for item in top.partition],
        "order": [
            {"by": expressions.to_json(item.expression), "falling": item.falling}
            for item in top.order
        ],
        "frame": top.frame,
        "offset": top.offset,
    }


def read_source(value: JSON, room: int = MAX_SOURCES) -> Source:
    """Read a relation that is nested at most `room` deep.

    Raises:
        MalformedOrderError: the value is none.
    """
    names = set(value) if isinstance(value, Mapping) and room > 0 else set()
    if names == {"of", "where"}:
        raw = fields(value, "of where")
        return Filter(read_source(raw["of"], room - 1), expressions.from_json(raw["where"]))
    if "join" in names:
        return _read_join(value, room)
    if "window" in names:
        return _read_window(value, room)
    raw = fields(value, "contract version as" if "as" in names else "contract version")
    return Scan(text(raw["contract"]), whole(raw["version"]), text(raw.get("as", "")))


def _read_join(value: JSON, room: int) -> Join:
    raw = fields(value, "join left right on")
    left, right = (read_source(raw[side], room - 1) for side in ("left", "right"))
    pairs = each(raw["on"], lambda pair: each(pair, text))
    return Join(
        left, right, among(raw["join"], JOINS), tuple((first, second) for first, second in pairs)
    )


def _read_window(value: JSON, room: int) -> Window:
    raw = fields(value, "of window function argument partition order frame offset")
    return Window(
        read_source(raw["of"], room - 1),
        text(raw["window"]),
        among(raw["function"], WINDOWS),
        maybe(raw["argument"]),
        each(raw["partition"], expressions.from_json),
        each(raw["order"], _read_order),
        None if raw["frame"] is None else whole(raw["frame"]),
        whole(raw["offset"]),
    )


def _read_order(value: JSON) -> Order:
    raw = fields(value, "by falling")
    return Order(expressions.from_json(raw["by"]), raw["falling"] is True)
