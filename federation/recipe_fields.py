"""The numbers of recipes: their ranges, and their one spelling in canonical JSON."""

import re
from collections.abc import Container, Mapping
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from typing import Final

from federation.errors import MalformedOrderError
from policies.budget.events import spell

_PLAIN: Final = re.compile(r"[0-9]{1,20}(\.[0-9]{1,20})?", re.ASCII)
_SMALLEST: Final = Decimal("0.000000001")


def require_range(
    name: str, value: Decimal | int, most: Mapping[str, int], zero_allowed: Container[str]
) -> None:
    """Accept a number above 0, or 0 where that is allowed, of at most `most` and 9 decimals.

    Raises:
        MalformedOrderError: it is none.
    """
    zero = value == 0 and name in zero_allowed
    if isinstance(value, Decimal) and not value.is_finite():
        raise MalformedOrderError(f"The recipe's {name} is not a finite number.")
    if not (zero or 0 < value <= most[name]):
        least = "0 or more" if name in zero_allowed else "above 0"
        raise MalformedOrderError(f"The recipe's {name} must be {least} and at most {most[name]}.")
    if isinstance(value, Decimal) and not zero and not _has_few_decimals(value):
        raise MalformedOrderError(f"The recipe's {name} may have at most 9 decimals.")


def require_weeks(window: int, horizons: int, rows_per_unit: int) -> None:
    """Accept the weeks that rows of demand read, or a window of 0 where rows are no weeks.

    Raises:
        MalformedOrderError: nothing is known before the target, or a unit lacks room for its rows.
    """
    if window == 1:
        raise MalformedOrderError("The recipe's window must be 0, or at least 2 weeks.")
    if horizons > 1 and not window:
        raise MalformedOrderError(
            "Horizons are of rows of weeks: give the recipe a window, or leave horizons at 1."
        )
    if horizons > 1 and rows_per_unit != horizons:
        raise MalformedOrderError(
            "A unit has one row for each horizon: the recipe's rows_per_unit must be horizons."
        )


def decimal(name: str, text: object) -> Decimal:
    """Return the number that `text` spells.

    Raises:
        MalformedOrderError: it spells none, or not in the one form.
    """
    try:
        number = Decimal(text) if isinstance(text, str) and _PLAIN.fullmatch(text) else None
    except InvalidOperation:
        number = None
    if number is None or not number.is_finite() or spell(number) != text:
        raise MalformedOrderError(f"The recipe's {name} is not a decimal number in its one form.")
    return number


def integer(name: str, number: object) -> int:
    """Return `number`.

    Raises:
        MalformedOrderError: it is no integer.
    """
    if not isinstance(number, int) or isinstance(number, bool):
        raise MalformedOrderError(f"The recipe's {name} must be an integer.")
    return number


def _has_few_decimals(value: Decimal) -> bool:
    return value >= _SMALLEST and (Fraction(value) / Fraction(_SMALLEST)).denominator == 1
