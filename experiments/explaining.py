"""EXPLAIN PRIVACY: what a question would cost, bring and tell, before it is asked.

A function of the order, the nodes' contracts, policies and ledgers, and past releases. No row is
read, nothing is set aside, and no entry is written.
"""

import itertools
import statistics
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from aggregator.database import is_there
from aggregator.jobs import Job, Jobs
from aggregator.reuse import Reader, find_past, reader
from clients.attributes import Attributes
from clients.errors import MisstatedOrderError
from clients.exports import Left
from clients.policy import load_packs, load_policy
from experiments.accounts import NodeBooks, books_here
from experiments.home import Home
from experiments.planning import asked_at, lacking, repeated
from experiments.schedules import Schedule
from experiments.statements import statements
from federation.errors import FederationError
from federation.membership import THRESHOLD, Roster
from federation.orders import WorkOrder
from federation.past import may_see
from federation.queries.answers import Answer, aggregate_of, read_answer
from federation.queries.explaining import explain
from federation.queries.pricing import drowned, least_rows, price
from federation.queries.tree import Plan
from federation.tasks import QueryTask
from policies.budget import accountant
from policies.budget.account import Asked, admit
from policies.engine import Deny, Reason, decide, deciding
from policies.errors import InsufficientBudgetError, PolicyError
from policies.owners import owner_of
from policies.parties import Role
from secure_compute.errors import SecureComputeError

TOOK: Final = "took"
"""The stage of the note that says how long an answer took."""


def explanation(home: Home, order: WorkOrder, schedule: Schedule | None = None) -> dict[str, Any]:
    """Return price, expected error, what is left, who learns what and which rules decide.

    schedule: of a question that is asked again and again; accounts are shown as all of its orders
              together change them.
    That the answer would be a past one, at no price, is told to those alone who may see that one.
    """
    task = QueryTask.from_json(order.parameters)
    times = 1 if schedule is None else schedule.times
    jobs = Jobs(home.jobs) if is_there(home.jobs) else None
    done = jobs.done() if jobs else []
    roster = home.roster()
    past = find_past(order, done, reader(roster))
    priced = explain(task.plan, task.noise_multiplier, order.delta, len(order.cohort))
    read = {one.contract for one in order.reads}
    nodes = [books_here(home, party) for party in order.cohort]
    return {
        "schema": "entrepot.query.explain/1",
        "sql": task.sql,
        "purpose": order.purpose,
        "cohort": list(order.cohort),
        **priced.to_json(),
        **paid(order, past.to_json() if past else None),
        "left": [
            {"node": row.node, "epsilon": row.epsilon, "limit": row.limit}
            for row in statements(home)
            if read & {*row.dataset.split(", ")} and row.node in order.cohort
        ],
        "reads": [
            {"contract": one.contract, "version": one.version, "columns": list(one.columns)}
            for one in order.reads
        ],
        "accounts": [
            account
            for books in nodes
            if not lacking(order, books)
            for account in account_changes(books.node, repeated(asked_at(books, order), times))
        ],
        "drowned": _drowned(order, task, done, reader(roster)),
        "learns": list(_learns(order, roster)),
        "rules": [_rules(order, roster, books) for books in nodes],
        "seconds": _seconds(jobs, done),
        "schedule": None if schedule is None else schedule.to_json(),
    }


def note_time(jobs: Jobs, order: WorkOrder, result: Mapping[str, Any], seconds: float) -> None:
    """Write down how long an answer took, for later explanations; a past one takes no time."""
    if order.kind == "query" and "answer" in result and not result.get("reused"):
        jobs.note(order.id, stage=TOOK, seconds=round(seconds, 3))


def paid(order: WorkOrder, reused: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return what the order was charged, and which past release it repeats."""
    if not reused:
        return {"charged": order.epsilon, "reused": None}
    return {"charged": "0", "reused": {"run": reused["run"], "asked_at": reused["asked_at"]}}


def account_changes(node: str, asked: tuple[Asked, ...]) -> Iterator[dict[str, Any]]:
    """Yield what the order would change in every account that it touches at one node."""
    refusals: dict[str, InsufficientBudgetError] = {}
    try:
        admit(asked)
    except InsufficientBudgetError as why:
        refusals = {each.scope: each for each in (why, *why.others)}
    for one in asked:
        scope, delta = one.charge.scope, float(one.charge.scope.delta)
        before, after = (
            accountant.epsilon(events, delta)
            for events in (one.held, (*one.held, one.charge.stated))
        )
        refusal = refusals.get(str(scope))
        yield {
            "node": node,
            "dataset": scope.dataset,
            "subjects": scope.subjects,
            "unit": scope.label,
            "window": scope.window,
            "before": before,
            "after": after,
            "cost": max(0.0, after - before),
            "limit": float(scope.epsilon),
            "left": max(0.0, float(scope.epsilon) - after),
            "fits": refusal is None,
            "refusal": None if refusal is None else str(refusal),
        }


def _drowned(
    order: WorkOrder, task: QueryTask, done: Iterable[Job], read: Reader
) -> dict[str, Any]:
    """Return how many rows a cell needs, and which cells had fewer when they were last released."""
    plan, noise, parties = task.plan, task.noise_multiplier, len(order.cohort)
    run, rows = _known_rows(order, plan, done, read)
    return {
        "least_rows": least_rows(plan, noise, parties),
        "cells": [list(_keys_at(plan, cell)) for cell in drowned(plan, noise, parties, rows)],
        "from": run,
    }


def _known_rows(
    order: WorkOrder, plan: Plan, done: Iterable[Job], read: Reader
) -> tuple[str | None, dict[int, int]]:
    """Return the newest release that counted the same cells, and what it said, by place."""
    for job in reversed(list(done)):
        try:
            past = read(job.wire)
            if past.kind != "query" or not may_see(past, order.proposer):
                continue
            known = QueryTask.from_json(past.parameters).plan
            answer = read_answer((job.result or {}).get("answer"))
        except (FederationError, SecureComputeError):
            continue
        counts = _counts(known, answer) if _same_cells(known, plan) else None
        if counts is not None:
            return job.id, counts
    return None, {}


def _same_cells(past: Plan, asked: Plan) -> bool:
    one, other = past.child, asked.child
    keys = [[(key.expression, key.domain) for key in group.keys] for group in (one, other)]
    return one.child == other.child and keys[0] == keys[1]


def _counts(plan: Plan, answer: Answer) -> dict[int, int] | None:
    """Return the rows of every cell that an answer shows; None where it counted none."""
    places = {keys: at for at, keys in enumerate(_every(plan))}
    for at, output in enumerate(plan.outputs):
        item = aggregate_of(plan, output)
        if item is not None and item.function == "count" and item.counted is None:
            return {places[row.keys]: int(row.cells[at].value or 0) for row in answer.rows}
    return None


def _every(plan: Plan) -> Iterator[tuple[str, ...]]:
    return itertools.product(*(key.domain for key in plan.child.keys))


def _keys_at(plan: Plan, cell: int) -> tuple[str, ...]:
    return list(_every(plan))[cell]


_OPENED: Final = (
    f"the rows with their noise in them, which it alone opens, from the parts of {THRESHOLD} "
    "keyholders"
)
_TOLD: Final = "the rows with their noise in them, from whoever asked"


def _learns(order: WorkOrder, roster: Roster) -> Iterator[dict[str, str]]:
    """Yield who would know what, in words."""
    for party in sorted({*order.recipients, order.proposer}):
        yield {
            "party": party,
            "as": "recipient",
            "what": _OPENED if party == order.proposer else _TOLD,
        }
    for member in roster.with_role(Role.AGGREGATOR):
        yield {
            "party": member.party,
            "as": "aggregator",
            "what": "the question, who takes part, sizes and times of letters, and ciphertexts "
            "that it cannot open; neither a party's numbers nor the answer",
        }
    holders = roster.active(Role.KEYHOLDER)
    together = f"{THRESHOLD} of the {len(holders)} keyholders"
    for member in holders:
        yield {
            "party": member.party,
            "as": "keyholder",
            "what": "the question and the sum of ciphertexts, to which it gives its part of the "
            f"opening, sealed to whoever asks; alone it reads nothing. {together} and the "
            "aggregator together could read each party's numbers, with that party's noise in them",
        }
    for party in order.cohort:
        yield {
            "party": party,
            "as": "node",
            "what": "the question, who asks and who else is asked; not the answer",
        }


def _rules(order: WorkOrder, roster: Roster, books: NodeBooks) -> dict[str, Any]:
    """Return what the law of one node would say as it stands, and by which rules."""
    policy = books.settings.folder / "policy"
    law = load_policy(policy)
    left, packs = Left(books.books)(), load_packs(policy)
    attributes = Attributes(books.settings, roster, books.contracts, time.time(), left, packs)
    told: dict[str, Any] = {"node": books.node, "decides": [], "transfers": [], "reasons": []}
    try:
        _require_offered(order, books)
        task = QueryTask.from_json(order.parameters)
        asked = attributes.each(order, price(task.plan, task.noise_multiplier))
        denied = [no for no in (decide(one, law) for one in asked) if isinstance(no, Deny)]
        reasons = dict.fromkeys(reason for deny in denied for reason in deny.reasons)
        told["decides"] = sorted({rule for one in asked for rule in deciding(one, law)})
        told["reasons"] = list(map(_told, reasons))
        told["transfers"] = list(attributes.rules(order))
    except (MisstatedOrderError, FederationError, PolicyError) as why:
        told["reasons"] = [{"id": "ORDER-001", "owner": owner_of("ORDER-001"), "en": str(why)}]
    return {**told, "permits": not told["reasons"]}


def _require_offered(order: WorkOrder, books: NodeBooks) -> None:
    if lacks := lacking(order, books):
        raise MisstatedOrderError(
            f"this node does not offer {lacks}, so it has no row of the question and is left out"
        )


def _told(reason: Reason) -> dict[str, str]:
    return {
        "id": reason.id,
        "owner": owner_of(reason.id),
        "law": reason.law,
        "en": reason.text_en,
        "fix": reason.fix_en,
    }


def _seconds(jobs: Jobs | None, done: Iterable[Job]) -> float | None:
    """Return the median of what answers took; None where nothing was timed yet."""
    if jobs is None:
        return None
    notes = (note for job in done for _, note in jobs.notes(job.id))
    took = [float(note["seconds"]) for note in notes if note["stage"] == TOOK]
    return round(statistics.median(took), 1) if took else None
