"""Asks a cohort about an order before anything is set aside, and has the order wait for people.

    propose → willing, refused, or waiting: one word      nobody has spent or holds anything
    propose again to those who wait, until all have spoken or the order waits no longer
    go on: the order is offered, and whoever has not spoken declines

Only an order that says until when it waits is proposed so; any other is offered at once, as ever,
and a node that would have to ask a person declines it. Whoever is left works on, as long as the
order's minimum holds. What each said is on disk: a crash asks nobody twice who has spoken.

Countersignatures come with the answers and go to everybody with the next proposal; each is
verified here as at every node, and one that is none is as good as not given. Persons bring theirs
to the people's door (`aggregator.countersigning`).
"""

import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final

from aggregator.asking import Asking, Question
from aggregator.errors import PostponedError
from aggregator.inviting import RefusedError, fewest_of, told
from aggregator.jobs import Job, Jobs
from aggregator.letters import UNREADABLE, Answer
from aggregator.record import Record
from federation.countersignatures import attached, taken_apart
from federation.membership import Roster
from federation.messages import Kind
from federation.orders import WorkOrder, open_order
from policies.parties import DATA_ROLES, PartyId

log = logging.getLogger(__name__)

PROPOSE_SECONDS: Final = 30.0
ASK_SECONDS: Final = 5.0
SLOWEST_SECONDS: Final = 60.0
"""How long until those who wait are asked again: sooner at first, and within a minute always."""

SIGNATURE: Final = "countersignature"
OVER: Final = PartyId("")
"""Stands among the parties once an order waits for nobody any more."""


class Proposing:
    """Proposes orders; `now` is seconds since 1970, threshold as for `Inviting`."""

    def __init__(
        self,
        asking: Asking,
        jobs: Jobs,
        record: Record,
        roster: Roster,
        threshold: int,
        now: Callable[[], float],
    ) -> None:
        self._asking = asking
        self._jobs = jobs
        self._record = record
        self._roster = roster
        self._threshold = threshold
        self._now = now

    def settled(self, job: Job, order: WorkOrder) -> Job:
        """Return the job, countersigned as far as it is, once nobody is waited for.

        Raises:
            PostponedError: its time has not come, or people have not spoken.
            RefusedError: too many refused it for its minimum to hold.
        """
        if self._now() < order.not_before:
            raise PostponedError(order.not_before)
        if not order.waits_until or OVER in self._jobs.proposals(job.id):
            return job
        if self._now() < order.waits_until:
            job = self._proposed(job, order)
            self._require_settled(job, order)
        self._jobs.propose(job.id, OVER, {})
        return job

    def _proposed(self, job: Job, order: WorkOrder) -> Job:
        """Put the order to all who have not spoken, and once more if somebody countersigned."""
        while True:
            said = self._jobs.proposals(job.id)
            holders = {member.party for member in self._roster.active(*DATA_ROLES)}
            cohort = [party for party in order.cohort if party in holders]
            asked = [p for p in cohort if said.get(p, {}).get("said") not in _SPOKEN]
            question = Question(Kind.PROPOSE, {"order": job.wire})
            questions = dict.fromkeys(asked, question)
            answers = self._asking.ask(job.id, 0, questions, PROPOSE_SECONDS)
            for party, answer in answers.items():
                self._keep(job, party, answer)
            signed = self._countersigned(job, order, answers)
            if signed == job.wire:
                return job
            self._jobs.countersign(job.id, job.wire, signed)
            now = self._jobs.find(job.id)  # a person may have signed at the door meanwhile
            job = replace(job, wire=signed if now is None else now.wire)

    def _keep(self, job: Job, party: PartyId, answer: Answer) -> None:
        body: Mapping[str, Any] = answer.envelope.body
        match answer.envelope.kind:
            case Kind.REFUSED:
                self._record.refused(job.id, party, body)
                self._jobs.propose(job.id, party, {"said": "refused", "refusal": dict(body)})
            case Kind.WILLING:
                self._jobs.propose(job.id, party, {"said": "willing"})
            case Kind.WAITING:
                named = body.get("named") is True
                self._jobs.propose(job.id, party, {"said": "waiting", "named": named})
            case _:
                pass

    def _countersigned(
        self, job: Job, order: WorkOrder, answers: Mapping[PartyId, Answer]
    ) -> bytes:
        """Return the order with the countersignatures that came, those alone that are genuine."""
        wire = job.wire
        for party, answer in answers.items():
            _, given = taken_apart(wire)
            signature = answer.envelope.blobs.get(SIGNATURE)
            if signature is None or party in open_order(wire, self._roster).countersigned:
                continue
            candidate = attached(wire, {**given, party: signature})
            try:
                counted = open_order(candidate, self._roster).countersigned
            except UNREADABLE as why:
                log.warning("order %s: %s: %s", order.id[:12], party, why)
                continue
            if party in counted:  # a key that it gave up signs for nothing now
                wire = candidate
        return wire

    def _require_settled(self, job: Job, order: WorkOrder) -> None:
        said = self._jobs.proposals(job.id)
        refused = {p: word for p, word in said.items() if word["said"] == "refused"}
        waiting = {p: word for p, word in said.items() if word["said"] == "waiting"}
        if len(order.cohort) - len(refused) < fewest_of(order, self._threshold):
            raise RefusedError(told({p: word["refusal"] for p, word in refused.items()}))
        if not waiting:
            return
        self._tell(
            job,
            waiting=len(waiting),
            named=sorted(party for party, word in waiting.items() if word["named"]),
            until=order.waits_until,
        )
        waited = (self._now() - order.begins) / 10
        pause = min(SLOWEST_SECONDS, max(ASK_SECONDS, waited))
        raise PostponedError(min(self._now() + pause, order.waits_until))

    def _tell(self, job: Job, **facts: Any) -> None:
        """Note what is waited for, where that is not what was noted last."""
        noted = [note for _, note in self._jobs.notes(job.id) if note["stage"] == "waiting"]
        if not noted or noted[-1] != {"stage": "waiting", **facts}:
            self._jobs.note(job.id, stage="waiting", **facts)


_SPOKEN: Final = frozenset({"willing", "refused"})
