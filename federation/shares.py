"""Who adds how much noise behind a secure sum, and what the sum then costs.

n nodes sum, up to c of them work together with whoever sees the sum, and t answers end a round. The
colluders know their own noise and subtract it, so the n - c others carry all of σ²; and up to n - t
nodes may be lost, so that noise comes in layers [Jiang, Wang, Chen 2024, arXiv 2209.12528, XNoise]:

    base      σ² / (n - c)                                     every node, always
    layer k   σ² (1/(n - k - c) - 1/(n - k + 1 - c))           for k = 1 … n - t

Everybody uploads all layers. When m nodes were lost, survivors reveal the seeds of layers beyond m,
and each keeps σ²/(n - m - c). Of the n - m survivors at least n - m - c are honest, so what no
coalition knows is never below σ²: that, of the WORST survivor set, is the price, whoever is lost.
A node that keeps silent about its seeds leaves more noise. Variances are exact fractions; the sum
of Skellam noise is Skellam noise of the summed variance.

c counts nodes: all that the tolerated coalition of organisations runs, the aggregator's among them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import ROUND_CEILING, Context, Decimal
from fractions import Fraction
from typing import Final

from federation.errors import MalformedOrderError
from policies.budget.events import Approximate, Event, Number, Skellam
from secure_compute import skellam

_UP: Final = Context(prec=40, rounding=ROUND_CEILING)
_LEAST: Final = Decimal("1e-30")


@dataclass(frozen=True, slots=True, kw_only=True)
class Shares:
    """The noise of one secure sum.

    nodes:      n, nodes of the cohort.
    colluders:  c, nodes that may know one another's noise; at least 1, as every node knows its own.
    threshold:  t, answers that end a round; t >= ⌊(n + c)/2⌋ + 1, so that no two survivor sets do.
    variance:   σ², in squared grid steps, that is left unknown to any coalition.
    """

    nodes: int
    colluders: int
    threshold: int
    variance: int

    def __post_init__(self) -> None:
        """Refuse numbers that leave no honest noise, or two sets that each end a round."""
        if self.colluders < 1:
            raise MalformedOrderError(
                "A secure sum tolerates at least one colluder: every node knows its own noise."
            )
        if not (self.nodes + self.colluders) // 2 + 1 <= self.threshold <= self.nodes:
            raise MalformedOrderError(
                f"A secure sum of {self.nodes} nodes with {self.colluders} colluders needs a "
                f"threshold from {(self.nodes + self.colluders) // 2 + 1} to {self.nodes}."
            )
        if self.variance < 1:
            raise MalformedOrderError("A secure sum needs noise: no noise has no price.")

    @property
    def base(self) -> Fraction:
        """What every node adds, whoever is lost."""
        return self.kept(0)

    @property
    def layers(self) -> tuple[Fraction, ...]:
        """Layers 1 … n - t, each added on top of the ones before."""
        tolerated = range(1, self.nodes - self.threshold + 1)
        return tuple(self.kept(lost) - self.kept(lost - 1) for lost in tolerated)

    @property
    def parts(self) -> tuple[Fraction, ...]:
        """Base and layers: each is one draw per coordinate, from a seed of its own."""
        return self.base, *self.layers

    def kept(self, lost: int) -> Fraction:
        """Return what one survivor's noise comes to once layers beyond `lost` are removed.

        Raises:
            MalformedOrderError: more are lost than the threshold tolerates.
        """
        if not 0 <= lost <= self.nodes - self.threshold:
            raise MalformedOrderError(f"A sum that lost {lost} nodes is below its threshold.")
        return Fraction(self.variance, self.nodes - lost - self.colluders)

    def left(self, lost: int) -> Fraction:
        """Return the variance of the whole sum's noise when `lost` nodes are lost: accuracy."""
        return (self.nodes - lost) * self.kept(lost)


@dataclass(frozen=True, slots=True, kw_only=True)
class Released:
    """What one secure sum is of.

    sampling_rate:  probability with which a unit enters, each on its own.
    l1, l2:         what one unit changes of the rounded sum, rounding included.
    dimension:      coordinates.
    epsilon:        the most that an account this is charged to may come to; the price of table
                    errors grows with it.
    """

    sampling_rate: Number
    l1: int
    l2: int
    dimension: int
    epsilon: Number


def event(shares: Shares, released: Released) -> Event:
    """Return what ONE secure sum does to every node's data, for the worst survivors."""
    noise = Skellam(released.sampling_rate, shares.variance, released.l1, released.l2)
    return Approximate(noise, own_delta(shares.parts, shares.nodes, released))


def own_delta(parts: Sequence[Fraction], nodes: int, released: Released) -> Decimal:
    """Return what tables that are not quite Skellam cost: (1 + e^ε) of all draws' errors.

    Every node draws every part once per coordinate. Draws within τ of exact noise in total
    variation, in both worlds, turn (ε, δ) into (ε, δ + (1 + e^ε) τ). Rounded up, at most 1.
    """
    per_coordinate = sum((skellam.table_error(part) for part in parts), Fraction(0))
    error = per_coordinate * released.dimension * nodes
    factor = _UP.add(1, _UP.next_plus(_UP.exp(Decimal(str(released.epsilon)))))
    charged = _UP.multiply(_UP.divide(Decimal(error.numerator), Decimal(error.denominator)), factor)
    return min(Decimal(1), charged).quantize(_LEAST, context=_UP)
