"""A scalar expression over one row, as a frozen tree with one spelling.

    Expression = Column | Literal | Call(function, arguments)

Functions form a closed list (`functions.FUNCTIONS`), and every one is total: what fails on a row
is NULL for that row and never an error. What an expression is (type, unit, public bounds, public
domain) does not stand in the tree; `kinds` derives it from the contract.
"""

import datetime
import math
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Final, TypeAlias, assert_never, get_args
from typing import Literal as Among

from federation.errors import MalformedOrderError
from secure_compute.canonical import JSON

Type: TypeAlias = Among["number", "text", "boolean", "date", "timestamp"]
Value: TypeAlias = float | str | bool | datetime.date | None
"""A value of one row in memory; timestamps are datetimes, which are dates; None is NULL."""

MAX_DEPTH: Final = 24
MAX_NODES: Final = 400
MAX_ARGUMENTS: Final = 100
MAX_TEXT: Final = 200
MAX_DIGITS: Final = 18


@dataclass(frozen=True, slots=True)
class Column:
    """The value of one column, read as the contract promises it."""

    name: str


@dataclass(frozen=True, slots=True)
class Literal:
    """A constant; `text` is the one spelling of its type."""

    type: Type
    text: str

    @property
    def value(self) -> Value:
        """The constant in memory."""
        match self.type:
            case "number":
                return float(self.text)
            case "text":
                return self.text
            case "boolean":
                return self.text == "true"
            case "date":
                return datetime.date.fromisoformat(self.text)
            case "timestamp":
                return datetime.datetime.fromisoformat(self.text)
            case other:
                assert_never(other)


@dataclass(frozen=True, slots=True)
class Call:
    """A function of the closed list, applied."""

    function: str
    arguments: tuple["Expression", ...]


Expression: TypeAlias = Column | Literal | Call


def number(value: Decimal | int | str) -> Literal:
    """Return a number in its one spelling.

    Raises:
        MalformedOrderError: it is not finite, or has more digits than a double tells apart.
    """
    try:
        text = format(Decimal(value), "f")
        text = text.rstrip("0").rstrip(".") if "." in text else text
        text = "0" if text in {"-0", ""} else text
        if len(text.lstrip("-").replace(".", "")) <= MAX_DIGITS and math.isfinite(float(text)):
            return Literal("number", text)
    except (InvalidOperation, ValueError):
        pass
    raise MalformedOrderError(f"a number has at most {MAX_DIGITS} digits: write fewer")


def literal(kind: Type, text: str) -> Literal:
    """Return the literal of type `kind` that `text` spells, in its one spelling.

    Raises:
        MalformedOrderError: the text spells no value of that type.
    """
    try:
        match kind:
            case "number":
                return number(text)
            case "text" if len(text) <= MAX_TEXT:
                return Literal(kind, text)
            case "boolean" if text in {"true", "false"}:
                return Literal(kind, text)
            case "date":
                return Literal(kind, datetime.date.fromisoformat(text).isoformat())
            case "timestamp":
                moment = datetime.datetime.fromisoformat(text)
                if moment.tzinfo is None:
                    return Literal(kind, moment.isoformat(sep=" "))
    except ValueError:
        pass
    raise MalformedOrderError(f"a literal is no {kind} of at most {MAX_TEXT} characters")


def walk(expression: Expression) -> Iterator[Expression]:
    """Yield every node, parents first."""
    yield expression
    if isinstance(expression, Call):
        for part in expression.arguments:
            yield from walk(part)


def columns(expression: Expression) -> frozenset[str]:
    """Return the names of the columns that are read."""
    return frozenset(node.name for node in walk(expression) if isinstance(node, Column))


def depth(expression: Expression) -> int:
    """Return how deeply calls are nested; a column or a literal is 1 deep."""
    if not isinstance(expression, Call):
        return 1
    return 1 + max(map(depth, expression.arguments), default=0)


def substituted(expression: Expression, meaning: dict[str, Expression]) -> Expression:
    """Return the expression with every column replaced by what it means."""
    match expression:
        case Column(name):
            return meaning.get(name, expression)
        case Literal():
            return expression
        case Call(function, arguments):
            return Call(function, tuple(substituted(part, meaning) for part in arguments))
        case other:
            assert_never(other)


def conjuncts(condition: Expression | None) -> tuple[Expression, ...]:
    """Return the conditions that must all hold, from left to right."""
    if condition is None:
        return ()
    if isinstance(condition, Call) and condition.function == "and":
        return tuple(leaf for part in condition.arguments for leaf in conjuncts(part))
    return (condition,)


def to_json(expression: Expression) -> dict[str, JSON]:
    """Return the canonical form."""
    match expression:
        case Column(name):
            return {"column": name}
        case Literal(kind, text):
            return {kind: text}
        case Call(function, arguments):
            return {"call": function, "of": [to_json(part) for part in arguments]}
        case other:
            assert_never(other)


def from_json(value: JSON, room: int = MAX_DEPTH) -> Expression:
    """Read an expression; `tree.from_json` sees to it that it is in its one spelling.

    Raises:
        MalformedOrderError: it is none, or nested more than MAX_DEPTH deep.
    """
    match value:
        case {"column": str(name), **rest} if not rest:
            return Column(name)
        case {"call": str(function), "of": list(arguments), **rest} if not rest and room > 1:
            if len(arguments) <= MAX_ARGUMENTS:
                return Call(function, tuple(from_json(part, room - 1) for part in arguments))
        case dict() if len(value) == 1:
            for kind in get_args(Type):
                text = value.get(kind)
                if isinstance(text, str):
                    return literal(kind, text)
    raise MalformedOrderError("an expression of the order's plan is malformed or nested too deeply")
