"""The bounds and the step under which an expression may be summed, from what is public about it."""

import re
from decimal import Decimal
from typing import Final

from federation.errors import UnsupportedQueryError
from federation.queries.expressions import Call, Expression, number, walk
from federation.queries.kinds import MAX_WHOLE, Kind
from federation.queries.scope import Scope, kind_of, open_column
from federation.queries.tree import Value

MAX_REACH: Final = 10**6
"""Steps between zero and the widest value; coarser steps are chosen beyond it."""

MAX_HALF: Final = 10**4
"""Steps between the centre and the end of a value that is multiplied with another."""

PRODUCTS: Final = frozenset(
    {"var_pop", "var_samp", "stddev_pop", "stddev_samp", "covar_pop", "covar_samp", "corr"}
    | {"coefficient"}
)
"""Aggregates that multiply values; these take coarser steps, so that sums of products are exact."""


def value_of(
    expression: Expression, scope: Scope, function: str, clause: str, contract: str
) -> Value:
    """Return the bounds under which `expression` may be summed by `function`.

    Whole numbers are counted one by one, money in hundredths, others in a power of ten that cuts
    the range into ten thousand; a range too wide for exact sums takes a coarser step.

    Raises:
        UnsupportedQueryError: it is no number, or has no bounds; the sentence names it.
    """
    kind = kind_of(expression, scope)
    if kind.type == "boolean":
        raise UnsupportedQueryError(
            f"{clause}: a condition is no number; write COUNT(*) FILTER (WHERE …)"
        )
    if kind.type != "number":
        raise UnsupportedQueryError(
            f"{clause}: a {kind.type} cannot be summed; choose a number, or write COUNT"
        )
    if not kind.bounded:
        raise UnsupportedQueryError(f"{clause}: {_lacking(expression, scope, contract)}")
    if max(abs(kind.low), abs(kind.high)) > MAX_WHOLE:
        raise UnsupportedQueryError(
            f"{clause}: the bounds reach beyond 2^53; bound the value by LEAST and GREATEST"
        )
    step = step_of(kind, function)
    low, high = Decimal(kind.low) / step, Decimal(kind.high) / step
    return Value(
        expression, int(low.__floor__()), int(high.__ceil__()), number(step).text, kind.unit
    )


def step_of(kind: Kind, function: str) -> Decimal:
    """Return the step in which a value of this kind is counted."""
    low, high = Decimal(kind.low), Decimal(kind.high)
    if kind.whole:
        step = Decimal(1)
    elif re.fullmatch(r"[A-Z]{3}", kind.unit) or low == high:
        step = Decimal("0.01")
    else:
        step = min(Decimal("0.01"), Decimal(1).scaleb(((high - low) / 10_000).adjusted()))
    while max(abs(low), abs(high)) / step > MAX_REACH:
        step *= 10
    while function in PRODUCTS and (high - low) / 2 / step > MAX_HALF:
        step *= 10
    return step


def _lacking(expression: Expression, scope: Scope, contract: str) -> str:
    found = open_column(expression, scope)
    if found is not None:
        name, side = found
        cap = f"LEAST({name}, 100)" if side == "upper" else f"GREATEST({name}, 0)"
        return f"{name} has no {side} bound in contract {contract}; write {cap}"
    if any(isinstance(node, Call) and node.function == "divide" for node in walk(expression)):
        return (
            "the divisor can come near zero, so the quotient has no bounds; bound the divisor from "
            "below, as in GREATEST(divisor, 1), or the quotient by LEAST and GREATEST"
        )
    return "the value has no bounds; write LEAST(GREATEST(value, 0), 100)"
