"""Turns what a data team wants into a signed work order; spends nothing and touches no row."""

import os
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from decimal import Decimal
from importlib.resources import files
from string import Template
from typing import Any, Final

from aggregator.jobs import FINAL, Job, Jobs
from aggregator.standing import held_back, is_held_back
from clients.release import code_digest
from experiments.errors import UsageError
from experiments.home import Home
from experiments.opening import fresh_key, keep_key
from federation.errors import MalformedOrderError, UnsupportedQueryError
from federation.joint_keys import require_holders
from federation.membership import THRESHOLD, Member
from federation.offers import offering
from federation.orders import WorkOrder, open_order, sign_order
from federation.queries import tree
from federation.queries.fitting import fit_all
from federation.queries.holders import holders_of
from federation.queries.isolation import require_shared
from federation.queries.parse import parse
from federation.queries.pricing import calibrate, cost, price
from federation.queries.suggest import suggestion
from federation.sum_recipes import SumRecipe
from federation.tasks import QueryTask, Source, TrainingTask, reads_of
from policies.budget import accountant
from policies.budget.account import stated_delta
from policies.budget.events import Repeated, spell, to_json
from policies.contracts import DataContract, load_contract
from policies.owners import owner_of
from policies.parties import DATA_ROLES, PartyId, Role
from secure_compute.errors import SecureComputeError

LIFETIME_SECONDS: Final = 3600
MOST_SECONDS: Final = 7 * 24 * 3600
"""No node agrees to a longer life of an order."""

WAIT_HOURS: Final = 24
"""How long an order waits for people, once it turned out that somebody has to be asked."""

_RUN: Final = re.compile(r"[0-9a-f]{8,64}", re.ASCII)

ABANDONED_ROUNDS: Final = 3
"""Rounds of a training run that may come to nothing, unless its terms say otherwise."""

READS: Final = {"demand": "demand", "fraud": "orders"}
"""The contract each model trains on."""

HOLDERS: Final = {
    "demand": (Role.WAREHOUSE,),
    "fraud": (Role.PAYMENT_PARTNER, Role.MERCHANT),
}
"""The roles that take part in training each model, unless an order names its cohort."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What an order says besides its task.

    cohort: the parties asked, empty for everyone whose role fits; minimum: fewest that must agree.
    abandoned: rounds of a training run that may come to nothing; they are reserved with the others.
    windows: the accounting windows that are read, empty for all of them.
    source: whether a question may, must or must not be answered from a past release.
    deadline: milliseconds after which every node's answer to a question leaves; 0 for the default.
    hours: how long the order waits for people at nodes that have to ask them; 0: it does not wait.
    not_before: when work on it may begin, in seconds since 1970; 0 for at once.
    """

    purpose: str
    legal_basis: str = "contract"
    cohort: tuple[PartyId, ...] = ()
    minimum: int = 3
    abandoned: int = ABANDONED_ROUNDS
    windows: tuple[str, ...] = ()
    source: Source = "any"
    deadline: int = 0
    hours: int = 0
    not_before: int = 0


def published_contracts() -> dict[str, DataContract]:
    """Return the federation's contracts as published, for planning; limits are the nodes' own."""
    folder = files("experiments") / "parties" / "contracts"
    texts = [item.read_text(encoding="utf-8") for item in folder.iterdir()]
    blanks = {"epsilon": "1", "delta": "1e-6"}
    contracts = [load_contract(Template(text).substitute(blanks)) for text in texts]
    return {contract.name: contract for contract in contracts}


def training_order(home: Home, task: TrainingTask, terms: Terms) -> WorkOrder:
    """Return the order that asks the cohort to train by `task`.

    Raises:
        UsageError: the terms name windows; training looks back over all of them.
    """
    if terms.windows:
        raise UsageError("training looks back over all windows and pays in all; leave windows out")
    contract = published_contracts()[READS[task.model]]
    cohort = _cohort(home, terms, HOLDERS[task.model])
    task = for_nodes(task, len(cohort))
    _require_apart(task, cohort)
    _require_filled(task, terms)
    event, rounds = task.recipe.event(), task.rounds
    epsilon = accountant.epsilon([Repeated(event, rounds)], float(contract.limit.delta))
    return WorkOrder(
        kind="train",
        columns=tuple(sorted(column.name for column in contract.columns)),
        parameters=task.to_json(),
        epsilon=spell(Decimal(repr(epsilon))),
        event=to_json(event),
        releases=rounds,
        # A round of sums is begun once: nothing of it can be made again.
        abandoned=0 if isinstance(task.recipe, SumRecipe) else terms.abandoned,
        **terms_in_common(home, contract, cohort, terms),
    )


def _require_filled(task: TrainingTask, terms: Terms) -> None:
    recipe = task.recipe
    if not isinstance(recipe, SumRecipe) or recipe.least(terms.minimum) <= recipe.nodes:
        return
    raise UsageError(
        f"each of {recipe.groups} groups needs the order's minimum of {terms.minimum} parties, "
        f"and {recipe.nodes} are asked: set cohort.minimum or model.groups lower"
    )


def _require_apart(task: TrainingTask, cohort: Sequence[Member]) -> None:
    organisations = {member.organisation for member in cohort}
    if isinstance(task.recipe, SumRecipe) and len(organisations) < len(cohort):
        raise UsageError(
            "two parties of the cohort are of one organisation, and secure sums count "
            "organisations: name one of each with cohort.parties"
        )


def continuation(
    home: Home, jobs: Jobs, run: str, model: str, overrides: Sequence[str]
) -> TrainingTask:
    """Return the task that goes on where the run whose id begins with `run` was cut short.

    Raises:
        UsageError: there is no such run of this model, it has all its rounds or none; or settings
            are overridden, which are those of the run.
    """
    job = named_run(jobs, run)
    order = open_order(job.wire, home.roster()).order
    if order.kind != "train":
        raise UsageError(f"{job.id[:12]} was no training run: name one that was cut short")
    task = TrainingTask.from_json(order.parameters)
    if task.model != model or overrides:
        raise UsageError(
            f"run {job.id[:12]} trains {task.model} by its own recipe: name that model and "
            "override nothing"
        )
    last = jobs.last_round(job.id)
    made = task.begun if last is None else last.round
    if is_held_back(gate := (job.result or {}).get("gate", {})):
        raise UsageError(f"the model of {job.id[:12]} is held back: {held_back(gate)}; train anew")
    if job.status not in FINAL or not 0 < made < task.recipe.rounds:
        raise UsageError(
            f"run {job.id[:12]} is {job.status} with {made} of {task.recipe.rounds} rounds: there "
            "is nothing to go on from; wait for it, or train anew"
        )
    # A run that made none of its own rounds left no model: its parent's is where to go on.
    return task if made == task.begun else replace(task, begun=made, parent=job.id)


def waiting_run(
    home: Home, jobs: Jobs, run: str, model: str, overrides: Sequence[str]
) -> WorkOrder | None:
    """Return the order of a run that waits for people or its time, or did; None for any other.

    Raises:
        UsageError: there is no such run of this model, or settings are overridden.
    """
    job = named_run(jobs, run)
    order = open_order(job.wire, home.roster()).order
    cut_short = job.status in FINAL - {"done", "refused"}
    if not (order.waits_until or order.not_before) or order.kind != "train" or cut_short:
        return None
    if TrainingTask.from_json(order.parameters).model != model or overrides:
        raise UsageError(
            f"run {job.id[:12]} was proposed as it is: name its model and override nothing"
        )
    return order


def named_run(jobs: Jobs, run: str, command: str = "train") -> Job:
    """Return the one run whose id begins so.

    Raises:
        UsageError: there is none, or several.
    """
    found = jobs.named(run) if _RUN.fullmatch(run) else []
    if len(found) != 1:
        kind = "training run" if command == "train" else "question"
        several = "several runs begin" if found else f"no {kind} begins"
        raise UsageError(
            f"{several} with {run!r}; give the first 8 or more digits of the id that `{command}` "
            "printed"
        )
    return found[0]


def for_nodes(task: TrainingTask, nodes: int) -> TrainingTask:
    """Return the task for a cohort of `nodes`.

    Raises:
        UsageError: so few cannot hide one another with as many that may collude.
    """
    if not isinstance(task.recipe, SumRecipe):
        return task
    try:
        return replace(task, recipe=replace(task.recipe, nodes=nodes))
    except MalformedOrderError as why:
        raise UsageError(
            f"{why} More parties (cohort.parties) or fewer colluders (privacy.colluding) would do."
        ) from why


def query_order(home: Home, sql: str, epsilon: str, terms: Terms) -> WorkOrder:
    """Return the order of a joint question that only this side can open the answer to.

    The private half of its key is on disk when this returns, and is named after the order.

    Raises:
        UsageError: too few keyholders are on the roster, or as `drafted_query` has it.
        UnsupportedQueryError: the SQL says something that has no price.
    """
    require_keyholders(home)
    return sealed(home, drafted_query(home, sql, epsilon, terms))


def sealed(home: Home, draft: WorkOrder) -> WorkOrder:
    """Return the question with a fresh key for its answer, the private half of which is on disk."""
    key = fresh_key()
    task = replace(QueryTask.from_json(draft.parameters), sealing=key.public.hex())
    order = replace(draft, parameters=task.to_json())
    keep_key(home, order.id, key)
    return order


def require_keyholders(home: Home) -> None:
    """Return if an answer could be opened.

    Raises:
        UsageError: too few keyholders are on the roster.
    """
    try:
        require_holders(home.roster(), THRESHOLD)
    except SecureComputeError as why:
        raise UsageError(f"nobody could open the answer: {why}") from why


def drafted_query(home: Home, sql: str, epsilon: str, terms: Terms) -> WorkOrder:
    """Return the order that asks the cohort a joint question at a price of at most `epsilon`.

    It is a draft, to be priced: it names no key that its answer is sealed to.

    Raises:
        UnsupportedQueryError: the SQL says something that has no price.
    """
    contracts = published_contracts()
    plan = _parsed(sql, contracts, _cohort(home, terms, DATA_ROLES))
    read = reads_of(plan)
    # FROM and JOIN name contracts, and those are asked that offer them all.
    cohort = _cohort(home, terms, offering(one.contract for one in read))
    everybody = _cohort(home, terms, DATA_ROLES)
    with _told(sql, contracts, cohort):
        require_shared(plan, contracts, holders_of(everybody, contracts))
        fit_all(plan, contracts, cohort)
    delta = str(stated_delta([contracts[one.contract] for one in read]))
    noise = calibrate(plan, epsilon, delta)
    common = terms_in_common(home, contracts[read[0].contract], cohort, terms)
    return WorkOrder(
        kind="query",
        columns=read[0].columns,
        parameters=QueryTask(sql, plan, noise, terms.source, deadline=terms.deadline).to_json(),
        epsilon=cost(plan, noise, delta),
        event=to_json(price(plan, noise)),
        releases=1,
        abandoned=0,
        further=read[1:],
        **{**common, "delta": delta},
    )


def _parsed(sql: str, contracts: Mapping[str, DataContract], cohort: Sequence[Member]) -> tree.Plan:
    """Return the plan of a text, or refuse it; see `_told`."""
    with _told(sql, contracts, cohort):
        return parse(sql, contracts, cohort)


@contextmanager
def _told(
    sql: str, contracts: Mapping[str, DataContract], cohort: Sequence[Member]
) -> Iterator[None]:
    """Tell with every refusal its rule, whose rule it is, and what would pass."""
    try:
        yield
    except UnsupportedQueryError as why:
        nearest = suggestion(sql, contracts, cohort)
        passes = "" if nearest is None else f"\n  this would pass: {nearest}"
        said = f"{why}\n  {why.rule}, a rule of the {owner_of(why.rule)}: {RULES[why.rule]}{passes}"
        raise type(why)(said) from why


RULES: Final = {
    "QUERY-001": "what is outside the documented language has no price",
    "QUERY-002": "a cell needs 3 organisations that may hold it",
    "QUERY-003": "units of privacy are counted and bounded, never named",
}
"""The federation's rules about questions, by their ids."""


def sign(home: Home, order: WorkOrder) -> bytes:
    """Return the order behind the analyst's signature."""
    return sign_order(order, home.analyst_key())


def _cohort(home: Home, terms: Terms, roles: Sequence[Role]) -> tuple[Member, ...]:
    roster = home.roster()
    if terms.cohort:
        return tuple(roster.find(party) for party in terms.cohort)
    return roster.active(*roles)


def terms_in_common(
    home: Home, contract: DataContract, cohort: Sequence[Member], terms: Terms
) -> dict[str, Any]:
    """Return the fields of an order that follow from contract, cohort and terms."""
    now = int(time.time())
    return {
        **_times(now, terms),
        "federation": home.name,
        "proposer": home.analyst,
        "purpose": terms.purpose,
        "legal_basis": terms.legal_basis,
        "code": code_digest(),
        "contract": contract.name,
        "contract_version": contract.version,
        "recipients": (home.analyst,),
        "unit": contract.unit.kind,
        "delta": str(contract.limit.delta),
        "windows": terms.windows,
        "cohort": tuple(member.party for member in cohort),
        "minimum": terms.minimum,
        "nonce": os.urandom(16).hex(),
    }


def _times(now: int, terms: Terms) -> dict[str, Any]:
    """Return when an order was written, may begin, waits for people, and is over.

    Raises:
        UsageError: it would hold its price set aside for too long.
    """
    waits_until = now + terms.hours * 3600 if terms.hours else 0
    expires = max(now, waits_until, terms.not_before) + LIFETIME_SECONDS
    if terms.hours < 0 or expires - now > MOST_SECONDS:
        raise UsageError(
            f"an order ends within {MOST_SECONDS // 3600} hours, one of which is left for the work "
            "itself: set approval.hours or schedule.not_before lower"
        )
    return {
        "created": now,
        "expires": expires,
        "not_before": terms.not_before,
        "waits_until": waits_until,
    }


def waiting_order(order: WorkOrder, hours: int = WAIT_HOURS) -> WorkOrder:
    """Return the same work as an order that waits for people at nodes that have to ask them.

    It is another order: nothing of the first one is ever made for it.
    """
    terms = Terms(purpose=order.purpose, hours=hours)
    return replace(order, **_times(int(time.time()), terms), nonce=os.urandom(16).hex())
