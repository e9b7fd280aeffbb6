"""Every committed round's model goes into the registry, with what it was made of and its price."""

from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Final

import numpy as np

from aggregator import lineage
from aggregator.cards import Card
from aggregator.errors import BrokenLineageError
from aggregator.jobs import Checkpoint
from aggregator.standing import judged
from aggregator.stored import Stored
from aggregator.training import Training
from federation.orders import WorkOrder
from federation.tasks import TrainingTask
from policies.budget import accountant
from policies.budget.events import Composed, Event, Repeated, from_json, spell, to_json
from policies.disclosure import clear
from secure_compute.canonical import JSON

_MEMORY: Final = "memory"
"""What the server alone goes on from, beside the weights."""


def keep_round(
    folder: Path,
    order: WorkOrder,
    task: TrainingTask,
    state: Training,
    organisations: int,
    metrics: Mapping[str, JSON],
) -> Stored:
    """Write the model after a committed round; doing so again changes nothing.

    organisations: how many stand behind the round; metrics: what was measured of it, if anything.

    Raises:
        PolicyError: too few of them.
        AggregatorError: the registry does not hold the round before, or holds another one.
    """
    made = state.round - task.begun
    released = clear(state.progress.weights, organisations, order.minimum)
    parent = lineage.last_round(folder, task.parent) if task.begun else None
    event: Event = Repeated(from_json(order.event), made)
    if parent is not None:  # these weights are made of what the other run released, too
        event = Composed((from_json(parent.card.event), event))
    cost = accountant.epsilon([event], float(order.delta))
    card = Card(
        run=order.id,
        order=order.id,
        model=task.model,
        round=made,
        rounds=task.rounds,
        seed=task.seed,
        recipe=task.recipe.to_json(),
        contract=order.contract,
        contract_version=order.contract_version,
        unit=order.unit,
        event=to_json(event),
        epsilon=spell(Decimal(repr(cost))),
        delta=order.delta,
        cohort=tuple(order.cohort),
        parties=tuple(state.parties),
        code=order.code,
        parent=parent.digest if parent is not None and made == 1 else "",
        metrics=metrics,
        until=task.until,
        gate=judged(metrics, task.floor),
    )
    memory = np.frombuffer(state.checkpoint().velocity, "<f8").astype(np.float64)
    return lineage.save_round(folder, card, released, {_MEMORY: memory})


def last_state(folder: Path, run: str, begun: int, kept: Checkpoint | None) -> Checkpoint:
    """Return what another run goes on from: the last model of `run`, its lineage verified.

    begun: rounds that `run` itself had gone on from. Nobody takes part in the state yet.
    kept:  the last state of `run` on the table of jobs. No later model vouches for the last one, so
           both must say the same.

    Raises:
        AggregatorError: there is no model of that run, it was changed, or its chain is broken.
    """
    last = lineage.last_round(folder, run)
    memory = last.state[_MEMORY].astype("<f8").tobytes()
    weights = last.weights.astype("<f4").tobytes()
    found = Checkpoint(begun + last.card.round, weights, memory, ())
    if kept is None or replace(kept, parties=(), waiting=()) != found:
        raise BrokenLineageError(
            f"{last.path} is not what run {run[:12]} left after its last round: it was changed, or "
            "could not be written then; restore it from a backup, or train anew"
        )
    return found
