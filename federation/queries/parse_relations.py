"""FROM, JOIN and WITH: which relation a SELECT reads, and what each visible column means there.

A relation may choose columns, compute scalars, filter, join over the unit of privacy, and look at
one unit's rows through a window. It is put into what reads it: where it only projects and filters,
nothing of it is left in the plan but the conditions.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from sqlglot import exp

from federation.errors import UnsupportedQueryError
from federation.queries.clauses import only
from federation.queries.expressions import Column, Expression
from federation.queries.fitting_relations import MAX_SCANS, names_of, require_join
from federation.queries.parse_joins import condition, kind_of_join, require_plain, under_one_unit
from federation.queries.parse_rows import Relation, leaf_of, rows
from federation.queries.parse_statements import MAX_RELATIONS, item_of, plain
from federation.queries.parse_windows import Windows, has_aggregate
from federation.queries.relations import Contracts
from federation.queries.scope import nearest
from federation.queries.sources import Join, Scan


@dataclass(slots=True)
class _Definition:
    """A relation of WITH: where it is defined, and whether anything reads it."""

    node: exp.Expr
    alias: str
    known: Mapping[str, "_Definition"]
    depth: int
    is_read: bool = False


class Sources:
    """Finds out what FROM means in one statement.

    several: whether the statement joins at all, so that columns carry their contract's name.
    """

    def __init__(self, contracts: Contracts, *, several: bool) -> None:
        self._contracts = contracts
        self._agreed = {contract.name: contract for contract in contracts.values()}
        self._several = several
        self._scans: list[str] = []
        self._windows = 0
        self._defined: list[_Definition] = []

    def statement(self, select: exp.Select) -> Relation:
        """Return the rows that a whole statement reads, behind its WHERE.

        Raises:
            UnsupportedQueryError: they would not be one unit's rows each, or WITH says too much.
        """
        found = self._relation(select, {}, 0)
        unread = next((item.alias for item in self._defined if not item.is_read), None)
        if unread is not None:
            raise UnsupportedQueryError(f"WITH defines {unread!r}, which nothing reads: drop it")
        return found

    def _relation(
        self, select: exp.Select, known: Mapping[str, _Definition], depth: int
    ) -> Relation:
        if depth > MAX_RELATIONS:
            raise UnsupportedQueryError("FROM is nested too deeply: write fewer subqueries")
        known = {**known, **self._tables(select, known, depth)}
        source = select.args.get("from_")
        if source is None:
            raise UnsupportedQueryError("FROM is missing: name the contract whose rows are read")
        relation = self._source(source.this, known, depth)
        for node in select.args.get("joins") or ():
            relation = self._joined(relation, node, known, depth)
        where = select.args.get("where")
        if where is None:
            return relation
        chosen = rows(relation).condition(where.this, "WHERE")
        return replace(relation, conditions=(*relation.conditions, chosen))

    def _tables(
        self, select: exp.Select, known: Mapping[str, _Definition], depth: int
    ) -> dict[str, _Definition]:
        found: dict[str, _Definition] = {}
        clause = select.args.get("with_")
        if clause is None:
            return found
        only(clause, {"expressions"}, "WITH")
        for item in clause.expressions:
            only(item, {"this", "alias"}, "WITH")
            only(item.args["alias"], {"this"}, "WITH")
            found[item.alias] = _Definition(item.this, item.alias, {**known, **found}, depth)
        self._defined += found.values()
        return found

    def _source(self, node: exp.Expr, known: Mapping[str, _Definition], depth: int) -> Relation:
        if isinstance(node, exp.Subquery):
            only(node, {"this", "alias"}, "FROM")
            return self._inner(node.this, node.alias, known, depth)
        if not isinstance(node, exp.Table) or not isinstance(node.this, exp.Identifier):
            raise UnsupportedQueryError(
                "FROM takes the name of a contract, no function and no file: write FROM orders"
            )
        only(node, {"this", "alias"}, "FROM")
        if node.name in known:
            definition = known[node.name]
            definition.is_read = True
            inner = self._inner(
                definition.node, definition.alias, definition.known, definition.depth
            )
            return replace(inner, tables=self._named(node, inner.shown))
        return self._scanned(node, known)

    def _named(
        self, node: exp.Expr, shown: Mapping[str, Expression]
    ) -> dict[str, Mapping[str, Expression]]:
        names = {node.alias or node.name} if self._several else {node.name, node.alias or node.name}
        return dict.fromkeys(sorted(names), shown)

    def _scanned(self, node: exp.Expr, known: Mapping[str, _Definition]) -> Relation:
        if node.name not in self._contracts:
            choices = nearest(node.name, [*known, *self._contracts])
            raise UnsupportedQueryError(
                f"FROM names {node.name!r}, which is no contract here{choices}"
            )
        contract = self._contracts[node.name]
        self._scans.append(contract.name)
        if len(self._scans) > MAX_SCANS:
            raise UnsupportedQueryError(
                f"FROM reads more than {MAX_SCANS} tables: ask about fewer at once"
            )
        name = names_of(tuple(self._scans))[-1] if len(self._scans) > 1 else contract.name
        leaf = Scan(contract.name, contract.version, name if self._several else "")
        shown: dict[str, Expression] = {
            column.name: Column(leaf.column(column.name)) for column in contract.columns
        }
        return Relation(
            contracts=self._agreed, source=leaf, tables=self._named(node, shown), shown=shown
        )

    def _joined(
        self, left: Relation, node: exp.Expr, known: Mapping[str, _Definition], depth: int
    ) -> Relation:
        kind = kind_of_join(node)
        right = self._source(node.this, known, depth)
        twice = sorted(set(left.tables) & set(right.tables))
        if twice:
            raise UnsupportedQueryError(
                f"JOIN reads two relations called {twice[0]!r}: give one another name by AS"
            )
        if kind == "left":
            require_plain(right)
        pairs, using = condition(left, right, node)
        join = Join(left.filtered, right.filtered, kind, tuple(dict.fromkeys(pairs)))
        require_join(join, self._agreed)
        if kind == "inner":
            right = under_one_unit(join, right)
        shared = {
            name
            for name in set(left.shown) & set(right.shown) - using
            if left.shown[name] != right.shown[name]
        }
        both = {**right.shown, **left.shown}
        return Relation(
            contracts=self._agreed,
            source=join,
            tables={**left.tables, **right.tables},
            shown={name: meant for name, meant in both.items() if name not in shared},
            unclear=frozenset(shared) | left.unclear | right.unclear,
            labels={**left.labels, **right.labels},
        )

    def _inner(
        self, node: exp.Expr, alias: str, known: Mapping[str, _Definition], depth: int
    ) -> Relation:
        title = f"the relation {alias or 'in FROM'}"
        select = plain(node, title)
        for clause, said in (("group", "GROUP BY"), ("having", "HAVING")):
            if select.args.get(clause) is not None:
                raise _aggregated(title, said)
        relation = self._relation(select, known, depth + 1)
        windows = Windows(
            relation.filtered,
            self._agreed,
            leaf_of(relation),
            relation.meaning,
            self._windows,
            title,
        )
        meaning: dict[str, Expression] = {}
        for item in select.expressions:
            meaning.update(_columns(item, relation, windows, title))
        source, conditions = relation.source, relation.conditions
        if windows.made:
            self._windows += len(windows.made)
            source, conditions = windows.source, ()
        named = {meant: label for label, meant in meaning.items()}
        made = {name: named.get(Column(name), text) for name, text in windows.made.items()}
        return Relation(
            contracts=self._agreed,
            source=source,
            tables={alias: meaning} if alias else {},
            shown=meaning,
            conditions=conditions,
            labels={**relation.labels, **made},
        )


def _columns(
    item: exp.Expr, relation: Relation, windows: Windows, title: str
) -> dict[str, Expression]:
    """Return the columns that one item of an inner SELECT shows."""
    label, inner = item_of(item)
    if isinstance(inner, exp.Star):
        only(inner, set(), "SELECT *")
        if relation.unclear:
            raise UnsupportedQueryError(
                f"{title} has *, in which {', '.join(sorted(relation.unclear))} would stand twice: "
                "name the columns"
            )
        return dict(relation.shown)
    if has_aggregate(inner):
        raise _aggregated(title, inner.sql(dialect="duckdb")[:80])
    if not isinstance(inner, exp.Column) and not label:
        raise UnsupportedQueryError(f"{title} computes a column without a name: use AS")
    # A unit's column may be handed on; it is refused where something is computed from it.
    if isinstance(inner, exp.Column) and isinstance(inner.this, exp.Identifier):
        return {label or inner.name: relation.meaning(inner, "SELECT")}
    return {label or inner.name: windows.read(inner, "SELECT")}


def _aggregated(title: str, what: str) -> UnsupportedQueryError:
    return UnsupportedQueryError(
        f"{title} has {what}, which puts several units' rows together "
        "before the last aggregation: a relation may choose columns and filter rows alone"
    )
