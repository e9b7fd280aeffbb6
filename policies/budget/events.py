"""What was done to data, as inert values with one spelling.

An event holds the parameters that are necessary and sufficient to price a release; it computes
nothing. Accounts keep events for ever, so this module makes promises: no kind is removed, no field
changes its meaning, a new meaning takes a new version number, and what is not known is refused.

The stored form is tagged JSON. Every number that is not a count is a decimal string in its
shortest plain spelling, and the parser accepts exactly what the printer prints.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Context, Decimal, InvalidOperation
from fractions import Fraction
from functools import reduce
from typing import Any, Final, TypeAlias, cast

from policies.errors import MalformedEventError

JSON: TypeAlias = "bool | int | str | Sequence[JSON] | Mapping[str, JSON] | None"
Number: TypeAlias = Decimal | int | float | str

VERSION: Final = 1
MAX_COUNT: Final = 10**9
MAX_SIZE: Final = 10**6
MAX_DEPTH: Final = 8
MAX_DIGITS: Final = 40
MAX_UNITS: Final = 1000

_WIDE: Final = Context(prec=400)  # holds every product of counts and 40-digit numbers exactly


def spell(number: Decimal) -> str:
    """Return the shortest plain decimal spelling: `0.05`, never `5E-2` or `0.050`."""
    return format(number.normalize(), "f")


def _decimal(number: Number, name: str) -> Decimal:
    try:
        # A float stands for its shortest spelling: 0.05 means 0.05.
        exact = Decimal(repr(number) if isinstance(number, float) else number)
    except (InvalidOperation, ValueError, TypeError) as why:
        raise MalformedEventError(f"{name} is not a decimal number") from why
    if not exact.is_finite() or len(spell(exact)) > MAX_DIGITS:
        raise MalformedEventError(f"{name} must be a number of at most {MAX_DIGITS} digits")
    return exact.normalize()


def _exact(number: Number, name: str, most: Decimal = Decimal("Infinity")) -> Decimal:
    exact = _decimal(number, name)
    if 0 < exact <= most:
        return exact
    raise MalformedEventError(f"{name} must be above zero, and a probability at most 1")


def _probability(number: Number, name: str) -> Decimal:
    return _exact(number, name, Decimal(1))


def _whole(number: object, name: str, most: int) -> int:
    if isinstance(number, int) and not isinstance(number, bool) and 1 <= number <= most:
        return number
    raise MalformedEventError(f"{name} is a whole number from 1 to {most}")


@dataclass(frozen=True, slots=True, init=False)
class Gaussian:
    """A vector of L2 sensitivity Δ got noise of standard deviation σ; `noise_multiplier` is σ/Δ."""

    noise_multiplier: Decimal

    def __init__(self, noise_multiplier: Number) -> None:
        object.__setattr__(self, "noise_multiplier", _exact(noise_multiplier, "noise_multiplier"))


@dataclass(frozen=True, slots=True, init=False)
class SampledGaussian:
    """Units were Poisson-sampled at `sampling_rate` before a Gaussian release.

    Every unit enters on its own with probability `sampling_rate`, in (0, 1]; fixed-size batches and
    shuffling are other mechanisms and must not be written down as this one.
    """

    sampling_rate: Decimal
    noise_multiplier: Decimal

    def __init__(self, sampling_rate: Number, noise_multiplier: Number) -> None:
        object.__setattr__(self, "sampling_rate", _probability(sampling_rate, "sampling_rate"))
        object.__setattr__(self, "noise_multiplier", _exact(noise_multiplier, "noise_multiplier"))


@dataclass(frozen=True, slots=True, init=False)
class DiscreteGaussian:
    """An integer vector of L2 sensitivity `sensitivity` got noise N_ℤ(0, σ²) in each coordinate.

    One draw from one sampler: a sum of such draws is no discrete Gaussian.
    """

    sensitivity: Decimal
    sigma: Decimal

    def __init__(self, sensitivity: Number, sigma: Number) -> None:
        object.__setattr__(self, "sensitivity", _exact(sensitivity, "sensitivity"))
        object.__setattr__(self, "sigma", _exact(sigma, "sigma"))


@dataclass(frozen=True, slots=True, init=False)
class Skellam:
    """An integer vector of Poisson-sampled units got Skellam noise in each coordinate.

    sampling_rate: probability in (0, 1] that a unit enters, each on its own; 1 means no sampling.
    variance:      of the noise in one coordinate, summed over everyone who added a share of it
                   and whose share counts on: each share is Skellam, and so is their sum.
    l1, l2:        what one unit changes of the integer vector, in L1 and L2.
    """

    sampling_rate: Decimal
    variance: Decimal
    l1: Decimal
    l2: Decimal

    def __init__(self, sampling_rate: Number, variance: Number, l1: Number, l2: Number) -> None:
        object.__setattr__(self, "sampling_rate", _probability(sampling_rate, "sampling_rate"))
        object.__setattr__(self, "variance", _exact(variance, "variance"))
        object.__setattr__(self, "l1", _exact(l1, "l1"))
        object.__setattr__(self, "l2", _exact(l2, "l2"))


@dataclass(frozen=True, slots=True, init=False)
class DiscreteLaplace:
    """An integer vector of L1 sensitivity `sensitivity` got noise ∝ exp(−|x| / scale) on ℤ."""

    sensitivity: int
    scale: Decimal

    def __init__(self, sensitivity: int, scale: Number) -> None:
        object.__setattr__(self, "sensitivity", _whole(sensitivity, "sensitivity", MAX_COUNT))
        object.__setattr__(self, "scale", _exact(scale, "scale"))


@dataclass(frozen=True, slots=True, init=False)
class Mixture:
    """A person contributed k aligned units to a Gaussian release with probability p_k.

    noise_multiplier: σ/Δ for the Δ of ONE unit; k aligned units move the sum by kΔ.
    probabilities:    p_0 … p_m, summing to exactly 1, the last above zero.
    """

    noise_multiplier: Decimal
    probabilities: tuple[Decimal, ...]

    def __init__(self, noise_multiplier: Number, probabilities: Sequence[Number]) -> None:
        exact = tuple(_decimal(number, "probabilities") for number in probabilities)
        signed = any(number.is_signed() for number in exact)
        if not 2 <= len(exact) <= MAX_UNITS + 1 or signed or not exact[-1]:
            raise MalformedEventError("probabilities go from 0 units to the most that can happen")
        if sum(map(Fraction, exact)) != 1:
            raise MalformedEventError("probabilities sum to exactly 1")
        object.__setattr__(self, "noise_multiplier", _exact(noise_multiplier, "noise_multiplier"))
        object.__setattr__(self, "probabilities", exact)


@dataclass(frozen=True, slots=True)
class Grouped:
    """The worlds compared differ by up to `size` units of what `event` protects.

    Each unit is added or removed; one unit that changes counts as two, out and in.
    """

    event: "Event"
    size: int

    def __post_init__(self) -> None:
        _whole(self.size, "size", MAX_SIZE)


@dataclass(frozen=True, slots=True, init=False)
class Approximate:
    """`event` describes the release except on outcomes of probability at most `delta`.

    On those outcomes anything may have leaked. The bound on their probability holds in every
    world and for every unit on its own, so that `size` units sum to at most size·delta. This is
    the event's OWN δ; the δ at which prices are turned into ε is another purse.
    """

    event: "Event"
    delta: Decimal

    def __init__(self, event: "Event", delta: Number) -> None:
        object.__setattr__(self, "event", event)
        object.__setattr__(self, "delta", _probability(delta, "delta"))


@dataclass(frozen=True, slots=True)
class Repeated:
    """`event` happened `count` times, each possibly chosen after the one before."""

    event: "Event"
    count: int

    def __post_init__(self) -> None:
        _whole(self.count, "count", MAX_COUNT)


@dataclass(frozen=True, slots=True)
class Composed:
    """All of `events` happened, one after the other."""

    events: tuple["Event", ...]


Noise: TypeAlias = Gaussian | SampledGaussian | DiscreteGaussian | Skellam | DiscreteLaplace
Event: TypeAlias = Noise | Mixture | Grouped | Approximate | Repeated | Composed


def own_delta(events: Sequence[Event]) -> Decimal:
    """Return the exact sum of all own δ's: every repeat and every unit of a group counts."""
    return reduce(_WIDE.add, map(_own, events), Decimal(0))


def _own(event: Event) -> Decimal:
    match event:
        case Approximate():
            return _WIDE.add(event.delta, _own(event.event))
        case Repeated(event=inner, count=times) | Grouped(event=inner, size=times):
            return _WIDE.multiply(_own(inner), Decimal(times))
        case Composed():
            return own_delta(event.events)
        case _:
            return Decimal(0)


def to_json(event: Event) -> dict[str, JSON]:
    """Return the tagged form; `from_json` gives the event back."""
    tag, fields = _TAGS[type(event)]
    parts = {_key(name): _PRINT[kind](getattr(event, name)) for name, kind in fields.items()}
    return {"event": tag, "v": VERSION, **parts}


def from_json(value: object) -> Event:
    """Read an event, accepting exactly what `to_json` can return.

    Raises:
        MalformedEventError: an unknown kind, version, field or spelling.
    """
    event = _read(value, MAX_DEPTH)
    if dumps(event) != _text(value):
        raise MalformedEventError("the event is not in its canonical spelling")
    return event


def dumps(event: Event) -> str:
    """Return the canonical text of `event`, for storage and as a key."""
    return _text(to_json(event))


def loads(text: str) -> Event:
    """Read an event, accepting exactly the texts that `dumps` can return.

    Raises:
        MalformedEventError: it is no such text.
    """
    try:
        event = from_json(json.loads(text))
    except (ValueError, RecursionError) as why:
        raise MalformedEventError("the event is not JSON") from why
    if dumps(event) != text:
        raise MalformedEventError("the event is not in its canonical spelling")
    return event


def _numbers(*names: str) -> Mapping[str, str]:
    return dict.fromkeys(names, "number")


_FIELDS: Final[Mapping[str, tuple[Callable[..., Event], Mapping[str, str]]]] = {
    "gaussian": (Gaussian, _numbers("noise_multiplier")),
    "sampled_gaussian": (SampledGaussian, _numbers("sampling_rate", "noise_multiplier")),
    "discrete_gaussian": (DiscreteGaussian, _numbers("sensitivity", "sigma")),
    "skellam": (Skellam, _numbers("sampling_rate", "variance", "l1", "l2")),
    "discrete_laplace": (DiscreteLaplace, {"sensitivity": "count", "scale": "number"}),
    "mixture": (Mixture, {"noise_multiplier": "number", "probabilities": "numbers"}),
    "grouped": (Grouped, {"event": "event", "size": "count"}),
    "approximate": (Approximate, {"event": "event", "delta": "number"}),
    "repeated": (Repeated, {"event": "event", "count": "count"}),
    "composed": (Composed, {"events": "events"}),
}
"""Tag, constructor and kind of every field; an event inside an event is written as `of`."""

_TAGS: Final = {make: (tag, fields) for tag, (make, fields) in _FIELDS.items()}

_PRINT: Final[Mapping[str, Callable[[Any], JSON]]] = {
    "number": spell,
    "numbers": lambda numbers: [spell(number) for number in numbers],
    "count": int,
    "event": to_json,
    "events": lambda events: [to_json(event) for event in events],
}


def _key(name: str) -> str:
    return "of" if name in {"event", "events"} else name


def _read(value: object, depth: int) -> Event:
    if depth == 0 or not isinstance(value, Mapping):
        raise MalformedEventError("the event is not an object, or is nested too deeply")
    tag = value.get("event")
    if not isinstance(tag, str) or tag not in _FIELDS:
        raise MalformedEventError("the event is of a kind this version does not know")
    make, fields = _FIELDS[tag]
    if value.get("v") != VERSION or value.keys() != {*map(_key, fields), "event", "v"}:
        raise MalformedEventError(f"a {tag} event has other fields than version {VERSION} knows")
    return make(**{name: _part(value[_key(name)], kind, depth) for name, kind in fields.items()})


def _part(value: object, kind: str, depth: int) -> object:
    match kind:
        case "event":
            return _read(value, depth - 1)
        case "events":
            return tuple(_read(part, depth - 1) for part in _listed(value))
        case "numbers":
            return tuple(_spelled(part) for part in _listed(value))
        case "number":
            return _spelled(value)
        case _:
            return value


def _listed(value: object) -> Sequence[object]:
    if isinstance(value, list | tuple):
        return cast("Sequence[object]", value)
    raise MalformedEventError("an event writes what it has several of as a list")


def _spelled(value: object) -> str:
    if isinstance(value, str):
        return value
    raise MalformedEventError("a number of an event is written as a decimal string")


def _text(value: object) -> str:
    try:
        return json.dumps(value, separators=(",", ":"), sort_keys=True, allow_nan=False)
    except (TypeError, ValueError) as why:
        raise MalformedEventError("the event is not plain JSON") from why
