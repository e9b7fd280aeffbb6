"""Watches a job on the aggregator's table until it ends."""

import time
from collections.abc import Callable
from typing import Any, Final

from aggregator.jobs import FINAL, Job, Jobs
from experiments.errors import (
    BudgetExhaustedError,
    ExperimentError,
    PolicyRefusalError,
    UnreachableError,
    WaitingError,
)
from policies.owners import Owner, owner_of

STANDING: Final = FINAL | {"waiting"}

POLL_SECONDS: Final = 0.05
PATIENCE_SECONDS: Final = 30.0
QUEUE_SECONDS: Final = 300.0
"""How long an order may stand behind another one, which can be a long training run."""

OWNED: Final[dict[str, dict[Owner, str]]] = {
    "en": {
        "law": "a rule of the law",
        "federation": "a rule of the federation",
        "node": "a rule of the node",
    },
    "zh": {"law": "法律规则", "federation": "联邦规则", "node": "节点规则"},
}
"""Whose rule it is, as a refusal says it."""

WOULD_PASS: Final = {"en": "; it would pass with", "zh": "；改为以下设置即可通过:"}

Watcher = Callable[[dict[str, Any]], None]


class AbandonedRunError(ExperimentError):
    """Too few parties saw the work through."""


def follow(jobs: Jobs, job: str, watch: Watcher, patience: float = PATIENCE_SECONDS) -> Job:
    """Tell `watch` every note of the job; return the job once it has ended, or waits for people.

    Raises:
        UnreachableError: nobody takes the job up within `patience` seconds.
    """
    seen, give_up = 0, time.monotonic() + patience
    last_call = give_up + QUEUE_SECONDS
    while True:
        for number, note in jobs.notes(job, seen):
            seen = number
            watch(note)
        found = jobs.find(job)
        if found is not None and found.status in STANDING:
            for _, note in jobs.notes(job, seen):
                watch(note)
            return found
        if found is not None and found.status == "queued" and time.monotonic() > give_up:
            first = jobs.next()
            if first is not None and first.id != found.id and time.monotonic() < last_call:
                time.sleep(POLL_SECONDS)
                continue
            raise UnreachableError(
                "the aggregator does not take the order up; is it running? "
                "(`entrepot aggregator run`); the order stays queued"
            )
        time.sleep(POLL_SECONDS)


def require_done(job: Job) -> dict[str, Any]:
    """Return the result of a job that is done.

    Raises:
        PolicyRefusalError, BudgetExhaustedError: nodes refused it; the message has every reason.
        WaitingError: it waits, for people or for its time.
        AbandonedRunError: it ended in another way.
    """
    result = job.result or {}
    if job.status == "waiting":
        raise WaitingError(
            f"run {job.id[:12]} waits and goes on by itself; nothing is set aside meanwhile. "
            f"--resume {job.id[:12]} shows how far it is and, in the end, what came of it"
        )
    if job.status == "done":
        return result
    if job.status == "refused":
        kinds = {refusal["kind"] for refusal in result["refusals"]}
        error = BudgetExhaustedError if kinds == {"budget"} else PolicyRefusalError
        raise error(explain(result["refusals"], "en"))
    raise AbandonedRunError(str(result.get("error", job.status)))


def asks_people(job: Job) -> bool:
    """Return whether an order that waited for nobody was refused because people must be asked.

    Put once more, as one that waits, it is proposed to them.
    """
    refusals = (job.result or {}).get("refusals", ()) if job.status == "refused" else ()
    kinds = {refusal["kind"] for refusal in refusals}
    return kinds == {"approval"}


def explain(refusals: list[dict[str, Any]], language: str) -> str:
    """Return every reason, whose rule it is, and every fix, one node a line."""
    lines = []
    for refusal in refusals:
        reasons = "; ".join(
            f"{reason['id']} {reason[language]} "
            f"({reason['law']}; {OWNED[language][owner_of(reason['id'])]})"
            for reason in refusal["reasons"]
        )
        fixes = "; ".join(dict.fromkeys(fix[language] for fix in refusal["fixes"]))
        passes = " ".join(refusal.get("nearest", ()))
        nearest = f"{WOULD_PASS[language]} {passes}" if passes else ""
        lines.append(f"{refusal['node']}: {reasons}. → {fixes}{nearest}")
    return "refused\n  " + "\n  ".join(lines)
