"""What is summed over the people in common: bounded whole numbers, and the noise of their sum.

One person is in a sum with at most `most` identifiers, and an identifier counts with a number
between low and high, or not at all. Where the cap cuts a set, who comes pushes out another, so one
identifier more or less moves the sum by at most `reach`, the length of [low, high] with 0 in it.
A window's set and its numbers may be of two readings of the rows, between which the person's
identifiers changed: it moves `most` members of the set, and the numbers at `most` others.
Noise is discrete Laplace on the integers, drawn once at either end and added inside the sum.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from secure_compute.canonical import JSON
from secure_compute.entropy import Entropy
from secure_compute.errors import LocalProtocolError, PeerProtocolError
from secure_compute.noise import Integers, discrete_laplace
from secure_compute.psi.inner import MOST_VALUE

MAX_SCALE: Final = 1 << 48
"""Noise of such a scale leaves the 60 bits of a sum with a chance of e^-1000."""

_STEP: Final = re.compile(r"[1-9][0-9]{0,9}|0\.[0-9]{0,9}[1-9]", re.ASCII)
_WHOLE: Final = ("low", "high", "scale")


@dataclass(frozen=True, slots=True, kw_only=True)
class Value:
    """The numbers of a sum; part of the terms, so that another column is another session.

    column:    that the sender's numbers stand in; unit: of measure, such as EUR.
    low, high: of one identifier, in steps; step: a decimal string.
    scale:     of the noise of either end, in steps.
    """

    column: str
    low: int
    high: int
    step: str
    unit: str
    scale: int

    def __post_init__(self) -> None:
        whole = all(type(number) is int for number in (self.low, self.high, self.scale))
        if not whole or self.low > self.high or max(-self.low, self.high) > MOST_VALUE:
            raise LocalProtocolError(f"a value is bounded by whole steps, up to {MOST_VALUE}")
        if not self.reach or not 1 <= self.scale <= MAX_SCALE:
            raise LocalProtocolError(f"a sum's noise has a scale of 1 to {MAX_SCALE} steps")
        if not self.column or not _STEP.fullmatch(self.step):
            raise LocalProtocolError("a value has a column, and a step in plain digits")

    @property
    def reach(self) -> int:
        """Return how far one identifier moves the sum at most, in steps."""
        return max(self.high, 0) - min(self.low, 0)

    def sensitivity(self, most: int) -> int:
        """Return how far one person moves the sum at most, in steps: by the set and by the numbers.

        most: identifiers of one person at most.
        """
        return 2 * most * self.reach

    def clip(self, steps: int) -> int:
        """Return the number between the bounds that is nearest."""
        return max(self.low, min(self.high, steps))

    def spelled(self, steps: int) -> Decimal:
        """Return a number of steps in the unit."""
        return Decimal(steps) * Decimal(self.step)

    def draw(self, entropy: Entropy) -> int:
        """Return the noise of one end, in steps."""
        return int(self.draws(1, entropy)[0])

    def draws(self, count: int, entropy: Entropy) -> Integers:
        """Return the noise of `count` sessions, [count] int64, in steps."""
        return discrete_laplace(self.scale, count, entropy)

    def require_plausible(self, total: int, people: int) -> int:
        """Return a sum over at most `people` with noise, unless it cannot be one.

        An honest one is refused with a chance of e^-64.

        Raises:
            PeerProtocolError: it lies beyond all bounds; the partner did not keep to the steps.
        """
        if abs(total) > people * max(-self.low, self.high) + 64 * self.scale:
            raise PeerProtocolError("the sum is beyond what so many people can have together")
        return total

    def event(self, most: int) -> dict[str, JSON]:
        """Return what telling one sum did, as `policies.budget.events.from_json` reads it.

        most: identifiers of one person at most.
        """
        return {
            "event": "discrete_laplace",
            "v": 1,
            "sensitivity": self.sensitivity(most),
            "scale": str(self.scale),
        }

    def to_json(self) -> dict[str, JSON]:
        """Return the canonical form."""
        return {
            "column": self.column,
            "low": self.low,
            "high": self.high,
            "step": self.step,
            "unit": self.unit,
            "scale": self.scale,
        }

    @classmethod
    def from_json(cls, value: object) -> "Value":
        """Read what `to_json` wrote.

        Raises:
            LocalProtocolError: it is no value of this version.
        """
        match value:
            case {"column": str(column), "step": str(step), "unit": str(unit), **rest}:
                if rest.keys() == {*_WHOLE}:
                    return cls(column=column, step=step, unit=unit, **_numbers(rest))
        raise LocalProtocolError("a value has column, low, high, step, unit and scale")


def _numbers(fields: Mapping[object, object]) -> dict[str, int]:
    numbers = {str(name): number for name, number in fields.items() if type(number) is int}
    if numbers.keys() != fields.keys():
        raise LocalProtocolError("bounds and scale of a value are whole numbers")
    return numbers
