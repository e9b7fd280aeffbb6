"""The node: answers what the aggregator asks, in the order that keeps its owner safe.

    verify → judge (Permit) → conform → reserve → compute → noise → keep → settle → send

Every step takes the proof of the one before. A reply is kept before it is settled and settled
before it is sent: what left is always charged, and what is asked again is answered with the same
bytes. What goes wrong is told to this node's own log; the other side reads a fixed sentence.
"""

import logging
import sqlite3
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from clients.books import Books
from clients.compute import Compute
from clients.errors import ClientError, RefusedWorkError, UnknownOrderError
from clients.judgement import Judge, Refusal
from clients.keyholding import Keyholding
from clients.outbox import Outbox
from clients.querying import read_key, sealed_partial
from clients.settings import NodeSettings
from clients.tables import conform_table
from clients.training.jobs import TrainJob
from federation.envelopes import Envelope, open_envelope, seal
from federation.errors import FederationError
from federation.membership import Roster
from federation.messages import Kind
from federation.orders import SignedOrder, open_order
from federation.tasks import TrainingTask
from policies.errors import PolicyError, UnknownReservationError
from policies.parties import Role
from secure_compute.canonical import JSON, digest, digest_bytes
from secure_compute.entropy import Entropy
from secure_compute.errors import SecureComputeError

log = logging.getLogger(__name__)

SCRUBBED: Final = "the node could not do this; its operator finds the reason in the node's log"


@dataclass(frozen=True, slots=True)
class Reply:
    """What goes back, before it is sealed."""

    kind: Kind
    body: Mapping[str, JSON]
    blobs: Mapping[str, bytes]


def _reply(kind: Kind, body: Mapping[str, JSON] | None = None, **blobs: bytes) -> Reply:
    return Reply(kind, body or {}, blobs)


def _no_request(_: Envelope) -> Reply:
    return _reply(Kind.FAILED, {"reason": "this node does not answer that kind"})


class Node:
    """One partner's node; `answer` is all that the transport knows of it."""

    def __init__(
        self,
        settings: NodeSettings,
        roster: Roster,
        judge: Judge,
        books: Books,
        outbox: Outbox,
        compute: Compute,
        keyholding: Keyholding,
        entropy: Entropy,
    ) -> None:
        self._settings = settings
        self._roster = roster
        self._judge = judge
        self._books = books
        self._outbox = outbox
        self._compute = compute
        self._keyholding = keyholding
        self._entropy = entropy
        self._key = settings.identity

    def answer(self, wire: bytes) -> bytes:
        """Return the sealed reply to one sealed request."""
        letter = open_envelope(wire, self._roster, self._settings.party).envelope
        aggregator = self._settings.aggregator
        if self._roster.find(aggregator).role is not Role.AGGREGATOR or letter.sender != aggregator:
            raise RefusedWorkError(
                f"{letter.sender} is not the aggregator; only it may ask for work"
            )
        step = self._steps().get(letter.kind, _no_request)
        try:
            reply = step(letter)
        except (
            ClientError,
            FederationError,
            PolicyError,
            SecureComputeError,
            LookupError,
            OSError,
            ValueError,
            sqlite3.Error,
        ) as why:
            log.warning("%s of order %s: %s", letter.kind, letter.order[:12], why)
            reply = _reply(Kind.FAILED, {"reason": SCRUBBED})
        return self._seal(letter, reply)

    def _steps(self) -> dict[Kind, Callable[[Envelope], Reply]]:
        return {
            Kind.PING: lambda _: _reply(Kind.PONG),
            Kind.OFFER: self._consider,
            Kind.CLOSE: self._close,
            Kind.TRAIN_ROUND: self._train,
            Kind.QUERY_PARTIAL: self._partial,
            Kind.QUERY_KEYS: self._make_keys,
            Kind.QUERY_OPEN: self._open_sum,
        }

    def _seal(self, letter: Envelope, reply: Reply) -> bytes:
        return seal(
            Envelope(
                reply.kind,
                self._settings.party,
                letter.sender,
                letter.order,
                letter.sequence,
                reply.body,
                reply.blobs,
            ),
            self._key,
        )

    # -- agreeing ------------------------------------------------------------------------------

    def _consider(self, letter: Envelope) -> Reply:
        """Judge an offered order, set its price aside, and only then touch a row."""
        self.close_expired()
        signed = self._signed(letter, letter.blobs.get("order", b""))
        verdict = self._judge.consider(signed)
        if isinstance(verdict, Refusal):
            log.info("refused order %s: %s", letter.order[:12], verdict.summary)
            return _reply(Kind.REFUSED, verdict.to_json())
        self._outbox.accept(letter.order, signed.wire)
        if signed.order.kind == "train":
            self._compute.warm(self._job(signed))
        log.info("accepted order %s (%s)", letter.order[:12], signed.order.kind)
        return _reply(Kind.ACCEPTED)

    def _close(self, letter: Envelope) -> Reply:
        with suppress(UnknownReservationError):  # an order refused here has nothing to give back
            self._books.close(letter.order)
        self._compute.stop(letter.order)
        return _reply(Kind.CLOSED)

    def close_expired(self, *, starting: bool = False) -> None:
        """Give back what orders that nobody closed had set aside and never released.

        starting: also for an order whose acceptance a crash cut off; nothing of it can have left.
        """
        for order in self._books.open_orders():
            wire = self._outbox.accepted(order)
            if wire is None:
                if starting:
                    self._books.close(order)
            elif self._judge.is_expired(open_order(wire, self._roster)):
                self._books.close(order)

    def _signed(self, letter: Envelope, wire: bytes) -> SignedOrder:
        signed = open_order(wire, self._roster)
        if signed.order.id != letter.order:
            raise RefusedWorkError("the letter and the order inside it have different ids")
        return signed

    def _accepted(self, letter: Envelope) -> SignedOrder:
        wire = self._outbox.accepted(letter.order)
        if wire is None:
            raise UnknownOrderError(f"order {letter.order[:12]} was never accepted here")
        return self._signed(letter, wire)

    # -- releasing -----------------------------------------------------------------------------

    def _train(self, letter: Envelope) -> Reply:
        signed = self._accepted(letter)
        weights = letter.blobs.get("weights", b"")
        return self._release(
            letter,
            digest_bytes(weights),
            lambda: self._update(signed, letter.sequence, weights),
            last=letter.sequence + 1 == signed.order.releases,
        )

    def _update(self, signed: SignedOrder, round_: int, weights: bytes) -> Reply:
        if round_ >= signed.order.releases:
            raise RefusedWorkError("a round beyond those that were reserved")
        update = self._compute.update(self._job(signed), round_, weights)
        return _reply(Kind.TRAIN_UPDATE, update=update)

    def _partial(self, letter: Envelope) -> Reply:
        signed = self._accepted(letter)
        public = letter.blobs.get("public_key", b"")
        return self._release(
            letter, digest_bytes(public), lambda: self._sealed_partial(signed, public), last=True
        )

    def _sealed_partial(self, signed: SignedOrder, public: bytes) -> Reply:
        agreed = self._judge.again(signed)
        key = read_key(public, signed.order, self._roster, self._settings.aggregator)
        part = sealed_partial(signed.order, agreed, key, self._settings, self._entropy)
        return _reply(
            Kind.QUERY_CIPHERTEXT,
            statement=part.commitment.statement(),
            signature=part.signature,
            ciphertext=part.ciphertext,
        )

    def _release(
        self, letter: Envelope, given: str, make: Callable[[], Reply], *, last: bool
    ) -> Reply:
        """Make a release at most once: the reply is kept, then charged, then sent."""
        key = digest([letter.order, letter.kind.value, letter.sequence, given])
        kept = self._outbox.reply(key)
        if kept is None:
            if self._books.is_settled(letter.order, key):
                raise RefusedWorkError(
                    "this release left before and its bytes are gone; fresh noise has its own price"
                )
            made = make()
            kept = self._outbox.keep(key, self._seal(letter, made))
        self._books.settle(letter.order, key)
        if last:
            self._books.close(letter.order)
            self._compute.stop(letter.order)
        envelope = open_envelope(kept, self._roster, letter.sender).envelope
        return Reply(envelope.kind, envelope.body, envelope.blobs)

    def _job(self, signed: SignedOrder) -> TrainJob:
        agreed = self._judge.again(signed)
        task = TrainingTask.from_json(signed.order.parameters)
        table = self._settings.table(agreed.contract)
        return TrainJob(
            signed.order.id,
            task,
            agreed.contract,
            table,
            agreed.permit,
            conform_table(agreed.contract, table),
            agreed.reservation,
        )

    # -- keyholding ----------------------------------------------------------------------------

    def _make_keys(self, letter: Envelope) -> Reply:
        signed = self._signed(letter, letter.blobs.get("order", b""))
        self._judge.as_keyholder(signed)
        self._outbox.accept(letter.order, signed.wire)
        return Reply(Kind.QUERY_PUBLIC_KEY, {}, self._keyholding.offer_key(signed.order))

    def _open_sum(self, letter: Envelope) -> Reply:
        signed = self._accepted(letter)
        self._judge.as_keyholder(signed)
        opened = self._keyholding.open_sum(signed.order, letter.blobs)
        return _reply(
            Kind.QUERY_OPENED,
            {
                "values": list(opened.values),
                "contributors": list(opened.contributors),
                "listing": opened.listing,
            },
        )
