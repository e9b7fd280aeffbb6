"""What two nodes say to each other past the aggregator, which carries it and cannot read it.

Each makes a fresh X25519 key for one order and signs it with its identity. Every step of either
side has a key of its own, derived from the agreed secret, from both public halves and from who
speaks: a step is said once, so the nonce is always the same. A step that is said again has the same
bytes, and a step of another order, side or number does not open.
"""

from dataclasses import dataclass, field
from typing import Final

from federation.errors import MalformedMessageError
from federation.membership import Roster
from policies.parties import PartyId
from secure_compute import canonical
from secure_compute.errors import BadSignatureError, NotCanonicalError
from secure_compute.primitives.agreement import AgreementKey
from secure_compute.primitives.derivation import expand, extract
from secure_compute.primitives.sealing import NONCE_SIZE, open_sealed, seal
from secure_compute.primitives.signature import SIGNATURE_SIZE, SigningKey

PAIR_KEY: Final = "pair_key"
"""The part of a letter in which a node's key for its partner travels."""

_STATEMENT: Final = "entrepot.pair-key"
_LABEL: Final = "entrepot.pair/1"
_NONCE: Final = bytes(NONCE_SIZE)


def advertise(
    order: str, party: PartyId, partner: PartyId, key: AgreementKey, identity: SigningKey
) -> bytes:
    """Return this side's signed public key for one order and one partner."""
    body = canonical.encode(
        {
            "statement": _STATEMENT,
            "order": order,
            "party": party,
            "partner": partner,
            "public": key.public.hex(),
        }
    )
    return identity.sign(body) + body


@dataclass(frozen=True, slots=True)
class Pair:
    """One side's view of the channel of an order."""

    order: str
    me: PartyId
    partner: PartyId
    secret: bytes = field(repr=False)

    @classmethod
    def of(
        cls,
        order: str,
        me: PartyId,
        partner: PartyId,
        key: AgreementKey,
        said: bytes,
        roster: Roster,
    ) -> "Pair":
        """Return the channel to the owner of `said`, the partner's letter.

        Raises:
            BadSignatureError: the partner did not sign it.
            MalformedMessageError: it is for another order or another partner.
            PeerProtocolError: it holds no public key.
        """
        public = _public(order, me, partner, said, roster)
        halves = sorted((key.public.hex(), public.hex()))
        secret = extract(key.exchange(public), bytes.fromhex(order), _LABEL, *halves)
        return cls(order, me, partner, secret)

    def seal(self, step: int, data: bytes) -> bytes:
        """Return what this side says in a step, for the partner alone."""
        return seal(self._key(self.me, step), _NONCE, data, self._context(self.me, step))

    def open(self, step: int, sealed: bytes) -> bytes:
        """Return what the partner said in a step.

        Raises:
            PeerProtocolError: it did not say this in that step of this order.
        """
        key, context = self._key(self.partner, step), self._context(self.partner, step)
        return open_sealed(key, _NONCE, sealed, context)

    def _key(self, speaker: PartyId, step: int) -> bytes:
        return expand(self.secret, _LABEL, speaker, step)

    def _context(self, speaker: PartyId, step: int) -> bytes:
        return canonical.encode([_LABEL, self.order, speaker, step])


def _public(order: str, me: PartyId, partner: PartyId, said: bytes, roster: Roster) -> bytes:
    signature, body = said[:SIGNATURE_SIZE], said[SIGNATURE_SIZE:]
    if len(signature) != SIGNATURE_SIZE:
        raise BadSignatureError(f"{partner} signed no key")
    roster.find(partner).identity.verify(signature, body)
    try:
        value = canonical.decode(body)
    except NotCanonicalError as why:
        raise MalformedMessageError("the key of the partner is not canonical") from why
    match value:
        case {
            "statement": "entrepot.pair-key",
            "order": str(about),
            "party": str(owner),
            "partner": str(whom),
            "public": str(public),
            **rest,
        } if (about, owner, whom) == (order, partner, me) and not rest:
            try:
                return bytes.fromhex(public)
            except ValueError as why:
                raise MalformedMessageError("the key of the partner is no key") from why
    raise MalformedMessageError("the key is for another order, or for another partner")
