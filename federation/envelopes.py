"""One message between two parties: sealed by its sender, opened only after its seal is checked.

    "ENTR" 0x01 | header length, 4 bytes big-endian | header | signature, 64 bytes | blobs

The header is canonical JSON and names the SHA-256 and length of every blob, so that one Ed25519
signature over it binds everything. Verify first, parse after.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from federation.errors import MalformedMessageError, MisdirectedMessageError
from federation.membership import Roster
from federation.messages import Kind
from policies.evidence import Minted
from policies.parties import PartyId
from secure_compute import canonical
from secure_compute.canonical import JSON
from secure_compute.errors import BadSignatureError, NotCanonicalError
from secure_compute.primitives.signature import (
    SIGNATURE_SIZE,
    SigningKey,
    VerifyKey,
    verify_by_one,
)

MAGIC: Final = b"ENTR\x01"
HEADER_FIELDS: Final = frozenset(
    {"blobs", "body", "kind", "order", "recipient", "sender", "sequence"}
)
MAX_HEADER: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Envelope:
    """What one party says to another.

    order:    id of the work order this belongs to, or "".
    sequence: the round within the order, from 0.
    body:     canonical JSON.
    blobs:    large binary parts by name.
    """

    kind: Kind
    sender: PartyId
    recipient: PartyId
    order: str = ""
    sequence: int = 0
    body: Mapping[str, JSON] = field(default_factory=dict)
    blobs: Mapping[str, bytes] = field(default_factory=dict, repr=False)

    def header(self) -> bytes:
        """Return the canonical bytes that the sender signs."""
        return canonical.encode(
            {
                "kind": self.kind.value,
                "sender": self.sender,
                "recipient": self.recipient,
                "order": self.order,
                "sequence": self.sequence,
                "body": self.body,
                "blobs": [
                    [name, len(blob), hashlib.sha256(blob).hexdigest()]
                    for name, blob in sorted(self.blobs.items())
                ],
            }
        )


@dataclass(frozen=True, slots=True)
class Verified(metaclass=Minted):
    """An envelope whose signature was checked against the roster."""

    envelope: Envelope


def seal(envelope: Envelope, key: SigningKey) -> bytes:
    """Return the bytes that carry `envelope`, signed by its sender."""
    header = envelope.header()
    blobs = b"".join(blob for _, blob in sorted(envelope.blobs.items()))
    return b"".join((MAGIC, len(header).to_bytes(4, "big"), header, key.sign(header), blobs))


def open_envelope(wire: bytes, roster: Roster, recipient: PartyId) -> Verified:
    """Check the signature, then — and only then — look inside.

    Raises:
        MalformedMessageError: the bytes are no message of this federation.
        UnknownPartyError: the sender is not on the roster.
        BadSignatureError: the sender did not sign these bytes.
        MisdirectedMessageError: the message is for another party.
    """
    header, signature, rest = _frame(wire)
    fields = _fields(header)
    # Whose key to check with is the one thing that must be read before the check.
    roster.find(PartyId(str(fields["sender"]))).identity.verify(signature, header)
    envelope = _read(fields, rest)
    if envelope.recipient != recipient:
        raise MisdirectedMessageError(f"a message for {envelope.recipient} reached {recipient}")
    return Verified._mint(envelope)  # noqa: SLF001  the home of this evidence


def is_signed_by(wire: bytes, key: VerifyKey) -> bool:
    """Return whether the bytes are a message that `key` signed; nothing else of it is looked at.

    Raises:
        MalformedMessageError: the bytes are no message of this federation.
    """
    header, signature, _ = _frame(wire)
    try:
        key.verify(signature, header)
    except BadSignatureError:
        return False
    return True


def open_own(wire: bytes, roster: Roster, party: PartyId, recipient: PartyId) -> Envelope:
    """Return what `party` itself wrote and kept, with a key that it has or has given up since.

    Raises:
        MalformedMessageError, BadSignatureError, MisdirectedMessageError: see `open_envelope`; or
            somebody else wrote it.
    """
    header, signature, rest = _frame(wire)
    verify_by_one(roster.keys_of(party), signature, header)
    envelope = _read(_fields(header), rest)
    if (envelope.sender, envelope.recipient) != (party, recipient):
        raise MisdirectedMessageError(f"what {party} keeps is no message of its to {recipient}")
    return envelope


def parse(wire: bytes) -> Envelope:
    """Read an envelope WITHOUT trusting it: for captures, never for decisions.

    Raises:
        MalformedMessageError: the bytes are no message of this federation.
    """
    header, _, rest = _frame(wire)
    return _read(_fields(header), rest)


def _frame(wire: bytes) -> tuple[bytes, bytes, bytes]:
    start = len(MAGIC) + 4
    size = int.from_bytes(wire[len(MAGIC) : start], "big")
    end = start + size
    if not wire.startswith(MAGIC) or size > MAX_HEADER or len(wire) < end + SIGNATURE_SIZE:
        raise MalformedMessageError("not a message of this version of the federation")
    return wire[start:end], wire[end : end + SIGNATURE_SIZE], wire[end + SIGNATURE_SIZE :]


def _fields(header: bytes) -> Mapping[str, JSON]:
    try:
        value = canonical.decode(header)
    except NotCanonicalError as why:
        raise MalformedMessageError("the header is not canonical") from why
    if not isinstance(value, dict) or value.keys() != HEADER_FIELDS:
        raise MalformedMessageError("the header has other fields than a message has")
    return value


def _read(fields: Mapping[str, JSON], rest: bytes) -> Envelope:
    match fields:
        case {
            "kind": str(kind),
            "sender": str(sender),
            "recipient": str(recipient),
            "order": str(order),
            "sequence": int(sequence),
            "body": dict(body),
            "blobs": list(listing),
        } if not isinstance(sequence, bool) and sequence >= 0:
            return Envelope(
                _kind(kind),
                PartyId(sender),
                PartyId(recipient),
                order,
                sequence,
                body,
                _blobs(listing, rest),
            )
    raise MalformedMessageError("a header field has the wrong type")


def _kind(text: str) -> Kind:
    try:
        return Kind(text)
    except ValueError as why:
        raise MalformedMessageError("a message of a kind this version does not know") from why


def _blobs(listing: list[JSON], rest: bytes) -> dict[str, bytes]:
    blobs: dict[str, bytes] = {}
    position = 0
    for entry in listing:
        match entry:
            case [str(name), int(size), str(expected)] if size >= 0 and name not in blobs:
                blob = rest[position : position + size]
                if len(blob) != size or hashlib.sha256(blob).hexdigest() != expected:
                    raise MalformedMessageError(f"part {name!r} is not what its sender signed")
                blobs[name] = blob
                position += size
            case _:
                raise MalformedMessageError("the list of parts is malformed")
    if position != len(rest) or list(blobs) != sorted(blobs):
        raise MalformedMessageError("bytes that no signature covers")
    return blobs
