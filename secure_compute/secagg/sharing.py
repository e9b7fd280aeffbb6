"""Shamir's secret sharing in the field of 2^255 − 19 elements: 32-byte secrets, any t of n.

Plain integers: the time that arithmetic takes may depend on the secret. The shares of one round
are used once, and nobody can ask for the same arithmetic twice.
"""

from collections.abc import Mapping, Sequence
from typing import Final

from secure_compute.entropy import Entropy
from secure_compute.errors import LocalProtocolError, PeerProtocolError

PRIME: Final = 2**255 - 19
SIZE: Final = 32


def draw(entropy: Entropy) -> int:
    """Return a uniform field element: 255 bits, drawn again if they are not below the prime."""
    while True:
        value = int.from_bytes(entropy.bytes(SIZE), "big") >> 1
        if value < PRIME:
            return value


def split(secret: int, threshold: int, count: int, entropy: Entropy) -> tuple[int, ...]:
    """Return the shares at points 1 … count; any `threshold` of them give the secret back.

    Raises:
        LocalProtocolError: the secret is no field element, or there are fewer shares than needed.
    """
    if not 0 <= secret < PRIME or not 1 <= threshold <= count:
        raise LocalProtocolError("a field element is shared among at least as many as open it")
    coefficients = [draw(entropy) for _ in range(threshold - 1)]
    shares = []
    for point in range(1, count + 1):
        value = 0
        for coefficient in coefficients:
            value = (value + coefficient) * point % PRIME
        shares.append((value + secret) % PRIME)
    return tuple(shares)


def weights(points: Sequence[int]) -> tuple[int, ...]:
    """Return Lagrange's weights at zero for distinct points, in their order."""
    found = []
    for here in points:
        above = below = 1
        for other in points:
            if other != here:
                above, below = above * other % PRIME, below * (other - here) % PRIME
        found.append(above * pow(below, -1, PRIME) % PRIME)
    return tuple(found)


def combine(shares: Mapping[int, int], weight: Mapping[int, int]) -> int:
    """Return the secret behind the shares at the points of `weight`."""
    return sum(weight[point] * shares[point] for point in weight) % PRIME


def to_bytes(element: int) -> bytes:
    """Return a field element as 32 bytes, big-endian."""
    return element.to_bytes(SIZE, "big")


def from_bytes(data: bytes) -> int:
    """Read what `to_bytes` wrote.

    Raises:
        PeerProtocolError: another length, or a number that is not below the prime.
    """
    value = int.from_bytes(data, "big")
    if len(data) != SIZE or value >= PRIME:
        raise PeerProtocolError("a share is not a field element of 32 bytes")
    return value
