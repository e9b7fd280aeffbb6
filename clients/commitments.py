"""What this node's log says of its files beside the books: the states that they were in.

The books are watched by witnesses; `ingestion.sqlite` and `keys.sqlite` are watched by the books.
Each writes a digest of its state into the log before it acts on it. A copy of the file alone, put
back later, is not in the state that the log names, and is not believed.

A commitment is keyed by a secret of this folder: it says that something changed, not what or how
much. A listing is a digest of ciphertexts that several parties hold.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from federation.ledger.entries import Entry, EntryKind
from secure_compute.psi.terms import Terms


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
        self._numbers: dict[str, int] = {}
        self._matched: dict[tuple[str, str], str] = {}
        self._disclosed: dict[str, int] = {}

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

    def openings(self) -> Mapping[str, str]:
        """Return every listing that was, or may have been, opened, by order."""
        self._catch_up()
        return dict(self._opened)

    def number(self, order: str) -> int | None:
        """Return the number of the entry that names what was opened for `order`."""
        self._catch_up()
        return self._numbers.get(order)

    def open(self, order: str, listing: str) -> None:
        """Write down that `listing` is about to be opened for `order`; durable."""
        body = {"listing": listing}
        self._books.note(Entry(EntryKind.OPENED, int(self._now()), order, body))

    def matched(self, order: str, step: str) -> str:
        """Return the commitment to what a step of a match is made from; "" for none."""
        self._catch_up()
        return self._matched.get((order, step), "")

    def match(self, order: str, step: str, partner: str, given: str) -> None:
        """Write down from what a step of a match is about to be made; durable."""
        body = {"partner": partner, "step": step, "given": given}
        self._books.note(Entry(EntryKind.MATCHED, int(self._now()), order, body))

    def disclosed(self, order: str) -> int | None:
        """Return the number of the entry that says what an order disclosed; None for none."""
        self._catch_up()
        return self._disclosed.get(order)

    def disclose(
        self, order: str, terms: Terms, subjects: str, partner: str, basis: str, given: str
    ) -> None:
        """Write down that members of a set are about to be disclosed, and who approved; durable.

        subjects: whose membership it is; given: a commitment to the approval, since no person's
                  name stands in a log.
        """
        body = {
            "partner": partner,
            "subjects": subjects,
            "reveals": terms.reveals.value,
            "receiver": terms.receiver,
            "cap": terms.receiver_cap,
            "basis": basis,
            "terms": terms.digest,
            "approval": given,
        }
        self._books.note(Entry(EntryKind.DISCLOSED, int(self._now()), order, body))

    def _catch_up(self) -> None:
        for number, entry in enumerate(self._books.entries(self._read), self._read):
            self._read = number + 1
            match entry.kind:
                case EntryKind.INGESTED:
                    self._ingested[str(entry.body["subjects"])] = str(entry.body["commitment"])
                case EntryKind.OPENED:
                    self._opened.setdefault(entry.order, str(entry.body["listing"]))
                    self._numbers.setdefault(entry.order, number)
                case EntryKind.MATCHED:
                    name = (entry.order, str(entry.body["step"]))
                    self._matched.setdefault(name, str(entry.body["given"]))
                case EntryKind.DISCLOSED:
                    self._disclosed.setdefault(entry.order, number)
                case _:
                    pass
