"""AES-256 in counter mode as a generator of masks: 32 bytes of seed, as many bytes as asked for."""

from typing import Final

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CTR

CHUNK: Final = 1 << 17
"""Bytes that are made at once: small enough to stay in a core's second-level cache."""

_ZEROS: Final = memoryview(bytes(CHUNK))


class Keystream:
    """The bytes that follow from one seed, in order. The counter starts at zero: a seed is a key
    that is used once, and never for anything but its own stream.
    """

    def __init__(self, seed: bytes) -> None:
        if len(seed) != 32:
            raise ValueError("a seed is 32 bytes")
        self._encryptor = Cipher(AES(seed), CTR(bytes(16))).encryptor()

    def write(self, buffer: bytearray, count: int) -> None:
        """Overwrite the first `count` bytes of `buffer`, at most `CHUNK`, with the next ones."""
        self._encryptor.update_into(_ZEROS[:count], buffer)
