"""The identifiers that a node's rows bring to a match, and who they are at home."""

from collections.abc import Iterator, Sequence

import pyarrow as pa
import pyarrow.parquet as pq

from clients.errors import ComputeError
from clients.ingestion import Readable
from federation.matching import MatchTask
from policies.contracts import DataContract
from secure_compute.entropy import Entropy
from secure_compute.psi.identifiers import Collected, Kind, collect


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
    units = contract.unit.columns
    try:
        table = pq.read_table(readable.table, columns=[*dict.fromkeys((*units, column))])
        if readable.positions is not None:
            table = table.take(pa.array(readable.positions))
    except (OSError, pa.ArrowException) as why:
        raise ComputeError(f"{readable.table.name} cannot be read; export it again") from why
    readable.require_unchanged()
    owners = zip(*(table[name].to_pylist() for name in units), strict=True)
    for owner, raw in zip(owners, table[column].to_pylist(), strict=True):
        if raw is not None and None not in owner:
            yield _name(owner), str(raw)


def _name(owner: Sequence[object]) -> str:
    return "\x1f".join(map(str, owner))
