"""The rows of a source as they were at one moment, in a Parquet file of this node's own.

    snapshots/TABLE        what orders read         snapshots/next/TABLE    what they will read
    snapshots/work-…       one that is being made; gone afterwards

Everything after it is as for any table: its rows are booked once, answers take as long and fail as
often whether the database is near, busy or gone. A snapshot is read anew when a node starts, since
an order that was open then is over, and when its operator asks. What an operator has asked for
waits in `next/` until the node has no order under way, so that no order ever reads two of them.
Whatever fails while one is made leaves the one before.
"""

import fcntl
import filecmp
import logging
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from clients.errors import BusyError, ClientError, SourceError
from clients.settings import NodeSettings
from clients.sources import mysql, postgresql
from clients.sources.declared import Database, File, Source
from clients.sources.passwords import password_of
from clients.sources.shaping import (
    Raw,
    Shaped,
    comma_separated,
    first_line,
    parquet,
    shape,
    unified,
)
from clients.sources.wanted import Wanted, wanted_of
from clients.tables import conform_table
from federation.whole_files import sync
from policies.contracts import ColumnType, DataContract
from policies.errors import NonConformantError

log = logging.getLogger(__name__)

_READERS: Final[Mapping[str, Any]] = {"postgresql": postgresql.reading, "mysql": mysql.reading}
_DESCRIBERS: Final[Mapping[str, Any]] = {
    "postgresql": postgresql.described,
    "mysql": mysql.described,
}


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What was read.

    new:   whether it is other than what was there.
    waits: whether it was left in `next/`, now or when the same was read before.
    """

    table: str
    shaped: Shaped
    new: bool
    waits: bool

    @property
    def remarks(self) -> list[str]:
        """What the operator should know of it, in sentences."""
        return [
            f"{self.table}: {count} values of {column} are not what the contract says of them, and "
            f"count as missing"
            for column, count in self.shaped.lost.items()
        ]


def begin(settings: NodeSettings) -> None:
    """Read every source, at the start of a node; where that fails, go on with what is there.

    Raises:
        ClientError, PolicyError: a source cannot be read, and there is no snapshot of it yet.
    """
    for table, source in settings.sources.items():
        try:
            for remark in refresh(settings, source).remarks:
                log.warning("%s", remark)
        except ClientError as why:
            if not settings.snapshot(table).exists():
                raise
            log.warning("%s; the snapshot before is used", why)
    take_up(settings, settings.contracts().values())


def refresh(settings: NodeSettings, source: Source) -> Snapshot:
    """Leave the rows of a source in `next/`, or at once in place where there are none yet.

    Raises:
        SourceError: it is not what the contracts promise; see `sources.wanted` and `.shaping`.
        UnreachableSourceError: its database does not answer.
        NodeSettingsError: the password is not where it should be, or a driver is missing.
        BusyError: another program reads a source of this node.
    """
    wanted = wanted_of(source, settings.contracts().values())
    place = settings.snapshot(source.table)
    with _writing(place.parent), _working(place.parent) as work:
        made = work / "made.parquet"
        shaped = read(source.place, settings.folder, wanted, work, made)
        current = newest(settings, source.table)
        new = not (current.exists() and filecmp.cmp(made, current, shallow=False))
        if new:
            current = _next(place) if place.exists() else place
            _publish(made, current)
    return Snapshot(source.table, shaped, new, waits=current != place)


def take_up(settings: NodeSettings, contracts: Iterable[DataContract]) -> None:
    """What waits in `next/` is what orders read from now on; none may be under way.

    One that was made for other contracts than those that this node started with goes on waiting.
    """
    for table in settings.sources:
        made = waiting(settings, table)
        if made is None:
            continue
        try:
            require_fit(made, table, contracts)
        except NonConformantError as why:
            log.warning("%s; its new snapshot waits for the next start of this node", why)
            continue
        _publish(made, settings.snapshot(table))
        log.info("%s is read from a new snapshot from now on", table)


def waiting(settings: NodeSettings, table: str) -> Path | None:
    """Return the newer snapshot of a table that waits for the node; None where none does."""
    made = _next(settings.snapshot(table))
    return made if made.exists() else None


def require_fit(made: Path, table: str, contracts: Iterable[DataContract]) -> None:
    """Accept a snapshot that every contract over its table can be read from.

    Raises:
        NonConformantError: it was made for other contracts.
    """
    for contract in (one for one in contracts if one.table == table):
        conform_table(contract, made)


def read(place: Database | File, folder: Path, wanted: Wanted, work: Path, made: Path) -> Shaped:
    """Leave the wanted rows of a place at `made`, as their contract types them.

    folder: of the node; passwords are found from there. work: a folder for this alone.

    Raises:
        SourceError, UnreachableSourceError, NodeSettingsError: as `refresh`.
    """
    raw = unified(_raw(place, folder, wanted.asked(), work), wanted, work / "unified.parquet")
    return shape(raw, wanted, made)


def columns(place: Database | File, folder: Path) -> tuple[str, ...]:
    """Return what a place calls its columns: by a file's head, or a database's catalogue. No row.

    Raises:
        SourceError, UnreachableSourceError, NodeSettingsError: as `refresh`.
    """
    match place:
        case File(path, delimiter) as file if path.suffix == ".csv":
            return tuple(first_line(path, file.spoken, delimiter))
        case File(path) as file:
            return parquet(path, file.spoken).columns
        case Database() as database:
            found = _DESCRIBERS[database.kind](database, password_of(database, folder))
            return tuple(column.name for column in found)


def newest(settings: NodeSettings, table: str) -> Path:
    """Return where the rows lie that a source was last seen to have."""
    return waiting(settings, table) or settings.snapshot(table)


def whole(place: Database | File, folder: Path, work: Path) -> tuple[Raw, dict[str, str]]:
    """Return all rows and columns of a place as they are, and what it calls their types.

    Raises:
        SourceError, UnreachableSourceError, NodeSettingsError: as `refresh`.
    """
    made = work / "raw.parquet"
    match place:
        case File(path, delimiter) as file if path.suffix == ".csv":
            return comma_separated(path, file.spoken, None, made, delimiter), {}
        case File(path) as file:
            return parquet(path, file.spoken), {}
        case Database() as database:
            password = password_of(database, folder)
            found = _DESCRIBERS[database.kind](database, password)
            names: dict[str, ColumnType] = {column.name: "string" for column in found}
            texts = Wanted(database.spoken, names, as_text=frozenset(names))
            _fetch(database, password, texts, made)
            return parquet(made, database.spoken), {one.name: one.type for one in found}


def _next(place: Path) -> Path:
    return place.parent / "next" / place.name


def _raw(place: Database | File, folder: Path, wanted: Wanted, work: Path) -> Raw:
    match place:
        case File(path, delimiter) as file if path.suffix == ".csv":
            made = work / "raw.parquet"
            return comma_separated(path, file.spoken, wanted, made, delimiter)
        case File(path) as file:
            return parquet(path, file.spoken)
        case Database() as database:
            password = password_of(database, folder)
            _fetch(database, password, wanted, work / "raw.parquet")
            return parquet(work / "raw.parquet", database.spoken)


def _fetch(place: Database, password: str | None, wanted: Wanted, raw: Path) -> None:
    """Leave the rows as they come in a file; never more than a batch of them is in memory."""
    with _READERS[place.kind](place, password, wanted) as batches:
        first = next(batches, None)
        if first is None:
            raise SourceError(
                f"{place.spoken} has no rows for {wanted.table}; put data into it, or choose others"
            )
        with pq.ParquetWriter(raw, first.schema, compression="zstd") as writer:
            for batch in _all(first, batches):
                writer.write_batch(_whole(batch, place))


def _all(first: Any, rest: Iterator[Any]) -> Iterator[Any]:
    yield first
    yield from rest


def _whole(batch: Any, place: Database) -> Any:
    """Return the batch if its texts are texts.

    Raises:
        SourceError: one is not: the database says one encoding and holds another.
    """
    try:
        batch.validate(full=True)
    except pa.ArrowInvalid:
        raise SourceError(
            f"{place.spoken} holds text that is not of the encoding that its database names; "
            f"repair it there"
        ) from None
    return batch


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    """Tell in words of this package that the disk does not do its part."""
    try:
        yield
    except OSError as why:
        raise SourceError(
            f"{folder} cannot be written to: {why.strerror or type(why).__name__}; see that this "
            f"node's user may, and that there is room"
        ) from None


@contextmanager
def _working(folder: Path) -> Iterator[Path]:
    """Give a folder for this process alone; what a killed one left behind is gone."""
    (folder / "next").mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.chmod(0o700)
    with (folder / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as why:
            raise BusyError("snapshots/lock") from why
        for left in folder.glob("work-*"):
            shutil.rmtree(left)
        with tempfile.TemporaryDirectory(prefix="work-", dir=folder) as work:
            yield Path(work)


def _publish(made: Path, place: Path) -> None:
    """Put a whole file in its place, durably, readable by this node's user alone."""
    made.chmod(0o600)
    sync(made)
    made.replace(place)
    sync(place.parent)
