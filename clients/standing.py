"""A person's yes to every order within an envelope, and whether an order is within it. Pure.

An envelope says which kinds of work, on which columns, for which purposes and on which legal
bases, who may know the results, how many organisations must take part, and what one order and all
of them together may cost. An order is within it if every one of these holds; whatever the envelope
does not name is outside.

The sums over orders are of what each may cost at most, added up: an upper bound of what they cost
together, which the accounts compute more closely and cap by themselves.
"""

import tomllib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from decimal import Decimal, InvalidOperation
from typing import Any, Final

from clients.errors import NodeSettingsError
from federation.orders import Read, WorkOrder
from policies.parties import PartyId
from secure_compute import canonical
from secure_compute.canonical import JSON

DAY: Final = 86400
KINDS: Final = ("match", "query", "train")
MOST_DAYS: Final = 3660


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What a person agreed to in advance.

    kinds:      of orders; a disclosure of who is in both sets is never among them.
    reads:      one entry a contract: its version, and the columns that may be read.
    recipients: everybody who may know a result; who trains together knows the model.
    organisations: fewest that must take part.
    epsilon, delta: most that one order may cost, rounds that come to nothing among them.
    total_epsilon, total_delta: most that orders within `days` days may cost, added up.
    begins, expires: seconds since 1970.
    """

    kinds: tuple[str, ...]
    reads: tuple[Read, ...]
    purposes: tuple[str, ...]
    legal_bases: tuple[str, ...]
    recipients: tuple[PartyId, ...]
    organisations: int
    epsilon: Decimal
    delta: Decimal
    total_epsilon: Decimal
    total_delta: Decimal
    days: int
    begins: int
    expires: int

    def __post_init__(self) -> None:
        lists = (self.kinds, self.purposes, self.legal_bases, self.recipients)
        contracts = [read.contract for read in self.reads]
        if not (all(lists) and contracts and set(self.kinds) <= set(KINDS)):
            raise NodeSettingsError(
                f"an envelope names kinds ({', '.join(KINDS)}), contracts, purposes, legal bases "
                "and recipients"
            )
        if len(set(contracts)) < len(contracts):
            raise NodeSettingsError("a contract stands twice in the envelope")
        prices = (self.epsilon, self.delta, self.total_epsilon, self.total_delta)
        if not all(price.is_finite() and price > 0 for price in prices):
            raise NodeSettingsError("an envelope's prices are numbers above zero")
        if not (self.organisations >= 1 and 1 <= self.days <= MOST_DAYS):
            raise NodeSettingsError(
                f"an envelope is for at least one organisation, over 1 to {MOST_DAYS} days"
            )
        if not 0 <= self.begins < self.expires:
            raise NodeSettingsError("an envelope ends after it begins")

    @property
    def id(self) -> str:
        """The SHA-256 of the canonical form, in hexadecimal."""
        return canonical.digest(self.to_json())

    def to_json(self) -> dict[str, JSON]:
        """Return the canonical form; numbers that are no whole ones are texts."""
        value: dict[str, JSON] = {}
        for item in fields(self):
            part = getattr(self, item.name)
            if isinstance(part, Decimal):
                value[item.name] = format(part, "f")
            else:
                value[item.name] = list(part) if isinstance(part, tuple) else part
        value["reads"] = [
            {"contract": read.contract, "version": read.version, "columns": list(read.columns)}
            for read in self.reads
        ]
        return value


@dataclass(frozen=True, slots=True)
class Asked:
    """What the node itself knows of an order: nothing of it is what somebody says.

    epsilon:  the most that may be spent; None where no event prices it.
    informed: everybody who will know the result.
    organisations: behind the cohort.
    """

    order: WorkOrder
    epsilon: Decimal | None
    informed: Collection[PartyId]
    organisations: int
    now: float


@dataclass(frozen=True, slots=True)
class Use:
    """An order that was accepted under the envelope: when, and what it may cost."""

    at: int
    epsilon: Decimal
    delta: Decimal


def outside(envelope: Standing, asked: Asked, used: Sequence[Use]) -> tuple[str, ...]:
    """Return what of an order is not within the envelope; nothing where it is within.

    used: every order that was accepted under it.
    """
    return tuple(_outside(envelope, asked, used))


def _outside(envelope: Standing, asked: Asked, used: Sequence[Use]) -> Iterator[str]:
    order = asked.order
    if not envelope.begins <= asked.now < envelope.expires:
        yield "time"
    if order.kind not in envelope.kinds or asked.epsilon is None:
        yield "kind"
    known = {(read.contract, read.version): set(read.columns) for read in envelope.reads}
    if not all(
        set(read.columns) <= known.get((read.contract, read.version), set()) and read.columns
        for read in order.reads
    ):
        yield "columns"
    if order.purpose not in envelope.purposes:
        yield "purpose"
    if order.legal_basis not in envelope.legal_bases:
        yield "legal basis"
    if not set(asked.informed) <= set(envelope.recipients):
        yield "recipients"
    if min(order.minimum, asked.organisations) < envelope.organisations:
        yield "organisations"
    yield from _too_dear(envelope, asked, used)


def _too_dear(envelope: Standing, asked: Asked, used: Sequence[Use]) -> Iterator[str]:
    epsilon, delta = asked.epsilon or Decimal(0), Decimal(asked.order.delta)
    if epsilon > envelope.epsilon or delta > envelope.delta:
        yield "price"
    lately = [use for use in used if use.at > asked.now - envelope.days * DAY]
    if epsilon + sum(use.epsilon for use in lately) > envelope.total_epsilon:
        yield "total epsilon"
    if delta + sum(use.delta for use in lately) > envelope.total_delta:
        yield "total delta"


def like(asked: Asked, *, times: int, days: int, expires: int) -> Standing:
    """Return the envelope of orders like this one, of which `times` may be paid in `days` days.

    Raises:
        NodeSettingsError: no event prices it, so that a person has to look at each.
    """
    order = asked.order
    if asked.epsilon is None:
        raise NodeSettingsError("a disclosure of who is in both sets is approved one by one")
    return Standing(
        kinds=(order.kind,),
        reads=order.reads,
        purposes=(order.purpose,),
        legal_bases=(order.legal_basis,),
        recipients=tuple(sorted(asked.informed)),
        organisations=min(order.minimum, asked.organisations),
        epsilon=asked.epsilon,
        delta=Decimal(order.delta),
        total_epsilon=asked.epsilon * times,
        total_delta=Decimal(order.delta) * times,
        days=days,
        begins=int(asked.now),
        expires=expires,
    )


def read_standing(text: str) -> Standing:
    """Read an envelope that a person wrote as TOML.

    Raises:
        NodeSettingsError: it is none; the sentence says what is wrong.
    """
    try:
        value = tomllib.loads(text)
    except (ValueError, RecursionError) as why:
        raise NodeSettingsError(f"the envelope is not TOML: {why}") from why
    return standing_from_json(value)


def standing_from_json(value: Mapping[str, Any]) -> Standing:
    """Read what `Standing.to_json` wrote.

    Raises:
        NodeSettingsError: it is no envelope.
    """
    names = {item.name for item in fields(Standing)}
    if wrong := names ^ set(value):
        raise NodeSettingsError(f"an envelope has these fields too few or many: {_named(wrong)}")
    try:
        return Standing(**{name: _part(name, part) for name, part in value.items()})
    except (TypeError, InvalidOperation) as why:
        raise NodeSettingsError("a field of the envelope has the wrong type") from why


_LISTS: Final = {"kinds", "purposes", "legal_bases", "recipients"}
_PRICES: Final = {"epsilon", "delta", "total_epsilon", "total_delta"}


def _part(name: str, part: Any) -> Any:
    if name == "reads":
        return tuple(map(_read, part)) if isinstance(part, list) else _wrong(name)
    if name in _LISTS:
        return tuple(part) if _texts(part) else _wrong(name)
    if name in _PRICES:
        return Decimal(part) if isinstance(part, str) and len(part) <= 40 else _wrong(name)
    return part if type(part) is int and 0 <= part <= canonical.MAX_INTEGER else _wrong(name)


def _read(item: Any) -> Read:
    match item:
        case {"contract": str(name), "version": int(version), "columns": list(columns), **rest}:
            if not rest and type(version) is int and _texts(columns):
                return Read(name, version, tuple(columns))
    raise NodeSettingsError("an envelope's reads name a contract, its version and its columns")


def _named(names: Collection[str]) -> str:
    return ", ".join(sorted(map(str, names)))


def _texts(part: Any) -> bool:
    return isinstance(part, list) and all(isinstance(item, str) for item in part)


def _wrong(name: str) -> Any:
    raise NodeSettingsError(
        f"field {name!r} of the envelope has the wrong type; prices are texts such as '0.5'"
    )
