"""What lies on a disk and is nobody's but its owner's: AES-256-GCM under keys of one master key.

    vault = Vault(os.urandom(KEY_SIZE))
    path.write_bytes(vault.seal("file:keys/identity.key", secret))

Every purpose has its own key (HKDF-Expand of the master key), and the purpose, the format's version
and the length before sealing are bound as associated data: bytes that were sealed as one thing do
not open as another. A sealed value is `ENTV`, the version (1), a nonce of 12 random bytes, and the
ciphertext with its tag of 16.

The master key itself is wrapped in the same way, under a key made of a secret that its owner keeps
elsewhere: stretched by scrypt [RFC 7914] where a person can remember it, extracted where it is one
of a machine.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from secure_compute.errors import PeerProtocolError, UnopenedError
from secure_compute.primitives.derivation import KEY_SIZE, expand, extract
from secure_compute.primitives.sealing import NONCE_SIZE, OVERHEAD, open_sealed, seal

MAGIC: Final = b"ENTV\x01"
SEALED_OVERHEAD: Final = len(MAGIC) + NONCE_SIZE + OVERHEAD
SALT_SIZE: Final = 32
SCRYPT_COST: Final = 1 << 17
"""Of scrypt, at r = 8 and p = 1: 128 MiB and about half a second for one guess."""
LEAST_COST: Final = 1 << 14
LARGEST_COST: Final = 1 << 20
_LABEL: Final = "entrepot/vault/1"
_LEAST_SECRET: Final = 32


@dataclass(frozen=True, slots=True)
class Vault:
    """A master key [32 bytes] and all that follows from it."""

    key: bytes = field(repr=False)

    def subkey(self, purpose: str) -> bytes:
        """Return the key of one purpose [32 bytes]; one says nothing of another."""
        return expand(self.key, _LABEL, purpose)

    def seal(self, purpose: str, data: bytes, fresh: Callable[[int], bytes] = os.urandom) -> bytes:
        """Return `data` sealed, `SEALED_OVERHEAD` bytes longer.

        fresh: gives so many bytes that were never given before.
        """
        nonce = fresh(NONCE_SIZE)
        return MAGIC + nonce + seal(self.subkey(purpose), nonce, data, _context(purpose, len(data)))

    def open(self, purpose: str, sealed: bytes) -> bytes:
        """Return what was sealed for that purpose.

        Raises:
            UnopenedError: the bytes are damaged or cut off, or of another purpose or vault.
        """
        size, start = len(sealed) - SEALED_OVERHEAD, len(MAGIC) + NONCE_SIZE
        if not is_sealed(sealed) or size < 0:
            raise UnopenedError("is no sealed file of this version, or was cut off")
        words = (sealed[len(MAGIC) : start], sealed[start:], _context(purpose, size))
        try:
            return open_sealed(self.subkey(purpose), *words)
        except PeerProtocolError as why:
            raise UnopenedError("was damaged, or sealed elsewhere or as something else") from why


def is_sealed(data: bytes) -> bool:
    """Return whether the bytes begin as a sealed value does."""
    return data.startswith(MAGIC)


def stretched(passphrase: bytes, salt: bytes, cost: int) -> bytes:
    """Return the 32-byte key of a passphrase.

    cost: n of scrypt, a power of two.

    Raises:
        UnopenedError: the cost is none that a vault of this version has.
    """
    if not LEAST_COST <= cost <= LARGEST_COST or cost & (cost - 1):
        raise UnopenedError(f"names {cost} for the cost of scrypt, which no vault here has")
    return Scrypt(salt=salt, length=KEY_SIZE, n=cost, r=8, p=1).derive(passphrase)


def extracted(secret: bytes, salt: bytes) -> bytes:
    """Return the 32-byte key of a machine's secret.

    Raises:
        UnopenedError: the secret is too short to be one that nobody can guess.
    """
    if len(secret) < _LEAST_SECRET:
        raise UnopenedError(f"was given a secret of {len(secret)} bytes; it has at least 32")
    return extract(secret, salt, _LABEL, "wrap")


def _context(purpose: str, size: int) -> bytes:
    return MAGIC + size.to_bytes(8, "big") + purpose.encode()
