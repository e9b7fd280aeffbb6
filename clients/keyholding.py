"""The keyholder's part of a joint query: one fresh key per query, one sum opened under it."""

from collections.abc import Mapping
from functools import cached_property

from clients.errors import RefusedWorkError
from clients.keyring import Keyring, Told
from clients.querying import verifier
from clients.settings import NodeSettings
from federation import plans
from federation.envelopes import Envelope, open_envelope
from federation.errors import MalformedMessageError
from federation.messages import Kind
from federation.orders import WorkOrder
from federation.tasks import QueryTask
from policies.parties import PartyId, Role
from secure_compute.hequery.keyholder import Approval
from secure_compute.hequery.messages import Commitment, Opened, Sealed


class Keyholding:
    """Holds the keys of queries for one node; what it did is on disk before it is said."""

    def __init__(self, settings: NodeSettings, told: Told) -> None:
        self._settings = settings
        self._told = told
        self._roster = settings.roster()

    @cached_property
    def _keyring(self) -> Keyring:
        if self._settings.role is not Role.KEYHOLDER:
            raise RefusedWorkError("this node holds no keys; the roster says who does")
        return Keyring(self._settings.folder / "keyring.sqlite")

    def offer_key(self, order: WorkOrder) -> dict[str, bytes]:
        """Return the parts of the letter that offers this query's public key."""
        offer = self._keyring.offer(order.id, self._settings.party, self._settings.identity.sign)
        return {
            "statement": offer.statement,
            "signature": offer.signature,
            "public_key": offer.public,
        }

    def open_sum(self, order: WorkOrder, letters: Mapping[str, bytes]) -> Opened:
        """Return the sum over the holders' own letters, which the aggregator only relays.

        Raises:
            MalformedMessageError: a letter is of another kind or lacks a part.
            PeerProtocolError: too few organisations.
            RefusedWorkError: another sum was opened for this query, or the node's log says so.
        """
        task = QueryTask.from_json(order.parameters)
        approval = Approval(
            query=order.id,
            plan=plans.digest(task.plan),
            key=self._keyring.key_of(order.id),
            cohort=tuple(order.cohort),
            minimum=order.minimum,
            width=plans.width(task.plan),
        )
        parts = [self._part(wire) for wire in letters.values()]
        return self._keyring.open_once(
            approval, parts, verifier(self._roster), self._organisation, self._told
        )

    def _part(self, wire: bytes) -> Sealed:
        letter = open_envelope(wire, self._roster, self._settings.aggregator).envelope
        if letter.kind is not Kind.QUERY_CIPHERTEXT:
            raise MalformedMessageError("a part of the sum is not a ciphertext")
        return Sealed(
            Commitment.read(_blob(letter, "statement")),
            _blob(letter, "signature"),
            _blob(letter, "ciphertext"),
        )

    def _organisation(self, party: str) -> str:
        return self._roster.find(PartyId(party)).organisation


def _blob(letter: Envelope, name: str) -> bytes:
    try:
        return letter.blobs[name]
    except KeyError as why:
        raise MalformedMessageError(f"a letter lacks its part {name!r}") from why
