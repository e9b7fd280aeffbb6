"""SQL expressions to total expressions, node by node; what is not named here is refused by name."""

from collections.abc import Callable, Sequence
from typing import Final, TypeAlias

from sqlglot import exp

from federation.errors import MalformedOrderError, UnsupportedQueryError
from federation.queries.clauses import only, title_of
from federation.queries.expressions import (
    MAX_ARGUMENTS,
    Call,
    Expression,
    Literal,
    literal,
    number,
)
from federation.queries.scope import Scope, kind_of

Leaf: TypeAlias = Callable[[exp.Expr, str], Expression | None]
Reader: TypeAlias = Callable[[exp.Expr, str], Expression]

BINARY: Final[dict[type[exp.Expr], str]] = {
    exp.Add: "add",
    exp.Sub: "subtract",
    exp.Mul: "multiply",
    exp.Div: "divide",
    exp.EQ: "eq",
    exp.NEQ: "ne",
    exp.LT: "lt",
    exp.LTE: "le",
    exp.GT: "gt",
    exp.GTE: "ge",
}
UNARY: Final[dict[type[exp.Expr], str]] = {
    exp.Neg: "negate",
    exp.Not: "not",
    exp.Abs: "abs",
    exp.Floor: "floor",
    exp.Ceil: "ceil",
    exp.Lower: "lower",
    exp.Year: "year",
    exp.Quarter: "quarter",
    exp.Month: "month",
    exp.Day: "day",
    exp.DayOfMonth: "day",
    exp.DayOfWeek: "weekday",
    exp.Hour: "hour",
}
SEVERAL: Final[dict[type[exp.Expr], str]] = {
    exp.Coalesce: "coalesce",
    exp.Least: "least",
    exp.Greatest: "greatest",
}
PARTS: Final = {
    "YEAR": "year", "QUARTER": "quarter", "MONTH": "month", "DAY": "day",
    "DOW": "weekday", "DAYOFWEEK": "weekday", "HOUR": "hour",
}  # fmt: skip
TRUNCATIONS: Final = ("DAY", "WEEK", "MONTH", "QUARTER", "YEAR")
DIFFERENCES: Final = ("DAY", "MONTH", "YEAR")
MOST_NESTED: Final = 64
"""Levels of SQL, parentheses included, that are read at all."""

COMPARISONS: Final = frozenset({"eq", "ne", "lt", "le", "gt", "ge", "in"})
ROW: Final = (
    "write columns, literals, + - * /, comparisons, AND, OR, NOT, IN, BETWEEN, IS NULL, CASE, "
    "COALESCE, NULLIF, LEAST, GREATEST, ABS, ROUND, FLOOR, CEIL, CAST, LOWER, LIKE 'prefix%', "
    "YEAR … HOUR, EXTRACT, DATE_TRUNC or DATE_DIFF"
)


class Scalars:
    """Reads expressions. leaf: what columns and, over released numbers, aggregates mean."""

    def __init__(self, leaf: Leaf, scope: Scope) -> None:
        self._leaf = leaf
        self._scope = scope
        self._depth = 0

    def condition(self, node: exp.Expr, clause: str) -> Expression:
        """Return a condition.

        Raises:
            UnsupportedQueryError: it is none.
        """
        found = self.read(node, clause)
        if kind_of(found, self._scope).type != "boolean":
            raise UnsupportedQueryError(
                f"{clause} takes a condition: compare the value with something"
            )
        return found

    def read(self, node: exp.Expr | None, clause: str) -> Expression:
        """Return the total expression that a node means; None stands where the text has none.

        Raises:
            UnsupportedQueryError: it means none, or mixes types; the sentence names the clause.
        """
        if node is None:
            raise UnsupportedQueryError(f"{clause} lacks a value: name a column or a number")
        self._depth += 1
        if self._depth > MOST_NESTED:
            raise UnsupportedQueryError(
                f"{clause} is nested more than {MOST_NESTED} deep: write it flat"
            )
        try:
            found = self._leaf(node, clause)
            if found is None:
                found = self._read(node, clause)
        finally:
            self._depth -= 1
        try:
            kind_of(found, self._scope)
        except UnsupportedQueryError as why:
            text = str(why)
            raise UnsupportedQueryError(
                text if text.startswith(clause) else f"{clause}: {text}"
            ) from why
        return found

    def _read(self, node: exp.Expr, clause: str) -> Expression:
        kind = type(node)
        if kind in BINARY:
            only(node, {"this", "expression", "typed", "safe"}, clause)
            return self._call(BINARY[kind], [node.this, node.expression], clause)
        if kind in UNARY:
            only(node, {"this"}, clause)
            return self._unary(UNARY[kind], node.this, clause)
        if kind in READERS:
            reader: Reader = getattr(self, READERS[kind])
            return reader(node, clause)
        raise UnsupportedQueryError(_refusal(node, clause))

    def _paren(self, node: exp.Expr, clause: str) -> Expression:
        only(node, {"this"}, clause)
        return self.read(node.this, clause)

    def _unary(self, name: str, node: exp.Expr, clause: str) -> Expression:
        inner = self.read(node, clause)
        if name == "negate" and isinstance(inner, Literal) and inner.type == "number":
            return number(inner.text[1:] if inner.text.startswith("-") else f"-{inner.text}")
        return Call(name, (inner,))

    def _joined(self, node: exp.Expr, clause: str) -> Expression:
        name = "and" if isinstance(node, exp.And) else "or"
        parts = [self.condition(part, clause) for part in node.flatten()]
        flat = [
            x
            for part in parts
            for x in (
                part.arguments if isinstance(part, Call) and part.function == name else [part]
            )
        ]
        return self._limited(name, flat, clause)

    def _is_null(self, node: exp.Expr, clause: str) -> Expression:
        if not isinstance(node.expression, exp.Null):
            raise UnsupportedQueryError(f"{clause}: IS takes NULL alone: write = TRUE or = FALSE")
        return Call("is_null", (self.read(node.this, clause),))

    def _in(self, node: exp.Expr, clause: str) -> Expression:
        only(node, {"this", "expressions"}, f"{clause}: IN")
        return self._call("in", [node.this, *node.expressions], clause)

    def _between(self, node: exp.Expr, clause: str) -> Expression:
        only(node, {"this", "low", "high"}, f"{clause}: BETWEEN")
        low = self._call("ge", [node.this, node.args["low"]], clause)
        return Call("and", (low, self._call("le", [node.this, node.args["high"]], clause)))

    def _several(self, node: exp.Expr, clause: str) -> Expression:
        only(node, {"this", "expressions", "ignore_nulls"}, clause)
        return self._call(SEVERAL[type(node)], [node.this, *node.expressions], clause)

    def _null_if(self, node: exp.Expr, clause: str) -> Expression:
        same = self._call("eq", [node.this, node.expression], clause)
        same = Call("coalesce", (same, Literal("boolean", "false")))
        return Call("case", (Call("not", (same,)), self.read(node.this, clause)))

    def _starts(self, node: exp.Expr, clause: str) -> Expression:
        only(node, {"this", "expression"}, clause)
        return self._call("starts_with", [node.this, node.expression], clause)

    def _extract(self, node: exp.Expr, clause: str) -> Expression:
        if node.name.upper() not in PARTS:
            raise UnsupportedQueryError(
                f"{clause}: EXTRACT takes {', '.join(PARTS).lower()}: choose one of them"
            )
        return self._unary(PARTS[node.name.upper()], node.expression, clause)

    def _truncated(self, node: exp.Expr, clause: str) -> Expression:
        unit = _unit_of(node, TRUNCATIONS, f"{clause}: DATE_TRUNC")
        return self._unary(f"trunc_{unit}", node.this, clause)

    def _difference(self, node: exp.Expr, clause: str) -> Expression:
        unit = _unit_of(node, DIFFERENCES, f"{clause}: DATE_DIFF")
        first, second = (self._dated(part, clause) for part in (node.expression, node.this))
        return Call(f"diff_{unit}", (first, second))

    def _dated(self, node: exp.Expr, clause: str) -> Expression:
        found = self.read(node, clause)
        return _typed(found, "date", clause) if isinstance(found, Literal) else found

    def _call(self, name: str, nodes: Sequence[exp.Expr], clause: str) -> Expression:
        if len(nodes) > MAX_ARGUMENTS:
            raise UnsupportedQueryError(
                f"{clause}: a list of {len(nodes)} is longer than {MAX_ARGUMENTS}: write fewer"
            )
        parts = [self.read(node, clause) for node in nodes]
        if name in COMPARISONS or name in {"coalesce", "least", "greatest"}:
            parts = self._alike(parts, clause)
        return self._limited(name, parts, clause)

    def _limited(self, name: str, parts: list[Expression], clause: str) -> Expression:
        if len(parts) > MAX_ARGUMENTS:
            raise UnsupportedQueryError(
                f"{clause}: a list of {len(parts)} is longer than {MAX_ARGUMENTS}: write fewer"
            )
        return Call(name, tuple(parts))

    def _alike(self, parts: list[Expression], clause: str) -> list[Expression]:
        """Return the parts with literals spelled as the columns beside them: '2025-01-01'."""
        kinds = [kind_of(part, self._scope).type for part in parts if not isinstance(part, Literal)]
        if not kinds or kinds[0] not in {"date", "timestamp"}:
            return parts
        return [
            _typed(part, kinds[0], clause) if isinstance(part, Literal) else part for part in parts
        ]

    def _case(self, node: exp.Expr, clause: str) -> Expression:
        only(node, {"this", "ifs", "default"}, f"{clause}: CASE")
        parts: list[Expression] = []
        for branch in node.args["ifs"]:
            if node.this is None:
                parts.append(self.condition(branch.this, clause))
            else:
                parts.append(self._call("eq", [node.this, branch.this], clause))
            parts.append(self.read(branch.args["true"], clause))
        default = node.args.get("default")
        if default is not None and not isinstance(default, exp.Null):
            parts.append(self.read(default, clause))
        return self._limited("case", parts, clause)

    def _rounded(self, node: exp.Expr, clause: str) -> Expression:
        only(node, {"this", "decimals"}, f"{clause}: ROUND")
        inner, places = self.read(node.this, clause), 0
        if node.args.get("decimals") is not None:
            wanted = self.read(node.args["decimals"], clause)
            if not isinstance(wanted, Literal) or wanted.text not in set(map(str, range(-6, 7))):
                raise UnsupportedQueryError(
                    f"{clause}: ROUND takes a whole number of places -6 to 6: write ROUND(x, 2)"
                )
            places = int(wanted.text)
        if not places:
            return Call("round", (inner,))
        factor = number(10 ** abs(places))
        there, back = ("multiply", "divide") if places > 0 else ("divide", "multiply")
        return Call(back, (Call("round", (Call(there, (inner, factor)),)), factor))

    def _prefix(self, node: exp.Expr, clause: str) -> Expression:
        pattern = node.expression
        text = pattern.name if isinstance(pattern, exp.Literal) and pattern.is_string else ""
        prefix = text[:-1]
        if not text.endswith("%") or not prefix or set(prefix) & set("%_\\"):
            raise UnsupportedQueryError(
                f"{clause}: LIKE takes a prefix alone: write LIKE 'prefix%', or = 'text'"
            )
        return Call("starts_with", (self.read(node.this, clause), literal("text", prefix)))

    def _cast(self, node: exp.Expr, clause: str) -> Expression:
        inner, to = self.read(node.this, clause), node.args["to"]
        kind = kind_of(inner, self._scope).type
        wanted = next((name for types, name in CASTS if to.is_type(*types)), None)
        if wanted in {"date", "timestamp"} and isinstance(inner, Literal):
            return _typed(inner, wanted, clause)
        if kind == wanted:
            return inner
        match wanted:
            case "whole":
                whole = inner if kind == "number" else Call("to_number", (inner,))
                return Call("to_whole", (whole,))
            case "number":
                return Call("to_number", (inner,))
            case "date":
                return Call("to_date", (inner,))
        raise UnsupportedQueryError(
            f"{clause}: CAST of a {kind} AS {to.sql()} is not supported: "
            "cast to DOUBLE, INTEGER or DATE"
        )

    def _constant(self, node: exp.Expr, clause: str) -> Expression:
        try:
            if isinstance(node, exp.Boolean):
                return Literal("boolean", "true" if node.this else "false")
            return literal("text", node.name) if node.args["is_string"] else number(node.name)
        except MalformedOrderError as why:
            raise UnsupportedQueryError(f"{clause}: {why}") from why


CASTS: Final[tuple[tuple[tuple[str, ...], str], ...]] = (
    (("int", "bigint", "smallint", "tinyint"), "whole"),
    (("double", "float"), "number"),
    (("date",), "date"),
    (("timestamp",), "timestamp"),
    (("boolean",), "boolean"),
    (("text", "varchar"), "text"),
)


READERS: Final[dict[type[exp.Expr], str]] = {
    exp.Paren: "_paren",
    exp.And: "_joined",
    exp.Or: "_joined",
    exp.Literal: "_constant",
    exp.Boolean: "_constant",
    exp.Cast: "_cast",
    exp.TryCast: "_cast",
    exp.Is: "_is_null",
    exp.In: "_in",
    exp.Between: "_between",
    exp.Case: "_case",
    exp.Coalesce: "_several",
    exp.Least: "_several",
    exp.Greatest: "_several",
    exp.Nullif: "_null_if",
    exp.Round: "_rounded",
    exp.Like: "_prefix",
    exp.StartsWith: "_starts",
    exp.Extract: "_extract",
    exp.TimestampTrunc: "_truncated",
    exp.DateTrunc: "_truncated",
    exp.DateDiff: "_difference",
}


def _typed(item: Literal, kind: str, clause: str) -> Literal:
    try:
        if item.type in {"text", "date", "timestamp"}:
            return literal("date" if kind == "date" else "timestamp", item.text)
    except MalformedOrderError:
        pass
    raise UnsupportedQueryError(
        f"{clause}: compares a {kind} with something else: write '2025-01-31'"
    )


def _unit_of(node: exp.Expr, allowed: Sequence[str], clause: str) -> str:
    name = str(node.args["unit"].name if node.args.get("unit") is not None else "DAY").upper()
    name = "WEEK" if name.startswith("WEEK") else name
    if name not in allowed:
        raise UnsupportedQueryError(
            f"{clause} takes {', '.join(allowed).lower()}: choose one of them"
        )
    return name.lower()


def _refusal(node: exp.Expr, clause: str) -> str:
    text = node.sql(dialect="duckdb")[:80]
    match node:
        case exp.Window():
            return (
                f"{clause} has {text}, a window over other rows: an expression may read one unit's "
                "rows only, so group by a key instead"
            )
        case exp.Subquery() | exp.Select() | exp.Exists():
            return (
                f"{clause} has a subquery, which reads other units' rows: an expression may read "
                "one unit's rows only, so write the number itself, or ask for it first"
            )
        case exp.AggFunc():
            return f"{clause} has {text}, an aggregate: it may stand in SELECT and HAVING alone"
        case exp.Null():
            return f"{clause} has NULL: write IS NULL, or leave ELSE out"
    return f"{clause} has {title_of(node)}, which is not supported: {ROW}"
