"""How well a party's rows keep its contract, by five rules: exact counts, for its operator alone.

    complete    values that are missing, by column
    valid       values that the contract's reading changes: of another type, out of bounds or list
    unique      rows that bear a key that another row bears; rows beyond a unit's bound
    consistent  rows that break a rule of the contract
    timely      moments that have not come yet; how old the newest is

None of it decides anything: a node that has such rows takes part all the same, and clips, skips or
leaves them out. Were that otherwise, whether it answers would tell of a row. No module of the
node's working process imports this one.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

from clients.queries.partial import looking
from clients.queries.quality import found, quality_statement
from clients.queries.relations import PARQUET, Table, quoted
from policies.contracts import Column, DataContract

Rule: TypeAlias = Literal["complete", "valid", "unique", "consistent", "timely"]
State: TypeAlias = Literal["ok", "warn", "fail"]

STALE: Final = timedelta(days=90)
"""How old the newest row may be before its operator is told: a choice, no rule of a contract."""
MOMENTS: Final = frozenset({"date", "timestamp"})
_ENDS: Final = " as promised"


@dataclass(frozen=True, slots=True)
class Quality:
    """One rule, over one column or one condition.

    broken: how many of `rows` break it
    fix:    what to do about it; "" where nothing is wrong
    """

    rule: Rule
    what: str
    broken: int
    rows: int
    state: State
    said: str
    fix: str = ""


def qualities(contract: DataContract, data: Path, now: datetime) -> tuple[Quality, ...]:
    """Return every rule over the rows in `data`; now: the moment, of UTC and without a zone.

    Raises:
        ComputeError: the rows cannot be read.
    """
    with looking(contract, data) as (connection, present):
        made = quality_statement(contract, Table(present))
        values = {**made.parameters, "data": str(data)}
        checks = found(contract, connection.execute(made.text, values).fetchone())
        look = _Looking(connection, data)
        rows = checks[0].rows
        return (
            *_complete(contract, present, look, rows),
            *(_valid(check.name, check.broken, rows) for check in checks[: len(contract.columns)]),
            *_unique(contract, look, rows),
            *(_rule(check.name, check.broken, rows) for check in checks[len(contract.columns) :]),
            *_timely(contract, present, look, rows, now),
        )


@dataclass(frozen=True, slots=True)
class _Looking:
    """Asks one file for aggregates."""

    connection: Any
    data: Path

    def one(self, counted: str, rows: str = PARQUET) -> tuple[Any, ...]:
        """Return one row of aggregates, in SQL that this module wrote."""
        text = f"SELECT {counted} FROM {rows}"  # noqa: S608  names are quoted
        (found,) = self.connection.execute(text, {"data": str(self.data)}).fetchall()
        return tuple(found)


def _complete(
    contract: DataContract, present: frozenset[str], look: _Looking, rows: int
) -> Iterator[Quality]:
    there = [column for column in contract.columns if column.name in present]
    counts = look.one(", ".join(f"count(*) - count({quoted(c.name)})" for c in there))
    missing = dict(zip((column.name for column in there), counts, strict=True))
    named = {*contract.unit.columns, *contract.key}
    for column in contract.columns:
        if column.name not in missing:
            yield Quality("complete", column.name, rows, rows, "ok", "absent, as the role may")
            continue
        yield _missing(column, missing[column.name], rows, column.name in named)


def _missing(column: Column, missing: int, rows: int, is_named: bool) -> Quality:
    said = f"{missing} of {rows} rows have none"
    may = column.optional or column.type in MOMENTS
    if not missing or (may and missing < rows and not is_named):
        return Quality("complete", column.name, missing, rows, "ok", said)
    fix = "fill it in where the rows come from"
    if is_named:
        fix = f"a row without {column.name} counts for nobody; {fix}"
    return Quality("complete", column.name, missing, rows, "warn", said, fix)


def _valid(name: str, broken: int, rows: int) -> Quality:
    column = name.removesuffix(_ENDS)
    said = f"{broken} of {rows} values are not what the contract says of them"
    if not broken:
        return Quality("valid", column, 0, rows, "ok", said)
    fix = (
        "numbers are clipped into the bounds, other values count as missing; see the column's unit "
        "and codes in [sources], and `entrepot node contract draft`"
    )
    return Quality("valid", column, broken, rows, "warn", said, fix)


def _unique(contract: DataContract, look: _Looking, rows: int) -> Iterator[Quality]:
    if contract.key:
        double, _ = look.one(*_grouped(contract.key, 1))
        what, said = ", ".join(contract.key), f"{double} of {rows} rows bear another row's key"
        fix = "let one row stand for each key: aggregate in a view" if double else ""
        yield Quality("unique", what, double, rows, "warn" if double else "ok", said, fix)
    _, over = look.one(*_grouped(contract.unit.columns, contract.unit.rows))
    what = f"at most {contract.unit.rows} rows of one {contract.unit.kind}"
    said = f"{over} of {rows} rows are beyond it, and are left out by chance"
    yield Quality("unique", what, over, rows, "ok", said)


def _grouped(names: tuple[str, ...], most: int) -> tuple[str, str]:
    """Return what counts rows of groups of more than `most`, and those beyond; and their source."""
    columns = ", ".join(map(quoted, names))
    there = " AND ".join(f"{quoted(name)} IS NOT NULL" for name in names)
    grouped = f"(SELECT count(*) AS n FROM {PARQUET} WHERE {there} GROUP BY {columns})"  # noqa: S608
    sums = (f"coalesce(sum({n}) FILTER (n > {most}), 0)" for n in ("n", f"n - {most}"))
    return ", ".join(f"CAST({one} AS BIGINT)" for one in sums), grouped


def _rule(name: str, broken: int, rows: int) -> Quality:
    said = f"{broken} of {rows} rows break it"
    fix = "correct them where the rows come from" if broken else ""
    return Quality("consistent", name, broken, rows, "warn" if broken else "ok", said, fix)


def _timely(
    contract: DataContract, present: frozenset[str], look: _Looking, rows: int, now: datetime
) -> Iterator[Quality]:
    there = [c.name for c in contract.columns if c.type in MOMENTS and c.name in present]
    newest = []
    for name in there:
        moment = f"TRY_CAST({quoted(name)} AS TIMESTAMP)"
        limit = f"TIMESTAMP '{now.isoformat(' ')}' + INTERVAL 1 DAY"
        later, last = look.one(f"count(*) FILTER ({moment} > {limit}), max({moment})")
        newest += [last] if isinstance(last, datetime) else []
        said = f"{later} of {rows} rows are of a day that has not come"
        fix = "see the column's order of day and month, and its zone, in [sources]" if later else ""
        yield Quality("timely", name, later, rows, "warn" if later else "ok", said, fix)
    if newest:
        age = now - max(newest)
        said = f"the newest row is {max(age.days, 0)} days old"
        is_stale = age > STALE
        fix = "read the source anew: `entrepot node refresh`" if is_stale else ""
        yield Quality("timely", "newest", 0, rows, "warn" if is_stale else "ok", said, fix)
