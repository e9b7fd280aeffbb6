"""What a party with flipped labels does to the model of the others, with its rows and without.

Clipping bounds it: a customer moves a round's sum by at most 1, so that a party moves it by at most
the number of its customers, whatever its rows say. Its own software clips. Under masks nobody sees
whether it did: `louder` is a party that multiplies its clipped sum before it is masked.

Where the recipe has groups, the same is told of one sum over all beside them: what trimming does to
a party that is louder, and what it costs while everybody is honest.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, TypeAlias

import numpy as np

from clients.training.sampling import UnitRows
from experiments.errors import UsageError
from experiments.federating import federate
from experiments.settings import Settings
from experiments.studies import Study
from federation.groups import fewest_nodes
from federation.sum_recipes import SumRecipe
from federation.tasks import TrainingTask
from policies.parties import PartyId

Rows: TypeAlias = Mapping[PartyId, UnitRows]
Tell: TypeAlias = Callable[[str, int, int], None]

IN_ONE_SUM: Final = "_in_one_sum"


@dataclass(frozen=True, slots=True)
class Way:
    """How rounds are made: as ordered, clipped without noise, or neither clipped nor noised.

    grouped: False for one sum over all, whatever groups the recipe has.
    """

    private: bool
    noised: bool
    grouped: bool = True

    def of(self, task: TrainingTask) -> TrainingTask:
        """Return the task as it is worked on this way."""
        if self.grouped or not isinstance(task.recipe, SumRecipe):
            return task
        return replace(task, recipe=replace(task.recipe, groups=1, trimmed=0))


def poisoned(
    study: Study, honest: Rows, settings: Settings, tell: Tell = lambda *_: None
) -> dict[str, Any]:
    """Return the average precision of the OTHER parties, in all cases, as JSON.

    study:  in which one party's labels are flipped; honest: the same rows with its true labels.

    Raises:
        UsageError: without the party there are too few for the recipe's groups.
    """
    party = PartyId(settings.data.flipped)
    _require_others(settings.task, len(study.rows))
    ways = _ways(settings)
    sizes = {other: len(rows) for other, rows in study.rows.items()}
    value: dict[str, Any] = {
        "party": str(party),
        "unit_share": round(sizes[party] / sum(sizes.values()), 4),
        "loudness": settings.data.loudness,
        "measured_on": "the test rows of the other parties, mean of parties",
    }
    for number, (name, way) in enumerate(ways.items()):
        tell("poisoning", number, len(ways))
        value[name] = _cases(study, honest, settings, way)
    tell("poisoning", len(ways), len(ways))
    return value


def _require_others(task: TrainingTask, parties: int) -> None:
    recipe = task.recipe
    if not isinstance(recipe, SumRecipe) or recipe.groups == 1:
        return
    if parties <= (least := fewest_nodes(recipe.groups, recipe.colluding)):
        raise UsageError(
            f"the study leaves the party out once, and {recipe.groups} groups need {least} parties "
            f"beside it, of {parties}: set model.groups lower, or leave data.flipped out"
        )


def _ways(settings: Settings) -> dict[str, Way]:
    ways = {"unclipped": Way(private=False, noised=False)}
    if settings.private and isinstance(settings.task.recipe, SumRecipe):
        ways = {"clipped": Way(private=True, noised=False), **ways}
    if settings.private:
        ways = {"ordered": Way(private=True, noised=True), **ways}
    if isinstance(settings.task.recipe, SumRecipe) and settings.task.recipe.groups > 1:
        ways |= {name + IN_ONE_SUM: replace(way, grouped=False) for name, way in ways.items()}
    return ways


def _cases(study: Study, honest: Rows, settings: Settings, way: Way) -> dict[str, float]:
    party, task = PartyId(settings.data.flipped), way.of(settings.task)
    others = {other: rows for other, rows in study.rows.items() if other != party}
    runs: dict[str, tuple[Rows, Mapping[PartyId, int]]] = {
        "honest": (honest, {}),
        "flipped": (study.rows, {}),
        "without": (others, {}),
        "louder": (study.rows, {party: settings.data.loudness}),
    }
    worths = {}
    for case, (rows, louder) in runs.items():
        weights = federate(task, rows, private=way.private, noised=way.noised, louder=louder)
        found = study.score(task.recipe, dict.fromkeys(study.rows, weights))
        each = [value for other, value in found.each.items() if other != party]
        worths[case] = round(float(np.mean(each)), 4)
    return worths
