"""A training run as arithmetic on states: (state, updates) → state.

Nothing here waits, sends, logs or reads a clock. `aggregator.coordinator` performs the exchange;
tests call the same functions in memory.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from aggregator.errors import AbandonedError, MalformedReplyError
from aggregator.jobs import Checkpoint
from federation.models import Vector
from federation.recipes import Progress, Recipe
from federation.sum_recipes import SumRecipe
from federation.sum_states import State
from federation.tasks import AnyRecipe, TrainingTask
from policies.parties import PartyId


@dataclass(frozen=True, slots=True)
class Training:
    """A run after `round` committed rounds.

    parties: whose updates or units the last round is made of; before the first, who is willing. A
             party that misses a round is out for the rest of the run.
    minimum: fewest parties a round, or each of its groups, may be made of.
    waiting: who answered in the last round, in a group that came to nothing.
    """

    recipe: AnyRecipe
    minimum: int
    round: int
    progress: Progress | State
    parties: tuple[PartyId, ...]
    waiting: tuple[PartyId, ...] = ()

    @property
    def present(self) -> tuple[PartyId, ...]:
        """Who still takes part."""
        return (*self.parties, *self.waiting)

    @property
    def done(self) -> bool:
        """Whether every round is committed."""
        return self.round >= self.recipe.rounds

    @property
    def weights(self) -> bytes:
        """The model as it travels: little-endian float32."""
        return self.progress.weights.astype("<f4").tobytes()

    def checkpoint(self) -> Checkpoint:
        """Return what a crash must not lose."""
        kept = self.progress
        memory = kept.memory if isinstance(kept, State) else kept.velocity
        kept_memory = memory.astype("<f8").tobytes()
        return Checkpoint(self.round, self.weights, kept_memory, self.parties, self.waiting)


def begin(recipe: AnyRecipe, seed: int, minimum: int, parties: tuple[PartyId, ...]) -> Training:
    """Return the state before the first round."""
    if isinstance(recipe, SumRecipe):
        return Training(recipe, minimum, 0, recipe.method.start(seed), parties)
    return Training(recipe, minimum, 0, Progress.start(recipe, seed), parties)


def continued(task: TrainingTask, minimum: int, last: Checkpoint | None) -> Training:
    """Return the state before the first round of a run, which may go on from one that left `last`.

    Raises:
        AbandonedError: there is no such state, or none of this recipe's sizes.
    """
    fresh = begin(task.recipe, task.seed, minimum, ())
    if not task.begun:
        return fresh
    blank = fresh.checkpoint()
    if last is None or (last.round, len(last.weights), len(last.velocity)) != (
        task.begun,
        len(blank.weights),
        len(blank.velocity),
    ):
        raise AbandonedError(
            f"the run {task.parent[:12]} left no state after {task.begun} rounds of this recipe: "
            "train anew"
        )
    return resume(task.recipe, minimum, last)


def resume(recipe: AnyRecipe, minimum: int, last: Checkpoint) -> Training:
    """Return the state that `last` recorded."""
    kind = State if isinstance(recipe, SumRecipe) else Progress
    progress = kind(
        np.frombuffer(last.weights, "<f4").astype(np.float32),
        np.frombuffer(last.velocity, "<f8").astype(np.float64),
    )
    return Training(recipe, minimum, last.round, progress, last.parties, last.waiting)


def read_update(blob: bytes, dimension: int) -> Vector:
    """Return a node's update, float32 [dimension].

    Raises:
        MalformedReplyError: it has another size, or is not finite.
    """
    if len(blob) != 4 * dimension:
        raise MalformedReplyError(f"an update of {len(blob)} bytes for {dimension} parameters")
    update = np.frombuffer(blob, dtype="<f4").astype(np.float32)
    if not np.isfinite(update).all():
        raise MalformedReplyError("an update that is not finite")
    return update


def absorb(state: Training, updates: Mapping[PartyId, Vector]) -> Training:
    """Return the state after one more round.

    Raises:
        AbandonedError: fewer updates than the minimum; nothing is made of them.
    """
    present = tuple(party for party in state.parties if party in updates)
    if len(present) < state.minimum:
        absent = ", ".join(party for party in state.parties if party not in updates)
        raise AbandonedError(
            f"round {state.round + 1} was abandoned: {len(present)} of at least "
            f"{state.minimum} parties answered; missing: {absent or 'none'}"
        )
    given = [updates[party] for party in present]
    match state.recipe, state.progress:
        case Recipe() as recipe, Progress() as progress:
            return _after(state, progress.advance(recipe, given), present)
    raise MalformedReplyError("updates came for a run that is made of secure sums")


def absorb_sum(
    state: Training, total: NDArray[np.float64], noise: float, survivors: Collection[str]
) -> Training:
    """Return the state after one more secure sum, [d], over the survivors' units; nobody waits.

    noise: standard deviation of what noise is in each of its numbers.
    """
    present = tuple(party for party in state.present if party in survivors)
    match state.recipe, state.progress:
        case SumRecipe() as recipe, State() as before if recipe.evaluates(state.round):
            return _after(state, before, present)
        case SumRecipe() as recipe, State() as before:
            return _after(state, recipe.method.advance(before, state.round, total, noise), present)
    raise MalformedReplyError("a secure sum came for a run that is made of updates")


def _after(state: Training, progress: Progress | State, parties: tuple[PartyId, ...]) -> Training:
    number = state.round + 1
    return replace(state, round=number, progress=progress, parties=parties, waiting=())
