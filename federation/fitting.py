"""Whether a plan fits the contract it reads and the cohort it asks: every node decides for itself.

What a plan may sum, group by and filter on follows from the signed contract alone, and so do its
bounds. A node rebuilds them and compares, whoever compiled the plan. No rows are read here: a
refusal is the same sentence whatever the data say.
"""

import datetime
import re
from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal, InvalidOperation
from typing import Final

from federation.errors import UnsupportedQueryError
from federation.membership import Member
from federation.plans import (
    AllOf,
    Among,
    AnyOf,
    Clip,
    Comparison,
    Key,
    Plan,
    Predicate,
    leaves,
    predicate,
    table,
    width,
)
from policies.contracts import Column, DataContract
from secure_compute.hequery.params import QUERY_128

MINIMUM_ORGANISATIONS: Final = 3
MAX_NUMBERS: Final = QUERY_128.slots
"""Integers in one answer: the slots of one ciphertext."""

MAX_REACH: Final = 10**6
"""Steps between zero and the widest clipped value; coarser steps are chosen beyond it."""

PARTY_COLUMNS: Final = frozenset(
    {
        "bank",
        "counterparty",
        "jurisdiction",
        "merchant",
        "node",
        "organisation",
        "organization",
        "partner",
    }
    | {"party", "payment_partner", "retailer", "seller", "shop", "silo", "site", "store"}
    | {"supplier", "vendor", "warehouse"}
)
"""Columns of these names, also with `_id`, `_code` or `_name`, say whose rows one looks at."""


def clip_of(contract: DataContract, name: str) -> Clip:
    """Return the bound under which `name` may be summed.

    Money is counted in hundredths, other numbers in the coarsest power of ten that still cuts the
    range into ten thousand; a range too wide for exact sums takes a coarser step.

    Raises:
        UnsupportedQueryError: the column is no number, or the contract gives it no bounds.
    """
    column = _readable(contract, name, "SUM or AVG")
    if column.type not in {"float", "integer"} or column.low is None or column.high is None:
        raise UnsupportedQueryError(
            f"SUM and AVG need a number with bounds, and contract {contract.name!r} gives "
            f"{name!r} none: choose a column with low and high, or use COUNT(*)"
        )
    low, high = column.low, column.high
    step = _step(column, low, high)
    return Clip(
        name,
        int((low / step).__floor__()),
        int((high / step).__ceil__()),
        _plain(step),
        _unit(column),
    )


def capped(clip: Clip, high: Decimal) -> Clip:
    """Return `clip` with a lower upper end: less to hide, so less noise.

    Raises:
        UnsupportedQueryError: the end lies outside the contract's bounds, or between two steps.
    """
    steps = high / Decimal(clip.step)
    if steps != steps.to_integral_value() or not clip.low < steps <= clip.high:
        raise UnsupportedQueryError(
            f"LEAST({clip.column}, …) takes a whole number of {clip.step} {clip.unit} within the "
            "contract's bounds: choose one, or leave LEAST out"
        )
    return replace(clip, high=int(steps))


def unit_of(contract: DataContract) -> tuple[tuple[str, ...], int]:
    """Return the columns that name a unit and the most rows one unit may contribute."""
    return contract.unit.columns, contract.unit.rows


def key_of(contract: DataContract, name: str) -> Key:
    """Return the grouping key `name` with the public domain that the contract declares.

    Raises:
        UnsupportedQueryError: the column has no public domain, or names a person or a party.
    """
    column = _readable(contract, name, "GROUP BY")
    if not column.domain:
        raise UnsupportedQueryError(
            f"GROUP BY {name} needs a public domain, and contract {contract.name!r} declares none: "
            f"group by a column with a domain ({_with_domain(contract)})"
        )
    return Key(name, column.domain)


def literal_of(contract: DataContract, name: str, value: str | bool | Decimal) -> str:
    """Return `value` as column `name` spells it: the only spelling a plan may hold.

    Raises:
        UnsupportedQueryError: the column may not be filtered on, or the value is of another type.
    """
    column = _readable(contract, name, "WHERE")
    text = _spelled(column.type, value)
    if text is None:
        raise UnsupportedQueryError(
            f"WHERE compares {name!r}, a column of type {column.type}, with something else: "
            f"write a literal of that type"
        )
    if column.domain and text not in column.domain:
        raise UnsupportedQueryError(
            f"WHERE names a value that is not in the public domain of {name!r}: "
            f"use one of {', '.join(column.domain)}"
        )
    return text


def fit(plan: Plan, contract: DataContract, cohort: Sequence[Member]) -> None:
    """Accept a plan that says what the contract allows and hides every organisation of the cohort.

    Raises:
        UnsupportedQueryError: it does not; the sentence names the clause.
    """
    leaf, bound = table(plan), plan.child
    if (leaf.contract, leaf.version) != (contract.name, contract.version):
        raise UnsupportedQueryError(
            f"the plan reads contract {leaf.contract} version {leaf.version} and this party holds "
            f"{contract.name} version {contract.version}: agree on one version first"
        )
    if (bound.unit, bound.rows) != unit_of(contract):
        raise UnsupportedQueryError(
            f"the plan bounds {'/'.join(bound.unit)} to {bound.rows} rows and the contract says "
            f"{'/'.join(contract.unit.columns)} to {contract.unit.rows}: write the query anew"
        )
    _fit_columns(plan, contract)
    _fit_size(plan)
    condition = predicate(plan)
    if condition is not None:
        _fit_predicate(condition, contract, cohort)
    require_cohort(cohort)


def require_cohort(cohort: Sequence[Member]) -> None:
    """Accept a cohort in which no cell can be one organisation's own.

    Raises:
        UnsupportedQueryError: fewer than three organisations hold the rows that are read.
    """
    count = len({member.organisation for member in cohort})
    if count < MINIMUM_ORGANISATIONS:
        raise UnsupportedQueryError(
            f"{count} organisations hold rows for this query; a cell needs "
            f"{MINIMUM_ORGANISATIONS} that may hold it: ask a larger cohort"
        )


def _fit_columns(plan: Plan, contract: DataContract) -> None:
    summed = sorted({item.column for item in plan.aggregates if item.function != "count"})
    if not _within(plan.child.clips, tuple(clip_of(contract, name) for name in summed)):
        raise UnsupportedQueryError(
            "the plan's bounds on values are not the contract's: write the query anew"
        )
    if plan.keys != tuple(key_of(contract, key.column) for key in plan.keys):
        raise UnsupportedQueryError(
            "the plan groups over other values than the contract's public domain: "
            "write the query anew"
        )
    if any((item.function == "count") != (item.column == "") for item in plan.aggregates):
        raise UnsupportedQueryError(
            "COUNT takes *, SUM and AVG take a column: write the query anew"
        )


def _within(clips: Sequence[Clip], widest: Sequence[Clip]) -> bool:
    """Tell whether each clip is its contract's, or ends below it (LEAST), and none is missing."""
    return len(clips) == len(widest) and all(
        clip == replace(most, high=clip.high) and clip.low < clip.high <= most.high
        for clip, most in zip(clips, widest, strict=True)
    )


def _fit_size(plan: Plan) -> None:
    names = [key.column for key in plan.keys] + [item.label for item in plan.aggregates]
    if len({name.lower() for name in names}) != len(names) or not plan.aggregates:
        raise UnsupportedQueryError(
            "two columns of the answer have one name, or there is no aggregate: "
            "name each aggregate once with AS"
        )
    if width(plan) > MAX_NUMBERS:
        raise UnsupportedQueryError(
            f"GROUP BY asks for {width(plan)} numbers and one answer holds {MAX_NUMBERS}: "
            "drop a key or an aggregate"
        )


def _fit_predicate(condition: Predicate, contract: DataContract, cohort: Sequence[Member]) -> None:
    names = {str(m.party).lower() for m in cohort} | {m.organisation.lower() for m in cohort}
    for leaf in leaves(condition):
        values = leaf.values if isinstance(leaf, Among) else (leaf.value,)
        for text in values:
            column = _readable(contract, leaf.column, "WHERE")
            if literal_of(contract, leaf.column, _typed(column.type, text)) != text:
                raise UnsupportedQueryError(
                    f"the plan spells a value of {leaf.column!r} in its own way: "
                    "write the query anew"
                )
            if text.lower() in names:
                raise UnsupportedQueryError(
                    f"WHERE {leaf.column} names one party, and a cell needs "
                    f"{MINIMUM_ORGANISATIONS} organisations that may hold it: drop that condition"
                )
        if isinstance(leaf, Comparison) and leaf.operator not in _allowed(contract, leaf.column):
            raise UnsupportedQueryError(
                f"WHERE {leaf.column} {leaf.operator} orders text: use =, <> or IN"
            )
    _fit_shape(condition)


def _fit_shape(condition: Predicate, depth: int = 0) -> None:
    """Refuse conditions nested so deeply, or so many, that only a machine would write them."""
    if depth > 8 or (depth == 0 and sum(1 for _ in leaves(condition)) > 64):
        raise UnsupportedQueryError(
            "WHERE is nested too deeply or too long: write fewer conditions"
        )
    if isinstance(condition, AllOf | AnyOf):
        for part in condition.parts:
            _fit_shape(part, depth + 1)


def _allowed(contract: DataContract, name: str) -> tuple[str, ...]:
    ordered = _readable(contract, name, "WHERE").type in {"float", "integer", "date", "timestamp"}
    return ("=", "<>", "<", "<=", ">", ">=") if ordered else ("=", "<>")


def _readable(contract: DataContract, name: str, clause: str) -> Column:
    """Return the column called `name`, if a query may use it at all."""
    for column in contract.columns:
        if column.name != name:
            continue
        if name in contract.unit.columns:
            raise UnsupportedQueryError(
                f"{clause} uses {name!r}, which names the unit of privacy: leave it out, or ask "
                "about groups of rows"
            )
        if _names_party(name):
            raise UnsupportedQueryError(
                f"{clause} uses {name!r}, which says whose rows one looks at; a cell needs "
                f"{MINIMUM_ORGANISATIONS} organisations that may hold it: leave it out"
            )
        if column.optional:
            raise UnsupportedQueryError(
                f"{clause} uses {name!r}, which some roles lack, so fewer than "
                f"{MINIMUM_ORGANISATIONS} organisations may hold a cell: use a column that all hold"
            )
        return column
    raise UnsupportedQueryError(
        f"{clause} uses {name!r}, which contract {contract.name!r} does not have: "
        f"choose from {', '.join(column.name for column in contract.columns)}"
    )


def _names_party(name: str) -> bool:
    return re.sub(r"_(id|code|name)$", "", name.lower()) in PARTY_COLUMNS


def _with_domain(contract: DataContract) -> str:
    names = [c.name for c in contract.columns if c.domain and not c.optional]
    return ", ".join(name for name in names if not _names_party(name)) or "this contract has none"


def _unit(column: Column) -> str:
    return column.unit or ""


def _step(column: Column, low: Decimal, high: Decimal) -> Decimal:
    if column.type == "integer":
        step = Decimal(1)
    elif re.fullmatch(r"[A-Z]{3}", _unit(column)):
        step = Decimal("0.01")
    else:
        step = min(Decimal("0.01"), Decimal(1).scaleb(((high - low) / 10_000).adjusted()))
    while max(abs(low), abs(high)) / step > MAX_REACH:
        step *= 10
    return step


def _plain(number: Decimal) -> str:
    """Return the only spelling of a number: no exponent, no needless zero, no minus zero."""
    text = format(number, "f")
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return "0" if text in {"-0", ""} else text


def _typed(kind: str, text: str) -> str | bool | Decimal:
    """Return what a literal of that type would be; nonsense stays text and is refused later."""
    if kind in {"float", "integer"}:
        try:
            return Decimal(text)
        except InvalidOperation:
            return text
    if kind == "boolean" and text in {"true", "false"}:
        return text == "true"
    return text


def _spelled(kind: str, value: str | bool | Decimal) -> str | None:
    match kind, value:
        case "boolean", bool():
            return "true" if value else "false"
        case (("integer" | "float"), Decimal()) if value.is_finite() and abs(value.adjusted()) < 18:
            whole = value == value.to_integral_value()
            return _plain(value) if whole or kind == "float" else None
        case "string", str() if len(value) <= 200:
            return value
        case (("date" | "timestamp"), str()):
            return _moment(kind, value)
    return None


def _moment(kind: str, text: str) -> str | None:
    try:
        if kind == "date":
            return datetime.date.fromisoformat(text).isoformat()
        moment = datetime.datetime.fromisoformat(text)
    except ValueError:
        return None
    return None if moment.tzinfo else moment.isoformat(sep=" ")
