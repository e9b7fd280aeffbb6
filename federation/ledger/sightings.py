"""What one log says that it saw of the others: entries of kind `checkpoint_seen`.

Each carries the signature of the log that was seen. So a sighting convicts: the log that signed two
heads, if both are genuine; else whoever wrote down what nobody signed.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from federation.errors import (
    GivenUpKeyError,
    LedgerMismatchError,
    MalformedNoteError,
    UntrustedNoteError,
)
from federation.ledger import notes
from federation.ledger.entries import Entry, EntryKind
from federation.ledger.notes import Line, NamedKey, SignedHead
from federation.ledger.succession import Succession
from federation.ledger.trust import Trust
from secure_compute.canonical import JSON


def entry_of(head: SignedHead, at: int) -> Entry:
    """Return the entry which says that `head` was seen."""
    body: dict[str, JSON] = {
        "origin": head.origin,
        "size": head.size,
        "root": head.root.hex(),
        "key": head.line.key_id.hex(),
        "signature": head.line.signature.hex(),
    }
    return Entry(EntryKind.CHECKPOINT_SEEN, at, "", body)


def head_of(entry: Entry) -> SignedHead:
    """Return the head that the entry says was seen; its signature is not verified.

    Raises:
        MalformedNoteError: no log has such a head.
    """
    origin, size = str(entry.body["origin"]), int(str(entry.body["size"]))
    root, key, signature = (
        bytes.fromhex(str(entry.body[name])) for name in ("root", "key", "signature")
    )
    return SignedHead(origin, size, root, Line(origin, key, signature))


@dataclass(frozen=True, slots=True)
class Sighting:
    """In entry `number` of the log `by`, its party says that it saw the head `head`."""

    by: str
    number: int
    head: SignedHead

    def __str__(self) -> str:
        return f"entry {self.number} of {self.by}"


class Sightings:
    """What the party of one log says that it saw; each head must come after the one before."""

    def __init__(self, origin: str) -> None:
        self.all: list[Sighting] = []
        self._origin = origin
        self._last: dict[str, int] = {}

    def take(self, number: int, entry: Entry) -> None:
        """The entry counts.

        Raises:
            LedgerMismatchError: it names no head, or goes back behind an earlier one.
        """
        try:
            head = head_of(entry)
        except MalformedNoteError as why:
            raise LedgerMismatchError(f"entry {number} of {self._origin} is wrong: {why}") from why
        last = self._last.get(head.origin, -1)
        if head.size <= last:
            raise LedgerMismatchError(
                f"entry {number} of {self._origin} says that it saw {head.origin} at {head.size} "
                f"entries after it had seen {last}: it looked at no proof"
            )
        self._last[head.origin] = head.size
        self.all.append(Sighting(self._origin, number, head))


def genuine(
    sightings: Sequence[Sighting], trust: Trust, successions: Mapping[str, Succession]
) -> Iterator[Sighting]:
    """Yield the sightings whose logs signed what was seen.

    successions: which key a log had at which size, by its origin; of a log that is not among them
        each of its trusted keys counts.

    What was seen of a log whose key is not known, since it left, is passed over: it can be neither
    believed nor held against anybody.

    Raises:
        LedgerMismatchError: one is forged, or a key signed what was seen that its log had given up
            by then; names its writer and its entry.
    """
    for one in sightings:
        try:
            known = trust.find(one.head.origin).keys
        except UntrustedNoteError:
            continue
        try:
            if one.head.origin in successions:
                successions[one.head.origin].require_signed(one.head, known[0].key)
            else:
                _require_known(one.head, known)
        except GivenUpKeyError as why:
            raise LedgerMismatchError(f"{why}; {one} saw it") from why
        except UntrustedNoteError as why:
            raise LedgerMismatchError(
                f"{one} is forged: {one.head.origin} never signed the head of {one.head.size} "
                f"entries that it says it saw{_doubt(one.head, known, successions)}; ask {one.by}"
            ) from why
        yield one


def _require_known(head: SignedHead, keys: Sequence[NamedKey]) -> None:
    notes.require_signed(head, next((k for k in keys if k.id == head.line.key_id), keys[-1]))


def _doubt(head: SignedHead, keys: Sequence[NamedKey], known: Mapping[str, object]) -> str:
    """Return what else it may be where a log is not in the file, and its head names another key."""
    if head.origin in known or head.line.key_id in {key.id for key in keys}:
        return ""
    return (
        " with a key that is known here (or it changed its key since: take a list of keys that was "
        "printed later, or the file with its ledger in it)"
    )
