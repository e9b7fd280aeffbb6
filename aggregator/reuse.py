"""The past release that answers a question asked again, out of the table of jobs. Pure.

Only the proposer and the recipients of a release are told that there is one: to anybody else the
same question costs what it costs, so that a price of zero tells nobody what others have asked.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from aggregator.jobs import Job
from federation.errors import FederationError
from federation.membership import Roster
from federation.orders import WorkOrder, open_order
from federation.past import is_fine_enough, is_same_question, may_see
from federation.tasks import QueryTask
from policies.disclosure import Releasable, clear
from policies.parties import PartyId
from secure_compute.canonical import JSON
from secure_compute.errors import SecureComputeError

Reader: TypeAlias = Callable[[bytes], WorkOrder]
"""Reads the signed order of a job; raises where it is none of this federation any more."""


@dataclass(frozen=True, slots=True)
class Past:
    """A release that was made and paid for, and what came of it.

    run:     id of the order that paid for it.
    parties: those whose rows are in it.
    """

    run: str
    order: WorkOrder
    answer: Mapping[str, Any]
    parties: tuple[PartyId, ...]

    def to_json(self) -> dict[str, JSON]:
        """Return what a result, or an explanation, says of the release that it repeats."""
        return {"run": self.run, "asked_at": self.order.begins, "epsilon": self.order.epsilon}


def reader(roster: Roster) -> Reader:
    """Return what reads orders that an analyst of `roster` signed."""
    return lambda wire: open_order(wire, roster).order


def find_past(asked: WorkOrder, jobs: Iterable[Job], read: Reader) -> Past | None:
    """Return the newest release that is `asked`, is no noisier, and that its proposer may see.

    A release that was given out again may also be seen by those it was then given to.
    """
    if asked.kind != "query" or QueryTask.from_json(asked.parameters).source == "fresh":
        return None
    same = [(job, order) for job in jobs if (order := _same(asked, job, read)) is not None]
    shown = {_origin(job) for job, order in same if may_see(order, asked.proposer)}
    made = [_past(job, order) for job, order in same if job.id in shown and _origin(job) == job.id]
    fine = [past for past in made if is_fine_enough(past.order, asked)]
    return max(fine, key=lambda past: past.order.begins, default=None)


def repeated(past: Past, order: WorkOrder, organisations: int) -> Releasable:
    """Return the past answer once more, past the disclosure gate of the new order.

    Raises:
        SmallCohortError: fewer organisations stand behind it than the new order wants.
    """
    return clear(past.answer, organisations, order.minimum)


def _same(asked: WorkOrder, job: Job, read: Reader) -> WorkOrder | None:
    """Return the order of `job` where it is the same question and was answered."""
    if job.status != "done" or (job.result or {}).get("answer") is None:
        return None  # what its recipient has not opened, nobody can give out again
    try:
        order = read(job.wire)
        return order if is_same_question(order, asked) else None
    except (FederationError, SecureComputeError):
        return None


def _past(job: Job, order: WorkOrder) -> Past:
    result = job.result or {}
    parties = tuple(PartyId(party) for party in result["parties"])
    return Past(job.id, order, result["answer"], parties)


def _origin(job: Job) -> str:
    """Return the id of the order that paid for the answer of `job`."""
    reused = (job.result or {}).get("reused")
    return str(reused["run"]) if reused else job.id
