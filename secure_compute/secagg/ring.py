"""Integers modulo 2^w: how vectors are held, added and written down."""

from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from secure_compute.errors import PeerProtocolError

Integers: TypeAlias = NDArray[np.int64]
Residues: TypeAlias = NDArray[np.unsignedinteger[Any]]

WIDTHS: Final = (16, 20, 32)
_LOW_20: Final = np.uint64(0xFFFFF)
_STEP: Final = 1 << 15
"""Values that are packed at once, an even number: the cache holds what lies in between."""


@dataclass(frozen=True, slots=True)
class Ring:
    """The integers modulo 2^bits; bits is one of `WIDTHS`.

    Values of 20 bits live in words of 32 and are reduced when they are written or read: 2^20
    divides 2^32, so that sums in between may wrap at either.
    """

    bits: int

    @property
    def dtype(self) -> np.dtype[np.unsignedinteger[Any]]:
        """The words that hold residues, little-endian."""
        return np.dtype("<u2") if self.bits == 16 else np.dtype("<u4")

    def size(self, dimension: int) -> int:
        """Bytes of a written vector: 2, 2.5 (rounded up) or 4 for each value."""
        return (dimension * self.bits + 7) // 8

    def lift(self, values: Integers) -> Residues:
        """Return a copy of signed integers as residues."""
        return values.astype(self.dtype)

    def centre(self, residues: Residues) -> Integers:
        """Return the representatives in [−2^(bits−1), 2^(bits−1))."""
        half = np.int64(1 << (self.bits - 1))
        centred: Integers = residues.astype(np.int64)
        centred &= np.int64((1 << self.bits) - 1)
        centred ^= half
        centred -= half
        return centred

    def is_near_the_edge(self, values: Integers) -> bool:
        """Return whether a centred sum came within a factor of two of where the ring wraps.

        It may have wrapped then, or the next one will. Saying so is post-processing.
        """
        return bool(np.any(np.abs(values) >= 1 << (self.bits - 2)))

    def pack(self, residues: Residues) -> bytes:
        """Return the bytes of a vector: little-endian words, or two values in five bytes."""
        return _pack_20(residues) if self.bits == 20 else bytes(residues.data.cast("B"))

    def unpack(self, data: bytes | memoryview, dimension: int) -> Residues:
        """Read what `pack` wrote.

        Raises:
            PeerProtocolError: another length, or padding that is not zero.
        """
        self.require(data, dimension)
        if self.bits == 20:
            return _unpack_20(data, dimension)
        return np.frombuffer(data, self.dtype).copy()

    def require(self, data: bytes | memoryview, dimension: int) -> None:
        """Accept the bytes of one vector of `dimension` values.

        Raises:
            PeerProtocolError: another length, or padding that is not zero.
        """
        if len(data) != self.size(dimension):
            raise PeerProtocolError(
                f"a vector of {dimension} values modulo 2^{self.bits} is {self.size(dimension)} "
                f"bytes and these are {len(data)}"
            )
        if dimension * self.bits % 8 and data[-1] >> 4:
            raise PeerProtocolError("the padding after a vector is not zero")


def _pack_20(residues: Residues) -> bytes:
    octets = np.empty(((len(residues) + 1) // 2, 5), np.uint8)
    for start in range(0, len(residues), _STEP):
        piece = residues[start : start + _STEP]
        words = np.zeros(len(piece) + len(piece) % 2, "<u8")
        words[: len(piece)] = piece
        words &= _LOW_20
        pairs = words[::2] | words[1::2] << np.uint64(20)
        octets[start // 2 : (start + _STEP) // 2] = pairs.view(np.uint8).reshape(-1, 8)[:, :5]
    return bytes(octets.data.cast("B")[: (len(residues) * 20 + 7) // 8])


def _unpack_20(data: bytes | memoryview, dimension: int) -> Residues:
    values = np.empty(dimension + dimension % 2, "<u4")
    for start in range(0, dimension, _STEP):
        piece = bytes(data[start // 2 * 5 : (start + _STEP) // 2 * 5])
        octets = np.zeros((-(-len(piece) // 5), 8), np.uint8)
        octets[:, :5] = np.frombuffer(piece + bytes(-len(piece) % 5), np.uint8).reshape(-1, 5)
        pairs = octets.view("<u8").ravel()
        values[start : start + _STEP : 2] = pairs & _LOW_20
        values[start + 1 : start + _STEP : 2] = pairs >> np.uint64(20)
    return values[:dimension]
