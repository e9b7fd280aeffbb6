"""How many rows break what a contract says of them: for the party itself, and for nobody else.

Two kinds of checks: for every column, values that the contract's reading changes (another type,
outside the bounds, outside the domain); and the contract's rules, over values as they are read.
Nothing that a node answers depends on the result: else whether an answer comes would tell of a row.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from clients.queries.compile import Statement
from clients.queries.relations import Relations, Table, quoted
from clients.queries.scalars import CASTS, Scalars
from federation.queries.parse import rule_of
from federation.queries.scope import scope_of
from federation.queries.sources import Scan
from policies.contracts import Column, DataContract


@dataclass(frozen=True, slots=True)
class Check:
    """One check and how many rows of the table broke it."""

    name: str
    broken: int
    rows: int


def checks(contract: DataContract) -> tuple[str, ...]:
    """Return what is checked of a table, in the order of `quality_statement`'s result."""
    columns = (f"{column.name} as promised" for column in contract.columns)
    return (*columns, *(rule.name for rule in contract.rules))


def quality_statement(contract: DataContract, table: Table) -> Statement:
    """Return the statement that counts rows, and those that break each of `checks`.

    Raises:
        UnsupportedQueryError: a rule of the contract is no condition over its columns.
    """
    constants = Scalars({}, {})
    names = {column.name for column in contract.columns}
    relations = Relations(
        {contract.name: contract}, {contract.name: table}, frozenset(names), constants
    )
    rows = relations.rows(Scan(contract.name, contract.version))
    scalars = Scalars(scope_of(contract), rows.columns, constants.parameters)
    raw = [f"{_raw(column, table)} AS r{at}" for at, column in enumerate(contract.columns)]
    broken = [
        f"r{at} IS NOT NULL AND r{at} IS DISTINCT FROM {rows.columns[column.name]}::VARCHAR"
        for at, column in enumerate(contract.columns)
    ]
    broken += [
        f"NOT coalesce({scalars.text(rule_of(rule.holds, contract))}, true)"
        for rule in contract.rules
    ]
    counted = ", ".join(f"count(*) FILTER (WHERE {condition})" for condition in broken)
    text = f"""
        WITH {", ".join(relations.parts)}, raw AS (
            SELECT {", ".join(raw)}, {table.place} AS position FROM {table.relation}
        )
        SELECT count(*), {counted} FROM {rows.name} JOIN raw USING (position)
    """  # noqa: S608  names are quoted, values are parameters
    return Statement(text, dict(scalars.parameters))


def found(contract: DataContract, row: Sequence[Any]) -> tuple[Check, ...]:
    """Return the checks from the one row of the statement's result."""
    rows, *broken = map(int, row)
    return tuple(
        Check(name, count, rows) for name, count in zip(checks(contract), broken, strict=True)
    )


def _raw(column: Column, table: Table) -> str:
    """Return a value as the table has it, where it is of the promised type; else as text."""
    name = quoted(column.name) if column.name in table.present else "NULL"
    match column.type:
        case "float" | "integer":
            kind = "number"
        case "string":
            kind = "text"
        case other:
            kind = other
    return f"coalesce(TRY_CAST({name} AS {CASTS[kind]})::VARCHAR, {name}::VARCHAR)"
