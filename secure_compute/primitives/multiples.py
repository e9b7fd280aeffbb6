"""One scalar and many points of Curve25519, by X25519 (RFC 7748): u-coordinates in and out.

X25519 takes the scalar as a multiple of the cofactor 8 with its highest bit at 254, so every
product lies in the subgroup of prime order whatever small-order part the point had.
"""

from typing import Final

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

from secure_compute.errors import PeerProtocolError

SIZE: Final = 32
BASE: Final = (9).to_bytes(SIZE, "little")
"""The generator of the subgroup of prime order."""


def multiples(scalar: bytes, points: bytes) -> bytes:
    """Return every point times `scalar`, in order: 32 bytes each.

    scalar: 32 random bytes; points: u-coordinates, 32 bytes each, little-endian.

    Raises:
        PeerProtocolError: a point is of low order: its product would be the same for every scalar.
    """
    multiply, read = X25519PrivateKey.from_private_bytes(scalar).exchange, X25519PublicKey
    cut = (points[at : at + SIZE] for at in range(0, len(points), SIZE))
    try:
        return b"".join(multiply(read.from_public_bytes(point)) for point in cut)
    except ValueError as why:
        raise PeerProtocolError("not a point of Curve25519, or one of low order") from why
