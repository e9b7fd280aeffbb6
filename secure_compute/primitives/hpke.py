"""HPKE (RFC 9180) in base mode: bytes that only the holder of one private key can read.

KEM MLKEM768-X25519, KDF HKDF-SHA256, AEAD AES-256-GCM. Whoever records a message today must break
ML-KEM-768 and X25519 both to read it. Who sealed is not said: what is inside carries a signature.

    sealed     encapsulation, 1120 bytes | ciphertext, 16 bytes longer than what is in it
    public     ML-KEM-768, 1184 bytes    | X25519, 32 bytes
    private    ML-KEM-768's seed, 64     | X25519, 32 bytes
"""

from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hpke import (
    AEAD,
    KDF,
    KEM,
    MLKEM768X25519PrivateKey,
    MLKEM768X25519PublicKey,
    Suite,
)

from secure_compute.errors import LocalProtocolError, PeerProtocolError
from secure_compute.primitives.kept import kept

PRIVATE_SIZE: Final = 96
PUBLIC_SIZE: Final = 1216
ENCAPSULATION: Final = 1120
OVERHEAD: Final = ENCAPSULATION + 16

_MLKEM_SEED: Final = 64
_MLKEM_PUBLIC: Final = 1184
_SUITE: Final = Suite(KEM.MLKEM768_X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)


@dataclass(frozen=True, slots=True)
class SealingKey:
    """A public key, as 2432 hexadecimal digits; it seals to whoever has the other half."""

    hex: str

    def __post_init__(self) -> None:
        if len(self.hex) != 2 * PUBLIC_SIZE or set(self.hex) - set("0123456789abcdef"):
            raise LocalProtocolError(f"a sealing key is {2 * PUBLIC_SIZE} hexadecimal digits")
        try:
            _public(self.hex)
        except ValueError as why:
            raise LocalProtocolError("a sealing key is no point and vector of its suite") from why

    def seal(self, data: bytes, info: bytes) -> bytes:
        """Return `data` sealed, 1136 bytes longer, another each time.

        info: what the opener must know as well; it does not travel.

        Raises:
            PeerProtocolError: nothing can be sealed to this key.
        """
        try:
            return _SUITE.encrypt(data, _public(self.hex), info)
        except ValueError as why:
            raise PeerProtocolError(
                "nothing can be sealed to this key: it is of low order"
            ) from why


@dataclass(frozen=True, slots=True)
class OpeningKey:
    """A private key; it never prints itself."""

    seed: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if len(self.seed) != PRIVATE_SIZE:
            raise LocalProtocolError(f"an opening key is {PRIVATE_SIZE} bytes")

    @property
    def sealing_key(self) -> SealingKey:
        """The public half."""
        return _sealing(self.seed)

    def open(self, sealed: bytes, info: bytes) -> bytes:
        """Return what was sealed.

        Raises:
            PeerProtocolError: to another key, with another `info`, or changed since.
        """
        try:
            return _SUITE.decrypt(sealed, _private(self.seed), info)
        except (InvalidTag, ValueError) as why:
            raise PeerProtocolError("what is sealed does not open") from why


@lru_cache(maxsize=256)
def _public(text: str) -> MLKEM768X25519PublicKey:
    raw = bytes.fromhex(text)
    return MLKEM768X25519PublicKey(
        MLKEM768PublicKey.from_public_bytes(raw[:_MLKEM_PUBLIC]),
        X25519PublicKey.from_public_bytes(raw[_MLKEM_PUBLIC:]),
    )


@kept(maxsize=4)
def _private(seed: bytes) -> MLKEM768X25519PrivateKey:
    return MLKEM768X25519PrivateKey(*_halves(seed))


@kept(maxsize=4)
def _sealing(seed: bytes) -> SealingKey:
    mlkem, x25519 = _halves(seed)
    halves = (mlkem.public_key().public_bytes_raw(), x25519.public_key().public_bytes_raw())
    return SealingKey(b"".join(halves).hex())


def _halves(seed: bytes) -> tuple[MLKEM768PrivateKey, X25519PrivateKey]:
    return (
        MLKEM768PrivateKey.from_seed_bytes(seed[:_MLKEM_SEED]),
        X25519PrivateKey.from_private_bytes(seed[_MLKEM_SEED:]),
    )
