"""How many made-up matches the sender adds: a truncated, shifted discrete Laplace distribution.

z = shift + η with P(η) ∝ exp(−|η| / scale) on the integers, drawn again while |η| > shift. So z is
a number of dummies, 0 to 2·shift, and |X ∩ Y| + z is what the receiver sees. Without the cut z
would be a discrete Laplace draw moved by a public constant, of the price of `DiscreteLaplace`. The
cut changes the distribution by `failure` = P(|η| > shift) = 2·p^(shift + 1) / (1 + p) in total
variation, p = exp(−1 / scale), in every world: that is the δ of the event, charged each session.

A shift that is forgotten would leave no room for negative noise: no dummies can be taken away.
"""

from dataclasses import dataclass
from decimal import ROUND_CEILING, Context, Decimal
from typing import Final

import numpy as np

from secure_compute.canonical import JSON
from secure_compute.entropy import Entropy
from secure_compute.errors import LocalProtocolError
from secure_compute.noise import Integers, discrete_laplace

MAX_SCALE: Final = 10_000
MAX_SHIFT: Final = 1_000_000

_EXACT: Final = Context(prec=60)
_UP: Final = Context(prec=3, rounding=ROUND_CEILING)
_LEAST: Final = Decimal("1e-30")  # a smaller δ has no plain spelling that an account would hold


@dataclass(frozen=True, slots=True)
class Law:
    """How dummies are drawn. ε of a session is `most`/scale for people of `most` identifiers.

    scale: of the noise, in matches, a whole number.
    shift: the noise never leaves −shift … shift.
    """

    scale: int
    shift: int

    def __post_init__(self) -> None:
        if type(self.scale) is not int or not 1 <= self.scale <= MAX_SCALE:
            raise LocalProtocolError(f"the scale of dummies is a whole number, 1 to {MAX_SCALE}")
        if type(self.shift) is not int or not 1 <= self.shift <= MAX_SHIFT:
            raise LocalProtocolError(f"the shift of dummies is a whole number, 1 to {MAX_SHIFT}")

    @classmethod
    def within(cls, scale: int, delta: Decimal) -> "Law":
        """Return the law of least shift whose failure is at most `delta`.

        Raises:
            LocalProtocolError: no shift that is allowed is enough, or the scale is not allowed.
        """
        low, high = 0, MAX_SHIFT
        if cls(scale, high).failure > delta:
            raise LocalProtocolError("no shift is enough: the scale is too large for such a delta")
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if cls(scale, middle).failure <= delta else (middle, high)
        return cls(scale, high)

    @property
    def slots(self) -> int:
        """Return the places for dummies in each list, whatever was drawn."""
        return 2 * self.shift

    @property
    def failure(self) -> Decimal:
        """Return the δ of one session: P(|η| > shift), rounded up to 3 digits."""
        p = _EXACT.exp(_EXACT.divide(Decimal(-1), Decimal(self.scale)))
        tail = _EXACT.exp(_EXACT.divide(Decimal(-self.shift - 1), Decimal(self.scale)))
        exact = _EXACT.divide(_EXACT.multiply(Decimal(2), tail), _EXACT.add(Decimal(1), p))
        return max(_LEAST, _UP.plus(exact))

    def draw(self, entropy: Entropy) -> int:
        """Return a number of dummies, 0 to 2·shift, `shift` of them on average."""
        return int(self.draws(1, entropy)[0])

    def draws(self, count: int, entropy: Entropy) -> Integers:
        """Return `count` independent numbers of dummies, [count] int64."""
        found = np.empty(0, np.int64)
        while len(found) < count:
            noise = discrete_laplace(self.scale, count, entropy)
            found = np.append(found, noise[np.abs(noise) <= self.shift])
        return found[:count] + self.shift

    def event(self, most: int) -> dict[str, JSON]:
        """Return what one session did, as `policies.budget.events.from_json` reads it.

        most: identifiers of one person at most.
        """
        noise: dict[str, JSON] = {
            "event": "discrete_laplace",
            "v": 1,
            "sensitivity": most,
            "scale": format(Decimal(self.scale).normalize(), "f"),
        }
        delta = format(self.failure.normalize(), "f")
        return {"event": "approximate", "v": 1, "of": noise, "delta": delta}
