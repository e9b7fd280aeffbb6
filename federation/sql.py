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
from decimal import Decimal
from typing import Final, Literal

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from federation.errors import UnsupportedQueryError
from federation.fitting import capped, clip_of, fit, key_of, literal_of, unit_of
from federation.membership import Member
from federation.plans import (
    Aggregate,
    AllOf,
    Among,
    AnyOf,
    Bound,
    Clip,
    Comparison,
    GroupBy,
    Operator,
    Plan,
    Predicate,
    Table,
    Where,
)
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

COMPARISONS: Final[dict[type[exp.Expr], Operator]] = {
    exp.EQ: "=",
    exp.NEQ: "<>",
    exp.LT: "<",
    exp.LTE: "<=",
    exp.GT: ">",
    exp.GTE: ">=",
}
MIRRORED: Final[dict[Operator, Operator]] = {
    "=": "=",
    "<>": "<>",
    "<": ">",
    "<=": ">=",
    ">": "<",
    ">=": "<=",
}
AGGREGATES: Final[dict[type[exp.Expr], Literal["sum", "avg"]]] = {
    exp.Sum: "sum",
    exp.Avg: "avg",
}


def parse(sql: str, contracts: Mapping[str, DataContract], cohort: Sequence[Member]) -> Plan:
    """Return the plan that `sql` means for the nodes of `cohort`.

    Raises:
        UnsupportedQueryError: it means none; the sentence names the clause and what to write.
    """
    select = _select(sql)
    contract = _contract(select, contracts)
    names = _Names(contract, _alias(select))
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
    _only(found, {"this", "alias"}, "FROM")
    return found


def _alias(select: exp.Select) -> str:
    alias = _source(select).args.get("alias")
    if alias is None:
        return ""
    _only(alias, {"this"}, "FROM")
    return str(alias.name)


def _contract(select: exp.Select, contracts: Mapping[str, DataContract]) -> DataContract:
    name = _source(select).name
    if name not in contracts:
        known = ", ".join(sorted(contracts)) or "none"
        raise UnsupportedQueryError(
            f"FROM names {name!r}, which is no contract here: choose from {known}"
        )
    return contracts[name]


def _only(node: exp.Expr, allowed: set[str], clause: str) -> None:
    """Refuse any attribute of `node` that is set and not in `allowed`."""
    for name, value in node.args.items():
        if value and name not in allowed:
            raise UnsupportedQueryError(
                f"{clause} says {name.strip('_').upper()}, which is not supported: leave it out"
            )


class _Names:
    """Reads the parts of one SELECT against one contract."""

    def __init__(self, contract: DataContract, alias: str) -> None:
        self._contract = contract
        self._tables = {"", contract.name, alias}
        self._caps: dict[str, set[Decimal | None]] = {}

    def grouped(self, group: exp.Expr | None) -> tuple[str, ...]:
        """Return the columns of GROUP BY."""
        if group is None:
            return ()
        _only(group, {"expressions"}, "GROUP BY")
        if not group.expressions:
            raise UnsupportedQueryError("GROUP BY ALL is not supported: name the columns")
        return tuple(self.column(item, "GROUP BY") for item in group.expressions)

    def selected(self, items: Sequence[exp.Expr], keys: set[str]) -> tuple[Aggregate, ...]:
        """Return the aggregates of SELECT; the plain columns before them must be keys."""
        found: list[Aggregate] = []
        for item in items:
            label = item.alias if isinstance(item, exp.Alias) else ""
            inner = item.this if isinstance(item, exp.Alias) else item
            if not isinstance(inner, exp.Column):
                found.append(self.aggregate(inner, label))
            elif self.column(inner, "SELECT") not in keys or label or found:
                raise UnsupportedQueryError(
                    f"SELECT names {inner.name!r} as it is: list it in GROUP BY, put it before the "
                    "aggregates and give it no other name"
                )
        if not found:
            raise UnsupportedQueryError(
                "SELECT asks for rows, and rows stay at home: ask for COUNT(*), SUM(column) or "
                "AVG(column)"
            )
        return tuple(found)

    def aggregate(self, item: exp.Expr, label: str) -> Aggregate:
        """Return one COUNT(*), SUM(column) or AVG(column)."""
        if isinstance(item, exp.Count) and isinstance(item.this, exp.Star):
            _only(item, {"this", "big_int"}, "COUNT")
            _only(item.this, set(), "COUNT")
            return Aggregate("count", "", label or "count")
        if isinstance(item, exp.Count):
            raise UnsupportedQueryError(
                "COUNT counts rows, whole or not, and nothing distinct: write COUNT(*)"
            )
        function = AGGREGATES.get(type(item))
        if function is None:
            raise UnsupportedQueryError(
                f"SELECT has {_title(item)}, which is not supported: ask for COUNT(*), SUM(column) "
                "or AVG(column) and compute with the answers"
            )
        _only(item, {"this"}, function.upper())
        name = self.value(item.this, function.upper())
        return Aggregate(function, name, label or f"{function}_{name}")

    def value(self, node: exp.Expr, clause: str) -> str:
        """Return the column that is summed, and keep the cap that LEAST puts on it."""
        cap: Decimal | None = None
        if isinstance(node, exp.Least) and len(node.expressions) == 1:
            _only(node, {"this", "expressions", "ignore_nulls"}, "LEAST")
            cap, node = self.number(node.expressions[0]), node.this
        name = self.column(node, clause)
        self._caps.setdefault(name, set()).add(cap)
        return name

    def clips(self, aggregates: Sequence[Aggregate]) -> tuple[Clip, ...]:
        """Return the bounds of the columns that are summed."""
        found = []
        for name in sorted({item.column for item in aggregates if item.column}):
            caps = self._caps[name]
            if len(caps) > 1:
                raise UnsupportedQueryError(
                    f"SELECT bounds {name!r} in two ways: use the same LEAST everywhere"
                )
            clip, cap = clip_of(self._contract, name), next(iter(caps))
            found.append(clip if cap is None else capped(clip, cap))
        return tuple(found)

    def number(self, node: exp.Expr) -> Decimal:
        """Return a literal number."""
        match node:
            case exp.Literal(args={"is_string": False}):
                return Decimal(node.name)
            case exp.Neg(args={"this": exp.Literal(args={"is_string": False}) as inner}):
                return -Decimal(inner.name)
        raise UnsupportedQueryError("LEAST takes a column and a number: write LEAST(amount, 100)")

    def predicate(self, node: exp.Expr) -> Predicate:
        """Return a condition on rows."""
        match node:
            case exp.Paren():
                return self.predicate(node.this)
            case exp.And():
                return AllOf(tuple(self.predicate(part) for part in node.flatten()))
            case exp.Or():
                return AnyOf(tuple(self.predicate(part) for part in node.flatten()))
            case exp.In():
                _only(node, {"this", "expressions"}, "IN")
                name = self.column(node.this, "WHERE")
                values = {self.literal(name, item) for item in node.expressions}
                return Among(name, tuple(sorted(values)))
            case exp.Between():
                _only(node, {"this", "low", "high"}, "BETWEEN")
                name = self.column(node.this, "WHERE")
                low, high = (
                    self.literal(name, node.args["low"]),
                    self.literal(name, node.args["high"]),
                )
                return AllOf((Comparison(name, ">=", low), Comparison(name, "<=", high)))
        return self.comparison(node)

    def comparison(self, node: exp.Expr) -> Comparison:
        """Return `column operator literal`, turned round where the literal stands first."""
        operator = COMPARISONS.get(type(node))
        if operator is None:
            raise UnsupportedQueryError(
                f"WHERE has {_title(node)}, which is not supported: compare a column with a "
                "literal (=, <>, <, <=, >, >=, IN, BETWEEN), joined by AND and OR"
            )
        left, right = node.this, node.expression
        if isinstance(right, exp.Column) and not isinstance(left, exp.Column):
            left, right, operator = right, left, MIRRORED[operator]
        name = self.column(left, "WHERE")
        return Comparison(name, operator, self.literal(name, right))

    def column(self, node: exp.Expr, clause: str) -> str:
        """Return the name of a plain column of the contract's table."""
        if not isinstance(node, exp.Column) or not isinstance(node.this, exp.Identifier):
            raise UnsupportedQueryError(
                f"{clause} has {_title(node)} where a column of the contract must stand: "
                "name the column itself, without computing"
            )
        _only(node, {"this", "table"}, clause)
        if node.table not in self._tables:
            raise UnsupportedQueryError(
                f"{clause} names table {node.table!r}, which is not in FROM: leave the prefix out"
            )
        return node.name

    def literal(self, name: str, node: exp.Expr) -> str:
        """Return a literal as column `name` spells it."""
        match node:
            case exp.Literal(args={"is_string": True}):
                return literal_of(self._contract, name, node.name)
            case exp.Literal() | exp.Neg(args={"this": exp.Literal(args={"is_string": False})}):
                return literal_of(self._contract, name, self.number(node))
            case exp.Boolean():
                return literal_of(self._contract, name, bool(node.this))
            case exp.Cast(args={"this": exp.Literal(args={"is_string": True}) as inner}) if (
                node.to.is_type("date", "timestamp")
            ):
                return literal_of(self._contract, name, inner.name)
        raise UnsupportedQueryError(
            f"WHERE compares {name!r} with {_title(node)}: compare it with a literal"
        )


TITLES: Final[tuple[tuple[type[exp.Expr], str], ...]] = (
    (exp.Subquery, "a subquery"),
    (exp.Select, "a subquery"),
    (exp.Window, "a window function (OVER)"),
    (exp.Filter, "FILTER"),
    (exp.Star, "*"),
    (exp.Null, "NULL"),
)


def _title(node: object) -> str:
    """Return how a part of SQL is called, without the values in it."""
    for kind, title in TITLES:
        if isinstance(node, kind):
            return title
    if isinstance(node, exp.Func):
        return f"{node.sql_name()}()"
    return type(node).__name__.upper()
