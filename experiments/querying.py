"""Asks a joint question: the data team's side."""

import time
from collections.abc import Sequence
from decimal import Decimal, InvalidOperation
from typing import Any, Final

from aggregator.jobs import FINAL, Jobs
from experiments.errors import UsageError
from experiments.explaining import note_time, paid
from experiments.following import Watcher, asks_people, follow, require_done
from experiments.home import Home
from experiments.opening import forget_key, keep_key, key_of, released
from experiments.ordering import Terms, named_run, sign, waiting_order
from experiments.overrides import overridden
from federation.orders import WorkOrder, open_order
from federation.tasks import MOST_DEADLINE, QueryTask, Source
from policies.parties import PartyId

DEFAULT_EPSILON: Final = "0.25"


def read_terms(overrides: Sequence[str], source: Source = "any") -> tuple[str, Terms]:
    """Return ε and terms from overrides such as `privacy.epsilon=0.25`.

    source: whether the answer may, must or must not be a release that was made before.

    Raises:
        UsageError: an override is unknown or has no sensible value.
    """
    defaults = {
        "privacy.epsilon": DEFAULT_EPSILON,
        "purpose": "market_statistics",
        "legal_basis": "contract",
        "cohort.minimum": "3",
        "cohort.parties": "",
        "windows": "",
        "deadline": "0",
        "approval.hours": "0",
        "schedule.not_before": "0",
    }
    known = overridden(defaults, overrides)
    try:
        epsilon, minimum = Decimal(known["privacy.epsilon"]), int(known["cohort.minimum"])
        deadline = Decimal(known["deadline"]) * 1000
        hours, not_before = int(known["approval.hours"]), int(known["schedule.not_before"])
    except (InvalidOperation, ValueError) as why:
        raise UsageError(
            "privacy.epsilon, cohort.minimum, deadline, approval.hours and schedule.not_before "
            "are numbers"
        ) from why
    if not (deadline == 0 or (deadline.is_finite() and 1 <= deadline <= MOST_DEADLINE)):
        raise UsageError(
            f"a deadline is 0.001 to {MOST_DEADLINE // 1000} seconds, or 0 for the usual one"
        )
    if not epsilon.is_finite() or epsilon <= 0 or minimum < 1:
        raise UsageError("privacy.epsilon and cohort.minimum are above zero")
    return str(epsilon), Terms(
        purpose=known["purpose"],
        legal_basis=known["legal_basis"],
        cohort=tuple(map(PartyId, _listed(known["cohort.parties"]))),
        minimum=minimum,
        windows=_listed(known["windows"]),
        source=source,
        deadline=int(deadline),
        hours=hours,
        not_before=not_before,
    )


def _listed(text: str) -> tuple[str, ...]:
    """Return the words of a list with commas, each once."""
    words = (word.strip() for word in text.split(","))
    return tuple(dict.fromkeys(word for word in words if word))


def ask(home: Home, order: WorkOrder, watch: Watcher) -> dict[str, Any]:
    """Return the answer as the JSON of `entrepot query`.

    Raises:
        ExperimentError: it was refused or abandoned; the message says why and what to do.
    """
    jobs = Jobs(home.jobs)
    began = time.monotonic()
    jobs.add(order.id, sign(home, order), order.created)
    value = _seen_through(home, jobs, order, watch)
    note_time(jobs, order, value, time.monotonic() - began)
    return value


def resume(home: Home, run: str, watch: Watcher) -> dict[str, Any]:
    """Return the answer to a question that was asked before and is not opened yet, or was.

    run: the first digits of its id. Nothing is asked anew, and nothing more is paid.

    Raises:
        UsageError: there is no such question, or the key of its answer does not lie here.
        ExperimentError: it was refused or abandoned, or its answer does not open.
    """
    jobs = Jobs(home.jobs)
    job = named_run(jobs, run, "query")
    order = open_order(job.wire, home.roster()).order
    if order.kind != "query":
        raise UsageError(f"{job.id[:12]} was no question: name one that `query` asked")
    return _seen_through(home, jobs, order, watch)


def _seen_through(home: Home, jobs: Jobs, order: WorkOrder, watch: Watcher) -> dict[str, Any]:
    job = follow(jobs, order.id, watch)
    if asks_people(job) and not order.waits_until:
        order = _waiting(home, jobs, order, watch)
        job = follow(jobs, order.id, watch)
    if job.status in FINAL - {"done"}:
        forget_key(home, order.id)  # nothing will ever be sealed to it
    require_done(job)
    result = released(home, jobs, job)
    reused = result.get("reused")
    return {
        "schema": "entrepot.query/1",
        "run": order.id,
        "sql": QueryTask.from_json(order.parameters).sql,
        "epsilon": reused["epsilon"] if reused else order.epsilon,
        "delta": order.delta,
        "unit": order.unit,
        "answer": result["answer"],
        "parties": result["parties"],
        "late": result.get("late", []),
        **paid(order, reused),
    }


def _waiting(home: Home, jobs: Jobs, order: WorkOrder, watch: Watcher) -> WorkOrder:
    """Put a question once more, as one that waits for people; its answer has the same key."""
    again = waiting_order(order)
    keep_key(home, again.id, key_of(home, order.id))
    forget_key(home, order.id)
    watch({"stage": "asking", "run": again.id})
    jobs.add(again.id, sign(home, again), again.created)
    return again
