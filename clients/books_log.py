"""The log of a node and what belongs to it: its witnesses, its windows, the time they named.

Whatever is written here is on disk when the method returns; nothing is remembered in memory between
two calls. Signatures of others are checked by whoever calls.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Self

from sqlalchemy.engine import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError

from clients import books_orders, books_windows, books_witness
from clients.books_file import existing_books, open_books
from clients.books_proof import require_replay
from clients.errors import SilentBooksError
from federation.errors import FederationError
from federation.ledger.entries import Entry, decode
from federation.ledger.notes import Checkpoint, NamedKey, SignedHead
from federation.ledger.store import Log, reading, writing
from federation.ledger.succession import Succession
from federation.ledger.trust import COLLUDING
from federation.ledger.witness import WitnessRequest
from secure_compute.primitives.signature import SigningKey, VerifyKey

NOWHERE: Final = "sqlite://"
"""Where books lie that a node never began: in memory, empty, and gone with the process."""


class BookLog:
    """The log in the database at `where`; any number of processes may hold one at a time.

    Args:
        where: a path, the URL of a database, or one that was opened.
        origin: the name of this party's log.
        key: what signs the heads of the log.
        now: seconds since 1970; what the log says of the time of its entries.
        organisations: whose the logs of the federation are, by their names; a log that is not
            among them counts as an organisation of its own.

    Raises:
        ForeignBooksError: there is no account book, or one of another version.
    """

    def __init__(
        self,
        where: Path | str | Engine,
        origin: str,
        key: SigningKey,
        now: Callable[[], float],
        organisations: Mapping[str, str] | None = None,
    ) -> None:
        self._now = now
        self._verify_key = key.verify_key
        self._organisations = organisations or {}
        if not isinstance(where, Engine):
            where = open_books(where, origin, key, self._at())
        self._engine = where
        self._log = Log(self._engine, origin, key)

    @classmethod
    def existing(
        cls, where: Path | str, origin: str, key: SigningKey, now: Callable[[], float]
    ) -> Self | None:
        """Return what lies at `where` to be looked at: no byte changes. None if nothing is there.

        Raises:
            ForeignBooksError: there is no account book, or one of another version.
            BusyError: another program holds it.
        """
        engine = existing_books(where, origin)
        return None if engine is None else cls(engine, origin, key, now)

    # -- windows and time ------------------------------------------------------------------------

    def open_window(self, subjects: str, label: str) -> int:
        """Open a window, unless it is open; return its place among those of `subjects`, from 1."""
        with self._writing() as connection:
            return books_windows.open_window(connection, self._log, subjects, label, self._at())

    def windows(self, order_id: str = "") -> Mapping[str, tuple[str, ...]]:
        """Return the labels of every group of subjects, in order of opening.

        order_id: as they stood when this order was set aside; as they stand now if it was not.
        """
        with self._reading() as connection:
            before = books_orders.number_of(connection, order_id) if order_id else None
            return books_windows.opened(connection, before)

    def highest_time(self) -> float:
        """Return the greatest time a witness ever named, in seconds since 1970; 0 when none has."""
        with self._reading() as connection:
            return float(books_windows.highest_time(connection))

    def witnessed_time(self, at: float) -> None:
        """Remember the time that a witness named, unless it is not the greatest; durable."""
        if at > self.highest_time():
            with self._writing() as connection:
                books_windows.raise_time(connection, int(at))

    # -- the log and its witnesses ---------------------------------------------------------------

    def note(self, *entries: Entry) -> int:
        """Append other entries to the log, durably; return the number of the first."""
        with self._writing() as connection:
            return self._log.append(connection, entries)

    def rotate(self, new: VerifyKey) -> bool:
        """Let the log go on under `new`, durably; return whether it did not yet.

        Raises:
            LedgerMismatchError: see `Log.rotate`.
        """
        with self._writing() as connection:
            return self._log.rotate(connection, new, self._at())

    def replace(self, first: VerifyKey) -> bool:
        """Let the log go on under the key it was opened with, durably; see `Log.replace`."""
        with self._writing() as connection:
            return self._log.replace(connection, first, self._at())

    def succession(self) -> Succession:
        """Return the keys that this log has had."""
        with self._reading() as connection:
            return self._log.succession(connection)

    def entries(self, start: int = 0) -> list[Entry]:
        """Return the entries of the log from number `start` on."""
        with self._reading() as connection:
            return [decode(entry) for entry in self._log.entries(connection, start)]

    def head(self) -> Checkpoint:
        """Return the size and the root of the log as it stands."""
        with self._reading() as connection:
            size = self._log.size(connection)
            return Checkpoint(self._log.origin, size, self._log.root(connection, size))

    def root_at(self, size: int) -> bytes:
        """Return the root that the log had at `size` entries.

        Raises:
            BadProofError: it has fewer.
        """
        with self._reading() as connection:
            return self._log.root(connection, size)

    def request(self, also: Iterable[int] = ()) -> WitnessRequest:
        """Return the signed head of the log, with proofs from what its witnesses saw before.

        also: further sizes from which a witness wants a proof.
        """
        with self._writing() as connection:
            return books_witness.request(connection, self._log, also)

    def keep_cosignatures(self, note: str, lines: Mapping[str, str]) -> None:
        """Keep cosignatures of an own head, by witness; the caller has verified them.

        Raises:
            InconsistentLogError: this log never signed that head.
        """
        with self._writing() as connection:
            books_witness.keep(connection, self._log, note, lines)

    def is_witnessed(
        self, order_id: str, among: Mapping[str, str] | None = None, quorum: int = 1
    ) -> bool:
        """Return whether `quorum` organisations have cosigned the order's reservation.

        among: whose the logs are whose cosignatures count; None for every other organisation's.
        """
        if among is None:
            return len(self._vouching(order_id)) >= quorum
        names = self._witnesses(order_id)
        return len({among[name] for name in names if name in among}) >= quorum

    def covers(self, number: int, among: Mapping[str, str], quorum: int) -> bool:
        """Return whether `quorum` organisations have cosigned a head that covers entry `number`."""
        with self._reading() as connection:
            names = books_witness.witnesses_since(connection, number)
        return len({among[name] for name in names if name in among}) >= quorum

    def booked(self, order_id: str) -> bool:
        """Return whether c + 1 other organisations have cosigned the order's reservation."""
        return len(self._vouching(order_id)) > COLLUDING

    def last_seen(self, origin: str) -> SignedHead | None:
        """Return the greatest head of another log that this party has seen."""
        with self._reading() as connection:
            return self._log.last_seen(connection, origin)

    def vouch(
        self, shown: Mapping[str, tuple[WitnessRequest, NamedKey]], at: int
    ) -> dict[str, SignedHead | FederationError]:
        """Write down the heads that logs show, and return for each what may be cosigned now.

        Each is compared with the one seen last in the one transaction that writes it down; where
        it cannot be cosigned, the error says why, and the others are none the worse.
        """
        with self._writing() as connection:
            found = self._log.vouch_all(connection, shown.values(), at)
        return dict(zip(shown, found, strict=True))

    def reconcile(self) -> None:
        """Return if the books say what the log says, entry by entry, and its heads cover it.

        Raises:
            BrokenBooksError: they do not; nothing may be spent from them.
        """
        with self._reading() as connection:
            require_replay(connection, self._log, self._verify_key)

    def disconnect(self) -> None:
        """Close every connection; the next call opens one. For processes that are about to fork."""
        self._engine.dispose()

    # -- inside ----------------------------------------------------------------------------------

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        """Hold the one write lock; leave with everything on disk, or with nothing changed."""
        with _answering(), writing(self._engine) as connection:
            yield connection

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        """See the books as they stood at one moment."""
        with _answering(), reading(self._engine) as connection:
            yield connection

    def _at(self) -> int:
        return max(0, int(self._now()))

    def _witnesses(self, order_id: str) -> frozenset[str]:
        with self._reading() as connection:
            number = books_orders.number_of(connection, order_id)
            if number is None:
                return frozenset()
            return books_witness.witnesses_since(connection, number)

    def _vouching(self, order_id: str) -> frozenset[str]:
        names = self._witnesses(order_id)
        return books_witness.organisations(names, self._organisations, self._log.origin)


@contextmanager
def _answering() -> Iterator[None]:
    """Tell in words of this package that the database does not answer."""
    try:
        yield
    except SQLAlchemyError as why:
        raise SilentBooksError(
            "the books can be neither read nor written now; see that the disk has room and that "
            "no other program holds them; nothing was changed"
        ) from why
