"""A plan over the node's own rows: exact bounded partial, then noise, and only that may leave.

DuckDB reads one Parquet file in an in-memory database that can reach no other file, no network and
no extension. Every cast is TRY_CAST, so that a row that fails becomes NULL and never an error:
status and timing class of the work do not depend on one row. At most K rows of a unit pass the last
relation before aggregation; which ones is chosen by SHA-256 under a secret that lives for one
query, from that unit's own rows alone.
"""

from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any, NoReturn

import duckdb
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from clients.books import Reservation
from clients.errors import ComputeError
from clients.ingestion import Readable
from federation.plans import (
    AllOf,
    Among,
    AnyOf,
    Clip,
    Comparison,
    Measure,
    Plan,
    Predicate,
    cells,
    measures,
    predicate,
)
from federation.pricing import price, reach, scales, sum_reach
from policies.budget.events import Event
from policies.contracts import DataContract
from policies.engine import Permit
from policies.evidence import Minted
from secure_compute.entropy import Entropy
from secure_compute.noise import discrete_gaussian

DUCK_TYPES = {
    "float": "DOUBLE",
    "integer": "BIGINT",
    "string": "VARCHAR",
    "boolean": "BOOLEAN",
    "date": "DATE",
    "timestamp": "TIMESTAMP",
}


@dataclass(frozen=True, slots=True)
class LocalPartial:
    """This node's exact bounded sums, [measures x cells]. It neither prints nor travels."""

    values: tuple[int, ...] = field(repr=False)

    def __reduce__(self) -> NoReturn:
        raise TypeError("an exact partial never leaves the process that computed it")


@dataclass(frozen=True, slots=True)
class NoisyPartial(metaclass=Minted):
    """A partial with the full noise in it, for a permitted query whose price is reserved."""

    values: tuple[int, ...] = field(repr=False)
    event: Event


def noisy_partial(
    plan: Plan,
    noise_multiplier: str,
    *,
    contract: DataContract,
    readable: Readable,
    permit: Permit,
    reservation: Reservation,
    entropy: Entropy,
) -> NoisyPartial:
    """Return the bounded sums of `plan` over the paid rows, with the full noise reserved.

    Called again it draws noise anew: a repetition is another release. So the caller keeps the
    bytes that it sent and settles before it sends them.

    Raises:
        ComputeError: the plan does not cost what was reserved, or the file cannot be read.
    """
    del permit  # evidence that the law was asked: there is no way to call this without it
    event = price(plan, noise_multiplier)
    if reservation.event != event:
        raise ComputeError("the plan does not cost what was reserved for it; nothing was read")
    partial = evaluate(plan, contract, readable.table, entropy, positions=readable.positions)
    readable.require_unchanged()
    noisy = add_noise(partial, plan, noise_multiplier, entropy)
    return NoisyPartial._mint(noisy, event)  # noqa: SLF001  the home of this evidence


def evaluate(
    plan: Plan,
    contract: DataContract,
    data: Path,
    entropy: Entropy,
    threads: int = 1,
    positions: NDArray[np.int64] | None = None,
) -> LocalPartial:
    """Return the exact bounded sums of `plan` over the Parquet file `data`.

    positions: the places in the file of the rows that count; None for all rows.

    A key outside its public domain, and a row without a unit, count nowhere. A cell that nobody
    falls into is 0. Sums beyond 2^32 rows' worth are clipped.

    Raises:
        ComputeError: the file cannot be read.
    """
    try:
        with duckdb.connect(":memory:", config={"threads": str(threads)}) as connection:
            _lay_out(connection, positions)
            _lock(connection, data)
            query = _Query(plan, contract, _present(connection, data), positions is not None)
            text, parameters = query.text(), query.parameters(data, entropy.bytes(32).hex())
            found = connection.execute(text, parameters).fetchall()
    except duckdb.Error as why:
        raise ComputeError(
            f"the rows of contract {contract.name} could not be read; see that "
            f"{contract.table} is a whole Parquet file"
        ) from why
    return LocalPartial(_vector(plan, found))


def add_noise(
    partial: LocalPartial, plan: Plan, noise_multiplier: str, entropy: Entropy
) -> tuple[int, ...]:
    """Return the partial with discrete Gaussian noise of σ = ceil(z·Δ) on every number.

    Each noisy number is held within what a node may send, so that no sum can wrap. That looks at
    the number alone and not at the rows or the noise in it: it is post-processing.
    """
    size = len(cells(plan))
    noisy: list[int] = []
    most = reach(plan, noise_multiplier)
    for place, sigma in enumerate(scales(plan, noise_multiplier)):
        draws = discrete_gaussian(sigma, size, entropy).tolist()
        exact = partial.values[place * size : (place + 1) * size]
        noisy += [max(-most, min(most, x + y)) for x, y in zip(exact, draws, strict=True)]
    return tuple(noisy)


def _lay_out(connection: Any, positions: NDArray[np.int64] | None) -> None:
    """Leave the places of the rows that count in the database, before it can reach nothing."""
    if positions is not None:
        connection.register("given", pa.table({"place": positions}))
        connection.execute("CREATE TABLE chosen AS SELECT place FROM given")
        connection.unregister("given")


def _lock(connection: Any, data: Path) -> None:
    """Leave the connection able to read `data` and nothing else, for good."""
    for name in ("autoinstall_known_extensions", "autoload_known_extensions"):
        connection.execute(f"SET {name}=false")
    connection.execute("SET allow_community_extensions=false")
    connection.execute("SET temp_directory=''")
    connection.execute("SET allowed_paths=[" + _quoted_text(str(data)) + "]")
    connection.execute("SET enable_external_access=false")
    connection.execute("SET lock_configuration=true")


def _present(connection: Any, data: Path) -> frozenset[str]:
    rows = connection.execute("DESCRIBE SELECT * FROM read_parquet(?)", [str(data)]).fetchall()
    return frozenset(row[0] for row in rows)


def _vector(plan: Plan, found: list[tuple[Any, ...]]) -> tuple[int, ...]:
    depth = len(plan.keys)
    by_cell = {tuple(row[:depth]): row[depth:] for row in found}
    vector: list[int] = []
    for place, measure in enumerate(measures(plan)):
        most = sum_reach(plan, measure)
        for cell in cells(plan):
            value = int(by_cell[cell][place] or 0) if cell in by_cell else 0
            vector.append(max(-most, min(most, value)))
    return tuple(vector)


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _quoted_text(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


class _Query:
    """The DuckDB text of one plan. Values travel as parameters, names are quoted."""

    def __init__(
        self, plan: Plan, contract: DataContract, present: frozenset[str], chosen: bool
    ) -> None:
        self._plan = plan
        self._chosen = chosen
        self._present = present
        self._types = {column.name: DUCK_TYPES[column.type] for column in contract.columns}
        self._literals: list[str] = []

    def text(self) -> str:
        """Return the statement; parameters are numbered."""
        plan, bound = self._plan, self._plan.child
        units = [f"u{place}" for place in range(len(bound.unit))]
        keys = [f"k{place}" for place in range(len(plan.keys))]
        values = {clip.column: f"v{place}" for place, clip in enumerate(bound.clips)}
        columns = [
            *(f"{self._text_of(name)} AS {u}" for name, u in zip(bound.unit, units, strict=True)),
            *(
                f"{self._text_of(k.column)} AS {as_}"
                for k, as_ in zip(plan.keys, keys, strict=True)
            ),
            *(f"{self._clipped(clip)} AS {values[clip.column]}" for clip in bound.clips),
        ]
        condition = predicate(plan)
        where = "true" if condition is None else self._condition(condition)
        if self._chosen:
            where += " AND file_row_number IN (SELECT place FROM chosen)"
        known = [
            *(f"{unit} IS NOT NULL" for unit in units),
            *(
                f"{as_} IN ({', '.join(self._literal(value) for value in key.domain)})"
                for key, as_ in zip(plan.keys, keys, strict=True)
            ),
        ]
        unit = ", ".join(units)
        sums = ", ".join(_summed(measure, values) for measure in measures(plan))
        group = f" GROUP BY {', '.join(keys)}" if keys else ""
        return f"""
            WITH source AS (
                SELECT {", ".join(columns)}, file_row_number AS position
                FROM read_parquet($data, file_row_number = true) WHERE {where}
            ), numbered AS (
                SELECT *, row_number() OVER (PARTITION BY {unit} ORDER BY position) AS turn
                FROM source WHERE {" AND ".join(known)}
            ), lots AS (
                SELECT *, row_number() OVER (
                    PARTITION BY {unit}
                    ORDER BY sha256($secret || to_json([{unit}]) || turn::VARCHAR), turn
                ) AS place
                FROM numbered
            )
            SELECT {", ".join([*keys, sums])} FROM lots WHERE place <= $most{group}
        """  # noqa: S608  names are quoted, values are parameters

    def parameters(self, data: Path, secret: str) -> dict[str, str | int]:
        """Return the values of the statement's parameters."""
        literals = {f"p{place}": text for place, text in enumerate(self._literals)}
        return {"data": str(data), "secret": secret, "most": self._plan.child.rows, **literals}

    def _column(self, name: str, kind: str) -> str:
        # A role may lack an optional column; then nothing is known of it.
        return f"TRY_CAST({_quoted(name) if name in self._present else 'NULL'} AS {kind})"

    def _text_of(self, name: str) -> str:
        return self._column(name, "VARCHAR")

    def _literal(self, text: str) -> str:
        self._literals.append(text)
        return f"$p{len(self._literals) - 1}"

    def _clipped(self, clip: Clip) -> str:
        value = self._column(clip.column, "DOUBLE")
        step = Decimal(clip.step)
        scaled = f"{value} * {int(1 / step)}" if step < 1 else f"{value} / {int(step)}"
        held = f"greatest(least(round({scaled}), {clip.high}), {clip.low})"
        return f"CASE WHEN isfinite({value}) THEN CAST({held} AS BIGINT) END"

    def _condition(self, condition: Predicate) -> str:
        match condition:
            case Comparison(column, operator, value):
                kind = self._types[column]
                literal = f"CAST({self._literal(value)} AS {kind})"
                return f"{self._column(column, kind)} {operator} {literal}"
            case Among(column, values):
                kind = self._types[column]
                texts = ", ".join(f"CAST({self._literal(value)} AS {kind})" for value in values)
                return f"{self._column(column, kind)} IN ({texts})"
            case AllOf(inner):
                return "(" + " AND ".join(self._condition(part) for part in inner) + ")"
            case AnyOf(inner):
                return "(" + " OR ".join(self._condition(part) for part in inner) + ")"


def _summed(measure: Measure, values: dict[str, str]) -> str:
    match measure.kind:
        case "rows":
            return "count(*)"
        case "present":
            return f"count({values[measure.column]})"
        case "total":
            return f"CAST(sum({values[measure.column]}) AS HUGEINT)"
