"""A plan as one DuckDB statement: the exact, bounded, integer sums of a node's rows.

    rows      each column once, read as the contract promises it, NULL where it does not; behind
              it, where the plan joins or looks through windows, one relation after the other
    source    rows that WHERE lets through, with keys, values and units
    known     rows that have a unit and whose keys lie in the public domain
    heavy     units of which more than K rows are known: nobody else's rows are drawn from
    numbered  the rows of those units, in their order
    lots      a place for every row of such a unit, drawn by SHA-256 under a secret of this one
              query, from that unit's own rows alone
    kept      its rows whose place is at most K, and all rows of the units that are not heavy
    the sums  over the rows kept

Names are quoted, values are parameters. The statement's result is cells that hold rows; `vector`
lays it out as the whole public vector, zeros included.
"""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from clients.queries.relations import PARQUET, PARQUET_PLACE, Relations, Table, held
from clients.queries.scalars import Scalars
from federation.queries.expressions import Expression
from federation.queries.relations import Contracts, scope_of_source
from federation.queries.scope import kind_of
from federation.queries.sensitivity import Measure, measures, sum_reach
from federation.queries.sources import scans
from federation.queries.tree import Key, Plan, Value, columns, condition, source
from policies.contracts import DataContract


@dataclass(frozen=True, slots=True)
class Statement:
    """Text and parameters; `data` and `secret` are for the caller to add."""

    text: str
    parameters: dict[str, str | int]


def compile_plan(
    plan: Plan,
    contract: DataContract,
    present: frozenset[str],
    relation: str = PARQUET,
    place: str = PARQUET_PLACE,
) -> Statement:
    """Return the statement for `plan` over `relation`.

    present:  the columns that the relation has; one that it lacks is NULL in every row.
    relation: DuckDB text that the caller wrote; never a word of the plan.
    place:    the expression that numbers the relation's rows.
    """
    tables = {contract.name: Table(present, relation, place)}
    return compile_joined(plan, {contract.name: contract}, tables)


def compile_joined(plan: Plan, contracts: Contracts, tables: Mapping[str, Table]) -> Statement:
    """Return the statement for a plan over several contracts, all by the contract's name."""
    return Compiler(plan, contracts, tables).statement()


def vector(plan: Plan, found: Sequence[tuple[Any, ...]]) -> tuple[int, ...]:
    """Return the released layout, [measures x cells x bins], of the statement's result.

    A cell that nobody falls into is 0. Sums beyond 2^32 rows' worth are clipped, never wrapped.
    """
    depth = len(plan.child.keys)
    by_cell = {row[:depth]: row[depth:] for row in found}
    every = list(itertools.product(*(key.domain for key in plan.child.keys)))
    numbers: list[int] = []
    start = 0
    for measure in measures(plan):
        most = sum_reach(measure)
        for cell in every:
            row = by_cell.get(cell, ())[start : start + measure.bins] or (0,) * measure.bins
            numbers += [max(-most, min(most, int(x or 0))) for x in row]
        start += measure.bins
    return tuple(numbers)


class Compiler:
    """Spells one plan; `tables` by the contract's name."""

    def __init__(self, plan: Plan, contracts: Contracts, tables: Mapping[str, Table]) -> None:
        self._plan = plan
        self._constants = Scalars({}, {})
        top = source(plan)
        units = {
            leaf.column(n) for leaf in scans(top) for n in contracts[leaf.contract].unit.columns
        }
        read = frozenset(columns(plan)) - units
        self._relations = Relations(contracts, tables, read, self._constants)
        self._rows = self._relations.rows(top)
        self._scope = scope_of_source(top, contracts)
        self._scalars = Scalars(self._scope, self._rows.columns, self._constants.parameters)
        self._units = [f"u{at}" for at in range(len(plan.child.child.unit))]
        self._keys = [f"k{at}" for at in range(len(plan.child.keys))]
        self._values: dict[Value, str] = {}
        self._flags: dict[Expression, str] = {}
        for measure in measures(plan):
            for value in measure.values:
                self._values.setdefault(value, f"v{len(self._values)}")
            for expression in measure.expressions:
                self._flags.setdefault(expression, f"f{len(self._flags)}")

    def statement(self) -> Statement:
        """Return the sums over the rows that the bound keeps."""
        unit, position = ", ".join(self._units), ", ".join(self._rows.positions)
        sums, keys = self._measured(), self._keys
        text = f"""
            WITH {self._known()}, heavy AS MATERIALIZED (
                SELECT {unit} FROM known GROUP BY {unit} HAVING count(*) > $most
            ), numbered AS (
                SELECT *, row_number() OVER (PARTITION BY {unit} ORDER BY {position}) AS turn
                FROM known SEMI JOIN heavy USING ({unit})
            ), lots AS (
                SELECT *, row_number() OVER (
                    PARTITION BY {unit}
                    ORDER BY sha256($secret || to_json([{unit}]) || turn::VARCHAR), turn
                ) AS place
                FROM numbered
            ), kept AS (
                SELECT * EXCLUDE (turn, place) FROM lots WHERE place <= $most
                UNION ALL SELECT * FROM known ANTI JOIN heavy USING ({unit})
            )
            SELECT {", ".join([*keys, sums])} FROM kept{self._group()}
        """  # noqa: S608  names are quoted, values are parameters
        most = self._plan.child.child.rows
        return Statement(text, {"most": most, **self._scalars.parameters})

    def _known(self) -> str:
        """Return the relations up to the rows that count, before any is left out."""
        where, position = condition(self._plan), ", ".join(self._rows.positions)
        only = "true" if where is None else self._scalars.text(where)
        chosen, relations = self._source(), ", ".join(self._relations.parts)
        known = " AND ".join(self._conditions()) or "true"
        return f"""{relations}, source AS (
                SELECT {chosen}, {position} FROM {self._rows.name} WHERE {only}
            ), known AS (
                SELECT * FROM source WHERE {known}
            )"""  # noqa: S608  names are quoted, values are parameters

    def _measured(self) -> str:
        every = map(self._sums, measures(self._plan))
        return ", ".join(itertools.chain.from_iterable(every))

    def _group(self) -> str:
        return f" GROUP BY {', '.join(self._keys)}" if self._keys else ""

    def _source(self) -> str:
        group = self._plan.child
        grouped = [
            f"{self._key(key.expression)} AS {as_}"
            for key, as_ in zip(group.keys, self._keys, strict=True)
        ]
        values = [f"{self._held(value)} AS {as_}" for value, as_ in self._values.items()]
        flags = [
            f"({self._scalars.text(expression)}) IS NOT NULL AS {as_}"
            for expression, as_ in self._flags.items()
        ]
        return ", ".join([*self._units, *grouped, *values, *flags])

    def _key(self, expression: Expression) -> str:
        # Texts, booleans and dates spell themselves; a whole number must not say ".0".
        text = self._scalars.text(expression)
        if kind_of(expression, self._scope).type == "number":
            text = f"TRY_CAST({text} AS BIGINT)"
        return f"CAST({text} AS VARCHAR)"

    def _held(self, value: Value) -> str:
        return held(self._scalars.text(value.expression), value.low, value.high, value.step)

    def _conditions(self) -> list[str]:
        domains = map(self._domain, self._plan.child.keys, self._keys)
        return [*(f"{name} IS NOT NULL" for name in self._units), *domains]

    def _domain(self, key: Key, as_: str) -> str:
        listed = ", ".join(self._scalars.constant(value, "VARCHAR") for value in key.domain)
        return f"{as_} IN ({listed})"

    def _sums(self, measure: Measure) -> list[str]:
        flags = " AND ".join(self._flags[item] for item in measure.expressions)
        values = [self._values[value] for value in measure.values]
        match measure.kind:
            case "rows":
                return ["count(*)"]
            case "units":
                return [f"count(DISTINCT to_json([{', '.join(self._units)}]))"]
            case "present":
                return [f"count(*) FILTER (WHERE {flags})"]
            case "total":
                return [f"CAST(sum({values[0]}) AS HUGEINT)"]
            case "first" | "second":
                pairs = zip(values, measure.values, strict=True)
                product = " * ".join(f"({name} - ({value.centre}))" for name, value in pairs)
                return [f"CAST(sum({product}) FILTER (WHERE {flags}) AS HUGEINT)"]
            case "bins":
                value, name = measure.values[0], values[0]
                span = value.high - value.low + 1
                cut = f"({name} - ({value.low})) * {measure.bins} // {span}"
                return [f"count(*) FILTER (WHERE {cut} = {at})" for at in range(measure.bins)]
