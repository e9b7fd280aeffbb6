"""Signed checkpoints, as every transparency log prints them (C2SP tlog-checkpoint, signed-note).

    entrepot/demo/warehouse-cn          the origin, which is also the name of its key
    42                                  the number of entries
    5nF3…=                              the root, base64
                                        an empty line ends what is signed
    — entrepot/demo/warehouse-cn …      signatures: key id (4 bytes) and signature, base64
    — entrepot/demo/merchant-eu …       cosignatures carry a time too (C2SP tlog-cosignature)

A note has one spelling: what is read is exactly what would be printed.
"""

import base64
import hashlib
import re
from binascii import Error as Base64Error
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

from federation.errors import MalformedNoteError, UntrustedNoteError
from federation.ledger.merkle import HASH_SIZE
from secure_compute.errors import BadSignatureError, LocalProtocolError
from secure_compute.primitives.signature import SIGNATURE_SIZE, SigningKey, VerifyKey

SIGNATURE: Final = 0x01
"""The algorithm byte of an Ed25519 signature over a note."""
COSIGNATURE: Final = 0x04
"""The algorithm byte of a timestamped Ed25519 cosignature over a checkpoint."""
MAX_NOTE: Final = 1 << 16
_SHORT: Final = 1024
"""Up to how many characters a note is held as it was read; one with one signature has 300."""

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,199}", re.ASCII)
_PART: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII)
_SIZE: Final = re.compile(r"0|[1-9][0-9]{0,18}", re.ASCII)
_LINE: Final = re.compile(r"— ([^ +\n]+) ([A-Za-z0-9+/]+={0,2})\n", re.ASCII)


def origin_of(federation: str, party: str) -> str:
    """Return the origin of a party's log, which is also the name of its keys.

    Raises:
        MalformedNoteError: one of the two has signs that a key's name may not have.
    """
    if not _PART.fullmatch(federation) or not _PART.fullmatch(party):
        raise MalformedNoteError(
            "the names of a federation and of a party are letters, digits, '.', '_' and '-'; "
            "rename the one that is not"
        )
    return f"entrepot/{federation}/{party}"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The log `origin` had `size` entries, and `root` was the root of its tree."""

    origin: str
    size: int
    root: bytes

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.origin):
            raise MalformedNoteError("the origin of a checkpoint is no name of a log")
        if not 0 <= self.size < 1 << 63 or len(self.root) != HASH_SIZE:
            raise MalformedNoteError(f"a checkpoint of {self.origin} has no such size or root")

    def __eq__(self, other: object) -> bool:
        """Two are equal whoever signed them: a `SignedHead` equals what it signs."""
        if not isinstance(other, Checkpoint):
            return NotImplemented
        return (self.origin, self.size, self.root) == (other.origin, other.size, other.root)

    def __hash__(self) -> int:
        return hash((self.origin, self.size, self.root))

    def __str__(self) -> str:
        return f"{self.origin}\n{self.size}\n{_base64(self.root)}\n"


@dataclass(frozen=True, slots=True)
class Line:
    """One signature line of a note: who signs, with which key, and the bytes."""

    name: str
    key_id: bytes
    signature: bytes

    def __str__(self) -> str:
        return f"— {self.name} {_base64(self.key_id + self.signature)}\n"


@dataclass(frozen=True, slots=True)
class Note:
    """A checkpoint and the lines below it; nothing is verified yet."""

    checkpoint: Checkpoint
    lines: tuple[Line, ...]

    def __str__(self) -> str:
        return f"{self.checkpoint}\n{''.join(map(str, self.lines))}"


@dataclass(frozen=True, slots=True, eq=False)
class SignedHead(Checkpoint):
    """A checkpoint with the line by which its own log signed it.

    Whether the signature is genuine is known where it comes from `open_note`, and nowhere else.
    """

    line: Line = field(repr=False)

    @property
    def note(self) -> str:
        """The signed note, without what others signed below it."""
        return str(Note(self, (self.line,)))


@dataclass(frozen=True, slots=True)
class NamedKey:
    """A public key and the name that its signatures carry; printed as a C2SP vkey."""

    name: str
    key: VerifyKey
    algorithm: int = SIGNATURE

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise MalformedNoteError("a key has no such name")

    @property
    def id(self) -> bytes:
        """The four bytes by which a signature line names its key."""
        blob = f"{self.name}\n".encode() + bytes([self.algorithm]) + bytes.fromhex(self.key.hex)
        return hashlib.sha256(blob).digest()[:4]

    def __str__(self) -> str:
        blob = bytes([self.algorithm]) + bytes.fromhex(self.key.hex)
        return f"{self.name}+{self.id.hex()}+{_base64(blob)}"

    @classmethod
    def parse(cls, text: str) -> "NamedKey":
        """Read exactly what `str` prints.

        Raises:
            MalformedNoteError: the text is no vkey, or one of another algorithm.
        """
        try:
            name, _, blob = text.split("+", 2)
            raw = base64.b64decode(blob, validate=True)
            key = cls(name, VerifyKey(raw[1:].hex()), raw[0])
        except (ValueError, IndexError, LocalProtocolError) as why:
            raise MalformedNoteError("the line is no public key of a log") from why
        if str(key) != text or key.algorithm not in {SIGNATURE, COSIGNATURE}:
            raise MalformedNoteError(f"the key of {key.name} is not spelt as keys are")
        return key


def sign(checkpoint: Checkpoint, key: SigningKey) -> str:
    """Return the note of `checkpoint`, signed by the log itself."""
    named = NamedKey(checkpoint.origin, key.verify_key)
    line = Line(named.name, named.id, key.sign(str(checkpoint).encode()))
    return str(Note(checkpoint, (line,)))


def read(text: str) -> Note:
    """Read a note; no signature is checked.

    Raises:
        MalformedNoteError: it is not exactly what a note prints.
    """
    if len(text) > MAX_NOTE:
        raise MalformedNoteError("the checkpoint is too long to be one")
    return _known(text) if len(text) <= _SHORT else _read(text)


def _read(text: str) -> Note:
    body, found, tail = text.partition("\n\n")
    note = Note(_checkpoint(body), read_lines(tail)) if found else None
    if note is None or not note.lines or str(note) != text:
        raise MalformedNoteError("the checkpoint is not a signed note")
    return note


@lru_cache(maxsize=1024)
def _known(text: str) -> Note:
    """Return what one text always says: a head goes by every witness, who looks several times."""
    return _read(text)


def read_lines(text: str) -> tuple[Line, ...]:
    """Read signature lines alone.

    Raises:
        MalformedNoteError: there is something else among them.
    """
    lines = tuple(_line(*match) for match in _LINE.findall(text))
    if "".join(map(str, lines)) != text:
        raise MalformedNoteError("a signature line is malformed")
    return lines


def open_note(text: str, key: NamedKey) -> SignedHead:
    """Return the checkpoint after checking that `key`, the key of its log, signed it.

    Raises:
        MalformedNoteError: the text is no signed note.
        UntrustedNoteError: it is another log's, or that key did not sign it.
    """
    note = read(text)
    checkpoint = note.checkpoint
    if checkpoint.origin != key.name:
        raise UntrustedNoteError(f"this is a checkpoint of {checkpoint.origin}, not of {key.name}")
    for line in note.lines:
        if (line.name, line.key_id) == (key.name, key.id):
            head = SignedHead(checkpoint.origin, checkpoint.size, checkpoint.root, line)
            require_signed(head, key)
            return head
    raise UntrustedNoteError(_not_signed(checkpoint))


def open_by_one(text: str, keys: Sequence[NamedKey]) -> SignedHead:
    """Return the checkpoint after checking that one of `keys`, those of its log, signed it.

    Raises:
        MalformedNoteError: the text is no signed note.
        UntrustedNoteError: it is another log's, or none of the keys signed it.
    """
    note = read(text)
    ids = {(line.name, line.key_id) for line in note.lines}
    named = next((key for key in keys if (key.name, key.id) in ids), None)
    try:
        return open_note(text, named or keys[-1])
    except UntrustedNoteError as why:
        if named is not None or note.checkpoint.origin != keys[-1].name:
            raise
        raise UntrustedNoteError(
            f"{why}; if it changed its key, take a list of keys that was printed later"
        ) from why


def require_signed(head: SignedHead, key: NamedKey) -> None:
    """Return if `key`, the key of its log, signed `head`.

    Raises:
        UntrustedNoteError: it did not.
    """
    try:
        if (head.line.name, head.line.key_id) != (key.name, key.id):
            raise UntrustedNoteError(_not_signed(head))
        key.key.verify(head.line.signature, str(head).encode())
    except BadSignatureError as why:
        raise UntrustedNoteError(_not_signed(head)) from why


def _not_signed(checkpoint: Checkpoint) -> str:
    return (
        f"the checkpoint of {checkpoint.origin} at {checkpoint.size} entries is not signed by the "
        f"key it had when it joined"
    )


def _checkpoint(body: str) -> Checkpoint:
    match body.split("\n"):
        case [origin, size, root] if _SIZE.fullmatch(size):
            try:
                return Checkpoint(origin, int(size), base64.b64decode(root, validate=True))
            except (Base64Error, ValueError) as why:
                raise MalformedNoteError("the root of the checkpoint is not base64") from why
    raise MalformedNoteError("a checkpoint has three lines: origin, size and root")


def _line(name: str, blob: str) -> Line:
    try:
        raw = base64.b64decode(blob, validate=True)
    except Base64Error as why:
        raise MalformedNoteError("a signature is not base64") from why
    if not _NAME.fullmatch(name) or not 4 + SIGNATURE_SIZE <= len(raw) <= 12 + SIGNATURE_SIZE:
        raise MalformedNoteError("a signature line is malformed")
    return Line(name, raw[:4], raw[4:])


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()
