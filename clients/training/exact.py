"""Matrix products that never round: integers in floats, of norms that keep every sum exact.

A matrix product adds up in an order that depends on the library and on the shape it is given, and
a float sum depends on that order. A sum of integers does not, as long as none of its partial sums
is rounded. Of vectors x and y the terms x_i · y_i of any subset add up to at most ‖x‖ · ‖y‖
(Cauchy and Schwarz). So where both are integers, the norms multiply to at most 2^bits, and a float
holds every integer up to 2^bits, their product is the one true integer, however it was come by.
A row has norm at most `reach`, and a row or column of a matrix at most `counterpart`.

Arrays are [n, K, L], a row's entries in the first axis and units in the last. What scales and
rounds rows to such integers works lane by lane and from the first entry to the last, as in
`gradients.py`. `add_products` adds up over rows of many units, which no norm of one row
bounds: it looks before it multiplies, and takes as many at a time as a bound holds for.
Which of these ways it goes changes no bit, because each of them is exact.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from math import sqrt
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.floating[Any]]
Lanes: TypeAlias = NDArray[np.float64]
Integers: TypeAlias = NDArray[np.int64]

AT_ONCE: Final = 256
"""Grids leave room for the sum of about as many rows in one product of single precision."""

_PIECE: Final = 512  # columns
NEARLY: Final = 1.0 - 2.0**-7
"""More than two norms of up to 2^15 numbers err by."""
SMALLEST: Final = 2.0**-500
"""Of what 1 has become: the square of less is no normal float."""
_FINEST: Final = 2.0**40  # so that squares too small for a float stay below any rounding


@dataclass(frozen=True, slots=True)
class Precision:
    """A float type that holds every integer up to 2^bits, and how many of them are for rows."""

    dtype: type[np.float32] | type[np.float64]
    bits: int
    row_bits: int
    error: float
    """The most relative error of one operation."""
    whole: type[np.int32] | type[np.int64]
    """Integers that hold every product."""

    @property
    def reach(self) -> float:
        """The most L2 norm of a row of integers that enters a product."""
        return 2.0**self.row_bits

    @property
    def counterpart(self) -> float:
        """The most L2 norm of what such a row is multiplied by."""
        return 2.0 ** (self.bits - self.row_bits)


SINGLE: Final = Precision(np.float32, 24, 11, 2.0**-24, np.int32)
DOUBLE: Final = Precision(np.float64, 52, 26, 2.0**-53, np.int64)


def room(length: int, reach: float, precision: Precision) -> float:
    """Return to what norm a vector may be scaled, such that its rounding is of norm <= reach.

    Rounding adds at most √length / 2. The norm and the scaling err by less than length + 16
    operations do.
    """
    return (reach - sqrt(length) / 2) * (1.0 - (length + 16) * precision.error)


def onto_grid(rows: Floats, one: Lanes | float, precision: Precision) -> Lanes:
    """Make `rows` integers near ρ · (entries, one), of norm <= reach, and return ρ, [K, L].

    rows: [n + 1, K, L], n finite entries and space for one more. They are integers, or `one`
    is at least 1: so a norm below 1 is that of entries that are all 0.
    Where the norm is no number, or `one` so small that its square has lost bits, the integers and
    ρ are 0.
    """
    wanted = room(len(rows), precision.reach, precision)
    factor = wanted / np.sqrt(squares(rows[:-1]) + np.square(one))
    factor = np.where(np.isfinite(factor) & (one >= SMALLEST), factor, 0.0)
    rows[:-1] *= np.minimum(factor, wanted).astype(rows.dtype)
    rows[-1] = np.fmax(factor * one, 0.0)  # 0 also where that is no number
    np.rint(rows, out=rows)
    return factor


def scaled(rows: Floats, precision: Precision) -> Lanes:
    """Make `rows` [n, K, L] integers near ρ · rows, of norm <= reach, and return ρ > 0, [K, L]."""
    factor = room(len(rows), precision.reach, precision) / np.sqrt(squares(rows))
    factor = np.where(np.isfinite(factor), np.minimum(factor, _FINEST), 1.0)
    rows *= factor.astype(rows.dtype)
    np.rint(rows, out=rows)
    return factor


def rounded(matrix: Floats, reach: float, precision: Precision) -> tuple[Floats, float]:
    """Return integers near scale · matrix [m, n], and the scale.

    Rows have norm <= reach, and so have columns but the last.
    """
    squared = np.square(matrix)
    rows, columns = np.einsum("mn->m", squared).max(), squared.sum(0)[:-1].max()
    longest = sqrt(max(float(rows), float(columns)))
    wanted = room(max(matrix.shape), reach, precision)
    scale = min(wanted / longest, _FINEST) if longest > 0.0 else 1.0
    integers = matrix * precision.dtype(scale)
    return np.rint(integers, out=integers), scale


def squares(rows: Floats) -> Lanes:
    """Return each row's sum of squares, [K, L]."""
    return products(rows, rows)


def products(one: Floats, other: Floats) -> Lanes:
    """Return Σ_n one[n] · other[n], [K, L]: lane by lane, from the first n to the last."""
    found: Lanes = np.einsum("nkl,nkl->kl", one, other).astype(np.float64)
    return found


def multiplied(matrix: Floats, rows: Floats, spare: int = 0) -> Floats:
    """Return matrix [m, n] times rows [n, K, L], [m + spare, K, L]; exact for norms within bounds.

    The last `spare` entries are anything.
    """
    whole = np.empty((len(matrix) + spare, *rows.shape[1:]), rows.dtype)
    flat = whole[: len(matrix)].reshape(len(matrix), -1)
    np.matmul(matrix, rows.reshape(len(rows), -1), out=flat)
    return whole


def add_products(total: Integers, one: Floats, other: Floats, precision: Precision) -> None:
    """Add to `total` Σ_kl one[m, k, l] · other[n, k, l], [m, n]: the exact sum of integers.

    For every k and l the norms of both multiply to at most 2^(bits - 1).
    """
    _add(total, one.reshape(len(one), -1), other.reshape(len(other), -1), precision)


def _add(total: Integers, one: Floats, other: Floats, precision: Precision) -> None:
    for start, stop, fits in _pieces(one, other, 2.0**precision.bits * NEARLY):
        left, right = one[:, start:stop], other[:, start:stop].astype(one.dtype, copy=False)
        if fits:
            product: Floats = left @ right.T
            total += product.astype(precision.whole)
        else:
            half = (stop - start) // 2
            _add(total, left[:, :half], right[:, :half], precision)
            _add(total, left[:, half:], right[:, half:], precision)


def _pieces(one: Floats, other: Floats, most: float) -> Iterator[tuple[int, int, bool]]:
    """Yield columns side by side, and whether no partial sum of their product is above `most`.

    As many at a time as that holds for, of pieces of `_PIECE` columns; the last one may be shorter.
    """
    start, together = 0, 0.0
    for place, bound in enumerate(_bounds(one, other)):
        if together + bound > most and place * _PIECE > start:
            yield start, place * _PIECE, together <= most
            start, together = place * _PIECE, 0.0
        together += bound
    yield start, one.shape[1], together <= most


def _bounds(one: Floats, other: Floats) -> list[float]:
    """Return for each piece above what no partial sum of an entry lies: two norms, along it."""
    bounds: list[float] = np.sqrt(_longest(one) * _longest(other)).tolist()
    return bounds


def _longest(rows: Floats) -> Lanes:
    """Return for each piece the largest of the rows' squared norms in it."""
    most, many = rows.shape
    whole = many - many % _PIECE
    pieces = rows[:, :whole].reshape(most, -1, _PIECE).swapaxes(0, 1)
    longest = np.vecdot(pieces, pieces).max(1, initial=0.0)
    rest = [np.vecdot(rows[:, whole:], rows[:, whole:]).max()] if whole < many else []
    return np.append(longest, rest).astype(np.float64)
