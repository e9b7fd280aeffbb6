"""Takes orders from the table one at a time and sees them through.

The shell around `aggregator.training` and `aggregator.letters`: it waits, sends and writes down.
After a crash it takes up the interrupted order at its last committed round; nodes answer what
they had already sent from their own outbox, so a repeated request costs no privacy.
"""

import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Protocol

from aggregator.errors import AbandonedError, MalformedReplyError
from aggregator.jobs import Checkpoint, Job, Jobs
from aggregator.letters import Answer, Desk, Silence
from aggregator.querying import opened_answer
from aggregator.registry import save_model
from aggregator.settings import AggregatorSettings
from aggregator.training import Training, absorb, begin, read_update, resume
from federation.errors import FederationError
from federation.messages import Kind
from federation.models import Vector
from federation.orders import WorkOrder, open_order
from federation.tasks import TrainingTask
from policies.disclosure import clear
from policies.errors import PolicyError
from policies.parties import DATA_ROLES, PartyId, Role
from secure_compute.errors import SecureComputeError

OFFER_SECONDS = 90.0
ROUND_SECONDS = 60.0
CLOSE_SECONDS = 10.0


class Transport(Protocol):
    """Carries sealed letters out and brings sealed replies back."""

    def __call__(
        self, requests: Mapping[PartyId, bytes], timeout: float
    ) -> Mapping[PartyId, bytes | str]:
        """Return a reply per party, or the reason why there is none."""
        ...


class RefusedError(AbandonedError):
    """Too many nodes refused the order; `refusals` says who, and why."""

    def __init__(self, refusals: Sequence[Mapping[str, object]]) -> None:
        names = ", ".join(str(refusal["node"]) for refusal in refusals)
        super().__init__(f"refused by {names}")
        self.refusals = [dict(refusal) for refusal in refusals]


class Coordinator:
    """Works through the table of jobs over one transport."""

    def __init__(self, settings: AggregatorSettings, jobs: Jobs, transport: Transport) -> None:
        self._settings = settings
        self._jobs = jobs
        self._transport = transport
        self._desk = Desk(settings.party, settings.identity, settings.roster())

    def run(self, stop: threading.Event, idle_seconds: float = 0.05) -> None:
        """Work until `stop` is set."""
        while not stop.is_set():
            job = self._jobs.next()
            if job is None:
                stop.wait(idle_seconds)
            else:
                self.work(job)

    def work(self, job: Job) -> None:
        """See one job through to its end, whatever that is."""
        self._jobs.start(job.id)
        try:
            order = open_order(job.wire, self._desk.roster).order
            steps = {"train": self._train, "query": self._query}
            result = steps[order.kind](job, order)
            self._jobs.end(job.id, "done", result)
            self._close(job, saw_it_through=result["parties"])
        except RefusedError as why:
            self._jobs.end(job.id, "refused", {"error": str(why), "refusals": why.refusals})
            self._close(job)
        except AbandonedError as why:
            self._jobs.end(job.id, "abandoned", {"error": str(why)})
            self._close(job)
        except (FederationError, MalformedReplyError, PolicyError, SecureComputeError) as why:
            self._jobs.end(job.id, "failed", {"error": str(why)})
            self._close(job)

    # -- training ------------------------------------------------------------------------------

    def _train(self, job: Job, order: WorkOrder) -> dict[str, Any]:
        task = TrainingTask.from_json(order.parameters)
        state = self._resume(job, order, task)
        while not state.done:
            state = self._round(job, state)
        released = clear(state.progress.weights, self._organisations(state.parties), order.minimum)
        path = save_model(self._settings.folder / "models", job.id, order, task, released)
        return {"model": str(path), "rounds": state.round, "parties": list(state.parties)}

    def _resume(self, job: Job, order: WorkOrder, task: TrainingTask) -> Training:
        last = self._jobs.last_round(job.id)
        if last is not None:
            self._jobs.note(job.id, stage="resumed", round=last.round, of=task.recipe.rounds)
            return resume(task.recipe, order.minimum, last)
        state = begin(task.recipe, task.seed, order.minimum, self._offer(job, order))
        self._jobs.commit_round(job.id, state.checkpoint())
        return state

    def _round(self, job: Job, state: Training) -> Training:
        requests = {party: {"weights": state.weights} for party in state.parties}
        answers = self._ask(Kind.TRAIN_ROUND, job.id, state.round, requests, ROUND_SECONDS)
        after = absorb(state, self._updates(job, state.recipe.model.dimension, answers))
        self._jobs.commit_round(job.id, after.checkpoint())
        self._jobs.note(
            job.id,
            stage="round",
            round=after.round,
            of=after.recipe.rounds,
            parties=after.parties,
            lost=[party for party in state.parties if party not in after.parties],
        )
        return after

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
        (keyholder,) = self._desk.roster.with_role(Role.KEYHOLDER)
        willing = self._willing(job, order)
        keys = self._ask(
            Kind.QUERY_KEYS, job.id, 0, {keyholder.party: {"order": job.wire}}, OFFER_SECONDS
        )
        if keyholder.party not in keys:
            raise AbandonedError(f"the keyholder {keyholder.party} did not answer")
        public = keys[keyholder.party].wire
        answers = self._ask(
            Kind.QUERY_PARTIAL,
            job.id,
            0,
            {p: {"public_key": public} for p in willing},
            ROUND_SECONDS,
        )
        if len(answers) < order.minimum:
            raise AbandonedError(
                f"{len(answers)} of at least {order.minimum} parties answered the query"
            )
        self._jobs.note(job.id, stage="sealed", parties=sorted(answers))
        sealed = {str(party): answer.wire for party, answer in answers.items()}
        opened = self._ask(Kind.QUERY_OPEN, job.id, 0, {keyholder.party: sealed}, ROUND_SECONDS)
        if keyholder.party not in opened:
            raise AbandonedError(f"the keyholder {keyholder.party} did not open the sum")
        letter = opened[keyholder.party].envelope
        released = opened_answer(order, letter, answers, self._organisations(tuple(answers)))
        return {"answer": released.result.to_json(), "parties": sorted(answers)}

    def _willing(self, job: Job, order: WorkOrder) -> tuple[PartyId, ...]:
        """Return the parties that accepted; after a crash they are not asked again."""
        last = self._jobs.last_round(job.id)
        if last is None:
            last = Checkpoint(0, b"", b"", self._offer(job, order))
            self._jobs.commit_round(job.id, last)
        return last.parties

    def _organisations(self, parties: tuple[PartyId, ...]) -> int:
        return len({self._desk.roster.find(party).organisation for party in parties})

    # -- both ----------------------------------------------------------------------------------

    def _offer(self, job: Job, order: WorkOrder) -> tuple[PartyId, ...]:
        """Return the parties that accepted, in cohort order."""
        holders = {member.party for member in self._desk.roster.with_role(*DATA_ROLES)}
        cohort = [party for party in order.cohort if party in holders]
        replies = self._ask(
            Kind.OFFER, job.id, 0, {party: {"order": job.wire} for party in cohort}, OFFER_SECONDS
        )
        refusals = [
            {"node": party, **answer.envelope.body}
            for party, answer in replies.items()
            if answer.envelope.kind is Kind.REFUSED
        ]
        willing = tuple(
            party
            for party in cohort
            if party in replies and replies[party].envelope.kind is Kind.ACCEPTED
        )
        self._jobs.note(job.id, stage="offered", willing=willing, refusals=refusals)
        if len(willing) < order.minimum:
            if refusals:
                raise RefusedError(refusals)
            raise AbandonedError(
                f"{len(willing)} of at least {order.minimum} parties answered the offer"
            )
        return willing

    def _ask(
        self,
        kind: Kind,
        order: str,
        sequence: int,
        blobs: Mapping[PartyId, Mapping[str, bytes]],
        timeout: float,
    ) -> dict[PartyId, Answer]:
        letters = {
            party: self._desk.write(kind, party, order, sequence, blobs=parts)
            for party, parts in blobs.items()
        }
        answers: dict[PartyId, Answer] = {}
        for party, reply in self._transport(letters, timeout).items():
            read = (
                Silence(f"{party}: {reply}")
                if isinstance(reply, str)
                else self._desk.read(kind, order, sequence, party, reply)
            )
            if isinstance(read, Answer) and (
                kind is Kind.OFFER or read.envelope.kind is not Kind.REFUSED
            ):
                answers[party] = read
            else:
                why = read.reason if isinstance(read, Silence) else str(read.envelope.body)
                self._jobs.note(order, stage="silence", party=party, reason=why)
        return answers

    def _close(self, job: Job, saw_it_through: Collection[PartyId] = ()) -> None:
        """Tell the others of the cohort that nothing more will be asked."""
        try:
            cohort = open_order(job.wire, self._desk.roster).order.cohort
        except (FederationError, SecureComputeError):
            return
        others: dict[PartyId, dict[str, bytes]] = {
            party: {} for party in cohort if party not in saw_it_through
        }
        if others:
            self._ask(Kind.CLOSE, job.id, 0, others, CLOSE_SECONDS)


def as_transport(
    exchange: Callable[[Mapping[PartyId, bytes], float], Mapping[PartyId, object]],
) -> Transport:
    """Return a transport whose losses are plain sentences."""

    def carry(requests: Mapping[PartyId, bytes], timeout: float) -> Mapping[PartyId, bytes | str]:
        replies = exchange(requests, timeout)
        return {
            party: reply if isinstance(reply, bytes) else str(getattr(reply, "reason", reply))
            for party, reply in replies.items()
        }

    return carry
