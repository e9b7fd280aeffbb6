"""The parts of one SELECT, read against one contract: columns, literals, conditions, aggregates."""

from collections.abc import Sequence
from decimal import Decimal
from typing import Final, Literal

from sqlglot import exp

from federation.errors import UnsupportedQueryError
from federation.fitting import capped, clip_of, literal_of
from federation.plans import (
    Aggregate,
    AllOf,
    Among,
    AnyOf,
    Clip,
    Comparison,
    Operator,
    Predicate,
)
from policies.contracts import DataContract

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


TITLES: Final[tuple[tuple[type[exp.Expr], str], ...]] = (
    (exp.Subquery, "a subquery"),
    (exp.Select, "a subquery"),
    (exp.Window, "a window function (OVER)"),
    (exp.Filter, "FILTER"),
    (exp.Star, "*"),
    (exp.Null, "NULL"),
)


def only(node: exp.Expr, allowed: set[str], clause: str) -> None:
    """Refuse any attribute of `node` that is set and not in `allowed`."""
    for name, value in node.args.items():
        if value and name not in allowed:
            raise UnsupportedQueryError(
                f"{clause} says {name.strip('_').upper()}, which is not supported: leave it out"
            )


class Names:
    """Reads the parts of one SELECT against one contract."""

    def __init__(self, contract: DataContract, alias: str) -> None:
        self._contract = contract
        self._tables = {"", contract.name, alias}
        self._caps: dict[str, set[Decimal | None]] = {}

    def grouped(self, group: exp.Expr | None) -> tuple[str, ...]:
        """Return the columns of GROUP BY."""
        if group is None:
            return ()
        only(group, {"expressions"}, "GROUP BY")
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
            only(item, {"this", "big_int"}, "COUNT")
            only(item.this, set(), "COUNT")
            return Aggregate("count", "", label or "count")
        if isinstance(item, exp.Count):
            raise UnsupportedQueryError(
                "COUNT counts rows, whole or not, and nothing distinct: write COUNT(*)"
            )
        function = AGGREGATES.get(type(item))
        if function is None:
            raise UnsupportedQueryError(
                f"SELECT has {title_of(item)}, which is not supported: ask for COUNT(*), "
                "SUM(column) or AVG(column) and compute with the answers"
            )
        only(item, {"this"}, function.upper())
        name = self.value(item.this, function.upper())
        return Aggregate(function, name, label or f"{function}_{name}")

    def value(self, node: exp.Expr, clause: str) -> str:
        """Return the column that is summed, and keep the cap that LEAST puts on it."""
        cap: Decimal | None = None
        if isinstance(node, exp.Least) and len(node.expressions) == 1:
            only(node, {"this", "expressions", "ignore_nulls"}, "LEAST")
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
                only(node, {"this", "expressions"}, "IN")
                name = self.column(node.this, "WHERE")
                values = {self.literal(name, item) for item in node.expressions}
                return Among(name, tuple(sorted(values)))
            case exp.Between():
                only(node, {"this", "low", "high"}, "BETWEEN")
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
                f"WHERE has {title_of(node)}, which is not supported: compare a column with a "
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
                f"{clause} has {title_of(node)} where a column of the contract must stand: "
                "name the column itself, without computing"
            )
        only(node, {"this", "table"}, clause)
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
            f"WHERE compares {name!r} with {title_of(node)}: compare it with a literal"
        )


def title_of(node: object) -> str:
    """Return how a part of SQL is called, without the values in it."""
    for kind, title in TITLES:
        if isinstance(node, kind):
            return title
    if isinstance(node, exp.Func):
        return f"{node.sql_name()}()"
    return type(node).__name__.upper()
