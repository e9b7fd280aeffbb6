"""What an expression is: its type, its unit, where it can lie, and which values it can take.

All of it is public. It follows from the contract, from WHERE, and from nothing that a row says.
"""

import datetime
import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from federation.queries.expressions import Type, Value
from federation.queries.intervals import EVERYTHING, Interval

MAX_DOMAIN: Final = 2048
"""Most values, or combinations of arguments' values, that a public domain is worked out from."""

FIRST_DAY: Final = datetime.date(1, 1, 1).toordinal()
LAST_DAY: Final = datetime.date(9999, 12, 31).toordinal()
MAX_WHOLE: Final = 2.0**53
"""Whole numbers up to here are exact in a double."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """What is known of an expression in public.

    low, high: for a number, the ends between which every value that is not NULL lies; for a date
               or timestamp the same as days (ordinals); infinite where nothing bounds it.
    domain:    every value that it can take besides NULL, where these are few and known.
    missing:   whether it can be NULL.
    """

    type: Type
    low: float = -math.inf
    high: float = math.inf
    whole: bool = False
    unit: str = ""
    domain: tuple[Value, ...] | None = None
    missing: bool = True

    @property
    def interval(self) -> Interval:
        """Both ends."""
        return self.low, self.high

    @property
    def bounded(self) -> bool:
        """Whether both ends are finite."""
        return math.isfinite(self.low) and math.isfinite(self.high)


def number(interval: Interval = EVERYTHING, *, whole: bool = False, unit: str = "") -> Kind:
    """Return a number that lies in `interval`; one that can only overflow says nothing."""
    if not (interval[0] < math.inf and interval[1] > -math.inf):
        interval = EVERYTHING
    return Kind(type="number", low=interval[0], high=interval[1], whole=whole, unit=unit)


def days(kind: Type = "date", interval: Interval = (FIRST_DAY, LAST_DAY)) -> Kind:
    """Return a date or timestamp whose day lies in `interval`."""
    return Kind(type=kind, low=max(interval[0], FIRST_DAY), high=min(interval[1], LAST_DAY))


def narrowed(kind: Kind, interval: Interval) -> Kind:
    """Return `kind` for rows that are known to lie in `interval` as well; an empty one stays."""
    low, high = max(kind.low, interval[0]), min(kind.high, interval[1])
    if low > high:
        return kind
    domain = kind.domain
    if domain is not None and kind.type == "number":
        domain = tuple(x for x in domain if isinstance(x, float) and low <= x <= high)
        if not domain:
            return kind
    return replace(kind, low=low, high=high, domain=domain)


def domain_of(kind: Kind) -> tuple[Value, ...] | None:
    """Return every value besides NULL, if they are at most MAX_DOMAIN."""
    if kind.domain is not None:
        return kind.domain
    if kind.type == "boolean":
        return (False, True)
    if not kind.bounded or kind.high - kind.low >= MAX_DOMAIN:
        return None
    if kind.type == "number" and kind.whole:
        return tuple(map(float, range(math.ceil(kind.low), math.floor(kind.high) + 1)))
    if kind.type == "date":
        return tuple(map(datetime.date.fromordinal, range(int(kind.low), int(kind.high) + 1)))
    return None


def image(kinds: Sequence[Kind], value: Callable[..., Value]) -> tuple[Value, ...] | None:
    """Return the values that a function takes over its arguments' domains, each once, in order."""
    domains = [domain_of(kind) for kind in kinds]
    known = [domain for domain in domains if domain is not None]
    if len(known) < len(domains) or math.prod(len(d) + 1 for d in known) > MAX_DOMAIN:
        return None
    full = [d + (None,) * k.missing for d, k in zip(known, kinds, strict=True)]
    found = dict.fromkeys(value(*combination) for combination in itertools.product(*full))
    return tuple(x for x in found if x is not None)


def union(kinds: Sequence[Kind]) -> tuple[Value, ...] | None:
    """Return the values that one of several expressions can take."""
    domains = [domain_of(kind) for kind in kinds]
    known = [domain for domain in domains if domain is not None]
    if len(known) < len(domains):
        return None
    found = tuple(dict.fromkeys(x for domain in known for x in domain))
    return found if len(found) <= MAX_DOMAIN else None


def spelled(value: Value) -> str:
    """Return how an answer names a value of a key."""
    match value:
        case bool():
            return "true" if value else "false"
        case float():
            return str(int(value))
        case datetime.date():
            return value.isoformat()
    return str(value)
