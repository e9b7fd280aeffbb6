"""What this node's log says of its files beside the books: the states that they were in.

The books are watched by witnesses; `ingestion.sqlite` and the keyring are watched by the books.
Each writes a digest of its state into the log before it acts on it. A copy of the file alone, put
back later, is not in the state that the log names, and is not believed.

A commitment is keyed by a secret of this folder: it says that something changed, not what or how
much. A listing is a digest of ciphertexts that several parties hold.
"""

from collections.abc import Callable, Sequence
from typing import Protocol

from federation.ledger.entries import Entry, EntryKind


class EntryBook(Protocol):
    """The part of the books that entries are written into and read from."""

    def entries(self, start: int = 0) -> Sequence[Entry]:
        """Return the entries from number `start` on."""
        ...

    def note(self, *entries: Entry) -> int:
        """Append entries, durably."""
        ...


class Commitments:
    """The last commitment to the rows of every group of subjects, and what was opened per order.

    Other processes may write too: what they wrote is read before every answer.
    """

    def __init__(self, books: EntryBook, now: Callable[[], float]) -> None:
        self._books = books
        self._now = now
        self._read = 0
        self._ingested: dict[str, str] = {}
        self._opened: dict[str, str] = {}

    def ingested(self, subjects: str) -> str:
        """Return the last commitment to the rows of `subjects`; "" when there was none."""
        self._catch_up()
        return self._ingested.get(subjects, "")

    def ingest(self, subjects: str, commitment: str) -> None:
        """Write down that the rows of `subjects` are booked as `commitment` says; durable."""
        body = {"subjects": subjects, "commitment": commitment}
        self._books.note(Entry(EntryKind.INGESTED, int(self._now()), "", body))

    def opened(self, order: str) -> str:
        """Return the listing that was, or may have been, opened for `order`; "" for none."""
        self._catch_up()
        return self._opened.get(order, "")

    def open(self, order: str, listing: str) -> None:
        """Write down that `listing` is about to be opened for `order`; durable."""
        body = {"listing": listing}
        self._books.note(Entry(EntryKind.OPENED, int(self._now()), order, body))

    def _catch_up(self) -> None:
        for entry in self._books.entries(self._read):
            self._read += 1
            match entry.kind:
                case EntryKind.INGESTED:
                    self._ingested[str(entry.body["subjects"])] = str(entry.body["commitment"])
                case EntryKind.OPENED:
                    self._opened.setdefault(entry.order, str(entry.body["listing"]))
                case _:
                    pass
