"""What a saved model says of itself: whose order made it, of what, at which price, after what."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from decimal import Decimal, InvalidOperation
from typing import Any, Final

from aggregator.errors import MalformedModelError
from aggregator.standing import STANDINGS
from secure_compute.canonical import JSON

SCHEMA: Final = "entrepot.model/1"

_RUN: Final = re.compile(r"[0-9a-zA-Z][0-9a-zA-Z_-]{0,127}", re.ASCII)
_DIGEST: Final = re.compile(r"[0-9a-f]{64}", re.ASCII)
_DECIMAL: Final = re.compile(r"(0|[1-9][0-9]{0,19})(\.[0-9]{1,40})?([eE]-[0-9]{1,3})?", re.ASCII)
_MOST_ROUNDS: Final = 10**6
_LATEST: Final = 1 << 53
_LATER: Final = frozenset({"until", "gate"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """One round's model.

    run, order:       the run's name, and the digest of the signed order that it follows.
    round, rounds:    how many rounds of its order made these weights, and how many the order has; a
                      run that went on from another's model follows that model's rounds.
    seed:             of the weights before the first round; public.
    contract, contract_version: whose promise was read.
    event:            what all rounds so far did to one node's rows, those of other runs included.
    epsilon, delta:   what that comes to, decimal strings; for `unit`.
    cohort, parties:  who was asked, and whose updates this round is made of.
    code:             SHA-256 of the software that the order names.
    parent:           SHA-256 of the file of the round before; of a first round, that of the model
                      that the run went on from, or "" where the seed made the start.
    metrics:          the noised evaluation of these weights, where there was one.
    gate:             whether the model is accepted or held back, and by which figure; nothing where
                      its order names no floor.
    until:            the moment from which rows stayed out, in microseconds since 1970; 0 for none.

    What stands in `_LATER` was not in every card of this version: it is spelled where it says
    something.
    """

    run: str
    order: str
    model: str
    round: int
    rounds: int
    seed: int
    recipe: Mapping[str, JSON]
    contract: str
    contract_version: int
    unit: str
    event: Mapping[str, JSON]
    epsilon: str
    delta: str
    cohort: tuple[str, ...]
    parties: tuple[str, ...]
    code: str
    parent: str = ""
    metrics: Mapping[str, JSON] = field(default_factory=dict)
    until: int = 0
    gate: Mapping[str, JSON] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse a card that could name another file, or says what cannot be."""
        if not _RUN.fullmatch(self.run):
            raise MalformedModelError("names its run in a way that no folder is named")
        if not 1 <= self.round <= self.rounds <= _MOST_ROUNDS:
            raise MalformedModelError("is of a round that its run does not have")
        if not set(self.parties) <= set(self.cohort) or not self.parties:
            raise MalformedModelError("is made by parties that were not asked")
        if self.parent and not _DIGEST.fullmatch(self.parent):
            raise MalformedModelError("names a parent that is no digest")
        if not all(_is_decimal(number) for number in (self.epsilon, self.delta)):
            raise MalformedModelError("names a price that is no number")
        if not 0 <= self.until < _LATEST:
            raise MalformedModelError("lets in rows until a moment that no calendar has")
        if self.gate and self.gate.get("standing") not in STANDINGS:
            raise MalformedModelError("is neither accepted nor held back")

    def to_json(self) -> dict[str, JSON]:
        """Return the canonical form."""
        value: dict[str, JSON] = {"schema": SCHEMA}
        for item in fields(self):
            part = getattr(self, item.name)
            if part or item.name not in _LATER:
                value[item.name] = list(part) if isinstance(part, tuple) else part
        return value

    @classmethod
    def from_json(cls, value: JSON) -> "Card":
        """Read what `to_json` wrote.

        Raises:
            MalformedModelError: it is no card of this version.
        """
        names = {item.name: item.type for item in fields(cls)}
        if not isinstance(value, Mapping) or value.get("schema") != SCHEMA:
            raise MalformedModelError("has a card of another version")
        later = {name for name in _LATER if value.get(name)}
        if set(value) != {*names, "schema"} - _LATER | later:
            raise MalformedModelError("has a card of another version")
        there = {name: kind for name, kind in names.items() if name in value}
        return cls(**{name: _typed(kind, value[name]) for name, kind in there.items()})


def _typed(kind: Any, part: JSON) -> Any:
    if kind is int and type(part) is int:
        return part
    if kind is str and isinstance(part, str):
        return part
    if kind == tuple[str, ...] and isinstance(part, list):
        if all(isinstance(item, str) for item in part):
            return tuple(part)
    elif kind == Mapping[str, JSON] and isinstance(part, dict):
        return part
    raise MalformedModelError("has a card with a field of the wrong kind")


def _is_decimal(text: str) -> bool:
    try:
        return bool(_DECIMAL.fullmatch(text)) and Decimal(text).is_finite()
    except InvalidOperation:
        return False
