"""What was done to data, as inert values with one spelling.

An event holds the parameters that are necessary and sufficient to price a release; it computes
nothing. Accounts keep events for ever, so this module makes promises: no kind is removed, no field
changes its meaning, a new meaning takes a new version number, and what is not known is refused.

The stored form is tagged JSON. Every number that is not a count is a decimal string in its
shortest plain spelling, and the parser accepts exactly what the printer prints.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Final, TypeAlias, assert_never

from policies.errors import MalformedEventError

JSON: TypeAlias = "bool | int | str | Sequence[JSON] | Mapping[str, JSON] | None"
Number: TypeAlias = Decimal | int | float | str

VERSION: Final = 1
MAX_COUNT: Final = 10**9
MAX_DEPTH: Final = 8
MAX_DIGITS: Final = 40


def spell(number: Decimal) -> str:
    """Return the shortest plain decimal spelling: `0.05`, never `5E-2` or `0.050`."""
    return format(number.normalize(), "f")


def _exact(number: Number, name: str) -> Decimal:
    try:
        # A float stands for its shortest spelling: 0.05 means 0.05.
        exact = Decimal(repr(number) if isinstance(number, float) else number)
    except (InvalidOperation, ValueError, TypeError) as why:
        raise MalformedEventError(f"{name} is not a decimal number") from why
    if not exact.is_finite() or exact <= 0 or len(spell(exact)) > MAX_DIGITS:
        raise MalformedEventError(f"{name} must be above zero, with at most {MAX_DIGITS} digits")
    return exact.normalize()


@dataclass(frozen=True, slots=True, init=False)
class Gaussian:
    """A vector of L2 sensitivity Δ was released with noise of standard deviation σ.

    `noise_multiplier` is σ/Δ: a pure number, never a standard deviation.
    """

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
        rate = _exact(sampling_rate, "sampling_rate")
        if rate > 1:
            raise MalformedEventError("sampling_rate is a probability")
        object.__setattr__(self, "sampling_rate", rate)
        object.__setattr__(self, "noise_multiplier", _exact(noise_multiplier, "noise_multiplier"))


@dataclass(frozen=True, slots=True)
class Repeated:
    """`event` happened `count` times, each possibly chosen after the one before."""

    event: "Event"
    count: int

    def __post_init__(self) -> None:
        if isinstance(self.count, bool) or not isinstance(self.count, int):
            raise MalformedEventError("count is a whole number")
        if not 1 <= self.count <= MAX_COUNT:
            raise MalformedEventError(f"count must lie in 1 to {MAX_COUNT}")


@dataclass(frozen=True, slots=True)
class Composed:
    """All of `events` happened, one after the other."""

    events: tuple["Event", ...]


Event: TypeAlias = Gaussian | SampledGaussian | Repeated | Composed


def to_json(event: Event) -> dict[str, JSON]:
    """Return the tagged form; `from_json` gives the event back."""
    match event:
        case Gaussian():
            return _tagged("gaussian", noise_multiplier=spell(event.noise_multiplier))
        case SampledGaussian():
            return _tagged(
                "sampled_gaussian",
                sampling_rate=spell(event.sampling_rate),
                noise_multiplier=spell(event.noise_multiplier),
            )
        case Repeated():
            return _tagged("repeated", of=to_json(event.event), count=event.count)
        case Composed():
            return _tagged("composed", of=[to_json(part) for part in event.events])
        case other:
            assert_never(other)


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


_FIELDS: Final = {
    "gaussian": {"noise_multiplier"},
    "sampled_gaussian": {"sampling_rate", "noise_multiplier"},
    "repeated": {"of", "count"},
    "composed": {"of"},
}


def _read(value: object, depth: int) -> Event:
    if depth == 0 or not isinstance(value, Mapping):
        raise MalformedEventError("the event is not an object, or is nested too deeply")
    kind = value.get("event")
    if not isinstance(kind, str) or kind not in _FIELDS:
        raise MalformedEventError("the event is of a kind this version does not know")
    if value.get("v") != VERSION or value.keys() != _FIELDS[kind] | {"event", "v"}:
        raise MalformedEventError(f"a {kind} event has other fields than version {VERSION} knows")
    match kind:
        case "gaussian":
            return Gaussian(_decimal(value["noise_multiplier"]))
        case "sampled_gaussian":
            return SampledGaussian(
                _decimal(value["sampling_rate"]), _decimal(value["noise_multiplier"])
            )
        case "repeated":
            return Repeated(_read(value["of"], depth - 1), value["count"])
        case _:
            parts = value["of"]
            if not isinstance(parts, list | tuple):
                raise MalformedEventError("a composed event lists its parts")
            return Composed(tuple(_read(part, depth - 1) for part in parts))


def _decimal(value: object) -> str:
    if not isinstance(value, str):
        raise MalformedEventError("a number of an event is written as a decimal string")
    return value


def _tagged(kind: str, **parts: JSON) -> dict[str, JSON]:
    return {"event": kind, "v": VERSION, **parts}


def _text(value: object) -> str:
    try:
        return json.dumps(value, separators=(",", ":"), sort_keys=True, allow_nan=False)
    except (TypeError, ValueError) as why:
        raise MalformedEventError("the event is not plain JSON") from why
