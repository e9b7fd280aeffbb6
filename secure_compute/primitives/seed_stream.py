"""A long stream of bytes that a 32-byte seed decides: AES-256 in counter mode.

The AES key is HKDF-SHA-256 (RFC 5869) of the seed, with the purpose as its info; the counter begins
at zero. So one seed read for two purposes gives two streams that have nothing to do with one
another, and whoever is told the seed reads the same bytes on any machine.
"""

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from secure_compute.errors import LocalProtocolError

SEED_SIZE = 32


class SeedStream:
    """The bytes of one seed and purpose, read from the front; it never prints itself."""

    def __init__(self, seed: bytes, purpose: bytes) -> None:
        if len(seed) != SEED_SIZE:
            raise LocalProtocolError(f"a seed is {SEED_SIZE} bytes, not {len(seed)}")
        key = HKDF(SHA256(), SEED_SIZE, salt=None, info=purpose).derive(seed)
        self._cipher = Cipher(algorithms.AES(key), modes.CTR(bytes(16))).encryptor()

    def bytes(self, count: int) -> bytes:
        """Return the next `count` bytes."""
        return self._cipher.update(bytes(count))
