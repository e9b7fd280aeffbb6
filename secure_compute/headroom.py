"""How likely a sum leaves its ring, from public numbers, and the finest grid that rarely does.

A sum modulo 2^w that wraps is wrong, not less private: reduction is post-processing of sum plus
noise. So this is an estimate under a stated assumption, it advises a grid when a recipe is written,
and it never sees data or refuses any.

The assumption: units push a coordinate independently of one another, each by at most the clip C and
on average, in the direction they share, by at most C/√d, a d-th part of their length. Then a
coordinate is a sum of independent parts: units, and ±1 steps of the noise. Bernstein's inequality
[Boucheron, Lugosi, Massart 2013, Theorem 2.10] bounds its tail, and a union over d coordinates the
chance that any of them wraps.
"""

from dataclasses import dataclass
from fractions import Fraction
from math import exp, sqrt

from secure_compute.errors import LocalProtocolError

RARELY = 1e-6
"""Chance of a wrap in one sum, over all coordinates, that a grid should stay below."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What one secure sum is expected to hold; every number is agreed, none is counted.

    ring_bits:        w, so that coordinates lie in [-2^(w-1), 2^(w-1)).
    nodes:            n, each rounds its sum once.
    units:            expected units that enter a round, over all nodes.
    clip:             C, most L2 norm of one unit.
    dimension:        d, coordinates.
    noise_multiplier: z: noise of standard deviation z · Δ2 is left in the sum.
    surplus:          how many times that variance the sum holds before any layer is removed.
    """

    ring_bits: int
    nodes: int
    units: int
    clip: Fraction
    dimension: int
    noise_multiplier: Fraction
    surplus: Fraction = Fraction(1)

    def __post_init__(self) -> None:
        whole = (self.ring_bits, self.nodes, self.units, self.dimension)
        if min(whole) < 1 or min(self.clip, self.noise_multiplier, self.surplus) <= 0:
            raise LocalProtocolError("Every number of a secure sum's load must be positive.")


def wrap_chance(load: Load, grid: int) -> float:
    """Return a bound, at most 1, on the chance that any coordinate wraps at this `grid`."""
    step = float(grid * load.clip)
    root = sqrt(load.dimension)
    variance = float(load.surplus) * (float(load.noise_multiplier) * (step + root)) ** 2
    variance += load.units * step**2
    room = 2.0 ** (load.ring_bits - 1) - load.units * step / root - load.nodes / 2
    if room <= 0:
        return 1.0
    exponent = room**2 / (2 * (variance + max(step, 1.0) * room / 3))
    return min(1.0, 2 * load.dimension * exp(-exponent))


def finest_grid(load: Load, chance: float = RARELY) -> int:
    """Return the greatest grid with which a sum wraps less often than `chance`.

    Raises:
        LocalProtocolError: no grid is coarse enough.
    """
    if wrap_chance(load, 1) >= chance:
        raise LocalProtocolError("No grid keeps this sum inside its ring: choose a wider ring.")
    grid = 0
    for bit in reversed(range(load.ring_bits)):
        if wrap_chance(load, grid | 1 << bit) < chance:
            grid |= 1 << bit
    return grid
