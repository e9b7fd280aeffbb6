"""What an order states, and what it may spend: rounds that come to nothing are paid for too.

An order states the ε of the releases it plans. More are set aside for rounds that may be abandoned,
each of which may have left some node; a law that bounds ε bounds them all. So what a law says of
the most that may be spent is restated here as the ε that an order would have to state.
"""

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from policies.budget import accountant
from policies.budget.dampening import least_factor, quieter
from policies.budget.events import Event, Repeated

_HALVINGS: Final = 12
_STEP: Final = Decimal("1.04")  # a little more than one step of the ladder of `least_factor`
_MARGIN: Final = Decimal("0.0002")  # noise calibrated to the ε is not below the noise meant


@dataclass(frozen=True, slots=True)
class Outlay:
    """`releases` times `event` are stated, `spare` more may be made; every ε is at `delta`."""

    event: Event
    releases: int
    spare: int
    delta: Decimal

    @property
    def stated(self) -> float:
        """Return ε of the releases that are planned."""
        return self._price(self.releases, Decimal(1))

    @property
    def most(self) -> float:
        """Return ε of everything that may leave."""
        return self._price(self.releases + self.spare, Decimal(1))

    def most_at(self, stated: float) -> float | None:
        """Return what may be spent if noise grows until no more than `stated` is stated.

        None where no noise is enough.
        """
        factor = _least(lambda noise: self._price(self.releases, noise) <= stated)
        return None if factor is None else self._price(self.releases + self.spare, factor)

    def stating(self, most: float) -> float:
        """Return the greatest ε, down to 2 digits, to state so that at most `most` may be spent.

        0.0 where no noise is enough.
        """
        whole = self.releases + self.spare
        factor = _least(lambda noise: self._price(whole, noise) <= most)
        if factor is None:
            return 0.0
        stated = Decimal(str(self._price(self.releases, factor))) - _MARGIN
        return max(0.0, int(stated * 100) / 100)

    def _price(self, releases: int, factor: Decimal) -> float:
        event = self.event if factor == 1 else quieter(self.event, factor)
        return accountant.epsilon([Repeated(event, releases)], float(self.delta))


def _least(fits: Callable[[Decimal], bool]) -> Decimal | None:
    """Return the least factor of noise that fits, to about 10⁻⁵ of itself."""
    if fits(Decimal(1)):
        return Decimal(1)
    high = least_factor(fits)
    if high is None:
        return None
    low = max(Decimal(1), high / _STEP)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (low, middle) if fits(middle) else (middle, high)
    return high
