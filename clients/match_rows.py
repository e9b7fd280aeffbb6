"""The identifiers that a node's rows bring to a match, what they count with, and who they are."""

import math
from collections.abc import Iterator, Sequence
from decimal import ROUND_HALF_EVEN, Decimal

import pyarrow as pa
import pyarrow.parquet as pq

from clients.errors import ComputeError
from clients.ingestion import Readable
from federation.matching import MatchTask
from policies.contracts import DataContract
from secure_compute.entropy import Entropy
from secure_compute.psi.amounts import summed
from secure_compute.psi.identifiers import Collected, Kind, collect
from secure_compute.psi.values import Value


def identifiers(
    task: MatchTask, contract: DataContract, readable: Readable, cap: int, entropy: Entropy
) -> Collected:
    """Return the canonical identifiers of the paid rows, never more than `cap`.

    Raises:
        ComputeError: the file cannot be read, or changed meanwhile.
    """
    rows = people(contract, task.column, readable)
    kind = Kind(task.identifier)
    return collect(kind, rows, most=task.most, cap=cap, entropy=entropy)


def people(contract: DataContract, column: str, readable: Readable) -> Iterator[tuple[str, str]]:
    """Yield (person, identifier as it stands) of the paid rows; without one a row is no row.

    A person is a unit of the contract.

    Raises:
        ComputeError: the file cannot be read, or changed meanwhile.
    """
    for owner, (raw,) in _rows(contract, [column], readable):
        if raw is not None:
            yield owner, str(raw)


def amounts(
    task: MatchTask,
    value: Value,
    contract: DataContract,
    readable: Readable,
    identifiers: Sequence[str],
) -> tuple[int, ...]:
    """Return what each of a set's identifiers counts with, in steps, by the paid rows.

    Raises:
        ComputeError: the file cannot be read, or changed meanwhile.
    """
    rows = (
        (owner, None if raw is None else str(raw), steps_of(number, value))
        for owner, (raw, number) in _rows(contract, [task.column, value.column], readable)
    )
    return summed(Kind(task.identifier), rows, identifiers, most=task.most, value=value)


def steps_of(number: object, value: Value) -> int | None:
    """Return a number as it stands in a row in whole steps, within the bounds; None for none."""
    if isinstance(number, bool) or not isinstance(number, int | float | Decimal):
        return None
    if math.isnan(number):
        return None
    if math.isinf(number):
        return value.high if number > 0 else value.low
    exact = Decimal(repr(number) if isinstance(number, float) else number)
    held = max(value.spelled(value.low), min(value.spelled(value.high), exact))
    return int((held / Decimal(value.step)).to_integral_value(ROUND_HALF_EVEN))


def _rows(
    contract: DataContract, columns: Sequence[str], readable: Readable
) -> Iterator[tuple[str, tuple[object, ...]]]:
    """Yield (person, values of the columns) of the paid rows; without a person a row is no row."""
    units = contract.unit.columns
    try:
        table = pq.read_table(readable.table, columns=[*dict.fromkeys((*units, *columns))])
        if readable.positions is not None:
            table = table.take(pa.array(readable.positions))
        found = [table[name].to_pylist() for name in (*units, *columns)]
    except (OSError, KeyError, pa.ArrowException) as why:
        raise ComputeError(
            f"{readable.table.name} cannot be read, or lacks a column that the match reads; "
            "export it again"
        ) from why
    readable.require_unchanged()
    for row in zip(*found, strict=True):
        owner = row[: len(units)]
        if None not in owner:
            yield _name(owner), row[len(units) :]


def _name(owner: Sequence[object]) -> str:
    return "\x1f".join(map(str, owner))
