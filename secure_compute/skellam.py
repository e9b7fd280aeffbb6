"""Skellam noise that a 32-byte seed decides, to the last bit, on any machine.

Skellam noise is the difference of two Poisson numbers; sums of it are Skellam again, which is what
shares of noise behind a secure sum need. Up to a variance of some 10^5 a draw is one look into an
alias table (`skellam_table`). For a larger variance v it is two: with a power of two k and
v = w + u, u = 4k²,

    X = k·Y + Z,    P(Y = y) ∝ p_w(k·y),    Z Skellam of variance u.

Why X is Skellam of variance v. Skellam numbers add, so p_v(x) = Σ_j p_w(j) p_u(x - j) over all j;
the law of X takes k times the terms where k divides j, which is the sum over a = 2πm/k, 0 <= m < k,
of h_a(x) = Σ_j exp(ija) p_w(j) p_u(x - j). The term of a = 0 is p_v. For the others, with
u + w exp(ia) = R exp(ib), the transform of h_a is exp(R cos(θ + b) - v), so that
|h_a(x)| = exp(R - v) p_R(x), and the sum of that over x is exp(R - v). As
R = √(v² - 2uw(1 - cos a)) <= v - uw(1 - cos a)/v, the law of X and p_v differ by at most

    Σ |law of X - p_v| <= (k - 1) exp(-(uw/v)(1 - cos(2π/k))),

about (k - 1) exp(-8π²) = (k - 1) 2^-113. It is the idea with which [Micciancio, Walter 2017,
ia.cr/2017/259] add wide discrete Gaussians of narrow ones; here the shape of Y makes it exact.

No float takes part. The time taken does not depend on the draws but for the cache of tables. A seed
serves one draw: whoever knows it knows the noise.
"""

from decimal import ROUND_CEILING, Context, Decimal
from fractions import Fraction
from functools import lru_cache
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from secure_compute.errors import LocalProtocolError
from secure_compute.primitives.seed_stream import SeedStream
from secure_compute.skellam_law import cosine
from secure_compute.skellam_table import Table, build, cells_for
from secure_compute.skellam_table import table_error as error_of_one

Integers: TypeAlias = NDArray[np.int64]
Part: TypeAlias = tuple[Fraction, int, int]
"""Variance, stride and cells of one table."""

LARGEST_VARIANCE = 1 << 42
SMALLEST_VARIANCE = Fraction(1, 1 << 20)

_ONE_TABLE = 1 << 14  # cells; more of them leave the fast cache, and two small tables are as quick
_BLOCK = 1 << 14  # draws made at a time, in the order of the stream
_UP = Context(prec=30, rounding=ROUND_CEILING)


def draw(variance: Fraction | int, size: int, seed: bytes) -> Integers:
    """Return `size` independent draws of Skellam noise of that variance, [size] int64.

    The same arguments give the same integers. Each draw is off by at most
    `table_error(variance)` in total variation.

    Raises:
        LocalProtocolError: the variance is not from 2^-20 to 2^42, or the seed not 32 bytes.
    """
    exact = _required(variance)
    purpose = f"entrepot/skellam/1 {exact.numerator}/{exact.denominator}".encode()
    stream = SeedStream(seed, purpose)
    tables = [(part[1], build(*part)) for part in _parts(exact)]
    drawn = np.empty(size, np.int64)
    for start in range(0, size, _BLOCK):
        block = drawn[start : start + _BLOCK]
        block[:] = sum(stride * _looked_up(table, len(block), stream) for stride, table in tables)
    return drawn


def table_error(variance: Fraction | int) -> Fraction:
    """Return the most by which ONE draw differs from Skellam noise, in total variation.

    D draws differ by at most D times as much, and an answer that is (ε, δ)-private with exact noise
    is (ε, δ + (1 + e^ε) · D · table_error)-private with these draws.

    Raises:
        LocalProtocolError: the variance is not from 2^-20 to 2^42.
    """
    exact = _required(variance)
    parts = _parts(exact)
    total = sum((error_of_one(*part) for part in parts), Fraction(0))
    return total + _lattice_error(exact, parts[0][1])


def _required(variance: Fraction | int) -> Fraction:
    if not SMALLEST_VARIANCE <= variance <= LARGEST_VARIANCE:
        raise LocalProtocolError(
            "The noise variance must be from 2^-20 to 2^42: choose a coarser grid."
        )
    return Fraction(variance)


@lru_cache(maxsize=64)
def _parts(variance: Fraction) -> tuple[Part, ...]:
    """Return the tables whose draws, times their strides, add up to noise of `variance`."""
    cells = cells_for(variance, 1)
    if cells <= _ONE_TABLE:
        return ((variance, 1, cells),)
    stride = _stride(variance)
    fine = Fraction(4 * stride**2)
    coarse = variance - fine
    return (coarse, stride, cells_for(coarse, stride)), (fine, 1, cells_for(fine, 1))


def _stride(variance: Fraction) -> int:
    """Return the least power of two k with σ/k <= 2k: both tables are about as wide."""
    stride = 1
    while 4 * stride**4 < variance:
        stride *= 2
    return stride


def _lattice_error(variance: Fraction, stride: int) -> Fraction:
    """Return the bound of the module's docstring twice: the weights of Y add up to 1 as nearly."""
    if stride == 1:
        return Fraction(0)
    fine = Fraction(4 * stride**2)
    gap = 1 - cosine(stride.bit_length() - 1) - Fraction(1, 1 << 200)
    exponent = -fine * (variance - fine) / variance * gap
    scaled = _UP.divide(Decimal(exponent.numerator), Decimal(exponent.denominator))
    return 2 * stride * Fraction(_UP.exp(scaled)) * (1 + Fraction(1, 1 << 64))


def _looked_up(table: Table, size: int, stream: SeedStream) -> Integers:
    """Return [size] draws from one table: a 64-bit word each, then a 16-bit cell each."""
    words = np.frombuffer(stream.bytes(8 * size), "<u8")
    cells = np.frombuffer(stream.bytes(2 * size), "<u2") & np.uint16(table.cells - 1)
    own = words < table.thresholds[cells]
    chosen = np.where(own, cells, table.others[cells])
    return chosen.astype(np.int64) - table.cells // 2
