"""BFV over integer vectors. The only module that touches TenSEAL.

Two things this library does silently are refused here in words: a value outside the plain modulus
wraps, and a ciphertext whose protobuf lacks its sizes crashes the process when it is decrypted. So
values are checked before encryption, and foreign bytes are taken apart by hand (`wire`) before
the library sees them. Bytes whose sender's signature was not checked never come here.
"""

from collections.abc import Sequence
from typing import Any

import tenseal

from secure_compute.errors import LocalProtocolError, PeerProtocolError
from secure_compute.hequery.params import QUERY_128
from secure_compute.hequery.wire import require_ciphertext, require_public_key


class PublicKey:
    """What a holder encrypts with and a combiner adds with; it holds no secret."""

    __slots__ = ("_context", "wire")

    def __init__(self, wire: bytes) -> None:
        """Read a key from `wire`, whose sender's signature was checked.

        Raises:
            PeerProtocolError: it is no public key of this parameter set, or holds a secret.
        """
        require_public_key(wire)
        self._context = _context(wire)
        if self._context.is_private() or not self._context.has_public_key():
            raise PeerProtocolError("the keyholder sent something other than a public key")
        self.wire = wire

    def encrypt(self, values: Sequence[int]) -> bytes:
        """Return the ciphertext of `values`, one per slot, in whole.

        Raises:
            LocalProtocolError: more values than slots, none, or one that would wrap.
        """
        params = QUERY_128
        if not 0 < len(values) <= params.slots:
            raise LocalProtocolError(f"a ciphertext holds 1 to {params.slots} integers")
        if any(abs(value) > params.largest for value in values):
            raise LocalProtocolError("a value outside the plain modulus would wrap")
        wire: bytes = tenseal.bfv_vector(self._context, list(values)).serialize()
        return wire

    def add(self, ciphertexts: Sequence[bytes], width: int) -> bytes:
        """Return the ciphertext of the slot-wise sum.

        Raises:
            PeerProtocolError: one of them is no ciphertext of `width` integers under this key.
        """
        return _add(self._context, ciphertexts, width)


class SecretKey:
    """What opens ciphertexts; it neither prints nor travels by accident."""

    __slots__ = ("_context",)

    def __init__(self, wire: bytes) -> None:
        """Read what `to_bytes` returned."""
        self._context = _context(wire)
        if not self._context.is_private():
            raise LocalProtocolError("the stored key holds no secret")

    def __repr__(self) -> str:
        return "SecretKey(…)"

    @classmethod
    def generate(cls) -> "SecretKey":
        """Return a fresh key from the operating system's randomness, which the library reads."""
        made = tenseal.context(
            tenseal.SCHEME_TYPE.BFV, QUERY_128.slots, QUERY_128.plain_modulus, n_threads=1
        )
        return cls(_with_secret(made))

    def to_bytes(self) -> bytes:
        """Return the key with its secret, to be stored where nobody else reads."""
        wire: bytes = self._context.serialize(
            save_public_key=True,
            save_secret_key=True,
            save_galois_keys=False,
            save_relin_keys=False,
        )
        return wire

    def public(self) -> PublicKey:
        """Return the half that encrypts."""
        wire: bytes = self._context.serialize(
            save_public_key=True,
            save_secret_key=False,
            save_galois_keys=False,
            save_relin_keys=False,
        )
        return PublicKey(wire)

    def open_sum(self, ciphertexts: Sequence[bytes], width: int) -> tuple[int, ...]:
        """Add `ciphertexts` and return the integers of the sum.

        Raises:
            PeerProtocolError: one of them is no ciphertext of `width` integers under this key.
        """
        total = _vector(self._context, _add(self._context, ciphertexts, width), width)
        opened = total.decrypt()
        if len(opened) != width:
            raise PeerProtocolError("a ciphertext holds another number of integers than it says")
        return tuple(int(value) for value in opened)


def _with_secret(context: Any) -> bytes:
    wire: bytes = context.serialize(
        save_public_key=True, save_secret_key=True, save_galois_keys=False, save_relin_keys=False
    )
    return wire


def _context(wire: bytes) -> Any:
    try:
        return tenseal.context_from(wire, n_threads=1)
    except Exception as why:  # the library raises what it likes
        raise PeerProtocolError("not a key of this version") from why


def _vector(context: Any, wire: bytes, width: int) -> Any:
    require_ciphertext(wire, width)
    try:
        return tenseal.bfv_vector_from(context, wire)
    except Exception as why:  # the library raises what it likes
        raise PeerProtocolError("a ciphertext does not belong to this key") from why


def _add(context: Any, ciphertexts: Sequence[bytes], width: int) -> bytes:
    if not ciphertexts:
        raise LocalProtocolError("there is nothing to add")
    total = _vector(context, ciphertexts[0], width)
    for wire in ciphertexts[1:]:
        try:
            total += _vector(context, wire, width)
        except PeerProtocolError:
            raise
        except Exception as why:  # the library raises what it likes
            raise PeerProtocolError("two ciphertexts do not add under this key") from why
    wire_of_sum: bytes = total.serialize()
    return wire_of_sum
