"""A holder's part of a joint query: rows to noised partial to one signed ciphertext."""

from clients.analytics import noisy_partial
from clients.ingestion import Readable
from clients.judgement import Agreed
from clients.settings import NodeSettings
from federation import plans
from federation.envelopes import Envelope, open_envelope
from federation.errors import MalformedMessageError
from federation.membership import Roster
from federation.messages import Kind
from federation.orders import WorkOrder
from federation.pricing import reach
from federation.tasks import QueryTask
from policies.parties import PartyId, Role
from secure_compute.entropy import Entropy
from secure_compute.hequery.holder import accept_key, seal
from secure_compute.hequery.messages import Sealed, Verify
from secure_compute.hequery.scheme import PublicKey


def verifier(roster: Roster) -> Verify:
    """Return the check of a party's signature against the roster."""

    def verify(party: str, signature: bytes, data: bytes) -> None:
        roster.find(PartyId(party)).identity.verify(signature, data)

    return verify


def read_key(wire: bytes, order: WorkOrder, roster: Roster, aggregator: PartyId) -> PublicKey:
    """Return the query's key out of the keyholder's own letter, which the aggregator only relays.

    Raises:
        MalformedMessageError: the letter is of another kind.
        BadSignatureError: the keyholder did not sign it.
        PeerProtocolError: the key is for another query.
    """
    letter = open_envelope(wire, roster, aggregator).envelope
    (keyholder,) = roster.with_role(Role.KEYHOLDER)
    if letter.kind is not Kind.QUERY_PUBLIC_KEY or letter.sender != keyholder.party:
        raise MalformedMessageError("the public key did not come from the keyholder")
    return accept_key(
        _part(letter, "statement"),
        _part(letter, "signature"),
        _part(letter, "public_key"),
        query=order.id,
        keyholder=keyholder.party,
        verify=verifier(roster),
    )


def sealed_partial(
    order: WorkOrder,
    agreed: Agreed,
    readable: Readable,
    public: PublicKey,
    settings: NodeSettings,
    entropy: Entropy,
) -> Sealed:
    """Return this node's noised partial, encrypted and committed to."""
    task = QueryTask.from_json(order.parameters)
    partial = noisy_partial(
        task.plan,
        task.noise_multiplier,
        contract=agreed.contract,
        readable=readable,
        permit=agreed.permit,
        reservation=agreed.reservation,
        entropy=entropy,
    )
    return seal(
        partial.values,
        query=order.id,
        party=settings.party,
        plan=plans.digest(task.plan),
        public=public,
        cohort=len(order.cohort),
        reach=reach(task.plan, task.noise_multiplier),
        sign=settings.identity.sign,
    )


def _part(letter: Envelope, name: str) -> bytes:
    try:
        return letter.blobs[name]
    except KeyError as why:
        raise MalformedMessageError(f"the letter lacks its part {name!r}") from why
