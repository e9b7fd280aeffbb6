"""What the aggregator says to nodes, and what it makes of their answers. Pure."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from federation.envelopes import Envelope, open_envelope, seal
from federation.errors import FederationError
from federation.membership import Roster
from federation.messages import PROPOSING, REPLIES, SPENDING, Kind
from policies.parties import PartyId
from secure_compute.canonical import JSON
from secure_compute.errors import SecureComputeError
from secure_compute.primitives.signature import SigningKey

UNREADABLE: Final = (FederationError, SecureComputeError, ValueError, LookupError, TypeError)
"""What reading another party's bytes may raise; whoever sent them is as good as silent."""

_MAY_BE_UNSURE: Final = SPENDING | {Kind.LEDGER_WITNESS}
_MOST_REASONS: Final = 100
_TOKEN: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/=-]{0,99}", re.ASCII).fullmatch
_TEXTS: Final = {"reasons": ("law", "en", "zh"), "fixes": ("en", "zh", "override")}


@dataclass(frozen=True, slots=True)
class Answer:
    """A verified reply; `wire` is kept because others may have to verify it too."""

    envelope: Envelope
    wire: bytes


@dataclass(frozen=True, slots=True)
class Silence:
    """No usable reply, and why."""

    reason: str


@dataclass(frozen=True, slots=True)
class Desk:
    """Who writes the letters, and the roster they are checked against."""

    party: PartyId
    key: SigningKey
    roster: Roster

    def write(
        self,
        kind: Kind,
        recipient: PartyId,
        order: str = "",
        sequence: int = 0,
        body: Mapping[str, JSON] | None = None,
        blobs: Mapping[str, bytes] | None = None,
    ) -> bytes:
        """Return one sealed request."""
        envelope = Envelope(kind, self.party, recipient, order, sequence, body or {}, blobs or {})
        return seal(envelope, self.key)

    def read(
        self, asked: Kind, order: str, sequence: int, party: PartyId, wire: bytes
    ) -> Answer | Silence:
        """Return the `Answer`, or a `Silence` that says what is wrong with it."""
        try:
            envelope = open_envelope(wire, self.roster, self.party).envelope
        except UNREADABLE as why:
            return Silence(f"{party} sent something unusable: {why}")
        expected = {REPLIES[asked], Kind.REFUSED, Kind.FAILED}
        if asked in _MAY_BE_UNSURE:
            expected.add(Kind.LEDGER_UNSURE)
        if asked is Kind.PROPOSE:
            expected.add(Kind.WAITING)
        answers = (envelope.sender, envelope.order, envelope.sequence) == (party, order, sequence)
        if not answers or envelope.kind not in expected:
            return Silence(f"{party} answered another question")
        if envelope.kind is Kind.FAILED:
            return Silence(f"{party}: {envelope.body.get('reason', 'failed')}")
        declined = envelope.kind is Kind.REFUSED and asked in PROPOSING
        if declined and not _says_why(envelope.body):
            return Silence(f"{party} declined, and its reasons cannot be read")
        return Answer(envelope, wire)


def _says_why(refusal: Mapping[str, JSON]) -> bool:
    """Return whether a refusal names its kind and its reasons as ledgers and people read them."""
    match refusal:
        case {"kind": str(kind), "reasons": list(reasons), "fixes": list(), "nearest": list(near)}:
            named = all(isinstance(r, Mapping) and _is_token(r.get("id")) for r in reasons)
            legible = all(_has_texts(refusal[part], texts) for part, texts in _TEXTS.items())
            told = all(isinstance(setting, str) for setting in near)
            return _is_token(kind) and named and legible and told and bool(reasons)
    return False


def _is_token(value: JSON) -> bool:
    return isinstance(value, str) and _TOKEN(value) is not None


def _has_texts(items: JSON, texts: tuple[str, ...]) -> bool:
    return (
        isinstance(items, list)
        and len(items) <= _MOST_REASONS
        and all(
            isinstance(item, Mapping) and all(isinstance(item.get(text), str) for text in texts)
            for item in items
        )
    )
