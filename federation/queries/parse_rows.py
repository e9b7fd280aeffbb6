"""What a column means in the relation that a SELECT reads."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from sqlglot import exp

from federation.errors import UnsupportedQueryError
from federation.queries.clauses import only
from federation.queries.expressions import Call, Column, Expression, conjuncts
from federation.queries.parse_scalars import Scalars
from federation.queries.relations import Contracts, readable_in, scope_of_source, titled
from federation.queries.scope import nearest
from federation.queries.sources import Filter, Source


@dataclass(frozen=True, slots=True, kw_only=True)
class Relation:
    """Rows of contracts: what each visible column means, and which rows come through.

    tables:     columns by what may stand before a dot
    shown:      columns that may stand without one
    unclear:    columns that may not, since several tables have them
    conditions: what must hold of a row of `source`, all of it
    labels:     what the query calls the columns that windows make
    """

    contracts: Contracts
    source: Source
    tables: Mapping[str, Mapping[str, Expression]]
    shown: Mapping[str, Expression]
    unclear: frozenset[str] = frozenset()
    conditions: tuple[Expression, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)

    @property
    def filtered(self) -> Source:
        """The rows that come through."""
        where = joined(self.conditions)
        return self.source if where is None else Filter(self.source, where)

    def meaning(self, node: exp.Column, clause: str) -> Expression:
        """Return what a column means.

        Raises:
            UnsupportedQueryError: there is none of that name, or several.
        """
        if node.table and node.table not in self.tables:
            raise UnsupportedQueryError(
                f"{clause} names table {node.table!r}, which is not in FROM"
                f"{nearest(node.table, self.tables)}"
            )
        columns = self.tables[node.table] if node.table else self.shown
        if not node.table and node.name in self.unclear:
            where = sorted(name for name, known in self.tables.items() if node.name in known)
            raise UnsupportedQueryError(
                f"{clause} uses {node.name!r}, which stands in {' and '.join(where)}: "
                f"write {where[0]}.{node.name}"
            )
        if node.name not in columns:
            raise UnsupportedQueryError(
                f"{clause} uses {node.name!r}, which contract {titled(self.source)!r} does not "
                f"have{nearest(node.name, columns)}"
            )
        return columns[node.name]


def joined(conditions: Sequence[Expression]) -> Expression | None:
    """Return the conjunction of conditions; None of none."""
    parts = [leaf for condition in conditions for leaf in conjuncts(condition)]
    if len(parts) < 2:
        return parts[0] if parts else None
    return Call("and", tuple(parts))


def rows(relation: Relation) -> Scalars:
    """Return the reader of expressions over a relation's rows."""
    return Scalars(leaf_of(relation), scope_of_source(relation.source, relation.contracts))


def leaf_of(relation: Relation) -> Callable[[exp.Expr, str], Expression | None]:
    """Return what reads a column that expressions may read; None for another part of SQL."""

    def leaf(node: exp.Expr, clause: str) -> Expression | None:
        if not isinstance(node, exp.Column):
            return None
        if not isinstance(node.this, exp.Identifier):
            raise UnsupportedQueryError(f"{clause} has * where one column must stand: name it")
        only(node, {"this", "table"}, clause)
        found = relation.meaning(node, clause)
        if isinstance(found, Column):
            readable_in(relation.source, relation.contracts, found.name, clause)
        return found

    return leaf
