"""SELECT and HAVING: which aggregates are asked for, and what is computed from them afterwards."""

from collections.abc import Callable, Sequence
from typing import Final

from sqlglot import exp

from federation.errors import UnsupportedQueryError
from federation.queries.clauses import only, title_of
from federation.queries.expressions import Call, Column, Expression, Literal, number
from federation.queries.fitting import MAX_BINS, MAX_VARIABLES, named
from federation.queries.kinds import Kind
from federation.queries.kinds import number as numeric
from federation.queries.parse_scalars import Leaf, Scalars
from federation.queries.scope import Scope, nearest
from federation.queries.tree import Aggregate, Name, Output, Value
from federation.queries.values import value_of

SIMPLE: Final[dict[type[exp.Expr], Name]] = {
    exp.Sum: "sum",
    exp.Avg: "avg",
    exp.Variance: "var_samp",
    exp.VariancePop: "var_pop",
    exp.Stddev: "stddev_samp",
    exp.StddevSamp: "stddev_samp",
    exp.StddevPop: "stddev_pop",
    exp.Corr: "corr",
    exp.CovarPop: "covar_pop",
    exp.CovarSamp: "covar_samp",
    exp.RegrSlope: "coefficient",
    exp.RegrIntercept: "coefficient",
}
PLACES: Final[dict[type[exp.Expr], str]] = {exp.RegrSlope: "1", exp.RegrIntercept: "0"}
OFFERED: Final = (
    "COUNT, COUNT(DISTINCT unit), SUM, AVG, VAR_POP, VAR_SAMP, STDDEV_POP, STDDEV_SAMP, MEDIAN, "
    "QUANTILE_CONT, HISTOGRAM, CORR, COVAR_POP, COVAR_SAMP, REGR_SLOPE, REGR_INTERCEPT, "
    "LINEAR_REGRESSION"
)


class Aggregates:
    """Collects the aggregates of one SELECT, each once, whatever they are called.

    unit:    the plan's columns that name the unit of privacy
    source:  how sentences call the contracts that are read
    meaning: what a visible column means
    """

    def __init__(
        self,
        rows: Scalars,
        scope: Scope,
        unit: tuple[str, ...],
        source: str,
        meaning: Callable[[exp.Column, str], Expression],
    ) -> None:
        self._column = meaning
        self._rows = rows
        self._scope = scope
        self._unit = unit
        self._source = source
        self._found: dict[Aggregate, str] = {}
        self._meaning: dict[str, Expression] = {}
        self._filter: Expression | None = None

    @property
    def found(self) -> tuple[Aggregate, ...]:
        """The aggregates, with the labels that expressions over them use."""
        return tuple(
            Aggregate(a.function, label, a.values, a.counted, a.parameter, a.bins)
            for a, label in self._found.items()
        )

    def outputs(self, node: exp.Expr, label: str) -> tuple[Output, ...]:
        """Return the answer's columns that one item of SELECT asks for."""
        several = self._several(node, label)
        if several is None:
            whole = isinstance(node, exp.AggFunc | exp.Filter)
            expression = self.released(node, "SELECT", label if whole else "")
            name = label or (named(expression) if isinstance(expression, Column) else "value")
            several = (Output(name, expression),)
        self._meaning.update({item.label: item.expression for item in several})
        return several

    def having(self, node: exp.Expr) -> Expression:
        """Return HAVING as a condition over released numbers."""
        return Scalars(self._leaf(""), _RELEASED).condition(node, "HAVING")

    def released(self, node: exp.Expr, clause: str, label: str = "") -> Expression:
        """Return an expression over released numbers."""
        return Scalars(self._leaf(label), _RELEASED).read(node, clause)

    def _leaf(self, label: str) -> Leaf:
        def leaf(node: exp.Expr, clause: str) -> Expression | None:
            if isinstance(node, exp.Column):
                return self._named(node, clause)
            found = self._aggregate(node)
            return None if found is None else self._keep(found, label)

        return leaf

    def _named(self, node: exp.Column, clause: str) -> Expression:
        if node.name in self._meaning:
            return self._meaning[node.name]
        raise UnsupportedQueryError(
            f"{clause} names {node.name!r} outside an aggregate: list it in GROUP BY before the "
            f"aggregates, or name a column of the answer{nearest(node.name, self._meaning)}"
        )

    def _keep(self, item: Aggregate, label: str) -> Column:
        if item not in self._found:
            taken = set(self._found.values())
            name = label or _default(item)
            at = 2
            while name in taken:
                name, at = f"{label or _default(item)}_{at}", at + 1
            self._found[item] = name
        return Column(self._found[item])

    def _aggregate(self, node: exp.Expr) -> Aggregate | None:
        match node:
            case exp.Filter():
                return self._filtered(node)
            case exp.Count():
                return self._count(node)
            case exp.Median():
                only(node, {"this"}, "MEDIAN")
                return self._quantile(node.this, "0.5", node)
            case exp.PercentileCont() | exp.Quantile() | exp.WithinGroup():
                return self._percentile(node)
        return self._sums(node)

    def _sums(self, node: exp.Expr) -> Aggregate | None:
        function = SIMPLE.get(type(node))
        if function is not None:
            only(node, {"this", "expression"}, _clause(node))
            parts = [node.this, *([node.expression] if node.args.get("expression") else [])]
            place = PLACES.get(type(node), "")
            return Aggregate(function, "", self._values(parts, function, node), parameter=place)
        if isinstance(node, exp.AggFunc):
            raise UnsupportedQueryError(
                f"SELECT has {title_of(node)}, which is not supported: ask for {OFFERED}"
            )
        return None

    def _filtered(self, node: exp.Filter) -> Aggregate | None:
        if self._filter is not None:
            raise UnsupportedQueryError("FILTER stands inside FILTER: join the conditions by AND")
        self._filter = self._rows.condition(node.expression.this, "FILTER")
        try:
            return self._aggregate(node.this)
        finally:
            self._filter = None

    def _count(self, node: exp.Count) -> Aggregate:
        only(node, {"this", "big_int"}, "COUNT")
        if isinstance(node.this, exp.Star):
            only(node.this, set(), "COUNT")
            if self._filter is None:
                return Aggregate("count", "")
            kept = Call("case", (self._filter, Literal("boolean", "true")))
            return Aggregate("count", "", counted=kept)
        if isinstance(node.this, exp.Distinct):
            return self._units(node.this)
        inner = self._rows.read(node.this, _clause(node))
        return Aggregate("count", "", counted=self._when(inner))

    def _units(self, node: exp.Distinct) -> Aggregate:
        only(node, {"expressions"}, "COUNT(DISTINCT)")
        unit = self._unit
        meant = [
            self._column(part, "COUNT(DISTINCT …)") if isinstance(part, exp.Column) else None
            for part in node.expressions
        ]
        if meant != [Column(name) for name in unit] or self._filter is not None:
            raise UnsupportedQueryError(
                "COUNT(DISTINCT …) counts units of privacy alone, without FILTER: write "
                f"COUNT(DISTINCT {', '.join(unit)}); other values are counted by GROUP BY"
            )
        return Aggregate("units", "")

    def _percentile(self, node: exp.Expr) -> Aggregate:
        if isinstance(node, exp.WithinGroup):
            order = node.expression.expressions
            if not isinstance(node.this, exp.PercentileCont) or len(order) != 1:
                raise UnsupportedQueryError(
                    "WITHIN GROUP is not supported here: write QUANTILE_CONT(column, 0.9)"
                )
            if order[0].args.get("desc"):
                raise UnsupportedQueryError("WITHIN GROUP orders upwards alone: leave DESC out")
            return self._quantile(order[0].this, _share(node.this.this), node)
        share = node.args.get("quantile") or node.expression
        return self._quantile(node.this, _share(share), node)

    def _quantile(self, inner: exp.Expr, share: str, node: exp.Expr) -> Aggregate:
        values = self._values([inner], "quantile", node)
        bins = min(MAX_BINS, values[0].high - values[0].low + 1)
        return Aggregate("quantile", "", values, parameter=share, bins=max(2, bins))

    def _values(
        self, nodes: Sequence[exp.Expr], function: Name, node: exp.Expr
    ) -> tuple[Value, ...]:
        clause = _clause(node)
        found = [self._when(self._rows.read(part, clause)) for part in nodes]
        return tuple(value_of(item, self._scope, function, clause, self._source) for item in found)

    def _when(self, inner: Expression) -> Expression:
        return inner if self._filter is None else Call("case", (self._filter, inner))

    def _several(self, node: exp.Expr, label: str) -> tuple[Output, ...] | None:
        if not isinstance(node, exp.Anonymous):
            return None
        name, parts = str(node.this).lower(), node.expressions
        if name == "histogram" and len(parts) == 2:
            return self._histogram(node, label)
        if name == "linear_regression" and 2 <= len(parts) <= MAX_VARIABLES + 1:
            return self._regression(node, label)
        raise UnsupportedQueryError(
            f"SELECT has {name.upper()}(), which is not supported so: ask for {OFFERED}, as in "
            "HISTOGRAM(amount, 10) or LINEAR_REGRESSION(amount, quantity, discount)"
        )

    def _histogram(self, node: exp.Anonymous, label: str) -> tuple[Output, ...]:
        values = self._values(node.expressions[:1], "bin", node)
        count = node.expressions[1]
        most = min(MAX_BINS, values[0].high - values[0].low + 1)
        if not isinstance(count, exp.Literal) or count.name not in set(
            map(str, range(1, most + 1))
        ):
            raise UnsupportedQueryError(
                f"{_clause(node)} takes 1 to {most} bins: write HISTOGRAM(column, {min(10, most)})"
            )
        bins, name = int(count.name), label or f"histogram_{named(values[0].expression)}"
        items = [Aggregate("bin", "", values, parameter=str(at), bins=bins) for at in range(bins)]
        return tuple(
            Output(f"{name}_{at}", self._keep(item, f"{name}_{at}"))
            for at, item in enumerate(items)
        )

    def _regression(self, node: exp.Anonymous, label: str) -> tuple[Output, ...]:
        values = self._values(node.expressions, "coefficient", node)
        name = label or f"regression_{named(values[0].expression)}"
        terms = ["intercept", *(named(value.expression) for value in values[1:])]
        items = [
            Aggregate("coefficient", "", values, parameter=str(at)) for at in range(len(values))
        ]
        return tuple(
            Output(f"{name}_{term}", self._keep(item, f"{name}_{term}"))
            for term, item in zip(terms, items, strict=True)
        )


class _Released(dict[str, Kind]):
    """Every label is a number that was released."""

    def __contains__(self, _: object) -> bool:
        return True

    def __missing__(self, _: str) -> Kind:
        return numeric()


_RELEASED: Final = _Released()


def _clause(node: exp.Expr) -> str:
    return node.sql(dialect="duckdb")[:80]


def _share(node: exp.Expr) -> str:
    if isinstance(node, exp.Literal) and not node.is_string and 0 < float(node.name) < 1:
        return number(node.name).text
    raise UnsupportedQueryError("a quantile lies between 0 and 1: write QUANTILE_CONT(column, 0.9)")


def _default(item: Aggregate) -> str:
    inner = [item.counted] if item.counted else [value.expression for value in item.values]
    return "_".join([item.function, *(named(part) for part in inner)])
