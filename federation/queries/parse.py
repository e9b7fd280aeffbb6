"""SQL text to plan, version 2; README.md beside this file documents the subset.

sqlglot reads the text (DuckDB's dialect); what it read is taken apart node by node, and a node or
an attribute that is not named is refused by name, never skipped. Common table expressions and
subqueries in FROM that only project and filter are put into what reads them.
"""

import contextlib
import io
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from federation.errors import MalformedOrderError, UnsupportedQueryError
from federation.membership import Member
from federation.queries.expressions import Call, Column, Expression, conjuncts
from federation.queries.fitting import fit, key_of, named
from federation.queries.parse_aggregates import OFFERED, Aggregates
from federation.queries.parse_scalars import Scalars
from federation.queries.scope import nearest, readable, require_modest, scope_of
from federation.queries.tree import Bound, Filter, Group, Output, Plan, Release, Scan
from federation.sql import CLAUSES, MAX_TEXT
from federation.sql_parts import only
from policies.contracts import DataContract

MAX_RELATIONS: Final = 8
"""How deeply relations may stand in relations."""

INSTEAD: Final = {
    **CLAUSES,
    "joins": ("JOIN", "name one contract in FROM, or one relation made from it"),
    "distinct": ("DISTINCT", "use GROUP BY over a key with a public domain"),
}


@dataclass(frozen=True, slots=True)
class Relation:
    """Rows of one contract: what each visible column means, and which rows come through."""

    contract: DataContract
    names: frozenset[str]
    meaning: dict[str, Expression]
    conditions: tuple[Expression, ...] = ()


def parse(sql: str, contracts: Mapping[str, DataContract], cohort: Sequence[Member]) -> Plan:
    """Return the plan that `sql` means for the nodes of `cohort`.

    Raises:
        UnsupportedQueryError: it means none; the sentence names the clause and what to write.
    """
    try:
        select = _select(sql)
        relation = _Sources(contracts).relation(select, {}, 0)
        plan = _grouped(select, relation)
        fit(plan, relation.contract, cohort)
    except MalformedOrderError as why:
        raise UnsupportedQueryError(str(why)) from why
    except RecursionError as why:
        raise UnsupportedQueryError("the query is nested too deeply: write it flat") from why
    return plan


def _grouped(select: exp.Select, relation: Relation) -> Plan:
    contract = relation.contract
    where = _joined(relation.conditions)
    if where is not None:
        require_modest(where, scope_of(contract))
    scope, rows = scope_of(contract, where), _rows(relation)
    named_items = [_item(node) for node in select.expressions]
    hidden = {label: node for label, node in named_items[::-1] if label not in relation.meaning}
    asked = _keys_of(select, hidden, rows)
    aggregates = Aggregates(rows, scope, contract, relation.meaning)
    labels, outputs = _selected(named_items, asked, rows, aggregates)
    having = select.args.get("having")
    shown = None if having is None else aggregates.having(having.this)
    keys = tuple(
        key_of(expression, labels.get(expression, label), scope, f"GROUP BY {label}")
        for expression, label in asked.items()
    )
    leaf = Scan(contract.name, contract.version)
    child = leaf if where is None else Filter(leaf, where)
    bound = Bound(child, contract.unit.columns, contract.unit.rows)
    return Release(Group(bound, keys, aggregates.found), outputs, shown)


def _selected(
    items: Sequence[tuple[str, exp.Expr]],
    asked: Mapping[Expression, str],
    rows: Scalars,
    aggregates: Aggregates,
) -> tuple[dict[Expression, str], tuple[Output, ...]]:
    """Return how SELECT calls the keys, and its other columns."""
    labels: dict[Expression, str] = {}
    outputs: list[Output] = []
    for label, node in items:
        key = None if _has_aggregate(node) else _key_in(node, asked, rows)
        if key is None:
            outputs += aggregates.outputs(node, label)
        elif outputs:
            raise UnsupportedQueryError(
                f"SELECT names {node.sql(dialect='duckdb')!r} after an aggregate: put keys first"
            )
        else:
            labels[key] = label or asked[key]
    if not outputs:
        raise UnsupportedQueryError(
            f"SELECT asks for rows, and rows stay at home: ask for {OFFERED}"
        )
    return labels, tuple(outputs)


def _key_in(node: exp.Expr, asked: Mapping[Expression, str], rows: Scalars) -> Expression | None:
    found = rows.read(node, "SELECT")
    if found in asked:
        return found
    raise UnsupportedQueryError(
        f"SELECT names {node.sql(dialect='duckdb')!r} as it is: list it in GROUP BY, or put it "
        "into an aggregate"
    )


def _has_aggregate(node: exp.Expr) -> bool:
    kinds = (exp.AggFunc, exp.Anonymous, exp.Filter, exp.Window, exp.WithinGroup)
    return any(isinstance(part, kinds) for part in node.walk()) or not any(
        isinstance(part, exp.Column) for part in node.walk()
    )


def _item(node: exp.Expr) -> tuple[str, exp.Expr]:
    return (node.alias, node.this) if isinstance(node, exp.Alias) else ("", node)


def _keys_of(
    select: exp.Select, aliases: Mapping[str, exp.Expr], rows: Scalars
) -> dict[Expression, str]:
    group = select.args.get("group")
    if group is None:
        return {}
    if group.args.get("all"):
        raise UnsupportedQueryError("GROUP BY ALL is not supported: name the keys")
    only(group, {"expressions"}, "GROUP BY")
    found: dict[Expression, str] = {}
    for node in group.expressions:
        if isinstance(node, exp.Literal):
            raise UnsupportedQueryError("GROUP BY takes no positions: name the key itself")
        is_alias = isinstance(node, exp.Column) and not node.table and node.name in aliases
        expression = rows.read(aliases[node.name] if is_alias else node, "GROUP BY")
        found[expression] = node.name if isinstance(node, exp.Column) else named(expression)
    return found


def _rows(relation: Relation) -> Scalars:
    def leaf(node: exp.Expr, clause: str) -> Expression | None:
        if not isinstance(node, exp.Column):
            return None
        if not isinstance(node.this, exp.Identifier):
            raise UnsupportedQueryError(f"{clause} has * where one column must stand: name it")
        only(node, {"this", "table"}, clause)
        if node.table and node.table not in relation.names:
            raise UnsupportedQueryError(
                f"{clause} names table {node.table!r}, which is not in FROM"
                f"{nearest(node.table, relation.names)}"
            )
        if node.name not in relation.meaning:
            raise _unknown(node.name, relation, clause)
        found = relation.meaning[node.name]
        if isinstance(found, Column):
            readable(relation.contract, found.name, clause)
        return found

    return Scalars(leaf, scope_of(relation.contract))


def _unknown(name: str, relation: Relation, clause: str) -> UnsupportedQueryError:
    hint = nearest(name, relation.meaning)
    return UnsupportedQueryError(
        f"{clause} uses {name!r}, which contract {relation.contract.name!r} does not have{hint}"
    )


def _joined(conditions: Sequence[Expression]) -> Expression | None:
    parts = [leaf for condition in conditions for leaf in conjuncts(condition)]
    if len(parts) < 2:
        return parts[0] if parts else None
    return Call("and", tuple(parts))


class _Sources:
    """Finds out what FROM means."""

    def __init__(self, contracts: Mapping[str, DataContract]) -> None:
        self._contracts = contracts

    def relation(self, select: exp.Select, known: Mapping[str, Relation], depth: int) -> Relation:
        """Return the rows that a SELECT reads, behind its WHERE."""
        if depth > MAX_RELATIONS:
            raise UnsupportedQueryError("FROM is nested too deeply: write fewer subqueries")
        known = {**known, **self._tables(select, known, depth)}
        source = select.args.get("from_")
        if source is None:
            raise UnsupportedQueryError("FROM is missing: name the contract whose rows are read")
        relation = self._source(source.this, known, depth)
        where = select.args.get("where")
        if where is None:
            return relation
        condition = _rows(relation).condition(where.this, "WHERE")
        conditions = (*relation.conditions, condition)
        return Relation(relation.contract, relation.names, relation.meaning, conditions)

    def _tables(
        self, select: exp.Select, known: Mapping[str, Relation], depth: int
    ) -> dict[str, Relation]:
        found: dict[str, Relation] = {}
        clause = select.args.get("with_")
        if clause is None:
            return found
        only(clause, {"expressions"}, "WITH")
        for item in clause.expressions:
            only(item, {"this", "alias"}, "WITH")
            only(item.args["alias"], {"this"}, "WITH")
            found[item.alias] = self._inner(item.this, item.alias, {**known, **found}, depth)
        return found

    def _source(self, node: exp.Expr, known: Mapping[str, Relation], depth: int) -> Relation:
        if isinstance(node, exp.Subquery):
            only(node, {"this", "alias"}, "FROM")
            return self._inner(node.this, node.alias, known, depth)
        if not isinstance(node, exp.Table) or not isinstance(node.this, exp.Identifier):
            raise UnsupportedQueryError(
                "FROM takes the name of a contract, no function and no file: write FROM orders"
            )
        only(node, {"this", "alias"}, "FROM")
        names = frozenset({node.name, node.alias or node.name})
        if node.name in known:
            inner = known[node.name]
            return Relation(inner.contract, names, inner.meaning, inner.conditions)
        if node.name not in self._contracts:
            choices = nearest(node.name, [*known, *self._contracts])
            raise UnsupportedQueryError(
                f"FROM names {node.name!r}, which is no contract here{choices}"
            )
        contract = self._contracts[node.name]
        meaning: dict[str, Expression] = {c.name: Column(c.name) for c in contract.columns}
        return Relation(contract, names, meaning)

    def _inner(
        self, node: exp.Expr, alias: str, known: Mapping[str, Relation], depth: int
    ) -> Relation:
        select = _plain(node, f"the relation {alias or 'in FROM'}")
        for clause, title in (("group", "GROUP BY"), ("having", "HAVING")):
            if select.args.get(clause) is not None:
                raise _aggregated(alias, title)
        relation = self.relation(select, known, depth + 1)
        rows = _rows(relation)
        meaning: dict[str, Expression] = {}
        for item in select.expressions:
            label, inner = _item(item)
            if isinstance(inner, exp.Star):
                only(inner, set(), "SELECT *")
                meaning.update(relation.meaning)
                continue
            if any(isinstance(part, exp.AggFunc) for part in inner.walk()):
                raise _aggregated(alias, inner.sql(dialect="duckdb")[:80])
            if not isinstance(inner, exp.Column) and not label:
                raise UnsupportedQueryError(
                    f"the relation {alias or 'in FROM'} computes a column without a name: use AS"
                )
            meaning[label or inner.name] = self._column(inner, relation, rows)
        return Relation(relation.contract, frozenset({alias} - {""}), meaning, relation.conditions)

    def _column(self, node: exp.Expr, relation: Relation, rows: Scalars) -> Expression:
        # A unit's column may be handed on; it is refused where something is computed from it.
        if isinstance(node, exp.Column) and node.name in relation.meaning:
            return relation.meaning[node.name]
        return rows.read(node, "SELECT")


def _aggregated(alias: str, what: str) -> UnsupportedQueryError:
    return UnsupportedQueryError(
        f"the relation {alias or 'in FROM'} has {what}, which puts several units' rows together "
        "before the last aggregation: a relation may choose columns and filter rows alone"
    )


def _select(sql: str) -> exp.Select:
    if len(sql) > MAX_TEXT:
        raise UnsupportedQueryError(f"the query is longer than {MAX_TEXT} characters: shorten it")
    statements = _statements(sql)
    if len(statements) != 1:
        raise UnsupportedQueryError("give exactly one statement: one SELECT ... FROM a contract")
    return _plain(statements[0], "the query")


def _plain(node: exp.Expr, what: str) -> exp.Select:
    if isinstance(node, exp.SetOperation):
        raise UnsupportedQueryError(
            "UNION, INTERSECT and EXCEPT are not supported: ask one query after the other"
        )
    if not isinstance(node, exp.Select):
        raise UnsupportedQueryError(
            f"only a query can be asked, and {what} is none: begin with SELECT key, COUNT(*)"
        )
    read = {"expressions", "from_", "where", "group", "having", "with_"}
    for name, value in node.args.items():
        if value and name not in read:
            clause, instead = INSTEAD.get(name, (name.strip("_").upper(), "leave it out"))
            raise UnsupportedQueryError(f"{clause} is not supported: {instead}")
    return node


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
            "[WHERE ...] [GROUP BY ...] [HAVING ...]"
        ) from why
    finally:
        logger.setLevel(level)
    return [statement for statement in parsed if isinstance(statement, exp.Expr)]
