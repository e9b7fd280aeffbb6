"""One log under several keys, one after the other: an entry names the next.

    key_rotated    party   previous   identity   signature, of the previous key
    key_replaced   party   previous   identity   signature, of the new key: the previous one is lost

The signature is over the number of the entry, the log and both keys, so that the entry fits one
place of one log. A head of at most that many entries is the previous key's, every longer one the
new key's. A key that was given up never comes back. So whoever trusts the first key of a log
follows it to the last, as far as keys were rotated. A key that was lost signs for none: members of
other organisations have said in the roster which one comes after it, so a log goes on behind
`key_replaced` for those alone whose list of keys was printed since (`trust`).
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final

from federation.errors import GivenUpKeyError, LedgerMismatchError, UntrustedNoteError
from federation.ledger import notes
from federation.ledger.entries import Entry, EntryKind
from federation.ledger.notes import COSIGNATURE, Line, NamedKey, SignedHead
from secure_compute import canonical
from secure_compute.errors import BadSignatureError, LocalProtocolError
from secure_compute.primitives.signature import SigningKey, VerifyKey

_LABELS: Final = {
    EntryKind.KEY_ROTATED: b"entrepot key rotation/1\n",
    EntryKind.KEY_REPLACED: b"entrepot key replacement/1\n",
}
KINDS: Final = frozenset(_LABELS)


@dataclass(frozen=True, slots=True)
class Rotation:
    """Entry `number` of a log gives `previous` up for `identity`.

    lost: whether `previous` signed nothing for that; see `key_replaced`.
    """

    number: int
    previous: VerifyKey
    identity: VerifyKey
    lost: bool = False

    @property
    def kind(self) -> EntryKind:
        """The kind of its entry."""
        return EntryKind.KEY_REPLACED if self.lost else EntryKind.KEY_ROTATED


def entry_of(origin: str, number: int, old: SigningKey, new: VerifyKey, at: int) -> Entry:
    """Return the entry by which the log `origin` goes on under `new`; it must become `number`."""
    return _entry(origin, Rotation(number, old.verify_key, new), old, at)


def entry_of_lost(origin: str, number: int, old: VerifyKey, new: SigningKey, at: int) -> Entry:
    """Return the entry by which the log `origin`, whose key `old` is lost, goes on under `new`."""
    return _entry(origin, Rotation(number, old, new.verify_key, lost=True), new, at)


def _entry(origin: str, change: Rotation, key: SigningKey, at: int) -> Entry:
    return Entry(
        change.kind,
        at,
        "",
        {
            "party": _party(origin),
            "previous": change.previous.hex,
            "identity": change.identity.hex,
            "signature": key.sign(_statement(origin, change)).hex(),
        },
    )


@dataclass(frozen=True, slots=True)
class Succession:
    """The keys of the log `origin`, as far as its entries tell; without changes it has one."""

    origin: str
    changes: tuple[Rotation, ...] = ()

    @classmethod
    def of(cls, origin: str, entries: Iterable[Entry]) -> "Succession":
        """Return what all entries of a log tell.

        Raises:
            LedgerMismatchError: see `after`.
        """
        found = cls(origin)
        for number, entry in enumerate(entries):
            found = found.after(number, entry)
        return found

    def after(self, number: int, entry: Entry) -> "Succession":
        """Return the succession with entry `number`, the next one of the log.

        Raises:
            LedgerMismatchError: nobody signed that change at that place who may, or its key was
                the log's before.
        """
        if entry.kind not in KINDS:
            return self
        change = self._read(number, entry)
        before = {each for one in self.changes for each in (one.previous, one.identity)}
        if change.identity in before | {change.previous}:
            raise LedgerMismatchError(f"{self._named(number)} takes a key that was given up before")
        if self.changes and change.previous != self.changes[-1].identity:
            raise LedgerMismatchError(f"{self._named(number)} gives up a key that is not its log's")
        return replace(self, changes=(*self.changes, change))

    def at(self, size: int, only: VerifyKey) -> VerifyKey:
        """Return the key that signs a head of `size` entries; `only`: that of a log with one."""
        for change in self.changes:
            if size <= change.number:
                return change.previous
        return self.changes[-1].identity if self.changes else only

    def given_up(self, line: Line) -> Rotation | None:
        """Return the change that gave up the key of a cosignature by this log's party, if one did.

        line: one that was verified under a key of this log.
        """
        for change in self.changes:
            if line.key_id == NamedKey(self.origin, change.previous, COSIGNATURE).id:
                return change
        return None

    def open(self, text: str, only: VerifyKey) -> SignedHead:
        """Return a head of this log, signed by the key that it had at that size; `only`: see `at`.

        Raises:
            MalformedNoteError: the text is no signed note.
            GivenUpKeyError: it is signed by one that the log had given up by then.
            UntrustedNoteError: it is another log's, or signed by none of its keys.
        """
        note = notes.read(text)
        key = NamedKey(self.origin, self.at(note.checkpoint.size, only))
        try:
            return notes.open_note(text, key)
        except UntrustedNoteError as why:
            head = note.checkpoint
            for line in note.lines:
                self._require_in_time(SignedHead(head.origin, head.size, head.root, line), why)
            raise

    def require_signed(self, head: SignedHead, only: VerifyKey) -> None:
        """Return if `head` is signed by the key that this log had at that size; `only`: see `at`.

        Raises:
            GivenUpKeyError: it is signed by one that the log had given up by then.
            UntrustedNoteError: it is signed by none.
        """
        try:
            notes.require_signed(head, NamedKey(self.origin, self.at(head.size, only)))
        except UntrustedNoteError as why:
            self._require_in_time(head, why)
            raise

    def _require_in_time(self, head: SignedHead, why: UntrustedNoteError) -> None:
        """Return unless a key signed `head` that this log had given up by then."""
        for change in self.changes:
            if head.size > change.number and _is_by(head, NamedKey(self.origin, change.previous)):
                raise GivenUpKeyError(
                    f"{self.origin} signed a head of {head.size} entries with a key that it had "
                    f"given up at {change.number}: it keeps two ledgers, or that key is in other "
                    "hands; ask its party which",
                    change.number,
                ) from why

    def _read(self, number: int, entry: Entry) -> Rotation:
        body = entry.body
        is_lost = entry.kind is EntryKind.KEY_REPLACED
        try:
            previous, identity = (VerifyKey(str(body[name])) for name in ("previous", "identity"))
            change = Rotation(number, previous, identity, is_lost)
            signature = bytes.fromhex(str(body["signature"]))
            signer = identity if is_lost else previous
            signer.verify(signature, _statement(self.origin, change))
        except (BadSignatureError, LocalProtocolError) as why:
            by = "takes" if is_lost else "gives up"
            raise LedgerMismatchError(
                f"{self._named(number)} is not signed, for that place, by the key that it {by}"
            ) from why
        if body["party"] != _party(self.origin):
            raise LedgerMismatchError(f"{self._named(number)} is about another party's key")
        return change

    def _named(self, number: int) -> str:
        return f"the change of key in entry {number} of {self.origin}"


def require_own(key: VerifyKey, note: str | None, since: Iterable[Entry]) -> None:
    """Return if `key` is the one that a log signs with now, by what it signed and wrote last.

    note:  the last head that the log signed, if it signed any, by whichever key.
    since: the entries after it.

    Raises:
        GivenUpKeyError: another key is; nothing must be signed with this one.
    """
    named = [str(e.body["identity"]) for e in since if e.kind in KINDS]
    last = None if note is None else notes.read(note)
    if named:
        is_own = named[-1] == key.hex
    else:
        is_own = last is None or any(
            _names(line, NamedKey(last.checkpoint.origin, key)) for line in last.lines
        )
    if not is_own:
        raise GivenUpKeyError(
            "this key does not sign for the log now: it was given up, or its log does not say that "
            "it goes on under it; start the node again, and if it still says so restore the newest "
            "copy of the whole folder"
        )


def _names(line: Line, key: NamedKey) -> bool:
    return (line.name, line.key_id) == (key.name, key.id)


def _is_by(head: SignedHead, key: NamedKey) -> bool:
    try:
        notes.require_signed(head, key)
    except UntrustedNoteError:
        return False
    return True


def _party(origin: str) -> str:
    return origin.rpartition("/")[2]


def _statement(origin: str, change: Rotation) -> bytes:
    return _LABELS[change.kind] + canonical.encode(
        {
            "log": origin,
            "number": change.number,
            "previous": change.previous.hex,
            "identity": change.identity.hex,
        }
    )
