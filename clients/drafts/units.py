"""In which unit a column's numbers are: what is asked, what is proposed, and what an answer means.

Nothing in numbers says whether they are cents. So every number that is a measure is asked about,
unless the column's own name says its unit.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from clients.drafts.fitting import outside
from clients.drafts.meaning import currencies, unit_in, weights
from clients.drafts.questions import Question
from policies.contracts import Column

AS_IT_IS: Final = "as it is"
HUNDREDTH: Final = "/100"

Numbers = Iterable[tuple[Decimal, int]]


@dataclass(frozen=True, slots=True)
class Measured:
    """What a unit comes to: a factor, and a currency that still needs a rate, or "" for none."""

    times: Decimal | None = None
    currency: str = ""


def has_unit(column: Column) -> bool:
    """Return whether the column is a measure, whose numbers mean nothing without a unit."""
    return column.type == "float" or column.unit is not None


def is_money(column: Column) -> bool:
    """Return whether the column is an amount of some currency."""
    return column.unit in currencies()


def choices(column: Column, named: str = "") -> tuple[str, ...]:
    """Return the units that may be answered; named: a column that names each row's currency."""
    if is_money(column):
        own = (named, named + HUNDREDTH) if named else ()
        return (*own, str(column.unit), f"{column.unit}{HUNDREDTH}", *_others(column))
    if column.unit in weights():
        return tuple(weights())
    return (column.unit or AS_IT_IS,)


def said_by_name(column: Column, name: str) -> str | None:
    """Return the unit that a column's name says, if it can be one of this column."""
    found = unit_in(name)
    return found if found in choices(column) and found != AS_IT_IS else None


def question(column: Column, name: str, values: list[tuple[Decimal, int]], named: str) -> Question:
    """Return what is asked about the unit of the operator's column `name`."""
    own = column.unit or "the unit that the contract means"
    few = choices(column, named)
    bounds = "" if column.low is None else f" within {column.low}…{column.high}"
    rows = sum(count for _, count in values)
    over = outside(column, values)
    clipped = f"; of {rows} rows looked at, {over} lie outside as they stand" if bounds else ""
    asks = f"{name}: in which unit is it? The contract wants {own}{bounds}{clipped}"
    return Question(
        f"unit:{column.name}", asks, _proposed(column, values, few), _shown(few, column), "unit"
    )


def measured(column: Column, answer: str, named: str) -> Measured:
    """Return what an answer to `question` means."""
    if answer.startswith("*"):
        return Measured(Decimal(answer[1:]))
    unit, hundredth = answer.removesuffix(HUNDREDTH), answer.endswith(HUNDREDTH)
    if column.unit in weights():
        ratio = weights()[unit] / weights()[str(column.unit)]
        return Measured(None if ratio == 1 else ratio)
    times = Decimal("0.01") if hundredth else None
    is_other = is_money(column) and unit not in {column.unit, named}
    return Measured(times, unit if is_other else "")


def _others(column: Column) -> tuple[str, ...]:
    others = sorted(currencies() - {str(column.unit)})
    return (*others, *(f"{other}{HUNDREDTH}" for other in others))


def _shown(few: tuple[str, ...], column: Column) -> tuple[str, ...]:
    return (*few, "*0.01") if not is_money(column) and column.unit not in weights() else few


def _proposed(
    column: Column, values: list[tuple[Decimal, int]], few: tuple[str, ...]
) -> str | None:
    """Return the first unit, or a smaller one where the numbers are too large for the first."""
    if not outside(column, values):
        return few[0] if column.unit not in weights() else str(column.unit)
    for unit in _smaller(column, few):
        times = measured(column, unit, "").times or Decimal(1)
        if not outside(column, [(number * times, count) for number, count in values]):
            return unit
    return None


def _smaller(column: Column, few: tuple[str, ...]) -> tuple[str, ...]:
    if is_money(column):
        return (few[1],) if few[1].endswith(HUNDREDTH) else ()
    return tuple(weights()) if column.unit in weights() else ("*0.01",)
