"""How this node writes its replies: sealed, with what witnesses need, and as they were kept."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from clients.errors import RefusedWorkError
from clients.settings import NodeSettings
from clients.vouching import Vouching
from clients.witnessing import Witnessing
from federation.envelopes import Envelope, open_own, seal
from federation.membership import Roster
from federation.messages import Kind
from federation.orders import SignedOrder, open_order
from secure_compute.canonical import JSON


@dataclass(frozen=True, slots=True)
class Reply:
    """What goes back, before it is sealed."""

    kind: Kind
    body: Mapping[str, JSON]
    blobs: Mapping[str, bytes]

    def carrying(self, blobs: Mapping[str, bytes]) -> "Reply":
        """Return the reply with more parts."""
        return replace(self, blobs={**self.blobs, **blobs})


def reply_of(kind: Kind, body: Mapping[str, JSON] | None = None, **blobs: bytes) -> Reply:
    """Return a reply of these parts."""
    return Reply(kind, body or {}, blobs)


class Letters:
    """The correspondence of one node."""

    def __init__(
        self, settings: NodeSettings, roster: Roster, witnessing: Witnessing, vouching: Vouching
    ) -> None:
        self._party = settings.party
        self._key = settings.identity
        self._roster = roster
        self._witnessing = witnessing
        self._vouching = vouching

    def envelope(self, letter: Envelope, reply: Reply) -> Envelope:
        """Return the reply, addressed to whoever wrote `letter`."""
        return Envelope(
            reply.kind,
            self._party,
            letter.sender,
            letter.order,
            letter.sequence,
            reply.body,
            reply.blobs,
        )

    def seal(self, letter: Envelope, reply: Reply) -> bytes:
        """Return the reply as it may be kept and sent."""
        return seal(self.envelope(letter, reply), self._key)

    def with_ledgers(self, letter: Envelope, make: Callable[[], Reply]) -> Reply:
        """Return what `make` makes, with this node's head and its word on the heads of others.

        The head is that of before: whether new rows were booked meanwhile does not ride along.
        """
        words = {**self._vouching.vouch(letter).blobs, **self._witnessing.head()}
        return make().carrying(words)

    def with_its_entry(self, letter: Envelope, make: Callable[[], Reply]) -> Reply:
        """Return what `make` makes, with the head that it leaves, and words on those of others.

        Of what reads no rows, and writes down what others must see before this order goes on.
        """
        return self.with_words(letter, make).carrying(self._witnessing.head())

    def with_words(self, letter: Envelope, make: Callable[[], Reply]) -> Reply:
        """Return what `make` makes, with this node's word on the heads of others.

        Where nothing was written that others must see before this order goes on.
        """
        vouched = self._vouching.vouch(letter)
        return make().carrying(vouched.blobs)

    def as_kept(self, letter: Envelope, kept: bytes) -> Reply:
        """Return a reply that was sealed before."""
        envelope = open_own(kept, self._roster, self._party, letter.sender)
        return Reply(envelope.kind, envelope.body, envelope.blobs)

    def order_in(self, letter: Envelope, wire: bytes) -> SignedOrder:
        """Return the signed order that a letter is about.

        Raises:
            RefusedWorkError: it is another one.
        """
        signed = open_order(wire, self._roster)
        if signed.order.id != letter.order:
            raise RefusedWorkError("the letter and the order inside it have different ids")
        return signed
