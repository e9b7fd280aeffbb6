"""Fields of a plan's JSON: each is of its kind, or the plan is refused."""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from federation.errors import MalformedOrderError
from federation.queries import expressions
from federation.queries.expressions import Expression
from secure_compute.canonical import JSON

_T = TypeVar("_T")


def fields(value: JSON, names: str) -> Mapping[str, Any]:
    """Return a table that has exactly these names.

    Raises:
        MalformedOrderError: it is no such thing.
    """
    if not isinstance(value, Mapping) or set(value) != set(names.split()):
        raise MalformedOrderError(f"a part of the order's plan has not exactly {names}")
    return value


def each(value: JSON, read: Callable[[Any], _T]) -> tuple[_T, ...]:
    """Return what `read` makes of every item of a list.

    Raises:
        MalformedOrderError: it is no such thing.
    """
    if not isinstance(value, list):
        raise MalformedOrderError("the order's plan holds something other than a list")
    return tuple(map(read, value))


def text(value: JSON) -> str:
    """Return a text.

    Raises:
        MalformedOrderError: it is no such thing.
    """
    if not isinstance(value, str):
        raise MalformedOrderError("the order's plan holds something other than text")
    return value


def whole(value: JSON) -> int:
    """Return a whole number.

    Raises:
        MalformedOrderError: it is no such thing.
    """
    if not isinstance(value, int) or isinstance(value, bool):
        raise MalformedOrderError("the order's plan holds something other than a whole number")
    return value


def among(value: JSON, allowed: tuple[_T, ...]) -> _T:
    """Return the one of `allowed` that a value is.

    Raises:
        MalformedOrderError: it is no such thing.
    """
    for name in allowed:
        if value == name:
            return name
    raise MalformedOrderError("a relation of the order's plan is malformed")


def maybe(value: JSON) -> Expression | None:
    """Return an expression, or nothing.

    Raises:
        MalformedOrderError: it is no such thing.
    """
    return None if value is None else expressions.from_json(value)


def maybe_json(expression: Expression | None) -> JSON:
    """Return the canonical form of an expression, or nothing."""
    return None if expression is None else expressions.to_json(expression)
