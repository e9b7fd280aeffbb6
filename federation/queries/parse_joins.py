"""JOIN: which columns it equates, and that it takes nothing else."""

from collections.abc import Mapping
from dataclasses import replace

from sqlglot import exp

from federation.errors import UnsupportedQueryError
from federation.queries.clauses import only
from federation.queries.expressions import Column, Expression
from federation.queries.parse_rows import Relation
from federation.queries.relations import unit_of
from federation.queries.sources import Join, JoinKind


def kind_of_join(node: exp.Expr) -> JoinKind:
    """Return whether a join keeps rows without a partner.

    Raises:
        UnsupportedQueryError: it is another join, or there are such columns.
    """
    only(node, {"this", "using", "on", "side", "kind"}, "JOIN")
    side, kind = str(node.args.get("side") or ""), str(node.args.get("kind") or "")
    if side == "LEFT" and kind in {"", "OUTER"}:
        return "left"
    if not side and kind in {"", "INNER"}:
        return "inner"
    raise UnsupportedQueryError(
        f"{' '.join(part for part in (side, kind) if part)} JOIN is not supported: write JOIN or "
        "LEFT JOIN over the unit of privacy"
    )


def require_plain(right: Relation) -> None:
    """Refuse columns that LEFT JOIN would compute for rows without a partner.

    Raises:
        UnsupportedQueryError: it is another join, or there are such columns.
    """
    for name, meant in right.shown.items():
        if not isinstance(meant, Column):
            raise UnsupportedQueryError(
                f"LEFT JOIN reads {name!r}, which is computed and would be known for rows without "
                "a partner too: compute it after the join"
            )


def condition(
    left: Relation, right: Relation, node: exp.Expr
) -> tuple[list[tuple[str, str]], frozenset[str]]:
    """Return the columns that a join equates, and those that it shows once."""
    using, on = node.args.get("using"), node.args.get("on")
    if not using and on is None:
        unit = unit_of(left.source, left.contracts)
        bare = ", ".join(name.rsplit(".", 1)[-1] for name in unit)
        raise UnsupportedQueryError(
            f"JOIN has no condition, so rows of different units would meet: write USING ({bare})"
        )
    if using or not isinstance(on, exp.Expr):
        nodes = [exp.Column(this=item) for item in using or ()]
        pairs = [(_plain_column(left, item), _plain_column(right, item)) for item in nodes]
        return pairs, frozenset(item.name for item in nodes)
    return [_equality(left, right, part) for part in _parts(on)], frozenset()


def _parts(on: exp.Expr) -> list[exp.Expr]:
    if isinstance(on, exp.Paren):
        return _parts(on.this)
    if isinstance(on, exp.And):
        return [*_parts(on.this), *_parts(on.expression)]
    return [on]


def _equality(left: Relation, right: Relation, node: exp.Expr) -> tuple[str, str]:
    sides = (node.this, node.expression) if isinstance(node, exp.EQ) else ()
    if len(sides) == 2 and all(isinstance(side, exp.Column) for side in sides):
        first, second = sides if _has(left, sides[0]) and _has(right, sides[1]) else sides[::-1]
        return _plain_column(left, first), _plain_column(right, second)
    raise UnsupportedQueryError(
        f"JOIN … ON has {node.sql(dialect='duckdb')[:80]}: it takes equalities of a column on "
        "either side, joined by AND; write other conditions in WHERE"
    )


def _has(relation: Relation, node: exp.Expr) -> bool:
    table = str(node.args["table"].name) if node.args.get("table") is not None else ""
    columns = relation.tables.get(table, {}) if table else relation.shown
    return node.name in columns


def _plain_column(relation: Relation, node: exp.Expr) -> str:
    if isinstance(node, exp.Column) and isinstance(node.this, exp.Identifier):
        found = relation.meaning(node, "JOIN … ON")
        if isinstance(found, Column):
            return found.name
    raise UnsupportedQueryError(
        f"JOIN … ON equates {node.sql(dialect='duckdb')[:80]}, which is computed: join over columns"
    )


def under_one_unit(join: Join, right: Relation) -> Relation:
    """Return the right side with its unit's columns read from the left, whose equals they are."""
    units = [tuple(map(Column, unit_of(side, right.contracts))) for side in (join.left, join.right)]
    same: dict[Expression, Expression] = dict(zip(units[1], units[0], strict=True))

    def read(columns: Mapping[str, Expression]) -> dict[str, Expression]:
        return {name: same.get(meant, meant) for name, meant in columns.items()}

    tables = {name: read(columns) for name, columns in right.tables.items()}
    return replace(right, tables=tables, shown=read(right.shown))
