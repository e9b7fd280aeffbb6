"""Encryption by TenSEAL's SEAL. The only module of this package that touches it.

What goes in is arithmetic of this package: the sum of key parts and a plaintext, written here in
the library's own format 4.3; what comes out is a ciphertext that was made a moment ago. Bytes of
another party never go in. The library reads and writes files only, so they are files in memory, and
packs them with Zstandard.

The format is no promise of the library's: tenseal is pinned, and a test opens with numpy what the
library encrypted, and with the library what numpy encrypted.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any, Final

import numpy as np
import pyarrow
from numpy.typing import NDArray
from tenseal import sealapi

from secure_compute.errors import LocalProtocolError
from secure_compute.threshold.params import KEY_PRIMES, LARGEST, PLAIN_MODULUS, PRIMES, SLOTS
from secure_compute.threshold.ring import Residues

_MAGIC: Final = bytes.fromhex("5ea1100403")  # 0xA15E, a header of 16 bytes, version 4.3
_PLAIN, _ZSTD = 0, 2


def encrypt(values: NDArray[np.int64], public: Residues, uniform: Residues) -> Residues:
    """Return a fresh ciphertext [2, 3, 8192] of up to 8192 integers, one per coefficient.

    public, uniform: the joint key (b, a) in `forward` form over `KEY_PRIMES`.

    Raises:
        LocalProtocolError: more values than coefficients, or one that would wrap.
    """
    if values.ndim != 1 or not 0 < values.size <= SLOTS:
        raise LocalProtocolError(f"a ciphertext holds 1 to {SLOTS} integers")
    if int(np.abs(values).max()) > LARGEST or int(values.min()) < -LARGEST:
        raise LocalProtocolError("a value outside the plain modulus would wrap")
    encryptor = sealapi.Encryptor(_context(), _public_key(public, uniform))
    made = sealapi.Ciphertext(_context())
    encryptor.encrypt(_plaintext(values % PLAIN_MODULUS), made)
    return _residues(made)


@cache
def _context() -> Any:
    parameters = sealapi.EncryptionParameters(sealapi.SCHEME_TYPE.BFV)
    parameters.set_poly_modulus_degree(SLOTS)
    parameters.set_coeff_modulus([sealapi.Modulus(prime) for prime in KEY_PRIMES])
    parameters.set_plain_modulus(sealapi.Modulus(PLAIN_MODULUS))
    context = sealapi.SEALContext(parameters, True, sealapi.SEC_LEVEL_TYPE.TC128)
    if not context.parameters_set():
        raise LocalProtocolError(f"the library refuses {context.parameters_error_message()}")
    return context


def _public_key(public: Residues, uniform: Residues) -> Any:
    head = b"".join((_words(*_context().key_parms_id()), b"\1", _words(2, SLOTS, len(KEY_PRIMES))))
    key = sealapi.PublicKey()
    _load(key, head + np.float64(1).tobytes() + _words(1) + _array(np.stack((public, uniform))))
    return key


def _plaintext(coefficients: NDArray[np.int64]) -> Any:
    plain = sealapi.Plaintext()
    head = _words(0, 0, 0, 0, coefficients.size) + np.float64(1).tobytes()
    _load(plain, head + _array(coefficients))
    return plain


def _residues(ciphertext: Any) -> Residues:
    """Return the residues of one that the library made."""
    with _memory() as path:
        ciphertext.save(path)
        with open(path, "rb") as stream:  # noqa: PTH123  a descriptor, not a place
            blob = stream.read()
    words = 2 * len(PRIMES) * SLOTS
    size = 32 + 1 + 5 * 8 + 16 + 8 + 8 * words
    if blob[:6] != _MAGIC + bytes([_ZSTD]):
        raise LocalProtocolError("the library writes ciphertexts in another format")
    body = pyarrow.decompress(blob[16:], size, codec="zstd", asbytes=True)
    made = np.frombuffer(body, "<i8", words, size - 8 * words)
    return made.reshape(2, len(PRIMES), SLOTS).astype(np.int64)


def _load(target: Any, body: bytes) -> None:
    with _memory() as path:
        with open(path, "wb") as stream:  # noqa: PTH123
            stream.write(_headed(body))
        target.load(_context(), path)


@contextmanager
def _memory() -> Iterator[str]:
    """Give the name of a file that is on no disk and gone afterwards."""
    file = os.memfd_create("entrepot", os.MFD_CLOEXEC)
    try:
        yield f"/proc/self/fd/{file}"
    finally:
        os.close(file)


def _headed(body: bytes) -> bytes:
    return _MAGIC + bytes([_PLAIN, 0, 0]) + _words(16 + len(body)) + body


def _array(numbers: NDArray[np.int64]) -> bytes:
    return _headed(_words(numbers.size) + np.ascontiguousarray(numbers, "<i8").tobytes())


def _words(*numbers: int) -> bytes:
    return b"".join(number.to_bytes(8, "little") for number in numbers)
