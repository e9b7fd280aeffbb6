"""Which window a row belongs to: the one that was open when this node first saw it, for ever.

Windows are a sequence in the books: one is opened there when the contract names a label that was
never opened before, and no label is opened twice. Before anything reads a table its rows' keys are
booked here (`ingestion.sqlite`), new ones under the window open now; a key seen before keeps its
window whatever the label, the row's own date, its other columns, the file's name or the clock say.
Clocks are not asked at all. Only what is booked can be read: `Readable` says which rows of which
state of the file a reservation pays for.

Keys are kept per group of subjects, so a second table over the same subjects is the same rows. Keys
made of other columns cannot be compared with those known; rows under them, and rows found when this
file was lost, may have been there all along, so they belong to every window opened so far and are
read by nobody who does not pay in all of these.

The keys are hashed under a secret of this folder and leave it in no form: not in the ledger, not in
a message. What is not here: prices. They are made of the labels in the books, without rows.
"""

import hashlib
import json
import os
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple, NoReturn, Protocol

import duckdb
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from clients.errors import ComputeError, NodeSettingsError
from clients.rowkeys import KEY_BYTES, SECRET_BYTES, key_kind, row_keys
from policies.budget.units import paid as paid_units
from policies.contracts import DataContract
from policies.evidence import Minted
from secure_compute.entropy import Entropy

SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS made (secret TEXT PRIMARY KEY);
CREATE TABLE IF NOT EXISTS kinds (
    subjects TEXT NOT NULL, kind TEXT NOT NULL, place INTEGER NOT NULL, born INTEGER NOT NULL,
    PRIMARY KEY (subjects, kind));
CREATE TABLE IF NOT EXISTS batches (
    number INTEGER PRIMARY KEY, subjects TEXT NOT NULL, kind TEXT NOT NULL,
    first INTEGER NOT NULL, last INTEGER NOT NULL, keys BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS looks (
    stamp TEXT NOT NULL, subjects TEXT NOT NULL, kind TEXT NOT NULL,
    PRIMARY KEY (stamp, subjects, kind));
"""
_KEPT: Final = """
CREATE TRIGGER IF NOT EXISTS {table}_no_{verb} BEFORE {verb} ON {table}
BEGIN SELECT RAISE(ABORT, 'a booked row keeps its window'); END;
"""

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


def open_windows(contracts: Iterable[DataContract], books: WindowBook) -> None:
    """Leave every contract's label opened in the books; a label opened before stays where it is."""
    for contract in contracts:
        for subjects, label in _labels(contract).items():
            if label not in books.windows().get(subjects, ()):
                books.open_window(subjects, label)


class Stamp(NamedTuple):
    """One state of one file; whatever writes to it or puts another in its place changes this."""

    device: int
    inode: int
    size: int
    modified: int
    changed: int


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
        if _stamp(self.table) != self.stamp:
            _changed(self.table)


class _Batch(NamedTuple):
    first: int
    last: int
    keys: bytes


class Ingestion:
    """The first windows of the rows under one node's folder; safe for several processes.

    contracts: all contracts of the node: who shares subjects or a table shares the rows.

    Raises:
        NodeSettingsError: `ingestion.sqlite` is no such file, or its secret is another.
    """

    def __init__(self, folder: Path, contracts: Iterable[DataContract], entropy: Entropy) -> None:
        self._contracts = tuple(contracts)
        self._path = folder / "ingestion.sqlite"
        try:
            with self._writing() as db:
                self._secret = _secret_of(db, folder / "keys" / "ingestion.key", entropy)
        except sqlite3.DatabaseError as why:
            raise NodeSettingsError(
                f"{self._path.name} does not say which rows were seen when; restore it"
            ) from why

    def look(self, contract: DataContract, table: Path, windows: Windows) -> Stamp:
        """Book every row of `table` that was never seen; return the state of the file it had.

        Raises:
            ComputeError: the file cannot be read, or changed meanwhile.
            NodeSettingsError: the books know fewer windows than rows were booked under.
        """
        stamp, kind = _stamp(table), key_kind(contract, table)
        groups = self._groups(contract)
        with self._writing() as db:
            for subjects in groups:
                _require_windows(db, subjects, windows)
            unseen = [group for group in groups if not _looked(db, stamp, group, kind)]
            keys = row_keys(contract, table, self._secret) if unseen else b""
            if _stamp(table) != stamp:
                _changed(table)
            for subjects in unseen:
                _book(db, subjects, kind, keys, len(windows[subjects]))
                row = (_spelled(stamp), subjects, kind)
                db.execute("INSERT OR IGNORE INTO looks VALUES (?, ?, ?)", row)
        return stamp

    def readable(
        self,
        contract: DataContract,
        table: Path,
        windows: Windows,
        paid: Mapping[str, frozenset[str]],
    ) -> Readable:
        """Return the rows of `table` all of whose windows are `paid` for, by subjects.

        Raises:
            ComputeError: the file cannot be read, or changed meanwhile.
            NodeSettingsError: the books know fewer windows than rows were booked under.
        """
        stamp = self.look(contract, table, windows)
        groups = self._groups(contract)
        positions = None
        if any(not paid.get(group, frozenset()) >= set(windows[group]) for group in groups):
            kind, keys = key_kind(contract, table), row_keys(contract, table, self._secret)
            chosen = [
                self._paid_keys(g, kind, windows[g], paid.get(g, frozenset())) for g in groups
            ]
            positions = _among(keys, chosen)
            if _stamp(table) != stamp:
                _changed(table)
        return Readable._mint(table, stamp, positions)  # noqa: SLF001  the home of this evidence

    def _groups(self, contract: DataContract) -> list[str]:
        """Return whose rows the table holds: everybody that reading it pays for."""
        return sorted({unit.subjects for unit in paid_units(contract, self._contracts)})

    def _paid_keys(
        self, subjects: str, kind: str, opened: Sequence[str], paid: frozenset[str]
    ) -> bytes:
        with closing(self._connect()) as db:
            batches = _batches(db, subjects, kind)
        return b"".join(b.keys for b in batches if paid >= set(opened[b.first - 1 : b.last]))

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """Hold the one write lock; leave with everything on disk, or with nothing changed."""
        with closing(self._connect()) as db:
            db.execute("BEGIN IMMEDIATE")
            try:
                yield db
            except BaseException:
                db.execute("ROLLBACK")
                raise
            db.execute("COMMIT")

    def _connect(self) -> sqlite3.Connection:
        db = sqlite3.connect(self._path, timeout=60, isolation_level=None)
        self._path.chmod(0o600)
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL")
        return db


def _labels(contract: DataContract) -> dict[str, str]:
    """Return every group of subjects that `contract` is about, and the label it names for each."""
    further = {unit.subjects: unit.limit.window for unit in contract.also}
    return {**further, contract.subjects: contract.limit.window}


def _secret_of(db: sqlite3.Connection, path: Path, entropy: Entropy) -> bytes:
    for statement in SCHEMA.split(";"):
        db.execute(statement)
    for table in ("made", "kinds", "batches"):
        for verb in ("UPDATE", "DELETE"):
            db.execute(_KEPT.format(table=table, verb=verb))
    known = [name for (name,) in db.execute("SELECT secret FROM made")]
    if not known and not path.exists():
        _write_secret(path, entropy.bytes(SECRET_BYTES))
    try:
        secret = path.read_bytes()
    except FileNotFoundError:
        secret = b""
    name = hashlib.blake2b(b"name", key=secret, digest_size=KEY_BYTES).hexdigest()
    if len(secret) != SECRET_BYTES or (known and known != [name]):
        raise NodeSettingsError(
            f"keys/{path.name} is not the key that ingestion.sqlite was made with; "
            "restore both from the same copy"
        )
    db.execute("INSERT OR IGNORE INTO made VALUES (?)", (name,))
    return secret


def _write_secret(path: Path, secret: bytes) -> None:
    path.parent.mkdir(exist_ok=True)
    with os.fdopen(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as file:
        file.write(secret)
        file.flush()
        os.fsync(file.fileno())


def _require_windows(db: sqlite3.Connection, subjects: str, windows: Windows) -> None:
    opened = len(windows.get(subjects, ()))
    booked = db.execute(
        "SELECT MAX(last) FROM (SELECT last FROM batches WHERE subjects = ? UNION ALL "
        "SELECT born FROM kinds WHERE subjects = ?)",
        (subjects, subjects),
    ).fetchone()[0]
    if opened < max(booked or 0, 1):
        raise NodeSettingsError(
            f"the books know {opened} windows of {subjects} and ingestion.sqlite {booked or 1}; "
            "one of them is an old copy: restore both of the same day"
        )


def _looked(db: sqlite3.Connection, stamp: Stamp, subjects: str, kind: str) -> bool:
    row = (_spelled(stamp), subjects, kind)
    found = db.execute("SELECT 1 FROM looks WHERE (stamp, subjects, kind) = (?, ?, ?)", row)
    return found.fetchone() is not None


def _book(db: sqlite3.Connection, subjects: str, kind: str, keys: bytes, now: int) -> None:
    """Book the keys that are not known yet, under the window that is open now."""
    place, born = _kind(db, subjects, kind, now)
    known = b"".join(batch.keys for batch in _batches(db, subjects, kind))
    new = _not_among(keys, known)
    if new:
        may_be_old = place > 0 or now == born
        row = (subjects, kind, 1 if may_be_old else now, now, new)
        db.execute(
            "INSERT INTO batches (subjects, kind, first, last, keys) VALUES (?, ?, ?, ?, ?)", row
        )


def _kind(db: sqlite3.Connection, subjects: str, kind: str, now: int) -> tuple[int, int]:
    """Return the place of a kind among those of the subjects, and the window it was first seen in.

    Only keys of place 0 are compared with all that were ever read, and only if they were there
    from the first window on.
    """
    db.execute(
        "INSERT OR IGNORE INTO kinds SELECT ?, ?, COUNT(*), ? FROM kinds WHERE subjects = ?",
        (subjects, kind, now, subjects),
    )
    place, born = db.execute(
        "SELECT place, born FROM kinds WHERE (subjects, kind) = (?, ?)", (subjects, kind)
    ).fetchone()
    return int(place), int(born)


def _batches(db: sqlite3.Connection, subjects: str, kind: str) -> list[_Batch]:
    rows = db.execute(
        "SELECT first, last, keys FROM batches WHERE (subjects, kind) = (?, ?) ORDER BY number",
        (subjects, kind),
    )
    return [_Batch(*row) for row in rows]


def _not_among(keys: bytes, known: bytes) -> bytes:
    """Return those of `keys` that are not `known`, each once, in an order that says nothing."""
    with _tables(rows=_column(keys), known=_column(known)) as db:
        found = db.sql(
            "SELECT DISTINCT key FROM rows ANTI JOIN known USING (key) ORDER BY key"
        ).to_arrow_table()
    return b"".join(found.column("key").to_pylist())


def _among(keys: bytes, chosen: Sequence[bytes]) -> NDArray[np.int64]:
    """Return the places of those of `keys` that stand in every one of `chosen`, ascending."""
    places = np.arange(len(keys) // KEY_BYTES, dtype=np.int64)
    rows = pa.table({"key": _keys(keys), "place": places})
    for own in chosen:
        with _tables(rows=rows, own=_column(own)) as db:
            rows = db.sql("SELECT key, place FROM rows SEMI JOIN own USING (key)").to_arrow_table()
    found: NDArray[np.int64] = np.sort(rows.column("place").to_numpy())
    return found


@contextmanager
def _tables(**tables: Any) -> Iterator[Any]:
    """Yield a database in memory that holds `tables` and can reach nothing else."""
    with duckdb.connect(":memory:", config={"threads": "1"}) as db:
        db.execute("SET temp_directory=''")
        db.execute("SET enable_external_access=false")
        for name, table in tables.items():
            db.register(name, table)
        yield db


def _column(keys: bytes) -> Any:
    return pa.table({"key": _keys(keys)})


def _keys(keys: bytes) -> Any:
    size = len(keys) // KEY_BYTES
    return pa.Array.from_buffers(pa.binary(KEY_BYTES), size, [None, pa.py_buffer(keys)])


def _stamp(table: Path) -> Stamp:
    try:
        seen = table.stat()
    except OSError as why:
        raise ComputeError(f"{table.name} is not there or cannot be read; put it back") from why
    return Stamp(seen.st_dev, seen.st_ino, seen.st_size, seen.st_mtime_ns, seen.st_ctime_ns)


def _spelled(stamp: Stamp) -> str:
    return json.dumps(stamp)


def _changed(table: Path) -> NoReturn:
    raise ComputeError(
        f"{table.name} changed while it was read; let its export end, then ask again"
    )
