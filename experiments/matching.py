"""Matches people of two parties, or explains what it would cost and who would learn what."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal, InvalidOperation
from importlib.resources import files
from string import Template
from typing import Any, Final

from aggregator.database import is_there
from aggregator.jobs import Jobs
from experiments.errors import UsageError, WaitingError
from experiments.following import Watcher, asks_people, follow, require_done
from experiments.home import Home
from experiments.ordering import LIFETIME_SECONDS, Terms, sign, terms_in_common, waiting_order
from experiments.overrides import overridden
from experiments.statements import statements
from federation.errors import MalformedOrderError
from federation.match_values import half_width, value_for
from federation.matching import PRICED, MatchTask, Mode, columns_of, event_of, law_for, terms_of
from federation.membership import Member
from federation.orders import WorkOrder, open_order
from policies.budget import accountant
from policies.budget.events import spell, to_json
from policies.contracts import DataContract, load_contract
from policies.parties import DATA_ROLES, PartyId
from secure_compute.errors import LocalProtocolError
from secure_compute.psi.dummies import Law
from secure_compute.psi.messages import HEADER, Kind, length
from secure_compute.psi.values import Value

DEFAULT_EPSILON: Final = "0.5"
PATIENCE_SECONDS: Final = 3 * 24 * 3600
"""How long a disclosure may wait for the people who have to approve it."""

_SIZE: Final = (
    "about how many of its people {sender} has too, with the sender's noise",
    "the same number with the noise of both",
    "the same number with the noise of both",
)
_NUMBERS: Final = "; and what they have of {column} together, with "
LEARNS: Final[Mapping[Mode, tuple[str, str, str]]] = {
    "size": _SIZE,
    "sum": (
        f"{_SIZE[0]}{_NUMBERS}the sender's noise",
        f"{_SIZE[1]}{_NUMBERS}the receiver's noise",
        f"{_SIZE[2]}{_NUMBERS}the noise of both",
    ),
    "intersection": (
        "which of its people are in {sender}'s set, exactly",
        "nothing but that it was done",
        "that it was done",
    ),
    "tokens": (
        "which of its people are in {sender}'s set, exactly, and a token for each of its own",
        "which of its people are in {receiver}'s set, exactly, and a token for each of its own",
        "that it was done",
    ),
}
"""What receiver, sender and whoever asks learn, by mode."""


DISCLOSURE: Final = "APPROVAL-001"
"""Why a disclosure waits for its persons, which it does without being proposed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What a data team wants matched, before it is an order.

    receiver, sender: as given on the command line. on: the column, or the kind of identifier.
    cap, most: what the contracts of both state, where these are not the published ones.
    of:        the column that is summed, for a sum; bound, unit: how it is held, if said.
    """

    mode: Mode
    receiver: str
    sender: str
    on: str
    epsilon: str = DEFAULT_EPSILON
    cap: int | None = None
    most: int | None = None
    of: str = ""
    bound: str | None = None
    unit: str | None = None
    terms: Terms


def read_terms(overrides: Sequence[str]) -> tuple[str, dict[str, int], Terms]:
    """Return ε, `cap` and `most` if given, and terms, from overrides such as `privacy.epsilon=0.5`.

    Raises:
        UsageError: an override is unknown or has no sensible value.
    """
    defaults = {
        "privacy.epsilon": DEFAULT_EPSILON,
        "purpose": "fraud_prevention",
        "legal_basis": "contract",
        "cap": "0",
        "most": "0",
    }
    known = overridden(defaults, overrides)
    try:
        epsilon = Decimal(known["privacy.epsilon"])
        bounds = {name: int(known[name]) for name in ("cap", "most")}
    except (InvalidOperation, ValueError) as why:
        raise UsageError("privacy.epsilon, cap and most are numbers") from why
    if not epsilon.is_finite() or epsilon <= 0 or min(bounds.values()) < 0:
        raise UsageError("privacy.epsilon is above zero, and cap and most too")
    terms = Terms(purpose=known["purpose"], legal_basis=known["legal_basis"], minimum=2)
    return str(epsilon), {name: said for name, said in bounds.items() if said}, terms


def read_bound(overrides: Sequence[str]) -> tuple[str | None, str | None, list[str]]:
    """Return a sum's bound and the unit that it is in, if given, and the other overrides."""
    found: dict[str, str] = {}
    rest = []
    for override in overrides:
        name, sign, said = override.partition("=")
        if sign and name in {"bound", "unit"}:
            found[name] = said
        else:
            rest.append(override)
    return found.get("bound"), found.get("unit"), rest


def published_people() -> DataContract:
    """Return the contract of people as published, for planning; limits are the nodes'.

    A node whose own contract states another cap, or another `most`, refuses an order by this one
    and names its own: `cap=` and `most=` are for these.
    """
    text = (files("experiments") / "parties" / "matching" / "people.toml").read_text("utf-8")
    return load_contract(Template(text).substitute({"epsilon": "1", "delta": "1e-6"}))


def match_order(home: Home, wish: Wish) -> WorkOrder:
    """Return the order that asks two parties to match their people.

    Raises:
        UsageError: a party is unknown, holds no people, or both are of one organisation; nobody is
            matched by such a column; or no noise is enough for the price.
    """
    contract = published_people()
    ends = [_end(home, name) for name in (wish.receiver, wish.sender)]
    _require_apart(ends)
    task = _task(contract, wish, ends)
    event = {} if task.discloses else to_json(event_of(task))
    order = WorkOrder(
        kind="match",
        columns=columns_of(task, contract),
        parameters=task.to_json(),
        epsilon="0" if task.discloses else _price(task, contract),
        event=event,
        releases=1,
        abandoned=0,
        **terms_in_common(home, contract, ends, wish.terms),
    )
    patience = PATIENCE_SECONDS if task.discloses else LIFETIME_SECONDS
    order = replace(
        order,
        recipients=tuple(dict.fromkeys((*order.recipients, *order.cohort))),
        expires=order.created + patience,
    )
    terms_of(order)
    return order


def ask(home: Home, order: WorkOrder, watch: Watcher) -> dict[str, Any]:
    """Return what came of a match as the JSON of `entrepot psi`.

    Raises:
        WaitingError: people have to approve it; the order stays, and `resume` takes it up.
        ExperimentError: it was refused or abandoned; the message says why and what to do.
    """
    jobs = Jobs(home.jobs)
    jobs.add(order.id, sign(home, order), order.created)
    return _followed(home, jobs, order, watch)


def resume(home: Home, beginning: str, watch: Watcher) -> dict[str, Any]:
    """Put a match that waited for people on the table once more.

    Raises:
        UsageError: no such match waits.
        WaitingError, ExperimentError: see `ask`.
    """
    jobs = Jobs(home.jobs) if is_there(home.jobs) else None
    found = jobs.named(beginning) if jobs and len(beginning) >= 8 else []
    orders = [open_order(job.wire, home.roster()).order for job in found]
    if jobs is None or len(orders) != 1 or orders[0].kind != "match":
        raise UsageError(
            f"no one match begins with {beginning!r}; give the first 8 or more digits that "
            "`entrepot psi` printed"
        )
    standing = found[0].status in {"done", "waiting", "running", "queued"}
    if not jobs.again(orders[0].id) and not standing:
        raise UsageError(f"match {beginning[:12]} is {found[0].status}: nothing waits for people")
    return _followed(home, jobs, orders[0], watch)


def explanation(home: Home, order: WorkOrder) -> dict[str, Any]:
    """Return price, error, who learns what and what is left, from order and books alone."""
    task, terms = MatchTask.from_json(order.parameters), terms_of(order)
    ends = (task.receiver, task.sender, order.proposer)
    summed = task.value.column if task.value else ""
    names = {"receiver": task.receiver, "sender": task.sender, "column": summed}
    kinds = (Kind.LIST, Kind.REPLY, *((Kind.CHOICE,) if task.value else ()))
    sizes = {kind.name.lower(): HEADER + length(terms, kind) for kind in kinds}
    return {
        "schema": "entrepot.psi.explain/1",
        **_told(order, task),
        "noise": None if task.dummies is None else {**terms_noise(task)},
        "learns": [
            {"who": who, "what": what.format(**names)}
            for who, what in zip(ends, LEARNS[task.mode], strict=True)
        ],
        "approvals": [task.receiver, task.sender] if task.discloses else [],
        "bytes": sizes,
        "left": [
            {"node": row.node, "epsilon": row.epsilon, "limit": row.limit}
            for row in statements(home)
            if row.node in order.cohort and order.contract in row.dataset.split(", ")
        ],
    }


def terms_noise(task: MatchTask) -> dict[str, Any]:
    """Return how far a size may lie from the truth, for the receiver and for whoever is told."""
    if task.dummies is None:
        return {}
    one = 1.4142135623730951 * task.dummies.scale
    summed = {} if task.value is None else {"sum": sum_noise(task.value)}
    return summed | {
        "scale": task.dummies.scale,
        "shift": task.dummies.shift,
        "delta": spell(task.dummies.failure),
        "receiver": round(one, 2),
        "told": round(one * 1.4142135623730951, 2),
    }


def sum_noise(value: Value) -> dict[str, Any]:
    """Return how far a sum may lie from the truth: half of the 95 % intervals, in its unit."""
    held = {"low": value.spelled(value.low), "high": value.spelled(value.high)}
    ends = {
        "ends": value.spelled(half_width(value.scale, draws=1)),
        "told": value.spelled(half_width(value.scale)),
    }
    return {
        "of": value.column,
        "unit": value.unit,
        "step": value.step,
        "scale": spell(value.spelled(value.scale)),
        **{name: spell(number) for name, number in (held | ends).items()},
    }


def interval(number: int, width: int, value: Value | None = None) -> dict[str, Any]:
    """Return a told number with the ends of its 95 % interval."""
    parts = {"value": number, "low": number - width, "high": number + width}
    if value is None:
        return parts
    return {name: spell(value.spelled(part)) for name, part in parts.items()}


def _followed(home: Home, jobs: Jobs, order: WorkOrder, watch: Watcher) -> dict[str, Any]:
    job = follow(jobs, order.id, watch)
    refusals = (job.result or {}).get("refusals", ()) if job.status == "refused" else ()
    ids = {reason["id"] for refusal in refusals for reason in refusal["reasons"]}
    if asks_people(job) and ids != {DISCLOSURE} and not order.waits_until:
        order = waiting_order(order)
        watch({"stage": "asking", "run": order.id})
        jobs.add(order.id, sign(home, order), order.created)
        job, refusals = follow(jobs, order.id, watch), ()
    if refusals and {refusal["kind"] for refusal in refusals} == {"approval"}:
        nodes = " and ".join(str(refusal["node"]) for refusal in refusals)
        raise WaitingError(
            f"match {order.id} waits for a person at {nodes}: let each look at it with `entrepot "
            f"node approve FOLDER {order.id[:12]}`, then run `entrepot psi resume {order.id[:12]}`"
        )
    result = require_done(job)
    task = MatchTask.from_json(order.parameters)
    value = {"schema": "entrepot.psi/1", "run": order.id, **_told(order, task)}
    if task.dummies is None:
        return value
    value |= {"size": result["size"], "noise": terms_noise(task)}
    if task.value is None:
        return value
    return value | {
        "sizes": interval(result["size"], half_width(task.dummies.scale)),
        "sum": interval(result["sum"], half_width(task.value.scale), task.value),
        "unit_of_sum": task.value.unit,
    }


def _told(order: WorkOrder, task: MatchTask) -> dict[str, Any]:
    return {
        "mode": task.mode,
        "receiver": task.receiver,
        "sender": task.sender,
        "on": task.column,
        "caps": {"receiver": task.receiver_cap, "sender": task.sender_cap},
        "window": task.window,
        "purpose": order.purpose,
        "legal_basis": order.legal_basis,
        "priced": not task.discloses,
        "epsilon": order.epsilon,
        "delta": order.delta,
        "unit": order.unit,
    }


def _price(task: MatchTask, contract: DataContract) -> str:
    cost = accountant.epsilon([event_of(task)], float(contract.limit.delta))
    return spell(Decimal(repr(cost)))


def _task(contract: DataContract, wish: Wish, ends: Sequence[Member]) -> MatchTask:
    allowed = contract.match
    columns = dict(allowed.columns) if allowed else {}
    if allowed is None or wish.on not in columns:
        raise UsageError(
            f"people are matched by {' or '.join(columns)}, not by {wish.on!r}: name the column "
            "that holds e-mail addresses or phone numbers"
        )
    cap, most = wish.cap or allowed.cap, wish.most or allowed.most
    law, value = _noise(contract, wish, most)
    return MatchTask(
        mode=wish.mode,
        receiver=ends[0].party,
        sender=ends[1].party,
        column=wish.on,
        identifier=columns[wish.on],
        receiver_cap=cap,
        sender_cap=cap,
        most=most,
        window=contract.limit.window,
        dummies=law,
        value=value,
    )


def _noise(contract: DataContract, wish: Wish, most: int) -> tuple[Law | None, Value | None]:
    """Return the laws of a size and of a sum; of a sum either costs half of what is asked."""
    if wish.mode not in PRICED:
        return None, None
    epsilon = Decimal(wish.epsilon) / (1 if wish.mode == "size" else 2)
    try:
        law = law_for(epsilon, most)
    except LocalProtocolError as why:
        raise UsageError(f"privacy.epsilon={wish.epsilon}: {why}; ask for a larger one") from why
    if wish.mode == "size":
        return law, None
    try:
        bound = None if wish.bound is None else Decimal(wish.bound)
        return law, value_for(contract, wish.of, epsilon, most, bound, wish.unit)
    except InvalidOperation as why:
        raise UsageError(f"bound={wish.bound} is no number") from why
    except MalformedOrderError as why:
        raise UsageError(str(why)) from why


def _end(home: Home, name: str) -> Member:
    holders = {member.party: member for member in home.roster().active(*DATA_ROLES)}
    if name not in holders:
        raise UsageError(f"{name!r} holds no people; parties: {', '.join(sorted(holders))}")
    return holders[PartyId(name)]


def _require_apart(ends: Sequence[Member]) -> None:
    if len({member.organisation for member in ends}) != 2:
        raise UsageError(
            f"{ends[0].party} and {ends[1].party} are one organisation: people are matched between "
            "two, and what is one's own is joined at home"
        )
