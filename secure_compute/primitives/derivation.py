"""HKDF with SHA-256 (RFC 5869): one secret into many keys that say nothing of one another."""

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF, HKDFExpand

from secure_compute import canonical
from secure_compute.canonical import JSON

KEY_SIZE = 32


def extract(secret: bytes, salt: bytes, *info: JSON) -> bytes:
    """Return 32 uniform bytes from a secret that is not uniform, as a key agreement's is not."""
    return HKDF(SHA256(), KEY_SIZE, salt, canonical.encode(info)).derive(secret)


def expand(key: bytes, *info: JSON) -> bytes:
    """Return the 32-byte key that `info` names, from a uniform key.

    `info` is spelt canonically, so two lists of parts never run into each other.
    """
    return HKDFExpand(SHA256(), KEY_SIZE, canonical.encode(info)).derive(key)
