"""Windows inside a relation: accepted where the partition names the whole unit of privacy.

row_number() | COUNT(*) | COUNT(x) | SUM(x) | MIN(x) | MAX(x) | LAG(x[, n]) | LEAD(x[, n])
OVER (PARTITION BY unit, … [ORDER BY x [DESC], …] [ROWS BETWEEN n PRECEDING AND CURRENT ROW])
"""

from collections.abc import Callable
from typing import Final

from sqlglot import exp

from federation.errors import UnsupportedQueryError
from federation.queries.clauses import only
from federation.queries.expressions import Column, Expression
from federation.queries.fitting_relations import ORDERED, WINDOW
from federation.queries.kinds import Kind
from federation.queries.parse_scalars import Scalars
from federation.queries.relations import (
    MAX_FRAME,
    Contracts,
    kind_of_window,
    scope_of_source,
    titled,
    unit_of,
)
from federation.queries.sources import Order, Source, Window, WindowName, scans

FUNCTIONS: Final[dict[type[exp.Expr], WindowName]] = {
    exp.RowNumber: "row_number",
    exp.Count: "count",
    exp.Sum: "sum",
    exp.Min: "min",
    exp.Max: "max",
    exp.Lag: "lag",
    exp.Lead: "lead",
}
FRAME: Final = "ROWS BETWEEN 3 PRECEDING AND CURRENT ROW"

Leaf = Callable[[exp.Expr, str], Expression | None]


def has_aggregate(node: exp.Expr) -> bool:
    """Tell whether an aggregate stands in an expression outside OVER."""
    return any(
        isinstance(part, exp.AggFunc) and not isinstance(part.parent, exp.Window)
        for part in node.walk()
    )


class Windows:
    """Reads the expressions of one SELECT, and puts the windows in them under its rows.

    leaf, meaning: what columns mean, with and without asking whether they may be read
    before:        how many windows the statement has so far
    made:          the columns that windows made, and how the query spells them
    """

    def __init__(
        self,
        source: Source,
        contracts: Contracts,
        leaf: Leaf,
        meaning: Callable[[exp.Column, str], Expression],
        before: int,
        title: str,
    ) -> None:
        self.source = source
        self.made: dict[str, str] = {}
        self._contracts = contracts
        self._below = leaf
        self._meaning = meaning
        self._before = before
        self._title = title
        self._scope: dict[str, Kind] = dict(scope_of_source(source, contracts))
        self._rows = Scalars(leaf, self._scope)
        self._scalars = Scalars(self._leaf, self._scope)

    def read(self, node: exp.Expr, clause: str) -> Expression:
        """Return what an expression of SELECT means.

        Raises:
            UnsupportedQueryError: it means none, or a window in it reads other units' rows.
        """
        return self._scalars.read(node, clause)

    def _leaf(self, node: exp.Expr, clause: str) -> Expression | None:
        return self._window(node) if isinstance(node, exp.Window) else self._below(node, clause)

    def _window(self, node: exp.Window) -> Expression:
        text = node.sql(dialect="duckdb")[:80]
        only(node, {"this", "partition_by", "order", "spec", "over"}, text)
        function = FUNCTIONS.get(type(node.this))
        if function is None:
            raise UnsupportedQueryError(
                f"{self._title} has {text}: a window counts, sums or looks at rows, so write "
                "row_number, COUNT, SUM, MIN, MAX, LAG or LEAD"
            )
        partition, order = self._partition(node, text), self._order(node, text)
        if function in ORDERED and not order:
            raise UnsupportedQueryError(f"{self._title} has {text}: say ORDER BY what")
        argument, offset = self._argument(node.this, function, text)
        frame = self._frame(node, function, order, text)
        name = WINDOW.format(self._before + len(self.made) + 1)
        made = Window(self.source, name, function, argument, partition, order, frame, offset)
        self._scope[name] = kind_of_window(made, self._scope)
        self.source, self.made[name] = made, text
        return Column(name)

    def _partition(self, node: exp.Window, text: str) -> tuple[Expression, ...]:
        wanted = [Column(name) for name in unit_of(self.source, self._contracts)]
        found = [self._meant(part, text) for part in node.args.get("partition_by") or ()]
        if not set(wanted) <= set(found):
            names = ", ".join(name.name.rsplit(".", 1)[-1] for name in wanted)
            subjects = self._contracts[scans(self.source)[0].contract].subjects
            raise UnsupportedQueryError(
                f"{self._title} has {text}, a window over rows of several {subjects} of "
                f"{titled(self.source)}: an expression may read one unit's rows only, so write "
                f"PARTITION BY {names}"
            )
        return tuple(part for part in found if part not in wanted)

    def _meant(self, node: exp.Expr, text: str) -> Expression:
        # A unit's column may be partitioned by, and nothing else be computed from it.
        if isinstance(node, exp.Column) and isinstance(node.this, exp.Identifier):
            found = self._meaning(node, text)
            if found in {Column(name) for name in unit_of(self.source, self._contracts)}:
                return found
        return self._rows.read(node, text)

    def _argument(
        self, node: exp.Expr, function: WindowName, text: str
    ) -> tuple[Expression | None, int]:
        only(node, {"this", "offset", "big_int"}, text)
        if function == "row_number" or isinstance(node.this, exp.Star):
            return None, 0
        if isinstance(node.this, exp.Distinct):
            raise UnsupportedQueryError(f"{self._title} has {text}: leave DISTINCT out")
        argument = self._rows.read(node.this, text)
        if function not in {"lag", "lead"}:
            return argument, 0
        offset = node.args.get("offset")
        return argument, 1 if offset is None else self._count(offset, text, 1)

    def _order(self, node: exp.Window, text: str) -> tuple[Order, ...]:
        clause = node.args.get("order")
        if clause is None:
            return ()
        only(clause, {"expressions"}, text)
        found: list[Order] = []
        for item in clause.expressions:
            only(item, {"this", "desc", "nulls_first"}, text)
            if item.args.get("nulls_first"):
                raise UnsupportedQueryError(
                    f"{self._title} has {text}: NULL comes last, so leave NULLS FIRST out"
                )
            found.append(Order(self._rows.read(item.this, text), bool(item.args.get("desc"))))
        return tuple(found)

    def _frame(
        self, node: exp.Window, function: WindowName, order: tuple[Order, ...], text: str
    ) -> int | None:
        spec = node.args.get("spec")
        if spec is None:
            return None
        said = {name: value for name, value in spec.args.items() if value}
        start = said.pop("start", None)
        shape = {"kind": "ROWS", "start_side": "PRECEDING", "end": "CURRENT ROW"}
        if function in ORDERED or not order or said != shape or not isinstance(start, exp.Literal):
            raise UnsupportedQueryError(
                f"{self._title} has {text}: a frame is {FRAME} behind ORDER BY; write that, or "
                "leave it out"
            )
        return self._count(start, text, 0)

    def _count(self, node: exp.Expr, text: str, least: int) -> int:
        if isinstance(node, exp.Literal) and not node.is_string and node.name.isdecimal():
            found = int(node.name[:6])
            if least <= found < MAX_FRAME:
                return found
        raise UnsupportedQueryError(
            f"{self._title} has {text}: a number of rows lies between {least} and {MAX_FRAME - 1}"
        )
