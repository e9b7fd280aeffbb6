"""Bytes to points of Curve25519: curve25519_XMD:SHA-512_ELL2_NU_ of RFC 9380, u-coordinates only.

A hash taken for a u-coordinate as it stands would lie on the curve or on its twist, half and half,
and a scalar never changes which: one bit of every masked identifier would be in the open. The map
of Elligator 2 (RFC 9380 §6.7.1) always meets the curve. The cofactor is not cleared here: every
X25519 scalar is a multiple of 8 and clears it (SPEC, "The points").

Python's integers take a time that depends on their values; what is hashed is this side's own.
"""

import hashlib
from collections.abc import Sequence
from typing import Final

P: Final = 2**255 - 19
A: Final = 486662
SIZE: Final = 32
DST: Final = b"entrepot-psi-v1-with-curve25519_XMD:SHA-512_ELL2_NU_"

_BLOCK: Final = bytes(128)  # SHA-512 reads blocks of so many bytes
_WIDTH: Final = 48  # bytes of a field element before it is reduced: L of RFC 9380 §5


def encode(messages: Sequence[bytes], dst: bytes = DST) -> bytes:
    """Return the u-coordinate of each message's point, 32 bytes each, little-endian."""
    points = map_to_curve([hash_to_field(message, dst) for message in messages])
    return b"".join(point.to_bytes(SIZE, "little") for point in points)


def hash_to_field(message: bytes, dst: bytes) -> int:
    """Return the one field element of `message` (RFC 9380 §5.2 and §5.3.1, len_in_bytes = 48).

    dst: at most 255 bytes.
    """
    suffix = dst + bytes([len(dst)])
    first = hashlib.sha512(_BLOCK + message + _WIDTH.to_bytes(2, "big") + b"\0" + suffix).digest()
    uniform = hashlib.sha512(first + b"\1" + suffix).digest()
    return int.from_bytes(uniform[:_WIDTH], "big") % P


def map_to_curve(elements: Sequence[int]) -> list[int]:
    """Return the u-coordinate of each field element's point (RFC 9380 §6.7.1 with Z = 2)."""
    # 1 + 2r² is never zero: −1/2 is no square modulo p.
    inverses = _inverses([(1 + 2 * r * r) % P for r in elements])
    first = [-A * inverse % P for inverse in inverses]
    return [u if is_on_curve(u) else (-A - u) % P for u in first]


def is_on_curve(u: int) -> bool:
    """Tell whether u is a point of the curve; if not, it is one of the twist."""
    return _is_square((u * u + A * u + 1) * u % P)


def _inverses(values: Sequence[int]) -> list[int]:
    """Return every 1/value modulo p by one inversion (Montgomery's trick); no value is zero."""
    products = [1]
    for value in values:
        products.append(products[-1] * value % P)
    rest, found = pow(products[-1], -1, P), []
    for value, before in zip(reversed(values), reversed(products[:-1]), strict=True):
        found.append(rest * before % P)
        rest = rest * value % P
    return found[::-1]


def _is_square(value: int) -> bool:
    """Tell whether `value` is a square modulo p: its Jacobi symbol, six times faster than a power.

    Bit 1 of `sign` collects the changes: (2/n) is −1 for n = 3 or 5 modulo 8, and the law of
    reciprocity turns the sign where both are 3 modulo 4.
    """
    top, bottom, sign = value, P, 0
    while top > 1:
        twos = (top & -top).bit_length() - 1
        top >>= twos
        if twos & 1:
            sign ^= bottom ^ (bottom >> 1)
        sign ^= top & bottom
        top, bottom = bottom % top, top
    return not sign & 2
