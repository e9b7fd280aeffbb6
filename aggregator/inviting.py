"""Asks the cohort of an order whether it takes part, and counts who does.

A refusal stands in the aggregator's ledger with its reasons. The data team learns how many declined
and no more, unless they are too many: then it needs the reasons to write an order that would pass.
Which party's person said no, or nothing, it does not learn even then, unless that party lets it.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from aggregator.asking import Asking, Question
from aggregator.errors import AbandonedError
from aggregator.jobs import Job, Jobs
from aggregator.letters import Answer
from aggregator.record import Record
from federation.membership import Roster
from federation.messages import Kind
from federation.orders import WorkOrder
from federation.tasks import sums_of
from policies.parties import DATA_ROLES, PartyId
from secure_compute.canonical import JSON
from secure_compute.secagg.params import least_threshold
from secure_compute.threshold.question import MINIMUM


class RefusedError(AbandonedError):
    """Too many nodes refused the order; `refusals` says who, and why."""

    def __init__(self, refusals: Sequence[Mapping[str, object]]) -> None:
        names = ", ".join(str(refusal["node"]) for refusal in refusals)
        super().__init__(f"refused by {names}")
        self.refusals = [dict(refusal) for refusal in refusals]


@dataclass(frozen=True, slots=True)
class Invited:
    """What a cohort said: who takes part, in the cohort's order, and who refused."""

    accepted: Mapping[PartyId, Answer]
    refused: Mapping[PartyId, Mapping[str, JSON]]


class Inviting:
    """Invites the cohorts of orders; threshold: as many keyholders open a question together."""

    def __init__(
        self, asking: Asking, jobs: Jobs, record: Record, roster: Roster, threshold: int
    ) -> None:
        self._asking = asking
        self._jobs = jobs
        self._record = record
        self._roster = roster
        self._threshold = threshold

    def invite(self, job: Job, order: WorkOrder, question: Question, seconds: float) -> Invited:
        """Return what the cohort of an order answers to the letter that proposes it."""
        holders = {member.party for member in self._roster.active(*DATA_ROLES)}
        cohort = [party for party in order.cohort if party in holders]
        questions = self._asking.with_unconfirmed(dict.fromkeys(cohort, question))
        replies = self._asking.ask(job.id, 0, questions, seconds)
        found = {party: replies[party] for party in cohort if party in replies}
        refused = {p: a.envelope.body for p, a in found.items() if a.envelope.kind is Kind.REFUSED}
        for party, refusal in refused.items():
            self._record.refused(job.id, party, refusal)
        return Invited({p: a for p, a in found.items() if p not in refused}, refused)

    def require_enough(
        self,
        job: Job,
        order: WorkOrder,
        willing: Collection[PartyId],
        refused: Mapping[PartyId, Mapping[str, JSON]],
        cost: str = "",
    ) -> None:
        """Return if those who take part are enough; cost: what it cost otherwise, in words.

        Raises:
            RefusedError: they are not, and some refused.
            AbandonedError: they are not.
        """
        least = fewest_of(order, self._threshold)
        enough = len(willing) >= least
        reasons = [] if enough else told(refused)
        self._jobs.note(
            job.id, stage="offered", willing=tuple(willing), refusals=reasons, declined=len(refused)
        )
        if not enough and refused:
            raise RefusedError(reasons)
        if not enough:
            said = f"{len(willing)} of at least {least} parties answered the offer"
            raise AbandonedError(f"{said}. {cost}" if cost else said)


def told(refused: Mapping[PartyId, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return refusals as the data team may read them: without the names that parties keep back."""
    return [
        {"node": UNNAMED if refusal.get("unnamed") is True else party, **refusal}
        for party, refusal in refused.items()
    ]


UNNAMED: Final = "a party that is not named"


def fewest_of(order: WorkOrder, threshold: int) -> int:
    """Return how many must accept an order.

    Its minimum, that in each of its sums' groups, or as many as sign a question's one list.
    """
    recipe = sums_of(order)
    if order.kind == "query":
        return max(order.minimum, MINIMUM, least_threshold(len(order.cohort), threshold - 1))
    return order.minimum if recipe is None else recipe.least(order.minimum)
