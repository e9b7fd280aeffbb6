"""What a party with flipped labels does to the model of the others, with its rows and without.

Clipping bounds it: a customer moves a round's sum by at most 1, so that a party moves it by at most
the number of its customers, whatever its rows say. Its own software clips. Under masks nobody sees
whether it did: `louder` is a party that multiplies its clipped sum before it is masked.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import numpy as np

from clients.training.sampling import UnitRows
from experiments.federating import federate
from experiments.settings import Settings
from experiments.studies import Study
from federation.sum_recipes import SumRecipe
from federation.tasks import TrainingTask
from policies.parties import PartyId

Rows: TypeAlias = Mapping[PartyId, UnitRows]
Tell: TypeAlias = Callable[[str, int, int], None]

LOUDNESS: Final = 10


@dataclass(frozen=True, slots=True)
class Way:
    """How rounds are made: as ordered, clipped without noise, or neither clipped nor noised."""

    private: bool
    noised: bool


def poisoned(
    study: Study, honest: Rows, settings: Settings, tell: Tell = lambda *_: None
) -> dict[str, Any]:
    """Return the average precision of the OTHER parties, in all cases, as JSON.

    study:  in which one party's labels are flipped; honest: the same rows with its true labels.
    """
    party = PartyId(settings.data.flipped)
    ways = _ways(settings)
    sizes = {other: len(rows) for other, rows in study.rows.items()}
    value: dict[str, Any] = {
        "party": str(party),
        "unit_share": round(sizes[party] / sum(sizes.values()), 4),
        "loudness": LOUDNESS,
        "measured_on": "the test rows of the other parties, mean of parties",
    }
    for number, (name, way) in enumerate(ways.items()):
        tell("poisoning", number, len(ways))
        value[name] = _cases(study, honest, settings.task, way, party)
    tell("poisoning", len(ways), len(ways))
    return value


def _ways(settings: Settings) -> dict[str, Way]:
    ways = {"unclipped": Way(private=False, noised=False)}
    if settings.private and isinstance(settings.task.recipe, SumRecipe):
        ways = {"clipped": Way(private=True, noised=False), **ways}
    return {"ordered": Way(private=True, noised=True), **ways} if settings.private else ways


def _cases(
    study: Study, honest: Rows, task: TrainingTask, way: Way, party: PartyId
) -> dict[str, float]:
    others = {other: rows for other, rows in study.rows.items() if other != party}
    runs: dict[str, tuple[Rows, Mapping[PartyId, int]]] = {
        "honest": (honest, {}),
        "flipped": (study.rows, {}),
        "without": (others, {}),
        "louder": (study.rows, {party: LOUDNESS}),
    }
    worths = {}
    for case, (rows, louder) in runs.items():
        weights = federate(task, rows, private=way.private, noised=way.noised, louder=louder)
        found = study.score(task.recipe, dict.fromkeys(study.rows, weights))
        each = [value for other, value in found.each.items() if other != party]
        worths[case] = round(float(np.mean(each)), 4)
    return worths
