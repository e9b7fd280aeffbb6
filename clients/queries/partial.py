"""A plan over the node's own rows: exact bounded partial, then noise, and only that may leave.

DuckDB reads one Parquet file in an in-memory database that can reach no other file, no network and
no extension, and writes nothing to any disk. The statement is `compile.compile_plan`'s: no row can
make it fail, so status and timing class of the work do not depend on one row. Which rows of a unit
pass the bound is chosen by SHA-256 under a secret that lives for one query.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NoReturn

import duckdb
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from clients.books import Reservation
from clients.errors import ComputeError
from clients.ingestion import Readable
from clients.queries.compile import compile_plan, vector
from clients.queries.relations import PARQUET, PARQUET_PLACE
from federation.queries.pricing import price, reach, scales
from federation.queries.sensitivity import measures
from federation.queries.tree import Plan, cells
from policies.budget.events import Event
from policies.contracts import DataContract
from policies.engine import Permit
from policies.evidence import Minted
from secure_compute.entropy import Entropy
from secure_compute.noise import discrete_gaussian

PAID: Final = (
    f"(SELECT * FROM {PARQUET} WHERE {PARQUET_PLACE} IN (SELECT place FROM chosen)) AS paid"  # noqa: S608
)
"""The relation of those rows of a Parquet file whose windows were paid for."""


@dataclass(frozen=True, slots=True)
class LocalPartial:
    """This node's exact bounded sums, [measures x cells x bins]. It neither prints nor travels."""

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
            relation = PARQUET if positions is None else PAID
            made = compile_plan(plan, contract, _present(connection, data), relation)
            own = {"data": str(data), "secret": entropy.bytes(32).hex()}
            found = connection.execute(made.text, {**made.parameters, **own}).fetchall()
    except duckdb.Error as why:
        raise ComputeError(
            f"the rows of contract {contract.name} could not be read; see that "
            f"{contract.table} is a whole Parquet file"
        ) from why
    return LocalPartial(vector(plan, found))


def add_noise(
    partial: LocalPartial, plan: Plan, noise_multiplier: str, entropy: Entropy
) -> tuple[int, ...]:
    """Return the partial with discrete Gaussian noise of σ = ceil(z·Δ) on every number.

    Each noisy number is held within what a node may send, so that no sum can wrap. That looks at
    the number alone and not at the rows or the noise in it: it is post-processing.
    """
    noisy: list[int] = []
    most, start = reach(plan, noise_multiplier), 0
    sigmas = scales(plan, noise_multiplier)
    for measure, sigma in zip(measures(plan), sigmas, strict=True):
        size = cells(plan) * measure.bins
        draws = discrete_gaussian(sigma, size, entropy).tolist()
        exact = partial.values[start : start + size]
        noisy += [max(-most, min(most, x + y)) for x, y in zip(exact, draws, strict=True)]
        start += size
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
    connection.execute(
        "SET enable_progress_bar=false"
    )  # a line of how far it is, on standard output
    connection.execute("SET allow_community_extensions=false")
    connection.execute("SET temp_directory=''")
    connection.execute("SET allowed_paths=[" + _quoted_text(str(data)) + "]")
    connection.execute("SET enable_external_access=false")
    connection.execute("SET lock_configuration=true")


def _present(connection: Any, data: Path) -> frozenset[str]:
    rows = connection.execute("DESCRIBE SELECT * FROM read_parquet(?)", [str(data)]).fetchall()
    return frozenset(row[0] for row in rows)


def _quoted_text(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
