"""The node: answers what the aggregator asks, in the order that keeps its owner safe.

    verify → judge (Permit) → conform → reserve → witness → compute → noise → keep → settle → send

Every step takes the proof of the one before. Nothing is spent before other organisations have
vouched for this node's ledger, and nothing leaves before one of them has put its name to the
reservation; a node that lacks their word says so and is asked again with it. A reply is kept before
it is settled and settled before it is sent: what left is always charged, and what is asked again is
answered with the same bytes. What goes wrong is told to this node's own log; the other side reads
a fixed sentence.
"""

import logging
import sqlite3
import threading
from collections import defaultdict
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Final

from clients.books import Books
from clients.compute import Compute
from clients.errors import ClientError, RefusedWorkError, UnknownOrderError
from clients.ingestion import Ingestion, Readable, paid_windows
from clients.judgement import Agreed, Judge, Refusal, refused_by_clock
from clients.keyholding import Keyholding
from clients.outbox import Outbox
from clients.querying import read_key, sealed_partial
from clients.recording import FIGURES, Recorder
from clients.reuse import Repeating
from clients.settings import NodeSettings
from clients.tables import conform_table
from clients.training.jobs import TrainJob
from clients.witnessing import AloneError, UnsureError, Witnessing
from federation.envelopes import Envelope, open_envelope, seal
from federation.errors import (
    ClockError,
    FederationError,
    MalformedMessageError,
    RolledBackError,
)
from federation.membership import Roster
from federation.messages import Kind
from federation.orders import SignedOrder, WorkOrder, open_order
from federation.past import PAST
from federation.riding import RIDING
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

    def carrying(self, blobs: Mapping[str, bytes]) -> "Reply":
        """Return the reply with more parts."""
        return replace(self, blobs={**self.blobs, **blobs})


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
        witnessing: Witnessing,
        recorder: Recorder,
        ingestion: Ingestion,
        entropy: Entropy,
        halt: Callable[[], None] = lambda: None,
    ) -> None:
        self._settings = settings
        self._roster = roster
        self._judge = judge
        self._books = books
        self._outbox = outbox
        self._compute = compute
        self._keyholding = keyholding
        self._witnessing = witnessing
        self._recorder = recorder
        self._ingestion = ingestion
        self._entropy = entropy
        self._halt = halt
        self._key = settings.identity
        self._turns: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)
        self.ended: RolledBackError | AloneError | None = None

    def answer(self, wire: bytes) -> bytes:
        """Return the sealed reply to one sealed request."""
        letter = open_envelope(wire, self._roster, self._settings.party).envelope
        aggregator = self._settings.aggregator
        if self._roster.find(aggregator).role is not Role.AGGREGATOR or letter.sender != aggregator:
            raise RefusedWorkError(
                f"{letter.sender} is not the aggregator; only it may ask for work"
            )
        reply = self._envelope(letter, self._reply_to(letter))
        sealed = seal(reply, self._key)
        self._recorder.left(reply, len(sealed), self._released_for(reply))
        return sealed

    def _reply_to(self, letter: Envelope) -> Reply:
        step = self._steps().get(letter.kind, _no_request)
        try:
            if self.ended is not None:
                raise self.ended
            self._witnessing.read(letter)
            return step(letter)
        except UnsureError as why:
            log.info("%s of order %s: %s", letter.kind, letter.order[:12], why)
            return self._unsure(why)
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
            return self._failed(letter, why)

    def _unsure(self, why: UnsureError) -> Reply:
        body = {"lacks": why.lacks, "nonce": self._witnessing.nonce}
        return _reply(Kind.LEDGER_UNSURE, body).carrying(self._witnessing.head())

    def _failed(self, letter: Envelope, why: Exception) -> Reply:
        """Return what the other side may know; some failures are the end of this process."""
        if isinstance(why, RolledBackError | AloneError):
            self.ended = why
            self._halt()
        if isinstance(why, ClockError) and letter.kind is Kind.OFFER:
            return self._refused(letter, refused_by_clock(why))
        return _reply(Kind.FAILED, {"reason": SCRUBBED})

    def _steps(self) -> dict[Kind, Callable[[Envelope], Reply]]:
        return {
            Kind.PING: lambda _: _reply(Kind.PONG),
            Kind.OFFER: self._consider,
            Kind.CLOSE: self._close,
            Kind.TRAIN_ROUND: self._train,
            Kind.QUERY_PARTIAL: self._partial,
            Kind.QUERY_KEYS: self._make_keys,
            Kind.QUERY_OPEN: self._open_sum,
            Kind.LEDGER_SEEN: self._say_seen,
            Kind.LEDGER_WITNESS: self._vouch,
        }

    def _envelope(self, letter: Envelope, reply: Reply) -> Envelope:
        return Envelope(
            reply.kind,
            self._settings.party,
            letter.sender,
            letter.order,
            letter.sequence,
            reply.body,
            reply.blobs,
        )

    def _seal(self, letter: Envelope, reply: Reply) -> bytes:
        return seal(self._envelope(letter, reply), self._key)

    def _released_for(self, reply: Envelope) -> WorkOrder | None:
        """Return the order that a reply with figures was made for."""
        wire = self._outbox.accepted(reply.order) if reply.kind in FIGURES else None
        return None if wire is None else open_order(wire, self._roster).order

    # -- agreeing ------------------------------------------------------------------------------

    def _consider(self, letter: Envelope) -> Reply:
        """Judge an offered order, set its price aside, and only then touch a row."""
        self._witnessing.require_sure()
        self.close_expired()
        signed = self._signed(letter, letter.blobs.get("order", b""))
        if PAST in letter.body:
            return self._repeat(letter, signed, str(letter.body[PAST]))
        verdict = self._judge.consider(signed)
        if isinstance(verdict, Refusal):
            return self._refused(letter, verdict)
        self._accept(letter, signed)
        if signed.order.kind == "train":
            self._compute.warm(self._job(signed))
        log.info("accepted order %s (%s)", letter.order[:12], signed.order.kind)
        return _reply(Kind.ACCEPTED).carrying(self._witnessing.head())

    def _accept(self, letter: Envelope, signed: SignedOrder) -> None:
        if self._outbox.accepted(letter.order) is None:
            self._recorder.approved(letter.order)
        self._outbox.accept(letter.order, signed.wire)

    def _repeat(self, letter: Envelope, signed: SignedOrder, past: str) -> Reply:
        """Let a release that was made here be given out once more; nothing is read or charged."""
        verdict = Repeating(self._judge, self._outbox).consider(signed, past)
        if isinstance(verdict, Refusal):
            return self._refused(letter, verdict)
        key = digest([letter.order, PAST, past])
        if self._outbox.reply(key) is None:
            self._recorder.delivered(letter.order, verdict, signed.order)
            self._outbox.keep(key, signed.wire)
        log.info("order %s repeats %s", letter.order[:12], past[:12])
        return _reply(Kind.ACCEPTED, {PAST: past}).carrying(self._witnessing.head())

    def _refused(self, letter: Envelope, refusal: Refusal) -> Reply:
        log.info("refused order %s: %s", letter.order[:12], refusal.summary)
        self._recorder.refused(letter.order, refusal)
        return _reply(Kind.REFUSED, refusal.to_json())

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
            signed.order,
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
            letter,
            signed.order,
            digest_bytes(public),
            lambda: self._sealed_partial(signed, public),
            last=True,
        )

    def _sealed_partial(self, signed: SignedOrder, public: bytes) -> Reply:
        agreed = self._judge.again(signed)
        key = read_key(public, signed.order, self._roster, self._settings.aggregator)
        part = sealed_partial(
            signed.order, agreed, self._readable(agreed), key, self._settings, self._entropy
        )
        return _reply(
            Kind.QUERY_CIPHERTEXT,
            statement=part.commitment.statement(),
            signature=part.signature,
            ciphertext=part.ciphertext,
        )

    def _release(
        self,
        letter: Envelope,
        order: WorkOrder,
        given: str,
        make: Callable[[], Reply],
        *,
        last: bool,
    ) -> Reply:
        """Make a release at most once: the reply is kept, then charged, then sent."""
        key = digest([letter.order, letter.kind.value, letter.sequence, given])
        with self._turns[letter.order]:
            kept, settled = self._outbox.reply(key), self._books.is_settled(letter.order, key)
            if kept is None or not settled:
                self._witnessing.require_sure()
                self._witnessing.require_witnessed(letter.order)
            if kept is None:
                self._require_of_use(letter, order, key, settled=settled)
                wire = self._seal(letter, self._with_ledgers(letter, make))
                kept = self._outbox.keep(key, wire, letter.order, letter.sequence)
            self._books.settle(letter.order, key)
        if last:
            self._books.close(letter.order)
            self._compute.stop(letter.order)
        return self._as_kept(letter, kept)

    def _require_of_use(
        self, letter: Envelope, order: WorkOrder, key: str, *, settled: bool
    ) -> None:
        """Accept a release that did not leave before, for a round that may still be made."""
        if settled:
            raise RefusedWorkError(
                "this release left before and its bytes are gone; fresh noise has its own price"
            )
        if self._outbox.abandoned(key, letter.order, letter.sequence) > order.abandoned:
            raise RefusedWorkError("more rounds came to nothing than the order lets go to waste")

    def _with_ledgers(self, letter: Envelope, make: Callable[[], Reply]) -> Reply:
        """Return what `make` makes, with this node's head and its word on the heads of others."""
        vouched = self._witnessing.vouch(letter)
        return make().carrying({**self._witnessing.head(), **vouched.blobs})

    def _as_kept(self, letter: Envelope, kept: bytes) -> Reply:
        envelope = open_envelope(kept, self._roster, letter.sender).envelope
        return Reply(envelope.kind, envelope.body, envelope.blobs)

    def _job(self, signed: SignedOrder) -> TrainJob:
        agreed = self._judge.again(signed)
        task = TrainingTask.from_json(signed.order.parameters)
        return TrainJob(
            signed.order.id,
            task,
            agreed.contract,
            self._readable(agreed),
            agreed.permit,
            conform_table(agreed.contract, self._settings.table(agreed.contract)),
            agreed.reservation,
        )

    def _readable(self, agreed: Agreed) -> Readable:
        """Return the rows that are paid for; whatever came in since is booked before."""
        table = self._settings.table(agreed.contract)
        paid = paid_windows(agreed.reservation)
        return self._ingestion.readable(agreed.contract, table, self._books.windows(), paid)

    # -- keyholding ----------------------------------------------------------------------------

    def _make_keys(self, letter: Envelope) -> Reply:
        """Offer a query's key; the letter is kept, because holders make a release per letter."""
        signed = self._signed(letter, letter.blobs.get("order", b""))
        key = digest([letter.order, letter.kind.value])
        kept = self._outbox.reply(key)
        if kept is None:
            self._witnessing.require_sure()
            self._judge.as_keyholder(signed)
            self._accept(letter, signed)
            made = self._with_ledgers(letter, lambda: self._public_key(signed))
            kept = self._outbox.keep(key, self._seal(letter, made))
        return self._as_kept(letter, kept)

    def _public_key(self, signed: SignedOrder) -> Reply:
        return Reply(Kind.QUERY_PUBLIC_KEY, {}, self._keyholding.offer_key(signed.order))

    def _open_sum(self, letter: Envelope) -> Reply:
        self._witnessing.require_sure()
        signed = self._accepted(letter)
        self._judge.as_keyholder(signed)
        parts = {name: part for name, part in letter.blobs.items() if name not in RIDING}
        opened = self._keyholding.open_sum(signed.order, parts)
        return _reply(
            Kind.QUERY_OPENED,
            {
                "values": list(opened.values),
                "contributors": list(opened.contributors),
                "listing": opened.listing,
            },
        )

    # -- witnessing ----------------------------------------------------------------------------

    def _say_seen(self, letter: Envelope) -> Reply:
        match letter.body:
            case {"about": dict(about)} if len(letter.body) == 1:
                words = self._witnessing.say_seen(about)
                return _reply(Kind.LEDGER_HEADS).carrying(words)
        raise MalformedMessageError("a question about heads names logs and nonces")

    def _vouch(self, letter: Envelope) -> Reply:
        self._witnessing.show_from(_sizes(letter))
        vouched = self._witnessing.vouch(letter)
        reply = _reply(Kind.LEDGER_COSIGNED, {"missing": dict(vouched.missing)})
        return reply.carrying({**self._witnessing.head(), **vouched.blobs})


def _sizes(letter: Envelope) -> list[int]:
    """Return the sizes from which witnesses of this node's log want a proof."""
    match letter.body.get("sizes", []):
        case list(sizes) if all(type(size) is int and size > 0 for size in sizes):
            return [size for size in sizes if isinstance(size, int)]
    raise MalformedMessageError("sizes that witnesses ask about are whole numbers above zero")
