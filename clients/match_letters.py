"""The letters of a match: an offer that a person may have to approve, and steps that are said once.

    verify → judge (Permit) → reserve, or a person's consent → witness → step → keep → settle → send

Either end pays once: the sender with its reply, the receiver when it tells what it counted; of a
sum, which comes later, they pay there too. A disclosure is an entry of its own, cosigned by a
quorum before any of it leaves. An order that was open when this process started counts as paid
whole; what it paid for may still leave, because the log names from what it is made
(`clients.matching`).
"""

import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from clients.approvals import Approvals
from clients.books import Books
from clients.endings import Endings
from clients.ingestion import Ingestion, Readable
from clients.judgement import Judge
from clients.letters import Letters, Reply, reply_of
from clients.match_rows import amounts, identifiers
from clients.matching import NEEDS, RELEASES, Matching, Rows, Step
from clients.outbox import Outbox
from clients.reasons import declined
from clients.recording import Recorder
from clients.settings import NodeSettings
from clients.turns import Turns
from clients.verdicts import Agreed, Refusal, waits_for_a_person
from clients.witnessing import Witnessing
from federation.envelopes import Envelope
from federation.errors import MalformedMessageError
from federation.matching import PRICED, MatchTask, task_of
from federation.messages import Kind
from federation.orders import SignedOrder
from federation.pairing import PAIR_KEY
from policies.contracts import DataContract
from policies.errors import UnknownReservationError
from secure_compute.canonical import digest, digest_bytes
from secure_compute.entropy import Entropy
from secure_compute.psi.identifiers import Collected

log = logging.getLogger(__name__)


class MatchLetters:
    """What one node answers about matches."""

    def __init__(
        self,
        settings: NodeSettings,
        judge: Judge,
        books: Books,
        outbox: Outbox,
        endings: Endings,
        ingestion: Ingestion,
        witnessing: Witnessing,
        recorder: Recorder,
        letters: Letters,
        matching: Matching,
        approvals: Approvals,
        entropy: Entropy,
    ) -> None:
        self._settings = settings
        self._judge = judge
        self._books = books
        self._outbox = outbox
        self._endings = endings
        self._ingestion = ingestion
        self._witnessing = witnessing
        self._recorder = recorder
        self._letters = letters
        self._matching = matching
        self._approvals = approvals
        self._entropy = entropy
        self._turns = Turns()

    def consider(self, letter: Envelope, signed: SignedOrder) -> Reply:
        """Judge an offered match: its price is set aside, or a person is waited for."""
        order = signed.order
        refusal = self._agree(signed)
        if refusal is not None and refusal.kind == "approval" and _discloses(signed):
            log.info("order %s waits for a person's approval", order.id[:12])
            return reply_of(Kind.REFUSED, refusal.to_json())
        if refusal is not None:
            return self._refused(letter, refusal)
        key = {PAIR_KEY: self._matching.advertise(order)}
        log.info("accepted order %s (%s)", order.id[:12], order.kind)
        return reply_of(Kind.ACCEPTED).carrying({**self._witnessing.head(), **key})

    def weigh(self, signed: SignedOrder) -> Refusal | None:
        """Return why a match would be refused, or what it waits for; nothing is set aside."""
        if not _discloses(signed):
            return self._judge.weigh(signed)
        return self._judge.disclosure(signed) or self._unapproved(signed)

    def step(self, letter: Envelope, signed: SignedOrder) -> Reply:
        """Return what this end says next; asked again, the same bytes.

        Raises:
            UnsureError: witnesses have not spoken yet.
            RefusedWorkError: the law refuses the match now, or the step is not this end's.
        """
        step, task = _step(letter), task_of(signed.order)
        released = step is RELEASES[task.role_of(self._settings.party)]
        priced = released and not task.discloses
        given = [digest_bytes(letter.blobs.get(name, b"")) for name in (PAIR_KEY, *_names(step))]
        key = digest([letter.order, letter.kind.value, letter.sequence, *given])
        with self._turns.of(letter.order):
            kept = self._outbox.reply(key)
            if kept is None:
                self._witnessing.require_sure()
                if not task.discloses:
                    self._witnessing.require_witnessed(letter.order)
                self._judge.still(signed)
                made = self._letters.with_ledgers(letter, lambda: self._said(letter, signed, step))
                kept = self._outbox.keep(key, self._letters.seal(letter, made))
            if priced and not self._books.is_doubted(letter.order):
                self._books.settle(letter.order, key)
        if released:
            with suppress(UnknownReservationError):  # a disclosure has set nothing aside
                self._endings.close(letter.order)
        return self._letters.as_kept(letter, kept)

    def _agree(self, signed: SignedOrder) -> Refusal | None:
        """Accept a match, once its price is set aside or its person has said yes."""
        order = signed.order
        with self._judge.turn():
            verdict = self._verdict(signed)
            if isinstance(verdict, Refusal):
                return verdict
            said: tuple[str, ...] = ()
            if verdict is None:
                self._endings.accepted_unpriced(order)
            else:
                self._endings.reserved(order)
                said = self._judge.said(verdict.permit, order)
            if self._outbox.accepted(order.id) is None:
                self._recorder.approved(order.id, (*self._judge.rules(order), *said))
            self._outbox.accept(order.id, signed.wire)
            self._approvals.forget(order.id)
        return None

    def _verdict(self, signed: SignedOrder) -> Agreed | Refusal | None:
        """Return what sets a match's price aside, or why not; None for a disclosure, approved."""
        if _discloses(signed):
            return self._judge.disclosure(signed) or self._unapproved(signed)
        return self._judge.consider(signed)

    def _unapproved(self, signed: SignedOrder) -> Refusal | None:
        """Return why nobody here has approved a disclosure; it is kept for a person then."""
        if self._approvals.given(signed.order.id):
            return None
        if self._approvals.answered(signed.order.id):
            return Refusal("person", (declined(),), named=self._settings.named)
        self._approvals.wait(signed)
        return waits_for_a_person(signed.order)

    def _refused(self, letter: Envelope, refusal: Refusal) -> Reply:
        log.info("refused order %s: %s", letter.order[:12], refusal.summary)
        self._recorder.refused(letter.order, refusal)
        return reply_of(Kind.REFUSED, refusal.to_json())

    def _said(self, letter: Envelope, signed: SignedOrder, step: Step) -> Reply:
        parts = {part: letter.blobs.get(part.name.lower(), b"") for part in NEEDS[step]}
        key = letter.blobs.get(PAIR_KEY, b"")
        said = self._matching.say(signed.order, step, key, parts, self._rows(signed))
        told = {
            Step.CONCLUDE: ("size", self._matching.size_told),
            Step.HEAR: ("sum", self._matching.sum_told),
        }
        what, telling = told.get(step, ("", lambda _: None))
        number = telling(signed.order)
        return reply_of(Kind.MATCH_SAID, {} if number is None else {what: number}, said=said)

    def _rows(self, signed: SignedOrder) -> Rows:
        """Return how the rows of all windows are read, whose price was set aside."""
        order, task = signed.order, task_of(signed.order)
        contract = self._judge.contracts[order.contract]

        def readable() -> Readable:
            windows = self._books.windows()
            opened = self._books.windows(order.id)
            paid = {subjects: frozenset(labels) for subjects, labels in opened.items()}
            table = self._settings.table(contract)
            return self._ingestion.readable(contract, table, windows, paid)

        return _PaidRows(task, contract, readable, self._entropy)


@dataclass(frozen=True, slots=True)
class _PaidRows:
    """What the paid rows of one order bring to its match."""

    task: MatchTask
    contract: DataContract
    readable: Callable[[], Readable]
    entropy: Entropy

    def identifiers(self, cap: int) -> Collected:
        return identifiers(self.task, self.contract, self.readable(), cap, self.entropy)

    def amounts(self, identifiers: Sequence[str]) -> tuple[int, ...]:
        if self.task.value is None:
            raise MalformedMessageError("this match sums nothing")
        return amounts(self.task, self.task.value, self.contract, self.readable(), identifiers)


def _discloses(signed: SignedOrder) -> bool:
    return signed.order.parameters.get("match") not in PRICED


def _step(letter: Envelope) -> Step:
    try:
        return Step(letter.sequence)
    except ValueError as why:
        raise MalformedMessageError("a match has no such step") from why


def _names(step: Step) -> list[str]:
    return [part.name.lower() for part in NEEDS[step]]
