"""What a match may sum: a column with declared bounds, its step, its noise, and an interval."""

import math
from collections.abc import Callable
from dataclasses import replace
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from typing import Final

from federation.errors import MalformedOrderError
from federation.queries.scope import nearest
from policies.contracts import Column, DataContract
from secure_compute.errors import LocalProtocolError
from secure_compute.psi.values import Value

MOST_STEPS: Final = Decimal(10_000)
"""Steps between zero and the widest value: finer ones would be drowned in the noise by far."""

LEVEL: Final = 0.95


def value_for(
    contract: DataContract,
    name: str,
    epsilon: Decimal,
    most: int,
    bound: Decimal | None = None,
    unit: str | None = None,
) -> Value:
    """Return the value of a column at which telling one sum costs at most `epsilon`.

    Whole numbers are counted one by one, others in hundredths; a wide range in a coarser step.

    bound: hold it to [−bound, bound] within the contract's bounds; unit: that the bound is in.

    Raises:
        MalformedOrderError: there is no such column or it has no bounds, the bound is wider than
            the contract's or in another unit, or no noise that is allowed is enough.
    """
    column = summable(contract, name)
    _require_unit(contract, column, column.unit if unit is None else unit)
    ends = _ends(contract, column, bound)
    step = Decimal(1) if column.type == "integer" else Decimal("0.01")
    while max(abs(end) for end in ends) / step > MOST_STEPS:
        step *= 10
    low = int((ends[0] / step).to_integral_value(ROUND_FLOOR))
    high = int((ends[1] / step).to_integral_value(ROUND_CEILING))
    try:
        value = Value(
            column=name,
            low=low,
            high=high,
            step=format(step.normalize(), "f"),
            unit=column.unit or "",
            scale=1,
        )
        scale = (value.sensitivity(most) / epsilon).to_integral_value(ROUND_CEILING)
        return replace(value, scale=max(1, int(scale)))
    except LocalProtocolError as why:
        raise MalformedOrderError(f"{name} of contract {contract.name}: {why}") from why


def require_value(value: Value, contract: DataContract) -> None:
    """Accept a value that a contract lets be summed.

    Raises:
        MalformedOrderError: there is no such column, it has no bounds, or wider or other ones than
            the contract's.
    """
    column = summable(contract, value.column)
    _require_unit(contract, column, value.unit)
    low, high = value.spelled(value.low), value.spelled(value.high)
    step = Decimal(value.step)  # the ends of a value are rounded outwards
    if low <= _low(column) - step or high >= _high(column) + step:
        raise MalformedOrderError(
            f"contract {contract.name} holds {column.name} between {column.low} and {column.high}, "
            f"the order between {low} and {high}"
        )


def summable(contract: DataContract, name: str) -> Column:
    """Return a column of numbers with bounds.

    Raises:
        MalformedOrderError: there is none of that name, or it has no bounds.
    """
    columns = {column.name: column for column in contract.columns}
    bounded = [c.name for c in contract.columns if c.low is not None]
    if name not in columns:
        raise MalformedOrderError(
            f"contract {contract.name} has no column {name!r}{nearest(name, bounded)}"
        )
    if columns[name].low is None:
        raise MalformedOrderError(
            f"{name} of contract {contract.name} has no bounds, so a sum of it has no price; "
            f"columns with bounds: {', '.join(bounded) or 'none'}"
        )
    return columns[name]


def half_width(scale: int, draws: int = 2, level: float = LEVEL) -> int:
    """Return the least w at which `draws` (1 or 2) discrete Laplace noises add up to at most ±w.

    With a chance of `level` or more; the tails are exact, summed as geometric series.
    """
    tail = _one_tail if draws == 1 else _two_tails
    low, high = -1, 1
    while _outside(tail, scale, high) > 1 - level:
        high *= 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if _outside(tail, scale, middle) <= 1 - level else (middle, high)
    return high


def _outside(tail: Callable[[float, float], float], scale: int, width: int) -> float:
    """Return P(|noise| > width)."""
    return 2 * tail(1 / scale, float(width + 1))


def _one_tail(rate: float, start: float) -> float:
    """Return P(η ≥ start) of P(η) = (1−p)/(1+p) p^|η|, p = e^−rate."""
    return math.exp(-rate * start) / (1 + math.exp(-rate))


def _two_tails(rate: float, start: float) -> float:
    """Return P(η + η' ≥ start): P(n) = c² p^n (n + k), c = (1−p)/(1+p), k = (1+p²)/(1−p²)."""
    p, gap = math.exp(-rate), -math.expm1(-rate)
    square = -math.expm1(-2 * rate)
    k = (1 + p * p) / square
    return math.exp(-rate * start) * (gap * (start + k) + p) / (1 + p) ** 2


def _ends(contract: DataContract, column: Column, bound: Decimal | None) -> tuple[Decimal, Decimal]:
    low, high = _low(column), _high(column)
    if bound is None:
        return low, high
    if not bound.is_finite() or bound <= 0 or bound > max(abs(low), abs(high)):
        raise MalformedOrderError(
            f"contract {contract.name} holds {column.name} between {low} and {high} "
            f"{column.unit or ''}: a bound is above 0 and no wider"
        )
    if max(low, -bound) > min(high, bound):
        raise MalformedOrderError(f"nothing of {column.name} is within the bound {bound}")
    return max(low, -bound), min(high, bound)


def _require_unit(contract: DataContract, column: Column, unit: str | None) -> None:
    if (unit or "") != (column.unit or ""):
        raise MalformedOrderError(
            f"{column.name} of contract {contract.name} is in {column.unit or 'no unit'}, the "
            f"bound in {unit or 'no unit'}: nothing is converted; state it as the contract does"
        )


def _low(column: Column) -> Decimal:
    return column.low if column.low is not None else Decimal(0)


def _high(column: Column) -> Decimal:
    return column.high if column.high is not None else Decimal(0)
