"""Asks a joint question, or explains it: the data team's side."""

from collections.abc import Mapping, Sequence
from decimal import Decimal, InvalidOperation
from typing import Any, Final

from aggregator.jobs import Jobs
from aggregator.reuse import find_past, reader
from experiments.errors import UsageError
from experiments.following import Watcher, follow, require_done
from experiments.home import Home
from experiments.ordering import Terms, sign
from experiments.statements import statements
from federation.orders import WorkOrder
from federation.pricing import explain
from federation.tasks import QueryTask, Source

DEFAULT_EPSILON: Final = "0.25"


def read_terms(overrides: Sequence[str], source: Source = "any") -> tuple[str, Terms]:
    """Return ε and terms from overrides such as `privacy.epsilon=0.25`.

    source: whether the answer may, must or must not be a release that was made before.

    Raises:
        UsageError: an override is unknown or has no sensible value.
    """
    known = {
        "privacy.epsilon": DEFAULT_EPSILON,
        "purpose": "market_statistics",
        "legal_basis": "contract",
        "cohort.minimum": "3",
        "windows": "",
    }
    for override in overrides:
        name, sign_, value = override.partition("=")
        if name not in known or not sign_:
            raise UsageError(f"{override!r} is not one of {', '.join(f'{key}=…' for key in known)}")
        known[name] = value
    try:
        epsilon, minimum = Decimal(known["privacy.epsilon"]), int(known["cohort.minimum"])
    except (InvalidOperation, ValueError) as why:
        raise UsageError("privacy.epsilon and cohort.minimum are numbers") from why
    if not epsilon.is_finite() or epsilon <= 0 or minimum < 1:
        raise UsageError("privacy.epsilon and cohort.minimum are above zero")
    labels = [label.strip() for label in known["windows"].split(",")]
    return str(epsilon), Terms(
        purpose=known["purpose"],
        legal_basis=known["legal_basis"],
        minimum=minimum,
        windows=tuple(dict.fromkeys(label for label in labels if label)),
        source=source,
    )


def ask(home: Home, order: WorkOrder, watch: Watcher) -> dict[str, Any]:
    """Return the answer as the JSON of `entrepot query`.

    Raises:
        ExperimentError: it was refused or abandoned; the message says why and what to do.
    """
    jobs = Jobs(home.jobs)
    jobs.add(order.id, sign(home, order), order.created)
    result = require_done(follow(jobs, order.id, watch))
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
        **_paid(order, reused),
    }


def _paid(order: WorkOrder, reused: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return what the order was charged, and which past release it repeats."""
    if not reused:
        return {"charged": order.epsilon, "reused": None}
    return {"charged": "0", "reused": {"run": reused["run"], "asked_at": reused["asked_at"]}}


def explanation(home: Home, order: WorkOrder) -> dict[str, Any]:
    """Return price, expected error and what is left, from order, contracts and books alone.

    That the answer would be a past one, at no price, is told to those alone who may see that one.
    """
    task = QueryTask.from_json(order.parameters)
    done = Jobs(home.jobs).done() if home.jobs.exists() else []
    past = find_past(order, done, reader(home.roster()))
    priced = explain(task.plan, task.noise_multiplier, order.delta, len(order.cohort))
    return {
        "schema": "entrepot.query.explain/1",
        "sql": task.sql,
        "purpose": order.purpose,
        "cohort": list(order.cohort),
        **priced.to_json(),
        **_paid(order, past.to_json() if past else None),
        "left": [
            {"node": row.node, "epsilon": row.epsilon, "limit": row.limit}
            for row in statements(home)
            if order.contract in row.dataset.split(", ") and row.node in order.cohort
        ],
    }
