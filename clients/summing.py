"""A node's part in secure sums. Keys, seeds and what was revealed live in this process alone.

What a node promises never to do twice must not be forgotten, and a folder that is put back forgets.
So no key of an epoch, and nothing that was not told to the aggregator, ever stands on a disk: a
process that ends takes its keys with it, the sum goes on without this node, and no copy of its
folder can answer in its place. Within a process the state is replaced before an answer is returned,
whatever becomes of the answer; with the answer that opens an order's last sum it is deleted.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from clients.errors import RefusedWorkError
from clients.settings import NodeSettings
from clients.turns import Turns
from federation.errors import MalformedMessageError
from federation.membership import Roster
from federation.orders import WorkOrder
from federation.secure_sums import epoch_number, epoch_of, expander, own_terms, signers, unpack_keys
from federation.sum_recipes import SumRecipe
from policies.parties import PartyId
from secure_compute.entropy import Entropy
from secure_compute.primitives.agreement import KEY_SIZE, AgreementKey
from secure_compute.primitives.seed_stream import SEED_SIZE
from secure_compute.secagg import epoch as epochs
from secure_compute.secagg import node
from secure_compute.secagg.epoch import EpochKey
from secure_compute.secagg.messages import Request
from secure_compute.secagg.node import Node
from secure_compute.secagg.ring import Integers

BASE: Final = 0
"""The layer of noise that every node adds whoever is lost."""


@dataclass(frozen=True, slots=True)
class Part:
    """What this process holds of one order.

    key, node: `node` comes with the first round that begins, and then `key` goes.
    coins:     decides which units the order's rounds hold out.
    last:      the request that opened the last round, and its answer; `node` is gone then.
    """

    said: EpochKey
    expires: int
    coins: bytes = field(repr=False)
    key: AgreementKey | None = field(repr=False)
    node: Node | None = field(default=None, repr=False)
    last: tuple[bytes, bytes] | None = field(default=None, repr=False)


class Summing:
    """The secure sums of one node; `now` is its clock, in seconds since 1970."""

    def __init__(
        self, settings: NodeSettings, roster: Roster, entropy: Entropy, now: Callable[[], float]
    ) -> None:
        self._settings = settings
        self._roster = roster
        self._entropy = entropy
        self._now = now
        self._parts: dict[str, Part] = {}
        self._turns = Turns()

    def advertise(self, order: WorkOrder) -> bytes:
        """Return this node's signed key for the sums of an order: one key, however often asked."""
        with self._turns.of(order.id):
            self._forget_expired()
            part = self._parts.get(order.id) or self._begin(order)
            self._parts[order.id] = part
        return part.said.to_bytes()

    def submit(
        self,
        order: WorkOrder,
        recipe: SumRecipe,
        number: int,
        cohort: Sequence[PartyId],
        keys: bytes,
        make: Callable[[], Integers],
    ) -> bytes:
        """Return the masked upload of round `number`.

        cohort: all of the round; with whom of them this node sums, it derives.
        make: gives this node's clipped sum, [d] int64; asked once the terms are found good.

        Raises:
            RefusedWorkError: this process has no key of the order.
            FederationError, SecureComputeError: the round is not one that the order allows.
        """
        with self._turns.of(order.id):
            part = self._part(order)
            state = part.node or self._join(part, order, keys)
            me = self._settings.party
            terms = own_terms(state.epoch, order, recipe, number, cohort, me)
            node.require_new(state, terms)
            expand = expander(recipe, terms)
            noised = make() + expand(self._entropy.bytes(SEED_SIZE), BASE)
            after, message = node.submit(
                state, terms, noised, expand, self._entropy, self._settings.identity.sign
            )
            self._parts[order.id] = replace(part, node=after, key=None)
        return message.to_bytes(terms)

    def answer(self, order: WorkOrder, request: bytes) -> bytes:
        """Return the answer to what the aggregator asks of a round that was submitted.

        Raises:
            RefusedWorkError: this process submitted nothing for the order.
            SecureComputeError: the answer could open one party's input, or is of another round.
        """
        with self._turns.of(order.id):
            part = self._part(order)
            if part.last is not None and part.last[0] == request:
                return part.last[1]
            if part.node is None:
                raise RefusedWorkError("no sum of this order is under way here")
            asked = Request.read(request)
            after, message = node.answer(part.node, asked, self._settings.identity.sign)
            self._parts[order.id] = replace(part, node=after)
            if after.round is None:
                raise RefusedWorkError("no round of this order is under way here")
            said = message.to_bytes(after.round.terms)
            if after.round.opened and after.round.terms.round + 1 == order.releases:
                self._parts[order.id] = replace(part, node=None, last=(request, said))
            return said

    def coins(self, order: WorkOrder) -> bytes | None:
        """Return the one secret by which all rounds hold units out, if this is an order of sums."""
        part = self._parts.get(order.id)
        return None if part is None else part.coins

    def forget(self, order_id: str) -> None:
        """Delete whatever this process knows of the sums of an order."""
        with self._turns.of(order_id):
            self._parts.pop(order_id, None)

    def _begin(self, order: WorkOrder) -> Part:
        key = AgreementKey(self._entropy.bytes(KEY_SIZE))
        mine = epochs.advertise(
            signers(self._roster), epoch_number(order.id), self._settings.party, key
        )
        said = replace(mine, signature=self._settings.identity.sign(mine.statement()))
        return Part(said, order.expires, self._entropy.bytes(SEED_SIZE), key)

    def _join(self, part: Part, order: WorkOrder, keys: bytes) -> Node:
        """Return the first state of the epoch; the keys of the first round that begins stay."""
        if part.key is None:
            raise RefusedWorkError("the key of this order has served its epoch")
        epoch = epoch_of(self._roster, order.id, unpack_keys(keys))
        return node.join(epoch, self._settings.party, part.key)

    def _part(self, order: WorkOrder) -> Part:
        part = self._parts.get(order.id)
        if part is None:
            raise RefusedWorkError(
                f"this process has no key for the sums of order {order.id[:12]}: whoever started "
                "again takes part from the next order on"
            )
        return part

    def _forget_expired(self) -> None:
        now = self._now()
        for order_id in [one for one, part in list(self._parts.items()) if part.expires <= now]:
            self._parts.pop(order_id, None)


def cohort_in(body: object) -> tuple[PartyId, ...]:
    """Return the parties that a letter names for a round.

    Raises:
        MalformedMessageError: it names none.
    """
    match body:
        case {"cohort": list(names)} if all(isinstance(name, str) for name in names):
            return tuple(PartyId(name) for name in names)
    raise MalformedMessageError("a round of a secure sum names its cohort")
