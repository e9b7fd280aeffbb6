"""The columns in scope and what is known of them in public; what an expression over them is.

A column is read as its contract promises: a number is held to its bounds, a value outside the
domain and a date outside the years 1 to 9999 are NULL. WHERE narrows what is known further, since
only rows for which it is true come through.
"""

import difflib
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from decimal import Decimal
from typing import Final

from federation.errors import (
    NamedUnitQueryError,
    OnePartyQueryError,
    UnsupportedQueryError,
)
from federation.queries.cohort import MINIMUM_ORGANISATIONS, PARTY_COLUMNS
from federation.queries.expressions import (
    MAX_DEPTH,
    MAX_NODES,
    Call,
    Column,
    Expression,
    Literal,
    conjuncts,
    depth,
    walk,
)
from federation.queries.functions import FUNCTIONS
from federation.queries.intervals import EVERYTHING, Interval
from federation.queries.kinds import MAX_WHOLE, Kind, days, image, narrowed, number
from policies.contracts import Column as Declared
from policies.contracts import DataContract

MAX_COPIES: Final = 256
"""Most times that the columns may be named once LEAST, divisions and overflows are spelled out."""

Scope = Mapping[str, Kind]


def scope_of(contract: DataContract, condition: Expression | None = None) -> Scope:
    """Return what is known of the contract's columns in rows for which `condition` is true."""
    return narrowed_by({column.name: declared(column) for column in contract.columns}, condition)


def narrowed_by(scope: Scope, condition: Expression | None) -> Scope:
    """Return what is known of the columns in rows for which `condition` is true as well."""
    known = dict(scope)
    for leaf in conjuncts(condition):
        known.update(_said(leaf, known))
    return known


def declared(column: Declared) -> Kind:
    """Return what the contract says of one column."""
    match column.type:
        case "float" | "integer":
            return _declared_number(column)
        case "string":
            return Kind(type="text", domain=column.domain)
        case "boolean":
            return Kind(type="boolean")
        case "date" | "timestamp":
            return days(column.type)


def _declared_number(column: Declared) -> Kind:
    low = -math.inf if column.low is None else float(column.low)
    high = math.inf if column.high is None else float(column.high)
    kind = number((low, high), whole=column.type == "integer", unit=column.unit or "")
    if column.domain is None or column.type != "integer":
        return kind
    values = tuple(float(Decimal(text)) for text in column.domain)
    values = tuple(x for x in values if low <= x <= high)
    return replace(kind, low=min(values), high=max(values), domain=values)


def kind_of(expression: Expression, scope: Scope) -> Kind:
    """Return what an expression is.

    Raises:
        UnsupportedQueryError: it names a column or function that is not there, or mixes types.
    """
    match expression:
        case Column(name):
            if name in scope:
                return scope[name]
            raise UnsupportedQueryError(f"{name!r} is no column in scope{nearest(name, scope)}")
        case Literal():
            return _constant(expression)
        case Call(_, arguments):
            return _applied(expression, [kind_of(part, scope) for part in arguments])


def _applied(call: Call, kinds: list[Kind]) -> Kind:
    if call.function not in FUNCTIONS:
        raise UnsupportedQueryError(f"there is no function {call.function!r} in a plan")
    function = FUNCTIONS[call.function]
    kind = function.kind(function.title, kinds)
    if not function.mapped or kind.domain is not None:
        return kind
    return replace(kind, domain=image(kinds, function))


def _constant(item: Literal) -> Kind:
    value = item.value
    if isinstance(value, bool | str):
        return Kind(type=item.type, domain=(value,), missing=False)
    if isinstance(value, float):
        whole = value.is_integer() and abs(value) <= MAX_WHOLE
        return replace(number((value, value), whole=whole), domain=(value,), missing=False)
    day = float(value.toordinal()) if value is not None else 0.0
    return replace(days(item.type, (day, day)), domain=(value,), missing=False)


def require_modest(expression: Expression, scope: Scope) -> None:
    """Refuse an expression so large that only a machine would write it.

    Raises:
        UnsupportedQueryError: it is nested too deeply, too long, or spelled out too often.
    """
    nodes = sum(1 for _ in walk(expression))
    if depth(expression) > MAX_DEPTH or nodes > MAX_NODES:
        raise UnsupportedQueryError(
            f"an expression is nested more than {MAX_DEPTH} deep or longer than {MAX_NODES} parts: "
            "write fewer conditions"
        )
    if copies(expression, scope) > MAX_COPIES:
        raise UnsupportedQueryError(
            "an expression nests divisions, LEAST, GREATEST or products without bounds too deeply: "
            "bound the columns in it first, as in LEAST(quantity, 100)"
        )


def overflows(kind: Kind) -> bool:
    """Tell whether arithmetic of this kind may leave the doubles, and so must be checked."""
    return not kind.bounded


def copies(expression: Expression, scope: Scope) -> int:
    """Return how often columns are named once DuckDB's text spells the checks out.

    Raises:
        UnsupportedQueryError: the expression mixes types.
    """
    return _sized(expression, scope)[0]


def _sized(expression: Expression, scope: Scope) -> tuple[int, Kind]:
    if not isinstance(expression, Call):
        return 1, kind_of(expression, scope)
    inner = [_sized(part, scope) for part in expression.arguments]
    counts, kind = [count for count, _ in inner], _applied(expression, [kind for _, kind in inner])
    match expression.function:
        case "least" | "greatest":
            return len(counts) * sum(counts), kind
        case "divide":
            return (counts[0] + 2 * counts[1]) * (1 + overflows(kind)), kind
        case "add" | "subtract" | "multiply":
            return sum(counts) * (1 + overflows(kind)), kind
        case "to_number" | "to_date":
            return 2 * sum(counts), kind
    return sum(counts), kind


def open_column(expression: Expression, scope: Scope) -> tuple[str, str] | None:
    """Return the first column for whose sake a number has no bound, and the side that lacks one."""
    kind = kind_of(expression, scope)
    if kind.type != "number" or kind.bounded:
        return None
    side = "upper" if math.isinf(kind.high) else "lower"
    match expression:
        case Column(name):
            return name, side
        case Call("least" | "greatest", (Column(name), *_)) if not scope[name].bounded:
            return name, side
        case Call(_, arguments):
            found = (open_column(part, scope) for part in arguments)
            return next((item for item in found if item is not None), None)
    return None


def nearest(name: str, known: Iterable[str]) -> str:
    """Return ": write 'x'" for the known name nearest to `name`, or the names there are."""
    choices = sorted(known)
    close = difflib.get_close_matches(name.lower(), choices, n=1)
    if close:
        return f": did you mean {close[0]!r}?"
    return f": choose from {', '.join(choices) or 'none'}"


def readable(contract: DataContract, name: str, clause: str) -> Declared:
    """Return the column called `name`, if an expression may read it.

    Raises:
        UnsupportedQueryError: there is none, or it names a unit, a party, or a role's own matter.
    """
    for column in contract.columns:
        if column.name == name:
            _require_shared(contract, column, clause)
            return column
    hint = nearest(name, (column.name for column in contract.columns))
    raise UnsupportedQueryError(
        f"{clause} uses {name!r}, which contract {contract.name!r} does not have{hint}"
    )


def _require_shared(contract: DataContract, column: Declared, clause: str) -> None:
    name = column.name
    if name in contract.unit.columns:
        raise NamedUnitQueryError(
            f"{clause} uses {name!r}, which names the unit of privacy: leave it out, or write "
            f"COUNT(DISTINCT {', '.join(contract.unit.columns)})"
        )
    if re.sub(r"_(id|code|name)$", "", name.lower()) in PARTY_COLUMNS:
        raise OnePartyQueryError(
            f"{clause} uses {name!r}, which says whose rows one looks at; a cell needs "
            f"{MINIMUM_ORGANISATIONS} organisations that may hold it: leave it out"
        )
    if column.optional:
        raise OnePartyQueryError(
            f"{clause} uses {name!r}, which some roles lack, so fewer than "
            f"{MINIMUM_ORGANISATIONS} organisations may hold a cell: use a column that all hold"
        )


_ENDS: Final[Mapping[str, tuple[bool, bool]]] = {
    "eq": (True, True),
    "lt": (False, True),
    "le": (False, True),
    "gt": (True, False),
    "ge": (True, False),
}
_MIRRORED: Final = {"eq": "eq", "lt": "gt", "le": "ge", "gt": "lt", "ge": "le"}


def _said(leaf: Expression, known: Scope) -> Iterator[tuple[str, Kind]]:
    """Yield what one condition that is true says of a column."""
    match leaf:
        case Call("in", (Column(name), *values)) if name in known:
            literals = [value for value in values if isinstance(value, Literal)]
            if len(literals) == len(values):
                yield name, _among(known[name], literals)
        case Call(operator, (Column(name), Literal() as value)) if name in known:
            if operator in _ENDS:
                yield name, _compared(known[name], operator, value)
        case Call(operator, (Literal() as value, Column(name))) if name in known:
            if operator in _ENDS:
                yield name, _compared(known[name], _MIRRORED[operator], value)


def _among(kind: Kind, literals: list[Literal]) -> Kind:
    ends = [_constant(item) for item in literals]
    span = min(end.low for end in ends), max(end.high for end in ends)
    found = kind if kind.type in {"text", "boolean"} else narrowed(kind, span)
    values = {item.value for item in literals}
    if kind.type == "text":
        named = tuple(sorted(str(value) for value in values))
        kept = named if kind.domain is None else tuple(x for x in kind.domain if x in values)
        return replace(found, domain=kept or kind.domain)
    if kind.domain is not None:
        return replace(found, domain=tuple(x for x in kind.domain if x in values) or kind.domain)
    return found


def _compared(kind: Kind, operator: str, item: Literal) -> Kind:
    if operator == "eq":
        return _among(kind, [item])
    if kind.type in {"text", "boolean"}:
        return kind
    end, (below, above) = _constant(item), _ENDS[operator]
    interval: Interval = (
        end.low + _skipped(kind, operator, item) if below else EVERYTHING[0],
        end.high - _skipped(kind, operator, item) if above else EVERYTHING[1],
    )
    return narrowed(kind, interval)


def _skipped(kind: Kind, operator: str, item: Literal) -> int:
    """Return 1 where a strict comparison leaves out its whole end: a number, or a day."""
    value = item.value
    if operator not in {"lt", "gt"}:
        return 0
    if kind.type == "timestamp":
        return int(operator == "lt" and item.text.endswith(" 00:00:00"))
    whole = kind.whole and isinstance(value, float) and value.is_integer()
    return int(whole or kind.type == "date")
