"""Many nodes in one process, or on Ray: the nodes' own training code, data that the caller owns.

With `privacy=none` the same rounds run without clipping, sampling or noise. That is for studies
alone and says so in every result: NOT PRIVATE. Either way an update depends on its party's rows and
public constants alone, divisors are constants, and the updates are added: what a secure sum needs.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, Final, TypeAlias

from clients.training.sampling import UnitRows
from experiments.engines import Engine, in_process
from experiments.federating import federate
from experiments.measuring import Optimiser, fit_as
from experiments.membership import attack
from experiments.poisoning import poisoned
from experiments.settings import Settings
from experiments.studies import MEASURES, Study, Worth, load_study, require_unit
from federation.models import Vector
from policies.parties import PartyId
from secure_compute.entropy import SystemEntropy

NOT_PRIVATE: Final = "NOT PRIVATE"
WAYS: Final = ("naive", "local", "federated", "pooled")

Tell: TypeAlias = Callable[[str, int, int], None]
"""Called with what is being done, how much of it is done, and of how much."""


def simulate(
    settings: Settings,
    tell: Tell = lambda *_: None,
    *,
    attacked: bool = False,
    engine: Engine = in_process,
) -> dict[str, Any]:
    """Return what each way of working is worth, as the JSON of `entrepot simulate`.

    attacked: whether a second model, of half of the units, is trained and attacked.
    engine:   where the federation's nodes run; the other ways of working need none.

    Raises:
        UsageError: the data is not there, or the model does not fit it.
        PolicyRefusalError: the run is private, and a feature reads rows of other parties.
    """
    study = load_study(settings)
    value = run_study(study, settings, tell, engine)
    if settings.data.flipped:
        honest = load_study(replace(settings, data=replace(settings.data, flipped="")))
        value["poisoning"] = poisoned(study, honest.rows, settings, tell)
    if attacked:
        tell("attack", 0, 1)
        found = attack(settings.task, study.rows, SystemEntropy(), private=settings.private)
        value["membership"] = found.to_json()
        tell("attack", 1, 1)
    return value


def run_study(
    study: Study,
    settings: Settings,
    tell: Tell = lambda *_: None,
    engine: Engine = in_process,
) -> dict[str, Any]:
    """Return what each way of working is worth on one study.

    Raises:
        PolicyRefusalError: the run is private, and a feature reads rows of other parties.
    """
    if settings.private:
        require_unit(study.features, study.unit)
    begun = time.monotonic()
    spec = settings.task.recipe.baseline
    start = settings.task.recipe.model.init(settings.task.seed)
    federated = federate(
        settings.task,
        study.rows,
        private=settings.private,
        tell=partial(tell, "federated"),
        engine=engine,
    )
    alone = _alone(study, start, settings, tell)
    tell("pooled", 0, 1)
    whole = _fit(start, _pooled(study.rows), settings, study.pooled)
    tell("pooled", 1, 1)
    worths = {
        "naive": study.naive,
        "local": study.score(spec, alone),
        "federated": study.score(settings.task.recipe, dict.fromkeys(study.rows, federated)),
        "pooled": study.score(spec, dict.fromkeys(study.rows, whole)),
    }
    return _told(study, settings, worths, time.monotonic() - begun)


def _told(
    study: Study, settings: Settings, worths: Mapping[str, Worth], seconds: float
) -> dict[str, Any]:
    each = {way: worth.each for way, worth in worths.items()}
    helped = [
        study.is_better(own, study.better(each["naive"][party], each["local"][party]))
        for party, own in each["federated"].items()
    ]
    value = {
        "schema": "entrepot.simulate/1",
        "privacy": "dp" if settings.private else NOT_PRIVATE,
        "epsilon": settings.epsilon,
        "unit": study.hidden(),
        "claim": study.claim(),
        "model": settings.task.model,
        "data": settings.data.name,
        "split": study.split,
        "parties": len(study.rows),
        "parties_helped": sum(helped),
        "parties_measured": len(helped),
        "rounds": settings.task.recipe.rounds,
        "measure": MEASURES[study.measure],
        "baseline": round(worths["naive"].overall, 4),
    }
    value |= {way: round(worths[way].overall, 4) for way in WAYS}
    value |= {f"{way}_mean_of_parties": round(worths[way].mean, 4) for way in WAYS}
    named = f"{settings.data.name}_{study.measure}"
    value |= {f"{named}_{way}": round(worths[way].overall, 4) for way in WAYS}
    return value | {"seconds": round(seconds, 1)}


# -- the ways --------------------------------------------------------------------------------------


def _alone(study: Study, start: Vector, settings: Settings, tell: Tell) -> Mapping[PartyId, Vector]:
    """Return the weights that each party comes to with nobody's rows but its own."""
    weights = {}
    for party, rows in study.rows.items():
        weights[party] = _fit(start, rows, settings, study.local)
        tell("local", len(weights), len(study.rows))
    return weights


def _fit(start: Vector, rows: UnitRows, settings: Settings, adam: Optimiser) -> Vector:
    return fit_as(adam, settings.task.recipe, start, rows)


def _pooled(rows: Mapping[PartyId, UnitRows]) -> UnitRows:
    from clients.training.plain import pooled

    return pooled(list(rows.values()))
