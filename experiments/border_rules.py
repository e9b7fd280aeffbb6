"""Under which rule each captured message crossed: from the orders among the captures, and packs.

A message that carries figures made from rows is judged by every territory whose rows may stand
behind it: the sender's for what a node computed itself, the whole cohort's for what the aggregator
or a keyholder passes on. Everything else carries words about work, which no row stands behind.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

from federation.envelopes import Envelope
from federation.messages import OWN_FIGURES, PROPOSING, Kind
from policies.errors import NoMechanismError
from policies.law.packs import Place
from policies.parties import Jurisdiction, territory
from policies.transfers import rule_for
from secure_compute.primitives.signature import SIGNATURE_SIZE

NO_RULE: Final = "none"
"""What the register says where nothing on record covers a crossing."""

JOINT_FIGURES: Final = frozenset(
    {Kind.TRAIN_ROUND, Kind.SUM_ROUND, Kind.QUERY_OPEN, Kind.QUERY_OPENED}
)
_PLACES: Final[Mapping[Kind, Place]] = {
    Kind.TRAIN_UPDATE: "aggregator",
    Kind.SUM_UPLOAD: "aggregator",
    Kind.QUERY_REVEALED: "aggregator",
    Kind.QUERY_OPEN: "key",
}


class Captured(Protocol):
    """A message as its sender captured it."""

    @property
    def sender(self) -> str:
        """Whose capture holds it."""
        ...

    @property
    def envelope(self) -> Envelope | None:
        """What it says, if it can be read."""
        ...


@dataclass(frozen=True, slots=True)
class _Order:
    personal: bool
    cohort: tuple[str, ...]


class Register:
    """Rules by message, given every order that was offered; `places` is by party."""

    def __init__(self, frames: Iterable[Captured], places: Mapping[str, str]) -> None:
        self._places = places
        self._orders: dict[str, _Order] = {}
        for frame in frames:
            if frame.envelope is not None and frame.envelope.kind in PROPOSING:
                order = _read(frame.envelope)
                if order is not None:
                    self._orders[frame.envelope.order] = order

    def rule(self, frame: Captured) -> str:
        """Return the ids of the rules, with spaces between; `none` where one is missing."""
        letter = frame.envelope
        if letter is None:
            return NO_RULE
        # Figures of an order that nobody captured are taken to be about persons.
        order = self._orders.get(letter.order, _Order(True, ()))
        figures = letter.kind in OWN_FIGURES | JOINT_FIGURES
        origins = {frame.sender, *(order.cohort if letter.kind in JOINT_FIGURES else ())}
        if order.cohort and letter.kind in JOINT_FIGURES:
            origins.discard(frame.sender)
        try:
            to = Jurisdiction(self._places[letter.recipient])
            homes = sorted({Jurisdiction(territory(self._places[party])) for party in origins})
            place = _PLACES.get(letter.kind, "results")
            personal = figures and order.personal
            return " ".join(rule_for(home, to, personal, place=place).id for home in homes)
        except (NoMechanismError, KeyError, ValueError):
            return NO_RULE


def _read(offer: Envelope) -> _Order | None:
    # The order of a capture is read, not believed: its signature was the node's business.
    try:
        value: Any = json.loads(offer.blobs.get("order", b"")[SIGNATURE_SIZE:])
        return _Order(value["unit"] != "commercial", tuple(map(str, value["cohort"])))
    except (ValueError, KeyError, TypeError):
        return None
