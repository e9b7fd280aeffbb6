"""Which window a row belongs to: the one that was open when this node first saw it, for ever.

Windows are a sequence in the books: one is opened there when the contract names a label that was
never opened before, and no label is opened twice. Before anything reads a table its rows' keys are
booked here (`ingestion.sqlite`), new ones under the window open now; a key seen before keeps its
window whatever the label, the row's own date, its other columns, the file's name or the clock say.
Clocks are not asked at all. Only what is booked can be read: `Readable` says which rows of which
state of the file a reservation pays for.

Keys are kept per group of subjects, so a second table over the same subjects is the same rows. Keys
made of other columns cannot be compared with those known; rows under them, rows of a contract that
names no key, and rows that come once this file was lost or put back from a copy, may have been
there all along, so they belong to every window opened so far and are read by nobody who does not
pay in all of these.

Before new rows are read, the node's log says in which state this file now is, and witnesses see the
log. A copy of this file alone is not in that state, and is as good as lost. After a crash the file
may be ahead of the log; the rows of that last step were never read.

The keys are hashed under a secret of this folder and leave it in no form: not in the ledger, not in
a message. What is not here: prices. They are made of the labels in the books, without rows.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, NoReturn, Protocol

import numpy as np
from numpy.typing import NDArray

from clients.books import Reservation
from clients.errors import ComputeError, NodeSettingsError
from clients.ingestion_file import (
    batches,
    book,
    commitments,
    doubt,
    is_looked_at,
    make_tables,
    require_windows,
    secret_of,
)
from clients.keysets import among
from clients.rowkeys import key_kind, row_keys
from federation.sqlite_files import DATABASE_ERROR, Connection, connect
from policies.budget.units import paid as paid_units
from policies.contracts import DataContract
from policies.evidence import Minted
from secure_compute.entropy import Entropy

Windows = Mapping[str, tuple[str, ...]]
"""The labels of the windows opened, in their order, by subjects."""


class WindowBook(Protocol):
    """The part of the books that windows are opened in."""

    def windows(self) -> Windows:
        """Return the labels of the windows opened, in their order, by subjects."""
        ...

    def open_window(self, subjects: str, label: str) -> Any:
        """Open the next window of `subjects`."""
        ...


class IngestionLog(Protocol):
    """What the node's log says of the state of `ingestion.sqlite`."""

    def ingested(self, subjects: str) -> str:
        """Return the last commitment to the rows of `subjects`; "" when there was none."""
        ...

    def ingest(self, subjects: str, commitment: str) -> None:
        """Write a commitment down, durably."""
        ...


def open_windows(contracts: Iterable[DataContract], books: WindowBook) -> None:
    """Leave every contract's label opened in the books; a label opened before stays where it is."""
    for contract in contracts:
        for subjects, label in _labels(contract).items():
            if label not in books.windows().get(subjects, ()):
                books.open_window(subjects, label)


def foreseen(contracts: Iterable[DataContract], windows: Windows) -> Windows:
    """Return `windows` as `open_windows` would leave them; nothing is opened."""
    found = dict(windows)
    for contract in contracts:
        for subjects, label in _labels(contract).items():
            known = found.get(subjects, ())
            found[subjects] = known if label in known else (*known, label)
    return found


class Stamp(NamedTuple):
    """One state of one file; whatever writes to it or puts another in its place changes this."""

    device: int
    inode: int
    size: int
    modified: int
    changed: int

    def __str__(self) -> str:
        return json.dumps(self)


@dataclass(frozen=True, slots=True)
class Readable(metaclass=Minted):
    """The booked rows of `table` that are paid for; they can be read while the file stays as it is.

    positions: their places in the file, from 0, ascending; None for all rows.
    """

    table: Path
    stamp: Stamp
    positions: NDArray[np.int64] | None = field(repr=False)

    def require_unchanged(self) -> None:
        """Accept what was read since as the rows that were booked.

        Raises:
            ComputeError: the file is another than the one whose rows were booked.
        """
        if stamp_of(self.table) != self.stamp:
            _changed(self.table)


class Ingestion:
    """The first windows of the rows under one node's folder; safe for several processes.

    contracts: all contracts of the node: who shares subjects or a table shares the rows.
    told:      what the node's log says of this file.
    """

    def __init__(
        self,
        folder: Path,
        contracts: Iterable[DataContract],
        entropy: Entropy,
        told: IngestionLog,
    ) -> None:
        self._path = folder / "ingestion.sqlite"
        self._secret_path = folder / "keys" / "ingestion.key"
        self._contracts = tuple(contracts)
        self._entropy = entropy
        self._told = told

    def look(self, contract: DataContract, table: Path, windows: Windows) -> Stamp:
        """Book every row of `table` that was never seen; return the state of the file it had.

        The log names the new state of the books of rows before this returns.

        Raises:
            ComputeError: the file cannot be read, or changed meanwhile.
            NodeSettingsError: `ingestion.sqlite` is no such file or an old one, or its secret is
                another.
        """
        stamp, kind = stamp_of(table), key_kind(contract, table)
        with self._writing() as db:
            secret = self._secret(db)
            groups = self._groups(contract)
            for one in groups:
                require_windows(db, one, len(windows.get(one, ())))
                if self._told.ingested(one) not in commitments(db, one, secret):
                    doubt(db, one, len(windows[one]))
            unseen = [one for one in groups if not is_looked_at(db, str(stamp), one, kind)]
            keys = row_keys(contract, table, secret) if unseen else b""
            if stamp_of(table) != stamp:
                _changed(table)
            for one in unseen:
                now, named = len(windows[one]), contract.opens_fresh_windows
                book(db, str(stamp), one, kind, keys, now, named=named)
        self._tell(groups)
        return stamp

    def _tell(self, groups: Iterable[str]) -> None:
        """The log says in which state the file is; the file is on disk before that is said."""
        with self._writing() as db:
            secret = self._secret(db)
            for one in groups:
                state = commitments(db, one, secret)[-1]
                if state != self._told.ingested(one):
                    self._told.ingest(one, state)

    def readable(
        self,
        contract: DataContract,
        table: Path,
        windows: Windows,
        paid: Mapping[str, frozenset[str]],
    ) -> Readable:
        """Return the rows of `table` all of whose windows are `paid` for, by subjects.

        Raises:
            ComputeError, NodeSettingsError: see `look`.
        """
        stamp, positions = self.look(contract, table, windows), None
        if any(not _pays(paid, one, windows[one]) for one in self._groups(contract)):
            positions = self._positions(contract, table, windows, paid)
            if stamp_of(table) != stamp:
                _changed(table)
        return Readable._mint(table, stamp, positions)  # noqa: SLF001  the home of this evidence

    def _positions(
        self,
        contract: DataContract,
        table: Path,
        windows: Windows,
        paid: Mapping[str, frozenset[str]],
    ) -> NDArray[np.int64]:
        kind = key_kind(contract, table)
        with self._writing() as db:
            keys = row_keys(contract, table, self._secret(db))
            chosen = [
                b"".join(
                    batch.keys
                    for batch in batches(db, one, kind)
                    if _pays(paid, one, windows[one][batch.first - 1 : batch.last])
                )
                for one in self._groups(contract)
            ]
        return among(keys, chosen)

    def _groups(self, contract: DataContract) -> list[str]:
        """Return whose rows the table holds: everybody that reading it pays for."""
        return sorted({unit.subjects for unit in paid_units(contract, self._contracts)})

    def _secret(self, db: Connection) -> bytes:
        return secret_of(db, self._secret_path, self._entropy)

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        """Hold the one write lock; leave with everything on disk, or with nothing changed."""
        try:
            with closing(self._connect()) as db:
                db.execute("BEGIN IMMEDIATE")
                try:
                    make_tables(db)
                    yield db
                except BaseException:
                    db.execute("ROLLBACK")
                    raise
                db.execute("COMMIT")
        except DATABASE_ERROR as why:
            raise NodeSettingsError(
                f"{self._path.name} does not say which rows were seen when; restore it"
            ) from why

    def _connect(self) -> Connection:
        db = connect(self._path, wait=60)
        self._path.chmod(0o600)
        return db


def paid_windows(reservation: Reservation) -> dict[str, frozenset[str]]:
    """Return the windows that a reservation pays in, by subjects."""
    paid: dict[str, frozenset[str]] = {}
    for scope in reservation.scopes:
        paid[scope.subjects] = paid.get(scope.subjects, frozenset()) | {scope.window}
    return paid


def _pays(paid: Mapping[str, frozenset[str]], subjects: str, windows: Sequence[str]) -> bool:
    return paid.get(subjects, frozenset()) >= set(windows)


def _labels(contract: DataContract) -> dict[str, str]:
    """Return every group of subjects that `contract` is about, and the label it names for each."""
    further = {unit.subjects: unit.limit.window for unit in contract.also}
    return {**further, contract.subjects: contract.limit.window}


def stamp_of(table: Path) -> Stamp:
    """Return the state that a file is in.

    Raises:
        ComputeError: it is not there.
    """
    try:
        seen = table.stat()
    except OSError as why:
        raise ComputeError(f"{table.name} is not there or cannot be read; put it back") from why
    return Stamp(seen.st_dev, seen.st_ino, seen.st_size, seen.st_mtime_ns, seen.st_ctime_ns)


def _changed(table: Path) -> NoReturn:
    raise ComputeError(
        f"{table.name} changed while it was read; let its export end, then ask again"
    )
