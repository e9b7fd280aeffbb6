"""SQL text to plan: a small subset, and a sentence for everything outside it.

    SELECT [key, ...] COUNT(*) | SUM(value) | AVG(value) [AS name], ...
    FROM contract
    [WHERE column =|<>|<|<=|>|>= literal, IN (...), BETWEEN ... AND ..., joined by AND, OR, ( )]
    [GROUP BY key, ...]        -- columns with a public domain in the contract

A value is a column or LEAST(column, number), which bounds it below its contract's upper bound: the
noise follows the bound. A value that is missing stays missing, also under LEAST.

sqlglot reads the text (DuckDB's dialect); what it read is taken apart node by node, and a node or
an attribute that is not named here is refused, never skipped.
"""

import contextlib
import io
import logging
from collections.abc import Mapping, Sequence
from typing import Final

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from federation.errors import UnsupportedQueryError
from federation.fitting import fit, key_of, unit_of
from federation.membership import Member
from federation.plans import (
    Bound,
    GroupBy,
    Plan,
    Table,
    Where,
)
from federation.sql_parts import Names, only
from policies.contracts import DataContract

MAX_TEXT: Final = 10_000

CLAUSES: Final = {
    "with_": ("WITH", "query the contract's table directly"),
    "distinct": ("DISTINCT", "use GROUP BY over a column with a public domain"),
    "joins": ("JOIN", "name one contract in FROM; tables of several contracts cannot be combined"),
    "laterals": ("LATERAL", "name one contract in FROM"),
    "having": ("HAVING", "filter the answer after it has arrived; that costs nothing"),
    "qualify": ("QUALIFY", "filter the answer after it has arrived; that costs nothing"),
    "windows": ("WINDOW", "use GROUP BY: an expression may read one unit's rows only"),
    "order": ("ORDER BY", "sort the answer after it has arrived; that costs nothing"),
    "limit": ("LIMIT", "cut the answer after it has arrived; that costs nothing"),
    "offset": ("OFFSET", "cut the answer after it has arrived; that costs nothing"),
    "sample": ("USING SAMPLE", "leave it out; the contract bounds each unit's rows already"),
    "into": ("INTO", "leave it out; the answer is returned"),
    "locks": ("FOR UPDATE", "leave it out; nothing is changed"),
    "pivots": ("PIVOT", "use GROUP BY"),
}
"""What a SELECT may not say: its name, and what to write instead."""


def parse(sql: str, contracts: Mapping[str, DataContract], cohort: Sequence[Member]) -> Plan:
    """Return the plan that `sql` means for the nodes of `cohort`.

    Raises:
        UnsupportedQueryError: it means none; the sentence names the clause and what to write.
    """
    select = _select(sql)
    contract = _contract(select, contracts)
    names = Names(contract, _alias(select))
    leaf = Table(contract.name, contract.version)
    where = select.args.get("where")
    child = leaf if where is None else Where(leaf, names.predicate(where.this))
    keys = tuple(key_of(contract, name) for name in names.grouped(select.args.get("group")))
    aggregates = names.selected(select.expressions, {key.column for key in keys})
    unit, rows = unit_of(contract)
    bound = Bound(child, unit, rows, names.clips(aggregates))
    plan = GroupBy(bound, keys, aggregates)
    fit(plan, contract, cohort)
    return plan


def contract_name(sql: str) -> str:
    """Return the name in FROM, so that the caller can find who holds that contract.

    Raises:
        UnsupportedQueryError: the text is no SELECT from one table.
    """
    return _source(_select(sql)).name


def _select(sql: str) -> exp.Select:
    if len(sql) > MAX_TEXT:
        raise UnsupportedQueryError(f"the query is longer than {MAX_TEXT} characters: shorten it")
    statements = _statements(sql)
    if len(statements) != 1:
        raise UnsupportedQueryError("give exactly one statement: one SELECT ... FROM a contract")
    select = statements[0]
    if isinstance(select, exp.SetOperation):
        raise UnsupportedQueryError(
            "UNION, INTERSECT and EXCEPT are not supported: ask one query after the other"
        )
    if not isinstance(select, exp.Select):
        raise UnsupportedQueryError(
            "only SELECT is supported: write SELECT key, COUNT(*), SUM(column) FROM contract "
            "GROUP BY key"
        )
    for name, value in select.args.items():
        if value and name not in {"expressions", "from_", "where", "group"}:
            clause, instead = CLAUSES.get(name, (name.strip("_").upper(), "leave it out"))
            raise UnsupportedQueryError(f"{clause} is not supported: {instead}")
    return select


def _statements(sql: str) -> list[exp.Expr]:
    # sqlglot logs a warning about statements it only half understands; they are refused below.
    logger = logging.getLogger("sqlglot")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        with contextlib.redirect_stderr(io.StringIO()):
            parsed = sqlglot.parse(sql, read="duckdb")
    except (SqlglotError, RecursionError) as why:
        raise UnsupportedQueryError(
            "the text is not SQL that could be read: write SELECT ... FROM contract "
            "[WHERE ...] [GROUP BY ...]"
        ) from why
    finally:
        logger.setLevel(level)
    return [statement for statement in parsed if isinstance(statement, exp.Expr)]


def _source(select: exp.Select) -> exp.Table:
    source = select.args.get("from_")
    if source is None:
        raise UnsupportedQueryError("FROM is missing: name the contract whose rows are read")
    found = source.this
    if isinstance(found, exp.Subquery):
        raise UnsupportedQueryError(
            "a subquery in FROM is not supported: name the contract whose rows are read"
        )
    if not isinstance(found, exp.Table) or not isinstance(found.this, exp.Identifier):
        raise UnsupportedQueryError(
            "FROM takes the name of a contract, no function and no file: write FROM orders"
        )
    only(found, {"this", "alias"}, "FROM")
    return found


def _alias(select: exp.Select) -> str:
    alias = _source(select).args.get("alias")
    if alias is None:
        return ""
    only(alias, {"this"}, "FROM")
    return str(alias.name)


def _contract(select: exp.Select, contracts: Mapping[str, DataContract]) -> DataContract:
    name = _source(select).name
    if name not in contracts:
        known = ", ".join(sorted(contracts)) or "none"
        raise UnsupportedQueryError(
            f"FROM names {name!r}, which is no contract here: choose from {known}"
        )
    return contracts[name]
