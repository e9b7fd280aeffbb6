"""SQL text to plan, version 2; README.md beside this file documents the subset.

sqlglot reads the text (DuckDB's dialect); what it read is taken apart node by node, and a node or
an attribute that is not named is refused by name, never skipped. Common table expressions and
subqueries in FROM that only project and filter are put into what reads them.
"""

import re
from collections.abc import Callable, Mapping, Sequence

from sqlglot import exp

from federation.errors import MalformedOrderError, UnsupportedQueryError
from federation.membership import Member
from federation.queries.clauses import only
from federation.queries.expressions import Column, Expression
from federation.queries.fitting import fit_all, key_of, named
from federation.queries.parse_aggregates import OFFERED, Aggregates
from federation.queries.parse_relations import Sources
from federation.queries.parse_rows import Relation, joined, rows
from federation.queries.parse_scalars import Scalars
from federation.queries.parse_statements import item_of, select_of
from federation.queries.relations import rows_of, scope_of_source, titled, unit_of
from federation.queries.scope import narrowed_by, require_modest, scope_of
from federation.queries.tree import Bound, Group, Output, Plan, Release
from policies.contracts import DataContract


def parse(sql: str, contracts: Mapping[str, DataContract], cohort: Sequence[Member]) -> Plan:
    """Return the plan that `sql` means for the nodes of `cohort`.

    Raises:
        UnsupportedQueryError: it means none; the sentence names the clause and what to write.
    """
    try:
        select = select_of(sql)
        several = select.find(exp.Join) is not None
        relation = Sources(contracts, several=several).statement(select)
        plan = _labelled(relation, lambda: _grouped(select, relation))
        fit_all(plan, relation.contracts, cohort)
    except MalformedOrderError as why:
        raise UnsupportedQueryError(str(why)) from why
    except RecursionError as why:
        raise UnsupportedQueryError("the query is nested too deeply: write it flat") from why
    return plan


def rule_of(text: str, contract: DataContract) -> Expression:
    """Return the condition that a contract's quality rule says of one row, over all its columns.

    Raises:
        UnsupportedQueryError: it is none.
    """
    select = select_of(f"SELECT 1 WHERE {text}")
    where = select.args.get("where")

    def leaf(node: exp.Expr, clause: str) -> Expression | None:
        if not isinstance(node, exp.Column):
            return None
        only(node, {"this"}, clause)
        return Column(node.name)

    clause = f"the rule {text!r}"
    if where is None or select.args.get("group") or select.args.get("having"):
        raise UnsupportedQueryError(f"{clause} is no condition: compare columns of the contract")
    return Scalars(leaf, scope_of(contract)).condition(where.this, clause)


def _labelled(relation: Relation, read: Callable[[], Plan]) -> Plan:
    """Return what `read` returns; a sentence about a window's column calls it as the query does."""
    try:
        return read()
    except UnsupportedQueryError as why:
        text = str(why)
        for name, label in sorted(relation.labels.items(), reverse=True):
            text = re.sub(rf"\b{name}\b", label.replace("\\", ""), text)
        raise type(why)(text) from why


def _grouped(select: exp.Select, relation: Relation) -> Plan:
    where, agreed = joined(relation.conditions), relation.contracts
    known = scope_of_source(relation.source, agreed)
    if where is not None:
        require_modest(where, known)
    scope, reader = narrowed_by(known, where), rows(relation)
    named_items = [item_of(node) for node in select.expressions]
    hidden = {label: node for label, node in named_items[::-1] if label not in relation.shown}
    asked = _keys_of(select, hidden, reader)
    unit = unit_of(relation.source, agreed)
    aggregates = Aggregates(reader, scope, unit, titled(relation.source), relation.meaning)
    labels, outputs = _selected(named_items, asked, reader, aggregates)
    having = select.args.get("having")
    shown = None if having is None else aggregates.having(having.this)
    keys = tuple(
        key_of(expression, labels.get(expression, label), scope, f"GROUP BY {label}")
        for expression, label in asked.items()
    )
    bound = Bound(relation.filtered, unit, rows_of(relation.source, agreed))
    return Release(Group(bound, keys, aggregates.found), outputs, shown)


def _selected(
    items: Sequence[tuple[str, exp.Expr]],
    asked: Mapping[Expression, str],
    reader: Scalars,
    aggregates: Aggregates,
) -> tuple[dict[Expression, str], tuple[Output, ...]]:
    """Return how SELECT calls the keys, and its other columns."""
    labels: dict[Expression, str] = {}
    outputs: list[Output] = []
    for label, node in items:
        key = None if _has_aggregate(node) else _key_in(node, asked, reader)
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


def _key_in(node: exp.Expr, asked: Mapping[Expression, str], reader: Scalars) -> Expression | None:
    found = reader.read(node, "SELECT")
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


def _keys_of(
    select: exp.Select, aliases: Mapping[str, exp.Expr], reader: Scalars
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
        expression = reader.read(aliases[node.name] if is_alias else node, "GROUP BY")
        found[expression] = node.name if isinstance(node, exp.Column) else named(expression)
    return found
