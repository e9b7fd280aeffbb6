"""Takes orders from the table one at a time and sees them through.

    propose, where an order waits for people → willing, until nobody is waited for
    offer → accepted, with heads → witness → rounds or a match → witness, when the table is idle
    a question: commit → endorse → reveal → open; it is offered with the letter that asks for it

The shell around `aggregator.training` and `aggregator.asking`: it waits, sends and writes down.
After a crash it takes up the interrupted order at its last committed round; nodes answer what
they had already sent from their own outbox, so a repeated request costs no privacy.
"""

import logging
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any

from aggregator.answer_files import keep_answer
from aggregator.asking import Asking, Question
from aggregator.errors import (
    AbandonedError,
    AggregatorError,
    MalformedReplyError,
    PostponedError,
)
from aggregator.introducing import Introducing
from aggregator.inviting import Inviting, RefusedError
from aggregator.jobs import Checkpoint, Job, Jobs
from aggregator.keeping import keep_round, last_state
from aggregator.key_making import KeyMaking
from aggregator.key_pool import KeyPool
from aggregator.letters import UNREADABLE, Answer, Desk
from aggregator.matching import Matching, paired
from aggregator.proposing import Proposing
from aggregator.question_steps import QuestionSteps
from aggregator.questions import Questions
from aggregator.record import Record
from aggregator.reuse import Past, find_past, reader, repeated
from aggregator.rosters import epochs
from aggregator.settings import AggregatorSettings
from aggregator.stored import Stored
from aggregator.summing import Summing
from aggregator.training import Training, absorb, absorb_sum, continued, read_update, resume
from aggregator.transport import Transport
from aggregator.witnessing import Relay
from federation.envelopes import Envelope
from federation.errors import FederationError
from federation.messages import Kind
from federation.models import Vector
from federation.orders import WorkOrder, open_order
from federation.past import PAST
from federation.readings import read
from federation.recipes import Recipe
from federation.secure_sums import (
    EPOCH_KEY,
    all_terms,
    epoch_of,
    fewest_sums,
    made_of,
    pack_keys,
    signers,
    total_of,
    unpack_keys,
)
from federation.sum_recipes import SumRecipe
from federation.tasks import QueryTask, TrainingTask, is_same, sums_of
from policies.errors import PolicyError
from policies.parties import PartyId
from secure_compute.errors import SecureComputeError
from secure_compute.secagg.ring import Ring

log = logging.getLogger(__name__)

OFFER_SECONDS = 90.0
ROUND_SECONDS = 60.0
CLOSE_SECONDS = 10.0
QUIET_SECONDS = 1.0
"""How long the table is empty before the last entries of all ledgers are witnessed."""

STARTS = 3
"""How often a job is taken up without a committed step before it is given up."""


class Coordinator:
    """Works through the table of jobs.

    Args:
        settings: the aggregator's folder.
        jobs: the table.
        transport: carries letters.
        present: which nodes are there; None: that is not known.
        now: seconds since 1970.
        training: carries what is asked of orders that train, where that is another transport.
        lines: the number of each party's stream, another one whenever it came anew.
    """

    def __init__(
        self,
        settings: AggregatorSettings,
        jobs: Jobs,
        transport: Transport,
        present: Callable[[], Collection[PartyId]] | None = None,
        now: Callable[[], float] = time.time,
        training: Transport | None = None,
        lines: Callable[[], Mapping[PartyId, int]] = dict,
    ) -> None:
        known, key = epochs(settings), settings.identity
        roster = known[-1]
        self._settings = settings
        self._jobs = jobs
        self._desk = Desk(settings.party, key, roster)
        self._record = Record(settings.ledger, settings.party, key, roster, now)
        self._record.require_known(known)
        self._record.roster_changed(roster)
        relay = Relay(roster, self._record)
        self._asking = Asking(self._desk, jobs, transport, relay, present, training)
        self._inviting = Inviting(self._asking, jobs, self._record, roster, settings.threshold)
        self._proposing = Proposing(
            self._asking, jobs, self._record, roster, settings.threshold, now
        )
        self._now = now
        self._summing = Summing(self._asking, jobs)
        self._introducing = Introducing(settings, self._asking, roster, lines=lines)
        self._pool = KeyPool(settings.stores.keys)
        self._steps = QuestionSteps(settings.stores.steps)
        if (retired := self._pool.retire_others(signers(roster).digest)) > 0:
            log.info("%d keys of another epoch of the roster are retired", retired)
        self._making = KeyMaking(
            self._asking, self._pool, roster, settings.threshold, lambda: jobs.next() is not None
        )
        self._questions = Questions(
            self._asking,
            self._inviting,
            jobs,
            self._pool,
            self._steps,
            roster,
            settings.threshold,
        )
        going_on = jobs.next()
        self._steps.forget_all_but([] if going_on is None else [going_on.id])
        self._matching = Matching(self._asking, jobs)

    def run(self, stop: threading.Event, idle_seconds: float = 0.05) -> None:
        """Work until `stop` is set, or members changed; then another one goes on with the new ones.

        All is witnessed once the table has been empty a while.
        """
        worked, rested = time.monotonic(), False
        while not stop.is_set() and not self._introducing.is_over():
            job = self._jobs.next(self._now())
            if job is None:
                self._introducing.look()
            if job is not None:
                self._introducing.settle()
                if self._introducing.is_over():
                    return
                self.work(job)
                worked, rested = time.monotonic(), False
            elif not rested and time.monotonic() - worked > QUIET_SECONDS:
                self.have_witnessed()
                rested = True
            elif self._making.refill():
                worked = time.monotonic()
            else:
                stop.wait(idle_seconds)

    def have_witnessed(self) -> None:
        """Have the last entries of all ledgers cosigned; an order that comes in goes first.

        Heads come in with the first exchange and cosignatures with the second; the third brings
        them to the ledgers that they are about.
        """
        ended = self._jobs.unwitnessed()
        self._asking.begin()
        for exchange in self._passes() if ended else ():
            if self._jobs.next() is not None:
                return
            exchange()
        for job in ended:
            self._jobs.note(job, stage="witnessed")

    def _passes(self) -> tuple[Callable[[], None], ...]:
        asking = self._asking
        return asking.collect, lambda: asking.witness(""), lambda: asking.witness("", show=False)

    def work(self, job: Job) -> None:
        """See one job through to its end, whatever that is."""
        with self._held_for(job):
            self._see_through(job)

    @contextmanager
    def _held_for(self, job: Job) -> Iterator[None]:
        """Hold the files of a question, where every wait for the disk is felt; of no other job.

        Training goes on for hours, and what is deleted meanwhile is to be gone from the logs, too.
        """
        with ExitStack() as held:
            if self._kind_of(job) == "query":
                for store in (self._jobs, self._pool, self._steps):
                    held.enter_context(store.held())
            yield

    def _kind_of(self, job: Job) -> str:
        try:
            return open_order(job.wire, self._desk.roster).order.kind
        except (FederationError, SecureComputeError):
            return ""

    def _see_through(self, job: Job) -> None:
        self._asking.begin()
        if self._jobs.start(job.id) > STARTS:
            self._give_up(job)
            return
        try:
            order = open_order(job.wire, self._desk.roster).order
            self._record.proposed(job.id, order)
            job = self._proposing.settled(job, order)
            self._asking.begin(order.kind)
            steps = {"train": self._train, "query": self._query, "match": self._match}
            result = steps[order.kind](job, order)
            self._jobs.end(job.id, "done", result)
            self._close(job, saw_it_through=result["parties"])
        except PostponedError as why:
            self._jobs.wait(job.id, why.due)
        except RefusedError as why:
            self._jobs.end(job.id, "refused", {"error": str(why), "refusals": why.refusals})
            self._close(job)
        except AbandonedError as why:
            self._jobs.end(job.id, "abandoned", {"error": str(why)})
            self._close(job)
        except (FederationError, AggregatorError, PolicyError, SecureComputeError) as why:
            self._jobs.end(job.id, "failed", {"error": str(why)})
            self._close(job)

    def _give_up(self, job: Job) -> None:
        """A job that ended this process time and again blocks the table no longer."""
        told = (
            f"the aggregator stopped {STARTS} times while it worked on this order; its operator "
            f"finds why in its log, then the order may be put on the table again"
        )
        self._jobs.end(job.id, "failed", {"error": told})
        self._close(job)

    # -- training ------------------------------------------------------------------------------

    def _train(self, job: Job, order: WorkOrder) -> dict[str, Any]:
        task = TrainingTask.from_json(order.parameters)
        state = self._resume(job, order, task)
        while not state.done:
            state = self._round(job, order, task, state)
        self._record.released(job.id, order)
        last = self._keep(order, task, state)
        return {
            "model": str(last.path),
            "digest": last.digest,
            "rounds": state.round,
            "parties": list(state.parties),
            "metrics": self._metrics(job.id),
            "gate": dict(last.card.gate),
        }

    def _keep(self, order: WorkOrder, task: TrainingTask, state: Training) -> Stored:
        models = self._settings.folder / "models"
        recipe, organisations = task.recipe, self._organisations(state.parties)
        measured = isinstance(recipe, SumRecipe) and recipe.evaluates(state.round - 1)
        metrics = self._metrics(order.id) if measured else {}
        return keep_round(models, order, task, state, organisations, metrics)

    def _resume(self, job: Job, order: WorkOrder, task: TrainingTask) -> Training:
        last = self._jobs.last_round(job.id)
        if last is not None:
            self._jobs.note(job.id, stage="resumed", round=last.round, of=task.recipe.rounds)
            state = resume(task.recipe, order.minimum, last)
            if state.round > task.begun:  # it may have been committed and not been kept
                self._keep(order, task, state)
            return state
        start = continued(task, order.minimum, self._earlier(task))  # before anybody is asked
        state = replace(start, parties=self._offer(job, order))
        self._jobs.commit_round(job.id, state.checkpoint())
        self._asking.witness(job.id)
        return state

    def _earlier(self, task: TrainingTask) -> Checkpoint | None:
        """Return the state from which a run goes on: that of its parent's last model.

        None where it goes on from nothing, or its parent is none, or of another recipe.
        """
        parent = self._jobs.find(task.parent) if task.begun else None
        order = None if parent is None else open_order(parent.wire, self._desk.roster).order
        if order is None or order.kind != "train":
            return None
        earlier = TrainingTask.from_json(order.parameters)
        if not is_same(earlier, task):
            return None
        models, kept = self._settings.folder / "models", self._jobs.last_round(order.id)
        return last_state(models, order.id, earlier.begun, kept)

    def _round(self, job: Job, order: WorkOrder, task: TrainingTask, state: Training) -> Training:
        recipe, number = state.recipe, state.round - task.begun
        if isinstance(recipe, SumRecipe):
            after = self._summed(job, order, recipe, state, number)
        else:
            after = self._averaged(job, recipe, state, number)
        self._jobs.commit_round(job.id, after.checkpoint())
        self._keep(order, task, after)
        self._jobs.note(
            job.id,
            stage="round",
            round=after.round,
            of=after.recipe.rounds,
            parties=after.parties,
            lost=[party for party in state.present if party not in after.present],
        )
        return after

    def _averaged(self, job: Job, recipe: Recipe, state: Training, number: int) -> Training:
        question = Question(Kind.TRAIN_ROUND, {"weights": state.weights})
        questions = dict.fromkeys(state.parties, question)
        answers = self._asking.ask(job.id, number, questions, ROUND_SECONDS)
        return absorb(state, self._updates(job, recipe.model.dimension, answers))

    def _summed(
        self, job: Job, order: WorkOrder, recipe: SumRecipe, state: Training, number: int
    ) -> Training:
        """Return the state after a round of which only noised sums are ever seen here."""
        self._require_present(order, recipe, state)
        keys = self._jobs.keys(job.id) or b""
        epoch = epoch_of(self._desk.roster, order.id, unpack_keys(keys))
        terms = all_terms(epoch, order, recipe, number, state.present)
        parts = {"weights": state.weights, "keys": keys}
        fewest = fewest_sums(recipe, state.round)
        found = self._summing.gather(job, recipe, terms, parts, fewest)
        if any(Ring(recipe.ring_bits).is_near_the_edge(one.values) for _, one in found.sums):
            self._jobs.note(job.id, stage="headroom", round=state.round + 1)
        total = made_of(recipe, state.round, [total_of(recipe, *one) for one in found.sums])
        if recipe.evaluation is not None and recipe.evaluates(state.round):
            measured = read(recipe.evaluation, total.values, total.noise)
            self._jobs.note(job.id, stage="evaluated", metrics=measured.to_json())
        after = absorb_sum(state, total.values, total.noise, found.survivors)
        return replace(after, waiting=found.waiting)

    def _require_present(self, order: WorkOrder, recipe: SumRecipe, state: Training) -> None:
        """Go on while there are enough for every sum of the round.

        Raises:
            AbandonedError: there are not.
        """
        least = recipe.sums(state.round) * recipe.least_of_a_sum(order.minimum)
        if len(state.present) < least:
            raise AbandonedError(
                f"round {state.round + 1} was abandoned: {len(state.present)} parties are left and "
                f"its {recipe.sums(state.round)} sums need {least}"
            )

    def _metrics(self, job_id: str) -> dict[str, Any]:
        """Return what the federation measured of a run's model; nothing where it did not."""
        notes = (note for _, note in self._jobs.notes(job_id) if note["stage"] == "evaluated")
        return dict(next((note["metrics"] for note in notes), {}))

    def _updates(
        self, job: Job, dimension: int, answers: Mapping[PartyId, Answer]
    ) -> dict[PartyId, Vector]:
        """Return the updates that are usable; whoever sent another is as good as silent."""
        updates: dict[PartyId, Vector] = {}
        for party, answer in answers.items():
            try:
                updates[party] = read_update(answer.envelope.blobs.get("update", b""), dimension)
            except MalformedReplyError as why:
                self._jobs.note(job.id, stage="silence", party=party, reason=f"{party}: {why}")
        return updates

    # -- queries -------------------------------------------------------------------------------

    def _query(self, job: Job, order: WorkOrder) -> dict[str, Any]:
        return self._repeated(job, order) or self._asked(job, order)

    def _repeated(self, job: Job, order: WorkOrder) -> dict[str, Any] | None:
        """Return the answer of a past release if there is one that its nodes let go again.

        An order that has begun to be paid for is seen through.
        """
        begun = self._jobs.last_round(job.id) is not None
        past = None if begun else find_past(order, self._jobs.done(), reader(self._desk.roster))
        if past is not None and self._let_go(job, past):
            released = repeated(past, order, self._organisations(past.parties))
            recipients = dict.fromkeys([order.proposer, *order.recipients])
            self._record.delivered(job.id, past.run, [*recipients])
            told = past.to_json()
            self._jobs.note(job.id, stage="repeated", **told)
            return {"answer": released.result, "parties": list(past.parties), "reused": told}
        if QueryTask.from_json(order.parameters).source == "past":
            raise AbandonedError(
                "no past release answers this for its proposer; leave out --past to pay for one"
            )
        return None

    def _let_go(self, job: Job, past: Past) -> bool:
        """Return whether every node whose rows are in it lets a past release go again."""
        question = Question(Kind.OFFER, {"order": job.wire}, {PAST: past.run})
        questions = dict.fromkeys(past.parties, question)
        replies = self._asking.ask(job.id, 0, questions, OFFER_SECONDS)
        for party, answer in replies.items():
            if answer.envelope.kind is Kind.REFUSED:
                self._record.refused(job.id, party, answer.envelope.body)
        agreed = {
            party
            for party, answer in replies.items()
            if answer.envelope.kind is Kind.ACCEPTED and answer.envelope.body.get(PAST) == past.run
        }
        return agreed == set(past.parties)

    def _asked(self, job: Job, order: WorkOrder) -> dict[str, Any]:
        """Return what came of a question: nobody here can read the answer, which is kept sealed."""
        if self._jobs.last_round(job.id) is None:
            self._making.ensure(job.id)
            self._questions.require_keyholders()
        kept = self._questions.answer(job, order)
        self._record.released(job.id, order)
        keep_answer(self._settings.answers, job.id, kept)
        parties = list(kept.parties)
        self._jobs.note(job.id, stage="sealed", parties=parties)
        return {
            "answer": None,
            "sealed": True,
            "parties": parties,
            "late": self._questions.late(job),
            "opened_by": list(kept.keyholders),
            "exchanges": self._asking.exchanges,
        }

    def _match(self, job: Job, order: WorkOrder) -> dict[str, Any]:
        """Carry what two parties say to each other; nothing of it can be read here."""
        if self._jobs.last_round(job.id) is None:
            parties = self._offer(job, order)
            self._jobs.commit_round(job.id, Checkpoint(0, b"", b"", parties))
            self._asking.witness(job.id)
        result = self._matching.carry(job, order)
        self._record.released(job.id, order)
        return result

    def _organisations(self, parties: tuple[PartyId, ...]) -> int:
        return len({self._desk.roster.find(party).organisation for party in parties})

    # -- both ----------------------------------------------------------------------------------

    def _offer(self, job: Job, order: WorkOrder) -> tuple[PartyId, ...]:
        """Return the parties that accepted, in cohort order."""
        offer = Question(Kind.OFFER, {"order": job.wire})
        invited = self._inviting.invite(job, order, offer, OFFER_SECONDS)
        accepted = {party: answer.envelope for party, answer in invited.accepted.items()}
        if order.kind == "match":
            self._jobs.keep_keys(job.id, paired(order, accepted))
        willing = self._keyed(job, accepted) if sums_of(order) else tuple(accepted)
        self._inviting.require_enough(job, order, willing, invited.refused)
        return willing

    def _keyed(self, job: Job, accepted: Mapping[PartyId, Envelope]) -> tuple[PartyId, ...]:
        """Return the parties whose key for the order's secure sums is good; the keys are kept."""
        keys: dict[PartyId, bytes] = {}
        for party, reply in accepted.items():
            try:
                (member,) = epoch_of(
                    self._desk.roster, job.id, [reply.blobs.get(EPOCH_KEY, b"")]
                ).members
                if member.party == party:
                    keys[party] = reply.blobs[EPOCH_KEY]
            except UNREADABLE as why:
                self._jobs.note(job.id, stage="silence", party=party, reason=f"{party}: {why}")
        self._jobs.keep_keys(job.id, pack_keys(list(keys.values())))
        return tuple(keys)

    def _close(self, job: Job, saw_it_through: Collection[PartyId] = ()) -> None:
        """Tell the others of the cohort that nothing more will be asked, and forget its letters."""
        asked = self._jobs.last_round(job.id)
        self._steps.forget_all_but(())
        self._pool.drop(job.id)
        try:
            order = open_order(job.wire, self._desk.roster).order
        except (FederationError, SecureComputeError):
            return
        cohort = order.cohort
        others = [party for party in cohort if party not in saw_it_through]
        if order.kind == "query" and asked is not None:
            others = [*cohort, *self._questions.keyholders_heard()]
        if others:
            questions = dict.fromkeys(others, Question(Kind.CLOSE))
            self._asking.ask(job.id, 0, questions, CLOSE_SECONDS)
