"""What the aggregator says to nodes, and what it makes of their answers. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass

from federation.envelopes import Envelope, open_envelope, seal
from federation.errors import FederationError
from federation.membership import Roster
from federation.messages import REPLIES, SPENDING, Kind
from policies.parties import PartyId
from secure_compute.canonical import JSON
from secure_compute.errors import SecureComputeError
from secure_compute.primitives.signature import SigningKey


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
        except (FederationError, SecureComputeError) as why:
            return Silence(f"{party} sent something unusable: {why}")
        expected = {REPLIES[asked], Kind.REFUSED, Kind.FAILED}
        if asked in SPENDING:
            expected.add(Kind.LEDGER_UNSURE)
        answers = (envelope.sender, envelope.order, envelope.sequence) == (party, order, sequence)
        if not answers or envelope.kind not in expected:
            return Silence(f"{party} answered another question")
        if envelope.kind is Kind.FAILED:
            return Silence(f"{party}: {envelope.body.get('reason', 'failed')}")
        return Answer(envelope, wire)
