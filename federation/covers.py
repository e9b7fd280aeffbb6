"""What a signed message travels in: a cover, sealed to the one party that it is for.

    "ENTR" 0x02 | SHA-256 of the recipient's sealing key, 32 | encapsulation, 1120 | ciphertext

The ciphertext is the signed message (`envelopes`), under HPKE's base mode with ML-KEM-768 and
X25519, HKDF-SHA256 and AES-256-GCM. `info` is the canonical form of the label, the federation's
pin and the recipient's name. So a cover opens in one federation, for one party, under one key, and
whoever carries it reads for whom it is and how long. It is not read who wrote what, of which order
and round: that stands inside, where the sender's signature covers it.

Open, then verify, then parse. Before the signature was checked nothing foreign is interpreted: the
cover is cut at fixed places, the ciphertext is authenticated as a whole before a byte of it is
given out, and what comes out is handed on as bytes. Base mode lets anybody seal, so that a cover
proves nothing of who wrote it: `envelopes.open_envelope` checks that, and that the message inside
was written to this recipient, so that nobody can put another's message in a cover of his own.
"""

import hashlib
from collections.abc import Iterable
from functools import lru_cache
from typing import Final

from federation.errors import MalformedMessageError, MisdirectedMessageError, UnsealableError
from federation.membership import Member
from policies.parties import PartyId
from secure_compute import canonical
from secure_compute.errors import PeerProtocolError
from secure_compute.primitives.hpke import OVERHEAD as HPKE_OVERHEAD
from secure_compute.primitives.hpke import OpeningKey, SealingKey

MAGIC: Final = b"ENTR\x02"
KEY_NAME: Final = 32
OVERHEAD: Final = len(MAGIC) + KEY_NAME + HPKE_OVERHEAD
"""Bytes by which a cover is longer than the message in it."""

_LABEL: Final = "entrepot cover/1"
_BODY: Final = len(MAGIC) + KEY_NAME


def cover(signed: bytes, recipient: Member, pin: str) -> bytes:
    """Return the cover in which `signed` travels to `recipient`; it is another each time.

    Raises:
        UnsealableError: the roster has no sealing key of the recipient, or one that seals nothing.
    """
    if recipient.sealing is None:
        raise UnsealableError(
            f"{recipient.party} has no sealing key on the roster, so nothing may be sent to it: "
            "the roster is of before messages were sealed; found the federation anew"
        )
    try:
        sealed = recipient.sealing.seal(signed, _info(recipient.party, pin))
    except PeerProtocolError as why:
        raise UnsealableError(f"the sealing key of {recipient.party}: {why}") from why
    return b"".join((MAGIC, _name(recipient.sealing), sealed))


def uncover(wire: bytes, keys: Iterable[OpeningKey], recipient: PartyId, pin: str) -> bytes:
    """Return the bytes in a cover; whose they are, `open_envelope` says.

    keys: those of the recipient; while one is exchanged for another it has two.

    Raises:
        MalformedMessageError: it is no cover, of another federation, or was changed on its way.
        MisdirectedMessageError: it is sealed to another key than this party has.
    """
    if not is_cover(wire):
        raise MalformedMessageError("what came is not sealed; nothing else is read here")
    named = {_name(key.sealing_key): key for key in keys}
    key = named.get(wire[len(MAGIC) : _BODY])
    if key is None:
        raise MisdirectedMessageError(f"a cover reached {recipient} that is sealed to another key")
    try:
        return key.open(wire[_BODY:], _info(recipient, pin))
    except PeerProtocolError as why:
        raise MalformedMessageError(
            "a cover does not open: it is of another federation, or was changed on its way"
        ) from why


def is_cover(wire: bytes) -> bool:
    """Return whether these bytes have the form of a cover; nothing is opened."""
    return wire.startswith(MAGIC) and len(wire) >= OVERHEAD


def _info(recipient: PartyId, pin: str) -> bytes:
    return canonical.encode([_LABEL, pin, recipient])


@lru_cache(maxsize=256)
def _name(key: SealingKey) -> bytes:
    return hashlib.sha256(bytes.fromhex(key.hex)).digest()
