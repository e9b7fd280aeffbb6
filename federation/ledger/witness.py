"""What witnesses do for one another, without a clock, a network or a database.

A log shows its signed head with a proof that it continues each of its earlier heads. A witness
compares it with the head of that log it saw last (`examine`), writes down durably that it has seen
it, and only then signs it too, with the time (`cosign`, C2SP tlog-cosignature). A log that shows
two continuations to two witnesses has signed its own conviction.

What a witness says about the past, to a process that has just started, is in `seen`.
"""

import base64
from binascii import Error as Base64Error
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from federation.errors import (
    BadProofError,
    InconsistentLogError,
    MalformedMessageError,
    MalformedNoteError,
    OlderHeadError,
    UnprovenHeadError,
    UntrustedNoteError,
)
from federation.ledger import notes
from federation.ledger.merkle import HASH_SIZE, verify_consistency
from federation.ledger.notes import COSIGNATURE, Checkpoint, Line, NamedKey, SignedHead
from federation.ledger.seen import (
    MAX_SKEW,
    Confirmed,
    Seen,
    check_clock,
    confirm,
    open_seen,
    quorum,
    sign_seen,
    speakers,
    witnesses,
)
from federation.ledger.trust import COLLUDING, Trust
from secure_compute import canonical
from secure_compute.canonical import JSON
from secure_compute.errors import BadSignatureError, NotCanonicalError
from secure_compute.primitives.signature import SIGNATURE_SIZE, SigningKey, VerifyKey

__all__ = [
    "COLLUDING",
    "MAX_SKEW",
    "Confirmed",
    "Seen",
    "WitnessRequest",
    "check_clock",
    "confirm",
    "cosign",
    "cosigners",
    "examine",
    "open_cosignature",
    "open_seen",
    "proof_sizes",
    "quorum",
    "sign_seen",
    "speakers",
    "witnesses",
]

MAX_PROOFS: Final = 64

_TIME_SIZE: Final = 8


@dataclass(frozen=True, slots=True)
class WitnessRequest:
    """A log's signed head, and proofs that it continues its earlier heads, by their sizes."""

    note: str
    proofs: Mapping[int, tuple[bytes, ...]] = field(default_factory=dict, repr=False)

    def to_bytes(self) -> bytes:
        """Return the canonical form; `from_bytes` gives the request back."""
        proofs: list[JSON] = [
            [size, [_text(part) for part in self.proofs[size]]] for size in sorted(self.proofs)
        ]
        return canonical.encode({"note": self.note, "proofs": proofs, "version": 1})

    @classmethod
    def from_bytes(cls, data: bytes) -> "WitnessRequest":
        """Read exactly what `to_bytes` returns.

        Raises:
            MalformedMessageError: it is something else.
        """
        try:
            match canonical.decode(data):
                case {"note": str(note), "proofs": list(proofs), "version": 1}:
                    request = cls(note, dict(map(_proof, proofs)))
                    if len(proofs) <= MAX_PROOFS and request.to_bytes() == data:
                        return request
        except (NotCanonicalError, Base64Error, ValueError) as why:
            raise MalformedMessageError("a head for a witness is malformed") from why
        raise MalformedMessageError("a head for a witness is malformed")


def examine(last: Checkpoint | None, request: WitnessRequest, key: NamedKey) -> SignedHead:
    """Return the head that is shown, which may be cosigned once it is written down durably.

    Reading `last` and writing down the head belong into one transaction: see `Log.vouch`.

    Args:
        last: the head of this log that this witness saw last; None only if it never saw one.
        request: what the log shows.
        key: the key that its party has on the roster.

    Raises:
        MalformedNoteError: there is no signed note.
        UntrustedNoteError: that key did not sign it.
        OlderHeadError: it is shorter than `last`; nothing is wrong if it was merely late.
        UnprovenHeadError: it shows no proof that it continues `last`.
        InconsistentLogError: it does not continue `last`.
    """
    shown = notes.open_note(request.note, key)
    if last is None:
        return shown
    if last.origin != shown.origin:
        raise InconsistentLogError(f"{shown.origin} is compared with a head of {last.origin}")
    if shown.size < last.size:
        raise OlderHeadError(
            f"{shown.origin} shows {shown.size} entries, but has shown {last.size} before; "
            f"its ledger was put back or cut, and its party must say why"
        )
    if shown.size == last.size and shown.root != last.root:
        raise InconsistentLogError(
            f"{shown.origin} shows another head of {shown.size} entries than before; "
            f"it keeps two ledgers, and its party must say why"
        )
    if shown.size > last.size > 0:
        _continues(last, shown, request.proofs.get(last.size))
    return shown


def cosign(note: str, name: str, key: SigningKey, at: int) -> str:
    """Return the line by which the witness `name` says: at `at`, I saw that this head continues.

    Only for a head that `examine` returned and that is written down durably.
    """
    witness = NamedKey(name, key.verify_key, COSIGNATURE)
    stamp = at.to_bytes(_TIME_SIZE, "big")
    signed = key.sign(_cosigned(notes.read(note).checkpoint, at))
    return str(Line(name, witness.id, stamp + signed))


def open_cosignature(note: str, line: str, name: str, key: VerifyKey) -> int:
    """Return when the witness `name` cosigned the head in `note`, seconds since 1970.

    Raises:
        MalformedNoteError: the line is no cosignature.
        UntrustedNoteError: it is not by this witness, or not over this head.
    """
    lines = notes.read_lines(line)
    if len(lines) != 1 or len(lines[0].signature) != _TIME_SIZE + SIGNATURE_SIZE:
        raise MalformedNoteError("the line is no cosignature")
    witness, only, head = NamedKey(name, key, COSIGNATURE), lines[0], notes.read(note).checkpoint
    at = int.from_bytes(only.signature[:_TIME_SIZE], "big")
    failure = UntrustedNoteError(
        f"{name} did not cosign the head of {head.origin} at {head.size} entries"
    )
    if (only.name, only.key_id) != (name, witness.id):
        raise UntrustedNoteError(
            f"{failure} with a key that is known here; if it changed its key, take a list of keys "
            "that was printed since, or the file with its ledger in it"
        )
    try:
        key.verify(only.signature[_TIME_SIZE:], _cosigned(head, at))
    except BadSignatureError as why:
        raise failure from why
    return at


def cosigners(note: str, lines: Iterable[str], trust: Trust) -> dict[str, int]:
    """Return when each trusted witness cosigned `note`, by the witness's origin.

    A witness that has changed its key stands by what it cosigned with each of them.

    Raises:
        MalformedNoteError: a line is no cosignature.
        UntrustedNoteError: a line is by an unknown witness, or its signature is wrong.
    """
    found = {}
    for line in lines:
        for each in notes.read_lines(line):
            key = _meant(trust.find(each.name).keys, each)
            found[each.name] = open_cosignature(note, str(each), each.name, key)
    return found


def _meant(keys: Sequence[NamedKey], line: Line) -> VerifyKey:
    """Return which of the keys of a witness a line names; the newest one where it names none."""
    named = (NamedKey(key.name, key.key, COSIGNATURE) for key in keys)
    return next((key for key in named if key.id == line.key_id), keys[-1]).key


def proof_sizes(sizes: Collection[int], size: int) -> tuple[int, ...]:
    """Return those of the earlier `sizes` from which a head of `size` brings proofs: the latest."""
    return tuple(sorted({old for old in sizes if 0 < old < size}, reverse=True)[:MAX_PROOFS])


def _continues(last: Checkpoint, shown: Checkpoint, proof: Sequence[bytes] | None) -> None:
    if proof is None:
        raise UnprovenHeadError(
            f"{shown.origin} shows {shown.size} entries without a proof from the {last.size} that "
            f"this witness saw last; without it nothing is cosigned",
            last.size,
        )
    try:
        verify_consistency(last.size, shown.size, proof, last.root, shown.root)
    except BadProofError as why:
        raise InconsistentLogError(
            f"the {shown.size} entries of {shown.origin} do not continue the {last.size} that this "
            f"witness saw last; entries were changed, and its party must say why"
        ) from why


def _cosigned(head: Checkpoint, at: int) -> bytes:
    return f"cosignature/v1\ntime {at}\n{head}".encode()


def _proof(value: JSON) -> tuple[int, tuple[bytes, ...]]:
    match value:
        case [int(size), list(parts)] if all(isinstance(part, str) for part in parts):
            proof = tuple(base64.b64decode(str(part), validate=True) for part in parts)
            if type(size) is int and size > 0 and all(len(p) == HASH_SIZE for p in proof):
                return size, proof
    raise MalformedMessageError("a consistency proof is malformed")


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()
