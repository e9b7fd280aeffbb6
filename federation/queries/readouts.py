"""What stands beside the numbers of an answer: units, terms of regressions, bins, notes."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from decimal import Decimal
from typing import Final

from federation.queries.estimates import edges_of
from federation.queries.expressions import Column
from federation.queries.fitting import named
from federation.queries.tree import Aggregate, Output, Plan
from secure_compute.canonical import JSON

COUNTED: Final = frozenset({"rows", "units"})
"""Units of whole numbers."""

FIXED: Final = {"count": "rows", "bin": "rows", "units": "units", "corr": ""}
"""The units of aggregates whose values have none of their own: rows, or units of privacy."""


@dataclass(frozen=True, slots=True)
class Term:
    """One coefficient of a regression: `label` is what `of` changes by when `term` grows by 1."""

    label: str
    of: str
    term: str

    def to_json(self) -> dict[str, JSON]:
        """Return the form that reports print."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Bin:
    """One column of a histogram: `label` counts rows in which `of` lies between low and high."""

    label: str
    of: str
    low: str
    high: str

    def to_json(self) -> dict[str, JSON]:
        """Return the form that reports print."""
        return asdict(self)


def unit_of(plan: Plan, output: Output) -> str:
    """Return the unit of a column of the answer; "" for what has none or was computed."""
    for item in plan.child.aggregates:
        if output.expression == Column(item.label):
            return _unit(item)
    return ""


def terms_of(plan: Plan) -> tuple[Term, ...]:
    """Return what the coefficients in an answer belong to."""
    return tuple(
        Term(
            label,
            named(item.values[0].expression),
            "intercept"
            if item.parameter == "0"
            else named(item.values[int(item.parameter)].expression),
        )
        for label, item in _shown(plan, "coefficient")
    )


def bins_of(plan: Plan) -> tuple[Bin, ...]:
    """Return between which values the columns of histograms count."""
    found = []
    for label, item in _shown(plan, "bin"):
        value, place = item.values[0], int(item.parameter)
        ends = edges_of(value, item.bins)[place : place + 2]
        low, high = (format(Decimal(repr(end)) * Decimal(value.step), "f") for end in ends)
        found.append(Bin(label, named(value.expression), low, high))
    return tuple(found)


def notes_of(per_silo: Sequence[str], drowned: int, hidden: int) -> tuple[str, ...]:
    """Return sentences about a whole answer, from released numbers alone."""
    found = [f"{label} counts a unit once at each party that has its rows" for label in per_silo]
    if drowned:
        found.append(f"{drowned} numbers cannot be told from noise and are left out")
    if hidden:
        found.append(f"HAVING left out {hidden} cells by their released values")
    return tuple(found)


def _shown(plan: Plan, function: str) -> Iterator[tuple[str, Aggregate]]:
    known = {item.label: item for item in plan.child.aggregates}
    for output in plan.outputs:
        if isinstance(output.expression, Column):
            item = known[output.expression.name]
            if item.function == function:
                yield output.label, item


def _unit(item: Aggregate) -> str:
    if item.function in FIXED:
        return FIXED[item.function]
    units = [value.unit for value in item.values]
    match item.function:
        case "var_pop" | "var_samp":
            return f"{units[0]}²" if units[0] else ""
        case "covar_pop" | "covar_samp":
            return "·".join(unit for unit in units if unit)
        case "coefficient" if item.parameter != "0":
            below = units[int(item.parameter)]
            return f"{units[0] or '1'}/{below}" if below else units[0]
    return units[0]
