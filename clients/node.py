"""The node: answers what the aggregator asks, in the order that keeps its owner safe.

    verify → judge (Permit) → conform → reserve → witness → compute → noise → keep → settle → send

Every step takes the proof of the one before. Nothing is spent before other organisations have
vouched for this node's ledger, and nothing leaves before as many have put their names to the
reservation; a node that lacks their word says so and is asked again with it. A reply is kept before
it is settled and settled before it is sent: what left is always charged, and what is asked again is
answered with the same bytes. What goes wrong is told to this node's own log; the other side reads
a fixed sentence.
"""

import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final

from clients.answer_letters import AnswerLetters
from clients.answering import Answering, Values
from clients.approvals import Approvals
from clients.books import Books
from clients.compute import Compute
from clients.copies import Copies
from clients.endings import Endings
from clients.errors import ClientError, RefusedWorkError, UnknownOrderError
from clients.ingestion import Ingestion, Readable, paid_windows
from clients.judgement import Judge
from clients.key_letters import KeyLetters
from clients.key_pool import KeyPool
from clients.letters import Letters, Reply, reply_of
from clients.match_letters import MatchLetters
from clients.matching import Matching
from clients.opening import Opener
from clients.outbox import Outbox
from clients.proposals import Proposals
from clients.querying import noised_cells
from clients.recording import FIGURES, Recorder
from clients.releasing import Releasing
from clients.reuse import Repeating
from clients.rosters import Rosters
from clients.settings import NodeSettings
from clients.slots import Slots, received
from clients.snapshots import take_up
from clients.summing import Summing, cohort_in
from clients.tables import conform_table
from clients.training.jobs import TrainJob
from clients.turns import Turns
from clients.verdicts import Agreed, Refusal, refused_by_clock
from clients.vouching import Vouching
from clients.witnessing import AloneError, UnsureError, Witnessing
from federation.envelopes import Envelope, open_envelope, seal
from federation.errors import (
    ClockError,
    FederationError,
    MalformedMessageError,
    RolledBackError,
)
from federation.membership import Roster
from federation.messages import PROPOSING, Kind
from federation.order_kinds import kinds_of
from federation.orders import SignedOrder, WorkOrder, open_order
from federation.past import PAST
from federation.secure_sums import EPOCH_KEY
from federation.sqlite_files import ANY_ERROR
from federation.tasks import TrainingTask, sums_of
from policies.errors import PolicyError, UnknownReservationError
from policies.parties import PartyId, Role
from secure_compute.canonical import JSON, digest, digest_bytes
from secure_compute.entropy import Entropy
from secure_compute.errors import SecureComputeError

log = logging.getLogger(__name__)

SCRUBBED: Final = "the node could not do this; its operator finds the reason in the node's log"

_FAILURES: Final[tuple[type[Exception], ...]] = (
    *(ClientError, FederationError, PolicyError, SecureComputeError),
    *(LookupError, OSError, ValueError),
    *ANY_ERROR,
)
"""What a letter can make of a node whose files, rows and settings are any."""


def _no_request(_: Envelope) -> Reply:
    return reply_of(Kind.FAILED, {"reason": "this node does not answer that kind"})


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
        answering: Answering,
        pool: KeyPool,
        opener: Opener,
        witnessing: Witnessing,
        vouching: Vouching,
        recorder: Recorder,
        rosters: Rosters,
        ingestion: Ingestion,
        copies: Copies,
        summing: Summing,
        matching: Matching,
        approvals: Approvals,
        entropy: Entropy,
        slots: Slots,
        halt: Callable[[], None] = lambda: None,
    ) -> None:
        self._settings = settings
        self._roster = roster
        self._judge = judge
        self._books = books
        self._outbox = outbox
        self._compute = compute
        self._witnessing = witnessing
        self._vouching = vouching
        self._recorder = recorder
        self._rosters = rosters
        self._ingestion = ingestion
        self._copies = copies
        self._summing = summing
        self._entropy = entropy
        self._slots = slots
        self._halt = halt
        self._proposals = Proposals(settings, judge, approvals, recorder)
        self._letters = Letters(settings, roster, witnessing, vouching)
        turns = Turns()
        self._endings = Endings(books, judge.now, turns)
        self._releasing = Releasing(judge, books, outbox, witnessing, self._letters, turns)
        self._keys = KeyLetters(judge, outbox, pool, opener, witnessing, recorder, self._letters)
        self._answers = AnswerLetters(
            judge,
            books,
            answering,
            judge.questions,
            self._releasing,
            self._letters,
            self._cells_of,
            slots,
            settings.party,
        )
        self._matches = MatchLetters(
            settings,
            judge,
            books,
            outbox,
            self._endings,
            ingestion,
            witnessing,
            recorder,
            self._letters,
            matching,
            approvals,
            entropy,
        )
        self.ended: RolledBackError | AloneError | None = None

    @property
    def roster(self) -> Roster:
        """The epoch that this process works with."""
        return self._roster

    def while_idle(self, act: Callable[[], None]) -> None:
        """Do something unless an order is under way, or what is late of one still reads rows."""
        self._endings.while_idle(lambda: None if self._slots.busy else act())

    def begin(self) -> None:
        """Whatever an earlier process left open is over; comes before any answer."""
        self._endings.begin()

    def answer(self, wire: bytes) -> bytes:
        """Return the sealed reply to one sealed request; one in a slot leaves when that ends."""
        with received(self._slots.now()):
            return self._answer(wire)

    def _answer(self, wire: bytes) -> bytes:
        letter = open_envelope(wire, self._roster, self._settings.party).envelope
        aggregator = self._settings.aggregator
        if self._roster.find(aggregator).role is not Role.AGGREGATOR or letter.sender != aggregator:
            raise RefusedWorkError(
                f"{letter.sender} is not the aggregator; only it may ask for work"
            )
        reply = self._letters.envelope(letter, self._reply_to(letter))
        sealed = seal(reply, self._settings.identity)
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
        except _FAILURES as why:
            log.warning("%s of order %s: %s", letter.kind, letter.order[:12], why)
            return self._failed(letter, why)

    def _unsure(self, why: UnsureError) -> Reply:
        body = {"lacks": why.lacks, "nonce": self._witnessing.nonce}
        return reply_of(Kind.LEDGER_UNSURE, body).carrying(self._witnessing.head())

    def _failed(self, letter: Envelope, why: Exception) -> Reply:
        """Return what the other side may know; some failures are the end of this process."""
        if isinstance(why, RolledBackError | AloneError):
            self.ended = why
            self._halt()
        if isinstance(why, ClockError) and letter.kind in PROPOSING:
            return self._refused(letter, refused_by_clock(why))
        return reply_of(Kind.FAILED, {"reason": SCRUBBED})

    def _steps(self) -> dict[Kind, Callable[[Envelope], Reply]]:
        return {
            Kind.PING: lambda _: reply_of(Kind.PONG),
            Kind.PROPOSE: self._propose,
            Kind.OFFER: self._consider,
            Kind.CLOSE: self._close,
            Kind.TRAIN_ROUND: self._train,
            Kind.SUM_ROUND: self._sum,
            Kind.SUM_ASK: self._open_sum,
            Kind.KEYS_JOIN: self._keys.join,
            Kind.KEYS_BEGIN: self._keys.begin,
            Kind.KEYS_COMMIT: self._keys.commit,
            Kind.KEYS_SHOW: self._keys.show,
            Kind.QUERY_COMMIT: self._commit,
            Kind.QUERY_ENDORSE: lambda let: self._answers.endorse(let, self._accepted(let)),
            Kind.QUERY_REVEAL: self._reveal,
            Kind.QUERY_BIND: self._keys.bind,
            Kind.QUERY_OPEN: self._keys.open,
            Kind.MATCH_STEP: lambda letter: self._matches.step(letter, self._accepted(letter)),
            Kind.LEDGER_SEEN: self._say_seen,
            Kind.LEDGER_WITNESS: self._vouch,
            Kind.ROSTER_SHOW: self._show_roster,
        }

    def _released_for(self, reply: Envelope) -> WorkOrder | None:
        """Return the order that a reply with figures was made for."""
        wire = self._outbox.accepted(reply.order) if reply.kind in FIGURES else None
        return None if wire is None else open_order(wire, self._roster).order

    # -- agreeing ------------------------------------------------------------------------------

    def _propose(self, letter: Envelope) -> Reply:
        """Say whether an order would be accepted, or waits for people; nothing is set aside."""
        signed = self._letters.order_in(letter, letter.blobs.get("order", b""))
        weigh = self._matches.weigh if signed.order.kind == "match" else self._judge.weigh
        return self._proposals.answer(signed, weigh(signed))

    def _consider(self, letter: Envelope) -> Reply:
        """Judge an offered order and set its price aside; no row has a say in the answer."""
        self._witnessing.require_sure()
        self._endings.close_expired()
        self._endings.while_idle(self._take_up)
        signed = self._letters.order_in(letter, letter.blobs.get("order", b""))
        if PAST in letter.body:
            return self._repeat(letter, signed, str(letter.body[PAST]))
        if signed.order.kind == "match":
            return self._matches.consider(letter, signed)
        verdict = self._agree(letter, signed)
        if isinstance(verdict, Refusal):
            return self._refused(letter, verdict)
        reply = reply_of(Kind.ACCEPTED).carrying({**self._witnessing.head(), **self._key(signed)})
        if signed.order.kind == "train":  # only now: what is found in the rows may be written down
            self._compute.warm(lambda: self._job(signed))
        log.info("accepted order %s (%s)", letter.order[:12], signed.order.kind)
        return reply

    def _agree(self, letter: Envelope, signed: SignedOrder) -> Agreed | Refusal:
        """Judge an order, and set its price aside if it is agreed to."""
        with self._judge.turn():
            verdict = self._judge.consider(signed)
            if isinstance(verdict, Agreed):
                self._endings.reserved(signed.order)
                self._accept(letter, signed, verdict)
        return verdict

    def _take_up(self) -> None:
        if not self._slots.busy:  # what is late may still read the old ones
            take_up(self._settings, self._judge.contracts.values())

    def _key(self, signed: SignedOrder) -> dict[str, bytes]:
        """Return this node's key for an order's secure sums, if it has any."""
        if sums_of(signed.order) is None:
            return {}
        return {EPOCH_KEY: self._summing.advertise(signed.order)}

    def _accept(self, letter: Envelope, signed: SignedOrder, agreed: Agreed) -> None:
        if self._outbox.accepted(letter.order) is None:
            said = self._judge.said(agreed.permit, signed.order)
            self._recorder.approved(letter.order, (*self._judge.rules(signed.order), *said))
        self._outbox.accept(letter.order, signed.wire)
        self._proposals.close(letter.order)

    def _repeat(self, letter: Envelope, signed: SignedOrder, past: str) -> Reply:
        """Let a release that was made here be given out once more; nothing is read or charged."""
        verdict = Repeating(self._judge, self._outbox).consider(signed, past)
        if isinstance(verdict, Refusal):
            return self._refused(letter, verdict)
        key = digest([letter.order, PAST, past])
        if self._outbox.reply(key) is None:
            rules = self._judge.rules(signed.order)
            self._recorder.delivered(letter.order, verdict, signed.order, rules)
            self._outbox.keep(key, signed.wire)
        log.info("order %s repeats %s", letter.order[:12], past[:12])
        return reply_of(Kind.ACCEPTED, {PAST: past}).carrying(self._witnessing.head())

    def _refused(self, letter: Envelope, refusal: Refusal) -> Reply:
        log.info("refused order %s: %s", letter.order[:12], refusal.summary)
        self._recorder.refused(letter.order, refusal)
        return reply_of(Kind.REFUSED, refusal.to_json())

    def _close(self, letter: Envelope) -> Reply:
        with suppress(UnknownReservationError):  # an order refused here has nothing to give back
            self._endings.close(letter.order)
        self._compute.stop(letter.order)
        self._summing.forget(letter.order)
        self._answers.close(letter.order)
        self._keys.close(letter.order)
        self._proposals.close(letter.order)
        self._let_go()
        return reply_of(Kind.CLOSED)

    def _hold(self) -> None:
        """Keep open what every step of a question reads; none of it is held while rows are read."""
        for store in (self._outbox, self._judge.questions):
            store.hold()

    def _let_go(self) -> None:
        for store in (self._outbox, self._judge.questions):
            store.let_go()

    def _accepted(self, letter: Envelope) -> SignedOrder:
        wire = self._outbox.accepted(letter.order)
        if wire is None:
            raise UnknownOrderError(f"order {letter.order[:12]} was never accepted here")
        signed = self._letters.order_in(letter, wire)
        if letter.kind not in kinds_of(signed.order):
            raise RefusedWorkError(f"{letter.kind} is no part of order {letter.order[:12]}")
        return signed

    # -- releasing -----------------------------------------------------------------------------

    def _train(self, letter: Envelope) -> Reply:
        signed = self._accepted(letter)
        weights = letter.blobs.get("weights", b"")
        return self._release(
            letter,
            signed,
            digest_bytes(weights),
            lambda: self._update(signed, letter.sequence, weights),
            last=letter.sequence + 1 == signed.order.releases,
        )

    def _update(self, signed: SignedOrder, round_: int, weights: bytes) -> Reply:
        if round_ >= signed.order.releases:
            raise RefusedWorkError("a round beyond those that were reserved")
        update = self._compute.update(self._job(signed), round_, weights)
        return reply_of(Kind.TRAIN_UPDATE, update=update)

    def _sum(self, letter: Envelope) -> Reply:
        signed = self._accepted(letter)
        cohort = cohort_in(letter.body)
        given = [digest_bytes(letter.blobs.get(name, b"")) for name in ("weights", "keys")]
        return self._release(
            letter,
            signed,
            digest([*given, *cohort]),
            lambda: self._upload(signed, letter, cohort),
            last=letter.sequence + 1 == signed.order.releases,
            masked=True,
        )

    def _upload(self, signed: SignedOrder, letter: Envelope, cohort: Sequence[PartyId]) -> Reply:
        recipe = sums_of(signed.order)
        if recipe is None:
            raise RefusedWorkError("a secure sum is asked of an order that has none")
        weights, keys = (letter.blobs.get(name, b"") for name in ("weights", "keys"))
        upload = self._summing.submit(
            signed.order,
            recipe,
            letter.sequence,
            cohort,
            keys,
            lambda: self._compute.clipped_sum(self._job(signed), letter.sequence, weights),
        )
        return reply_of(Kind.SUM_UPLOAD, upload=upload)

    def _open_sum(self, letter: Envelope) -> Reply:
        """Answer what opens a sum whose upload left and was paid for: nothing new is released."""
        signed = self._accepted(letter)
        answer = self._summing.answer(signed.order, letter.blobs.get("request", b""))
        return reply_of(Kind.SUM_ANSWER, answer=answer)

    def _commit(self, letter: Envelope) -> Reply:
        """Judge a query unless that was done, and commit to this node's answer to it."""
        agreed = None
        if "order" in letter.blobs and self._outbox.accepted(letter.order) is None:
            self._witnessing.require_sure()
            self._endings.close_expired()
            self._endings.while_idle(self._take_up)
            found = self._agree(letter, self._letters.order_in(letter, letter.blobs["order"]))
            if isinstance(found, Refusal):
                return self._refused(letter, found)
            agreed = found
            self._hold()
            log.info("accepted order %s (query)", letter.order[:12])
        return self._answers.commit(letter, self._accepted(letter), agreed)

    def _reveal(self, letter: Envelope) -> Reply:
        """Reveal this node's answer to a query; that is its one release."""
        reply = self._answers.reveal(letter, self._accepted(letter))
        self._endings.close(letter.order)
        return reply

    def _cells_of(self, signed: SignedOrder, before: Agreed | None) -> Values:
        agreed = before or self._judge.again(signed)

        def cells() -> tuple[int, ...]:
            rows, entropy = self._readables(agreed), self._entropy
            return noised_cells(signed.order, agreed, rows, entropy, self._copies.of)

        return cells

    def _release(
        self,
        letter: Envelope,
        signed: SignedOrder,
        given: str,
        make: Callable[[], Reply],
        *,
        last: bool,
        masked: bool = False,
    ) -> Reply:
        """Return a release that is made at most once; the last one ends its order."""
        reply = self._releasing.once(letter, signed, given, make, masked=masked)
        if last:
            self._endings.close(letter.order)
            self._compute.stop(letter.order)
        return reply

    def _job(self, signed: SignedOrder) -> TrainJob:
        agreed = self._judge.again(signed)
        task = TrainingTask.from_json(signed.order.parameters)
        return TrainJob(
            signed.order.id,
            task,
            agreed.contract,
            self._readables(agreed)[0],  # training reads one contract
            agreed.permit,
            conform_table(agreed.contract, self._settings.table(agreed.contract)),
            agreed.reservation,
            self._summing.coins(signed.order),
        )

    def _readables(self, agreed: Agreed) -> tuple[Readable, ...]:
        """Return the paid rows of each contract; whatever came in since is booked before."""
        windows, paid = self._books.windows(), paid_windows(agreed.reservation)
        return tuple(
            self._ingestion.readable(contract, self._settings.table(contract), windows, paid)
            for contract in agreed.contracts
        )

    # -- members -------------------------------------------------------------------------------

    def _show_roster(self, letter: Envelope) -> Reply:
        """Take what is newer, and say which epoch this process works with.

        One that works with an older epoch than it has is over as soon as no order is under way; the
        next one, which `clients.succession` builds, works with the newer.
        """
        offered = letter.blobs.get("roster")
        known = self._rosters.known()
        if offered is not None:
            known = self._rosters.take(offered, letter.sender)
        if known.digest != self._rosters.working.digest:
            self._endings.while_idle(self._take_up_roster)
        works = self._rosters.working
        asker, idle = (letter.body.get("epoch"), letter.body.get("digest")), list[bool]()
        self._endings.while_idle(lambda: idle.append(True))
        longer = self._rosters.brought(*asker, idle=bool(idle))
        blobs = {} if longer is None else {"roster": longer}
        said: dict[str, JSON] = {"epoch": works.epoch, "digest": works.digest}
        return reply_of(Kind.ROSTER_KNOWN, said, **blobs)

    def _take_up_roster(self) -> None:
        if not self._slots.busy:
            log.info("a newer roster is there: this node is over, and the next works with it")
            self._halt()

    # -- witnessing ----------------------------------------------------------------------------

    def _say_seen(self, letter: Envelope) -> Reply:
        match letter.body:
            case {"about": dict(about)} if len(letter.body) == 1:
                words = self._vouching.say_seen(about)
                return reply_of(Kind.LEDGER_HEADS).carrying(words)
        raise MalformedMessageError("a question about heads names logs and nonces")

    def _vouch(self, letter: Envelope) -> Reply:
        self._witnessing.require_sure()
        self._witnessing.show_from(_sizes(letter))
        vouched = self._vouching.vouch(letter)
        reply = reply_of(Kind.LEDGER_COSIGNED, {"missing": dict(vouched.missing)})
        return reply.carrying({**self._witnessing.head(), **vouched.blobs})


def _sizes(letter: Envelope) -> list[int]:
    """Return the sizes from which witnesses of this node's log want a proof."""
    match letter.body.get("sizes", []):
        case list(sizes) if all(type(size) is int and size > 0 for size in sizes):
            return [size for size in sizes if isinstance(size, int)]
    raise MalformedMessageError("sizes that witnesses ask about are whole numbers above zero")
