"""Ed25519 signatures (RFC 8032) over canonical bytes."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from secure_compute.errors import BadSignatureError, LocalProtocolError
from secure_compute.primitives.kept import kept

SIGNATURE_SIZE = 64
KEY_SIZE = 32

_SHORT = 4096
"""Up to how many bytes of data a signature is remembered; most statements have a few hundred."""


@dataclass(frozen=True, slots=True)
class VerifyKey:
    """A public key, as 64 hexadecimal digits."""

    hex: str

    def __post_init__(self) -> None:
        if len(self.hex) != 2 * KEY_SIZE or self.hex != self.hex.lower():
            raise LocalProtocolError("a verify key is 64 lower-case hexadecimal digits")
        try:
            bytes.fromhex(self.hex)
        except ValueError as why:
            raise LocalProtocolError("a verify key is 64 hexadecimal digits") from why

    def verify(self, signature: bytes, data: bytes) -> None:
        """Return if `signature` is this key's over `data`.

        Raises:
            BadSignatureError: it is not.
        """
        check = _verified if len(data) <= _SHORT else _verified.__wrapped__
        try:
            check(self.hex, signature, data)
        except (InvalidSignature, ValueError) as why:
            raise BadSignatureError(f"not signed by key {self.hex[:16]}…") from why


@lru_cache(maxsize=4096)
def _verified(key: str, signature: bytes, data: bytes) -> None:
    """Return if it holds. What held once holds for ever; what did not is never remembered.

    Raises:
        InvalidSignature, ValueError: it does not.
    """
    Ed25519PublicKey.from_public_bytes(bytes.fromhex(key)).verify(signature, data)


def verify_by_one(keys: Sequence[VerifyKey], signature: bytes, data: bytes) -> VerifyKey:
    """Return by which of `keys`, which are one party's, `signature` is over `data`.

    Raises:
        BadSignatureError: it is none of theirs.
    """
    for key in keys:
        with suppress(BadSignatureError):
            key.verify(signature, data)
            return key
    raise BadSignatureError(f"not signed by any of {len(keys)} keys")


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A private key; it never prints itself."""

    seed: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if len(self.seed) != KEY_SIZE:
            raise LocalProtocolError(f"a signing key is {KEY_SIZE} bytes, not {len(self.seed)}")

    def sign(self, data: bytes) -> bytes:
        """Return the 64-byte signature of `data`."""
        return _private(self.seed).sign(data)

    @property
    def verify_key(self) -> VerifyKey:
        """The public half."""
        return _public(self.seed)


@kept(maxsize=32)
def _private(seed: bytes) -> Ed25519PrivateKey:
    """Return the key of a seed; a process signs with the same few, many times over."""
    return Ed25519PrivateKey.from_private_bytes(seed)


@kept(maxsize=32)
def _public(seed: bytes) -> VerifyKey:
    return VerifyKey(_private(seed).public_key().public_bytes_raw().hex())
