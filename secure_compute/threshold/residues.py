"""Residues as bytes: of fixed length, prime by prime, each as wide as its prime, little-endian.

Whatever comes from outside passes here and becomes an array of integers that were compared with
their primes. Nothing else is ever parsed, and no library sees bytes that another party chose.
"""

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np

from secure_compute.errors import LocalProtocolError, PeerProtocolError
from secure_compute.threshold.params import SLOTS
from secure_compute.threshold.ring import Residues

Wire: TypeAlias = bytes | memoryview
"""Bytes that somebody sent, by themselves or as they lie in a letter."""

_WORD = 8


def width(prime: int) -> int:
    """Return the bytes of one residue."""
    return (prime.bit_length() + 7) // 8


def size(primes: Sequence[int]) -> int:
    """Return the bytes of one polynomial."""
    return SLOTS * sum(map(width, primes))


def to_bytes(polynomial: Residues, primes: Sequence[int]) -> bytes:
    """Return [len(primes), 8192] residues as `size(primes)` bytes.

    Raises:
        LocalProtocolError: another shape.
    """
    if polynomial.shape != (len(primes), SLOTS):
        raise LocalProtocolError("not one polynomial over these primes")
    octets = np.ascontiguousarray(polynomial, dtype="<i8").view(np.uint8)
    rows = octets.reshape(len(primes), SLOTS, 8)
    return b"".join(
        row[:, : width(prime)].tobytes() for row, prime in zip(rows, primes, strict=True)
    )


def from_bytes(wire: Wire, primes: Sequence[int]) -> Residues:
    """Read what `to_bytes` wrote.

    Raises:
        PeerProtocolError: another length, or a residue that is not below its prime.
    """
    made = np.empty((len(primes), SLOTS), dtype=np.int64)
    read_into(made, wire, primes)
    return made


def read_into(made: Residues, wire: Wire, primes: Sequence[int]) -> None:
    """Read what `to_bytes` wrote into `made`, [len(primes), 8192].

    Raises:
        PeerProtocolError: as `from_bytes` has it; what stands in `made` then means nothing.
    """
    if len(wire) != size(primes):
        raise PeerProtocolError(f"a polynomial has {size(primes)} bytes, not {len(wire)}")
    start = 0
    for row, prime in zip(made, primes, strict=True):
        octets = width(prime)
        # Eight bytes are read at every residue and those of the next one masked away; the last few
        # have no eight bytes any more before the end.
        whole = min(SLOTS, (len(wire) - start - _WORD) // octets + 1)
        words = np.ndarray((whole,), "<i8", wire, start, (octets,))
        np.bitwise_and(words, (1 << 8 * octets) - 1, out=row[:whole])
        for at in range(whole, SLOTS):
            first = start + at * octets
            row[at] = int.from_bytes(wire[first : first + octets], "little")
        start += SLOTS * octets
        if int(row.max()) >= prime:
            raise PeerProtocolError("a residue is not below its prime")
