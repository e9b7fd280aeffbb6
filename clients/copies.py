"""The prepared copies of a node's tables: `prepared/NAME`, one for each contract and file's state.

    prepared/work-…   one that is being made; gone afterwards, or at the next start

A question never waits for one. Where it finds none, or another state's, it reads the rows, and a
copy is begun beside it: so it is once for each version of the data, at a node's start or at the
first question after a file has changed. A copy that fails to be made is not tried again until the
file or the process is another; a small table has none, for it needs none.

It is made in a process of its own, which takes no memory of the node's and ends with it.
"""

import logging
import multiprocessing
import os
import shutil
import sys
import tempfile
import threading
from collections.abc import Callable, Iterable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Final

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from clients.errors import ClientError, ComputeError
from clients.ingestion import Stamp, stamp_of
from clients.queries.prepared import Prepared, found, name_of, owner_of
from clients.queries.preparing import prepare
from federation.whole_files import sync
from policies.contracts import DataContract

log = logging.getLogger(__name__)

SMALL: Final = 200_000
"""Rows of a table below which reading them takes no longer than a fraction of a second."""

ROOM: Final = 10
"""How many times a table's file has to be free on the disk: the books may lie on it too."""


def beside(work: Callable[[], None]) -> None:
    """Do some work in a thread of its own, which the process does not wait for at its end."""
    threading.Thread(target=work, name="preparing", daemon=True).start()


def aside(contract: DataContract, table: Path, folder: Path) -> None:
    """`prepare` in a process of its own, which ends with this one.

    Raises:
        ComputeError: it ended without a copy.
    """
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    work = (theirs, contract, table, folder)
    process = context.Process(target=_alone, args=work, daemon=True)
    process.start()
    theirs.close()
    process.join()
    ours.close()
    if process.exitcode != 0:
        raise ComputeError(
            f"no copy of {table.name} was made: its process ended with {process.exitcode}; see "
            f"that there is room on the disk"
        )


def _alone(pipe: "Connection[Any, Any]", contract: DataContract, table: Path, folder: Path) -> None:
    threading.Thread(target=_end_with, args=(pipe,), daemon=True).start()
    os.nice(10)  # questions go first
    try:
        prepare(contract, table, folder)
    except (duckdb.Error, OSError, ClientError):
        sys.exit(1)  # DuckDB's own words may hold a value of a row


def _end_with(pipe: "Connection[Any, Any]") -> None:
    pipe.poll(None)  # nothing is ever sent: it is the end of whoever holds the other end
    os._exit(1)


def _require_room(folder: Path, table: Path) -> None:
    if shutil.disk_usage(folder).free < ROOM * table.stat().st_size:
        raise ComputeError(f"no copy of {table.name} is made: there is too little room for it")


class Copies:
    """The copies under one node's folder; one process at a time makes them.

    small: tables of fewer rows have no copy. do: does what a question does not wait for. prepare:
    leaves a copy of a table in an empty folder.
    """

    def __init__(
        self,
        folder: Path,
        small: int = SMALL,
        do: Callable[[Callable[[], None]], None] = beside,
        prepare: Callable[[DataContract, Path, Path], None] = aside,
    ) -> None:
        self._prepare = prepare
        self._folder = folder / "prepared"
        self._small = small
        self._do = do
        self._tried: set[str] = set()

    def begin(self, contracts: Iterable[DataContract]) -> None:
        """Take away what an earlier process left half made, and copies for other contracts."""
        ours = {owner_of(contract) for contract in contracts}
        for place in self._folder.glob("*-*"):
            if place.name.partition("-")[0] not in ours:
                shutil.rmtree(place, ignore_errors=True)

    def of(self, contract: DataContract, table: Path, stamp: Stamp) -> Prepared | None:
        """Return the copy of `table` in that state; where there is none, begin it and return None.

        A copy whose files are not as they were left is none.
        """
        name = name_of(contract, stamp)
        copy = found(self._folder / name)
        if copy is None and name not in self._tried:
            self._tried.add(name)
            self._forget_others(contract, name)  # no file is in an earlier state again
            if self._is_large(table):
                self._do(lambda: self._make(contract, table, stamp))
        return copy

    def _is_large(self, table: Path) -> bool:
        try:
            return bool(pq.read_metadata(table).num_rows >= self._small)
        except (pa.ArrowException, OSError):
            return False  # whoever reads its rows says what is wrong

    def _make(self, contract: DataContract, table: Path, stamp: Stamp) -> None:
        try:
            is_kept = self._put(contract, table, stamp)
        except (OSError, ClientError) as why:
            log.warning("%s; questions read its rows", why)
            return
        if not is_kept:
            return
        self._tried.discard(name_of(contract, stamp))  # one that is damaged later is made again
        log.info("a copy of %s is prepared", table.name)

    def _put(self, contract: DataContract, table: Path, stamp: Stamp) -> bool:
        """Make a copy, then put it in its place, whole; False if the table is another by then."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        _require_room(self._folder, table)
        place = self._folder / name_of(contract, stamp)
        with tempfile.TemporaryDirectory(prefix="work-", dir=self._folder) as work:
            made = Path(work) / "made"
            made.mkdir(mode=0o700)
            self._prepare(contract, table, made)
            if stamp_of(table) != stamp:
                return False
            shutil.rmtree(place, ignore_errors=True)
            made.rename(place)
            sync(self._folder)
        return True

    def _forget_others(self, contract: DataContract, name: str) -> None:
        for other in self._folder.glob(f"{owner_of(contract)}-*"):
            if other.name != name:
                shutil.rmtree(other, ignore_errors=True)
