"""A plan over the node's own rows: exact bounded partial, then noise, and only that may leave.

DuckDB reads one Parquet file for each contract that the plan reads, in an in-memory database that
can reach no other file, no network and no extension, and writes nothing to any disk. The statement
is `compile.compile_joined`'s: no row can make it fail, so status and timing class of the work do
not depend on one row. Which rows of a unit pass the bound is chosen by SHA-256 under a secret that
lives for one query.

Where the node has a prepared copy of the file (`prepared`), a question that only chooses among the
rows of one table is summed from that. The same rows count, a unit keeps as many of them, and every
choice of that many is as likely; a question over several tables, with a window, or over rows of
which some are not paid for, and a copy that cannot be read, are as if there were none.
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NoReturn

import duckdb
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from clients.books import Reservation
from clients.errors import ComputeError
from clients.ingestion import Readable, Stamp
from clients.queries.ahead import Ahead
from clients.queries.compile import Statement, compile_joined, vector
from clients.queries.compile_prepared import is_plain
from clients.queries.prepared import Prepared
from clients.queries.relations import PARQUET, PARQUET_PLACE, Table
from federation.queries.pricing import price, reach, scales
from federation.queries.sensitivity import measures
from federation.queries.tree import Plan, cells
from policies.budget.events import Event
from policies.contracts import DataContract
from policies.engine import Permit
from policies.evidence import Minted
from secure_compute.entropy import Entropy
from secure_compute.noise import discrete_gaussian

log = logging.getLogger(__name__)

Preparations = Callable[[DataContract, Path, Stamp], Prepared | None]
"""Gives the copy of a file in that state, for that contract, if there is one."""


def none_prepared(_contract: DataContract, _table: Path, _stamp: Stamp) -> None:
    """Give no copy."""


@dataclass(frozen=True, slots=True)
class Source:
    """The Parquet file of one contract.

    positions: the places in it of the rows that count, from 0; None for all rows.
    prepared:  a copy of it for this contract, of the state that it is in; None where none is.
    """

    contract: DataContract
    data: Path
    positions: NDArray[np.int64] | None = field(default=None, repr=False)
    prepared: Prepared | None = None


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
    contracts: Sequence[DataContract],
    readables: Sequence[Readable],
    permit: Permit,
    reservation: Reservation,
    entropy: Entropy,
    prepared: Preparations = none_prepared,
) -> NoisyPartial:
    """Return the bounded sums of `plan` over the paid rows, with the full noise reserved.

    readables: of each of the contracts, in their order, the rows that were paid for.
    prepared:  gives the copy of a readable file, if there is one.

    Called again it draws noise anew: a repetition is another release. So the caller keeps the
    bytes that it sent and settles before it sends them.

    Raises:
        ComputeError: the plan does not cost what was reserved, or a file cannot be read.
    """
    del permit  # evidence that the law was asked: there is no way to call this without it
    event = price(plan, noise_multiplier)
    if reservation.event != event:
        raise ComputeError("the plan does not cost what was reserved for it; nothing was read")
    sources = [
        Source(contract, one.table, one.positions, prepared(contract, one.table, one.stamp))
        for contract, one in zip(contracts, readables, strict=True)
    ]
    partial = evaluate_joined(plan, sources, entropy)
    for readable in readables:
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
    prepared: Prepared | None = None,
) -> LocalPartial:
    """Return the exact bounded sums of `plan` over one contract's file; see `evaluate_joined`."""
    source = Source(contract, data, positions, prepared)
    return evaluate_joined(plan, (source,), entropy, threads)


def evaluate_joined(
    plan: Plan, sources: Sequence[Source], entropy: Entropy, threads: int = 1
) -> LocalPartial:
    """Return the exact bounded sums of `plan` over the files of all contracts that it reads.

    A key outside its public domain, and a row without a unit, count nowhere. A cell that nobody
    falls into is 0. Sums beyond 2^32 rows' worth are clipped.

    Raises:
        ComputeError: a file cannot be read.
    """
    quick = _from_copy(plan, sources, entropy, threads)
    return quick or _from_files(plan, sources, entropy, threads)


def _from_copy(
    plan: Plan, sources: Sequence[Source], entropy: Entropy, threads: int
) -> LocalPartial | None:
    """Return the sums from a prepared copy; None where there is none, or it cannot be read."""
    source = sources[0]
    if source.prepared is None or source.positions is not None:
        return None
    if len(sources) > 1 or not is_plain(plan, source.contract):
        return None
    try:
        with _connection(threads) as connection:
            lock(connection, *source.prepared.paths)
            found = source.prepared.rows(connection, plan, source.contract, entropy)
    except duckdb.Error:
        log.warning("the prepared copy of %s cannot be read; its rows are", source.data.name)
        return None
    return LocalPartial(vector(plan, found))


def _from_files(
    plan: Plan, sources: Sequence[Source], entropy: Entropy, threads: int
) -> LocalPartial:
    try:
        with _connection(threads) as connection:
            for at, source in enumerate(sources):
                _lay_out(connection, source.positions, at)
            lock(connection, *(source.data for source in sources))
            made = _compiled(connection, plan, sources)
            paths = {_of("data", at): str(source.data) for at, source in enumerate(sources)}
            own = {**paths, "secret": entropy.bytes(32).hex()}
            found = connection.execute(made.text, {**made.parameters, **own}).fetchall()
    except duckdb.Error as why:
        raise _unreadable([source.contract for source in sources]) from why
    return LocalPartial(vector(plan, found))


def _empty(threads: int = 1) -> Any:
    return duckdb.connect(":memory:", config={"threads": str(threads)})


AHEAD: Final = Ahead(_empty)
"""Where a node that serves has one ready."""


def _connection(threads: int) -> Any:
    return AHEAD.take() if threads == 1 else _empty(threads)


def _compiled(connection: Any, plan: Plan, sources: Sequence[Source]) -> Statement:
    contracts = {source.contract.name: source.contract for source in sources}
    tables = {
        source.contract.name: Table(present(connection, source.data), _relation(source, at))
        for at, source in enumerate(sources)
    }
    return compile_joined(plan, contracts, tables)


def _unreadable(contracts: Sequence[DataContract]) -> ComputeError:
    names, files = (
        " and ".join(words)
        for words in zip(*((one.name, one.table) for one in contracts), strict=True)
    )
    each = "is a whole Parquet file" if len(contracts) == 1 else "are whole Parquet files"
    return ComputeError(f"the rows of contract {names} could not be read; see that {files} {each}")


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


def _of(name: str, at: int) -> str:
    """Return what the first, second, … file's own of something is called."""
    return f"{name}_{at}" if at else name


def _relation(source: Source, at: int) -> str:
    """Return the relation of a file's rows; of those alone whose windows were paid for."""
    every = PARQUET.replace("$data", f"${_of('data', at)}")
    if source.positions is None:
        return every
    paid = f"{PARQUET_PLACE} IN (SELECT place FROM {_of('chosen', at)})"  # noqa: S608
    return f"(SELECT * FROM {every} WHERE {paid}) AS {_of('paid', at)}"  # noqa: S608


def _lay_out(connection: Any, positions: NDArray[np.int64] | None, at: int) -> None:
    """Leave the places of the rows that count in the database, before it can reach nothing."""
    if positions is not None:
        connection.register("given", pa.table({"place": positions}))
        connection.execute(f"CREATE TABLE {_of('chosen', at)} AS SELECT place FROM given")  # noqa: S608
        connection.unregister("given")


def lock(connection: Any, *data: Path, work: Path | None = None) -> None:
    """Leave the connection able to read the files `data` and nothing else, for good.

    work: a folder that it may write to, and put there what has no room in memory; None for none.
    """
    for name in ("autoinstall_known_extensions", "autoload_known_extensions"):
        connection.execute(f"SET {name}=false")
    connection.execute(
        "SET enable_progress_bar=false"
    )  # a line of how far it is, on standard output
    connection.execute("SET allow_community_extensions=false")
    spill = "" if work is None else str(work / "spill")
    connection.execute(f"SET temp_directory={_quoted_text(spill)}")
    if work is not None:
        connection.execute(f"SET allowed_directories=[{_quoted_text(str(work))}]")
    allowed = ", ".join(_quoted_text(str(path)) for path in data)
    connection.execute(f"SET allowed_paths=[{allowed}]")
    connection.execute("SET enable_external_access=false")
    connection.execute("SET lock_configuration=true")


@contextmanager
def looking(contract: DataContract, data: Path) -> Iterator[tuple[Any, frozenset[str]]]:
    """Give a connection that reads one file and nothing else, and the file's columns.

    What is read so stays with who asked: the party itself.

    Raises:
        ComputeError: the file cannot be read.
    """
    try:
        with duckdb.connect(":memory:", config={"threads": "1"}) as connection:
            lock(connection, data)
            yield connection, present(connection, data)
    except duckdb.Error as why:
        raise _unreadable([contract]) from why


def present(connection: Any, data: Path) -> frozenset[str]:
    """Return the columns that a Parquet file has."""
    rows = connection.execute("DESCRIBE SELECT * FROM read_parquet(?)", [str(data)]).fetchall()
    return frozenset(row[0] for row in rows)


def _quoted_text(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
