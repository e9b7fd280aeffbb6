"""One entry with its proof: what a party shows who may read this entry and no other.

    {"entry": base64, "federation": …, "format": "entrepot.receipt/1", "number": …, "origin": …,
     "proof": [base64, …],                     inclusion proof, RFC 9162 2.1.3
     "witnessed": note of a head that enough others cosigned, with their lines}

Canonical JSON. As in an export, no key is in the file.
"""

import base64
from binascii import Error as Base64Error
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from federation.errors import (
    BadProofError,
    LedgerMismatchError,
    MalformedEntryError,
    MalformedNoteError,
    MalformedTrustError,
    UntrustedNoteError,
)
from federation.ledger import merkle, notes, witness
from federation.ledger.entries import Entry, decode
from federation.ledger.trust import Trust
from secure_compute import canonical
from secure_compute.canonical import JSON
from secure_compute.errors import NotCanonicalError

FORMAT: Final = "entrepot.receipt/1"


@dataclass(frozen=True, slots=True)
class Receipt:
    """Entry `number` of the log `origin`, and why it stands below the head in `witnessed`."""

    federation: str
    origin: str
    number: int
    entry: bytes = field(repr=False)
    proof: tuple[bytes, ...] = field(repr=False)
    witnessed: str = field(repr=False)

    def to_bytes(self) -> bytes:
        """Return the file; `from_bytes` gives the receipt back."""
        value: dict[str, JSON] = {
            "entry": _text(self.entry),
            "federation": self.federation,
            "format": FORMAT,
            "number": self.number,
            "origin": self.origin,
            "proof": [_text(part) for part in self.proof],
            "witnessed": self.witnessed,
        }
        return canonical.encode(value)

    @classmethod
    def from_bytes(cls, data: bytes) -> "Receipt":
        """Read exactly what `to_bytes` returns.

        Raises:
            LedgerMismatchError: the file is something else, or damaged.
        """
        try:
            match canonical.decode(data):
                case {
                    "entry": str(entry),
                    "federation": str(federation),
                    "format": "entrepot.receipt/1",
                    "number": int(number),
                    "origin": str(origin),
                    "proof": list(proof),
                    "witnessed": str(witnessed),
                    **rest,
                } if not rest:
                    parts = tuple(_bytes(part) for part in proof)
                    found = cls(federation, origin, number, _bytes(entry), parts, witnessed)
                    if found.to_bytes() == data:
                        return found
        except (NotCanonicalError, Base64Error, ValueError) as why:
            raise LedgerMismatchError("the receipt is damaged") from why
        raise LedgerMismatchError("the receipt is damaged, or one of another version")


@dataclass(frozen=True, slots=True)
class Proven:
    """What a receipt proves. at: when each witness saw the head, by its origin; empty: unknown."""

    entry: Entry
    line: str
    at: Mapping[str, int]

    @property
    def is_authentic(self) -> bool:
        """Whether it is known whose entry this is, and that others saw it."""
        return bool(self.at)


def verify_receipt(receipt: Receipt, trust: Trust | None) -> Proven:
    """Return what `receipt` proves under the keys of `trust`; without keys, only that it fits.

    Raises:
        LedgerMismatchError: something does not fit, or too few others saw it.
    """
    try:
        note = notes.read(receipt.witnessed)
        head, entry = note.checkpoint, decode(receipt.entry)
        leaf = merkle.leaf_hash(receipt.entry)
        merkle.verify_inclusion(leaf, receipt.number, head.size, receipt.proof, head.root)
    except (BadProofError, MalformedEntryError, MalformedNoteError) as why:
        raise LedgerMismatchError(f"{_named(receipt)} is wrong: {why}") from why
    if head.origin != notes.origin_of(receipt.federation, head.origin.rpartition("/")[2]):
        raise LedgerMismatchError(f"{head.origin} is no log of {receipt.federation}")
    if head.origin != receipt.origin:
        raise LedgerMismatchError(f"{_named(receipt)} comes with a head of {head.origin}")
    if trust is None:
        line = (
            f"consistent, not authentic: {_named(receipt)} stands below this head; give the keys "
            f"that were printed at join to know who wrote it"
        )
        return Proven(entry, line, {})
    times = _seen(receipt, trust)
    line = (
        f"proven: {_named(receipt)} stands among the first {head.size:,}, signed by its party and "
        f"seen by {len(trust.organisations(times, receipt.origin))} other organisations (up to "
        f"c = {trust.colluding} may lie together)"
    )
    return Proven(entry, line, times)


def _seen(receipt: Receipt, trust: Trust) -> Mapping[str, int]:
    origin, note = receipt.origin, notes.read(receipt.witnessed)
    try:
        if trust.federation != receipt.federation:
            raise UntrustedNoteError(f"the trusted keys are of {trust.federation}")
        notes.open_by_one(receipt.witnessed, trust.find(origin).keys)
        others = [str(line) for line in note.lines if line.name != origin]
        times = witness.cosigners(receipt.witnessed, others, trust)
        count = len(trust.organisations(times, origin))
    except (MalformedNoteError, MalformedTrustError, UntrustedNoteError) as why:
        raise LedgerMismatchError(f"{_named(receipt)} is not authentic: {why}") from why
    if count < trust.needed:
        raise LedgerMismatchError(
            f"only {count} other organisations vouch for {_named(receipt)}, {trust.needed} are "
            f"needed; have it witnessed first"
        )
    return times


def _named(receipt: Receipt) -> str:
    return f"entry {receipt.number} of {receipt.origin}"


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _bytes(text: JSON) -> bytes:
    if not isinstance(text, str):
        raise ValueError("a part of the receipt is not text")
    return base64.b64decode(text, validate=True)
