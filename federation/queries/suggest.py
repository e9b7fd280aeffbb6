"""The nearest question that would be accepted, tried out: nothing is suggested that does not parse.

Small changes are made one after the other, from those that lose nothing (a name that was meant, a
sort that costs nothing afterwards) to those that ask for less (a condition or a key left out). The
first text that the language accepts is returned.
"""

import difflib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Final

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from federation.errors import UnsupportedQueryError
from federation.membership import Member
from federation.queries.cohort import MINIMUM_ORGANISATIONS
from federation.queries.parse import parse
from federation.queries.party_names import names_a_party
from federation.queries.scope import readable
from policies.contracts import DataContract

AFTERWARDS: Final = ("distinct", "order", "limit", "offset", "qualify", "sample", "into", "locks")
"""Clauses that can be left out, since an answer is sorted and cut after it has arrived."""

CAP: Final = "1000"
"""What a value without bounds is held to; whoever asks will know a better number."""

_SUMMED: Final = (exp.Sum, exp.Avg, exp.Variance, exp.VariancePop, exp.Stddev, exp.StddevPop)


def suggestion(
    sql: str, contracts: Mapping[str, DataContract], cohort: Sequence[Member]
) -> str | None:
    """Return the nearest text that `parse` accepts, or None where no small change is enough."""
    if len({member.organisation for member in cohort}) < MINIMUM_ORGANISATIONS:
        return None
    try:
        found = sqlglot.parse_one(sql, read="duckdb")
    except (SqlglotError, RecursionError):
        return None
    if not isinstance(found, exp.Select):
        return None
    for text in _tries(found, contracts, cohort):
        if _passes(text, contracts, cohort):
            return text
    return None


def _tries(
    select: exp.Select, contracts: Mapping[str, DataContract], cohort: Sequence[Member]
) -> Iterator[str]:
    changes: list[Callable[[exp.Select], None]] = [
        _without_sorting,
        lambda it: _with_table(it, contracts),
        lambda it: _with_columns(it, _contract(it, contracts)),
        lambda it: _with_units(it, contracts),
        lambda it: _without_conditions(it, _contract(it, contracts), cohort),
        lambda it: _without_keys(it, _contract(it, contracts)),
        lambda it: _bound(it, _contract(it, contracts)),
        _count_alone,
    ]
    for change in changes:
        change(select)
        yield _text(select)


def _passes(text: str, contracts: Mapping[str, DataContract], cohort: Sequence[Member]) -> bool:
    try:
        parse(text, contracts, cohort)
    except UnsupportedQueryError:
        return False
    return True


def _text(select: exp.Select) -> str:
    return select.sql(dialect="duckdb")


def _contract(select: exp.Select, contracts: Mapping[str, DataContract]) -> DataContract | None:
    source = select.args.get("from_")
    return None if source is None else contracts.get(source.this.name)


def _without_sorting(select: exp.Select) -> None:
    for name in AFTERWARDS:
        select.set(name, None)


def _with_table(select: exp.Select, contracts: Mapping[str, DataContract]) -> None:
    source = select.args.get("from_")
    if source is None or not isinstance(source.this, exp.Table) or source.this.name in contracts:
        return
    if close := _nearest(source.this.name, contracts):
        source.this.set("this", exp.to_identifier(close))


def _with_columns(select: exp.Select, contract: DataContract | None) -> None:
    """Put the nearest of the contract's columns where a name is none of them."""
    if contract is None:
        return
    known = [column.name for column in contract.columns]
    aliases = {item.alias for item in select.expressions if isinstance(item, exp.Alias)}
    for column in list(select.find_all(exp.Column)):
        if column.name not in {*known, *aliases} and (close := _nearest(column.name, known)):
            column.set("this", exp.to_identifier(close))


def _with_units(select: exp.Select, contracts: Mapping[str, DataContract]) -> None:
    """Let every join equate the columns that name the unit, which stand in both contracts."""
    source = select.args.get("from_")
    for join in select.args.get("joins") or ():
        tables = [found.this for found in (source, join) if found is not None]
        units = [_unit(table, contracts) for table in tables]
        if len(units) < 2 or not units[0] or units[0] != units[1]:
            continue
        known = [name.name for name in join.args.get("using") or ()]
        if join.args.get("on") is None:
            more = [exp.to_identifier(name) for name in units[0] if name not in known]
            join.set("using", [*(join.args.get("using") or ()), *more])
            continue
        first, second = (table.alias_or_name for table in tables)
        equal = [exp.column(n, first).eq(exp.column(n, second)) for n in units[0]]
        lacking = [one for one in equal if one not in join.args["on"].find_all(exp.EQ)]
        join.set("on", exp.and_(join.args["on"], *lacking))


def _unit(table: exp.Expr, contracts: Mapping[str, DataContract]) -> tuple[str, ...]:
    known = contracts.get(table.name) if isinstance(table, exp.Table) else None
    return () if known is None else known.unit.columns


def _without_conditions(
    select: exp.Select, contract: DataContract | None, cohort: Sequence[Member]
) -> None:
    """Leave out what WHERE says of columns that no expression may read, and of parties by name."""
    where = select.args.get("where")
    if where is None or contract is None:
        return
    parts = list(where.this.flatten()) if isinstance(where.this, exp.And) else [where.this]
    kept = [p for p in parts if _is_readable(p, contract) and not _names_one(p, cohort)]
    if len(kept) < len(parts):
        select.set("where", exp.Where(this=exp.and_(*kept)) if kept else None)


def _without_keys(select: exp.Select, contract: DataContract | None) -> None:
    """Leave out keys that no expression may read, or that have no public domain."""
    group = select.args.get("group")
    if group is None or contract is None:
        return
    open_ = {c.name for c in contract.columns if c.domain is None and c.type != "boolean"}
    gone = [
        key
        for key in group.expressions
        if not _is_readable(key, contract) or (isinstance(key, exp.Column) and key.name in open_)
    ]
    kept = [key for key in group.expressions if key not in gone]
    select.set("group", exp.Group(expressions=kept) if kept else None)
    select.set("expressions", [item for item in select.expressions if item not in gone])


def _bound(select: exp.Select, contract: DataContract | None) -> None:
    """Hold every summed column that has no bounds between zero and the cap."""
    if contract is None:
        return
    numbers = {"integer", "float"}
    open_ = {
        c.name for c in contract.columns if c.type in numbers and c.low is None and not c.domain
    }
    for call in list(select.find_all(*_SUMMED)):
        if isinstance(call.this, exp.Column) and call.this.name in open_:
            held = f"LEAST(GREATEST({call.this.sql(dialect='duckdb')}, 0), {CAP})"
            call.set("this", sqlglot.parse_one(held, read="duckdb"))


def _count_alone(select: exp.Select) -> None:
    """Ask how many rows there are, in place of what cannot be asked."""
    keys = [item for item in select.expressions if isinstance(item, exp.Column)]
    group = select.args.get("group")
    named = [] if group is None else [key for key in keys if key in group.expressions]
    select.set("expressions", [*named, exp.Count(this=exp.Star())])
    select.set("having", None)


def _is_readable(node: exp.Expr, contract: DataContract) -> bool:
    names = {column.name for column in node.find_all(exp.Column)}
    try:
        for name in names:
            readable(contract, name, "")
    except UnsupportedQueryError:
        return False
    return True


def _names_one(node: exp.Expr, cohort: Sequence[Member]) -> bool:
    return any(names_a_party(item.name, cohort) for item in node.find_all(exp.Literal))


def _nearest(name: str, known: Iterable[str]) -> str | None:
    lowered = {each.lower(): each for each in known}
    close = difflib.get_close_matches(name.lower(), sorted(lowered), n=1)
    return lowered[close[0]] if close else None
