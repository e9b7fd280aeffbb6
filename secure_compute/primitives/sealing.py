"""AES-256-GCM: a few bytes that only the holder of a key can read, and nobody can change."""

from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from secure_compute.errors import PeerProtocolError

NONCE_SIZE: Final = 12
OVERHEAD: Final = 16


def seal(key: bytes, nonce: bytes, data: bytes, context: bytes) -> bytes:
    """Return `data` sealed, 16 bytes longer. A key and a nonce never meet twice.

    context: bytes that travel elsewhere and must be the same at opening.
    """
    return AESGCM(key).encrypt(nonce, data, context)


def open_sealed(key: bytes, nonce: bytes, sealed: bytes, context: bytes) -> bytes:
    """Return what was sealed.

    Raises:
        PeerProtocolError: another key, nonce or context, or changed bytes.
    """
    try:
        return AESGCM(key).decrypt(nonce, sealed, context)
    except (InvalidTag, ValueError) as why:
        raise PeerProtocolError("a sealed share does not open") from why
