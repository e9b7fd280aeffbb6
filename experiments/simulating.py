"""Many nodes in one process: the nodes' own training code, no sockets, data that the caller owns.

With `privacy=none` the same rounds run without clipping, sampling or noise. That is for studies
alone and says so in every result: NOT PRIVATE.
"""

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from clients.training.demand import private_units, wape
from clients.training.sampling import UnitRows, gather_units
from clients.training.tables import demand_bounds
from experiments.errors import UsageError
from experiments.measuring import OPTIMISERS, fit_plainly
from experiments.ordering import published_contracts
from experiments.settings import Settings
from federation.models import ModelSpec, Vector
from federation.recipes import Progress
from policies.parties import PartyId
from secure_compute.entropy import SystemEntropy

NOT_PRIVATE: Final = "NOT PRIVATE"

Weights: TypeAlias = Mapping[PartyId, Vector]
Tell: TypeAlias = Callable[[int, int], None]


@dataclass(frozen=True, slots=True, eq=False)
class Task:
    """Rows per party, what costs nothing, and how good weights per party are."""

    measure: str
    rows: Mapping[PartyId, UnitRows]
    baseline: float
    score: Callable[[ModelSpec, Weights], float]


def simulate(settings: Settings, tell: Tell = lambda *_: None) -> dict[str, Any]:
    """Return what each way of working is worth, as the JSON of `entrepot simulate`.

    Raises:
        UsageError: the data is not there, or the model does not fit it.
    """
    task, recipe = _load(settings), settings.task.recipe
    start, spec = recipe.model.init(settings.task.seed), recipe.model
    federated = _federate(settings, task.rows, tell)
    alone = {party: _fit(start, rows, settings) for party, rows in task.rows.items()}
    whole = _fit(start, _pooled(task.rows), settings)
    return {
        "schema": "entrepot.simulate/1",
        "privacy": "dp" if settings.private else NOT_PRIVATE,
        "epsilon": settings.epsilon,
        "model": settings.task.model,
        "data": settings.data.name,
        "parties": len(task.rows),
        "rounds": recipe.rounds,
        "measure": task.measure,
        "baseline": round(task.baseline, 4),
        "local": round(task.score(spec, alone), 4),
        "federated": round(task.score(spec, dict.fromkeys(task.rows, federated)), 4),
        "pooled": round(task.score(spec, dict.fromkeys(task.rows, whole)), 4),
    }


def _federate(settings: Settings, rows: Mapping[PartyId, UnitRows], tell: Tell) -> Vector:
    from clients.training.fedavg import local_round
    from clients.training.plain import plain_round

    recipe, entropy = settings.task.recipe, SystemEntropy()
    progress = Progress.start(recipe, settings.task.seed)
    for round_ in range(recipe.rounds):
        updates = [
            local_round(progress.weights, recipe.model, part, recipe, round_, entropy).vector
            if settings.private
            else plain_round(progress.weights, part, recipe, round_)
            for part in rows.values()
        ]
        progress = progress.advance(recipe, updates)
        tell(round_ + 1, recipe.rounds)
    return progress.weights


def _fit(start: Vector, rows: UnitRows, settings: Settings) -> Vector:
    return fit_plainly(settings.task, start, rows, OPTIMISERS[settings.task.model].steps)


def _pooled(rows: Mapping[PartyId, UnitRows]) -> UnitRows:
    from clients.training.plain import pooled

    return pooled(list(rows.values()))


# -- data ------------------------------------------------------------------------------------------


def _load(settings: Settings) -> Task:
    known = {("demand", "cheese"): _cheese, ("fraud", "commerce"): _commerce}
    pair = (settings.task.model, settings.data.name)
    if pair not in known:
        raise UsageError(
            f"{pair[0]} does not train on {pair[1]}; known: "
            + ", ".join(f"{model} on {data}" for model, data in known)
        )
    return known[pair](settings)


def _cheese(settings: Settings) -> Task:
    from experiments.demand_data import cheese_apart, cheese_set, demand_split, overall_wape

    chosen = cheese_apart() if settings.data.parties == "apart" else cheese_set()
    if chosen is None:
        raise UsageError("the cheese set stands in a checkout, not in an installed package")
    bounds = demand_bounds(published_contracts()["demand"])
    splits = [
        demand_split(party, table, chosen.test_week, settings.task.recipe.window, bounds)
        for party, table in chosen.tables.items()
    ]

    def score(spec: ModelSpec, weights: Weights) -> float:
        return overall_wape(splits, {s.party: s.predict(spec, weights[s.party]) for s in splits})

    naive: NDArray[np.float64] = np.concatenate([s.naive for s in splits])
    actual = np.concatenate([s.test.volume for s in splits])
    rows = {split.party: private_units(split.train) for split in splits}
    return Task("WAPE, lower is better", rows, wape(naive, actual), score)


def _commerce(settings: Settings) -> Task:
    from experiments.commerce.write import generate
    from experiments.fraud_data import fraud_split, mean_base_rate, mean_precision
    from federation.models import forward

    data = settings.data
    if data.size not in {"tiny", "small", "medium"}:
        raise UsageError(f"data.size is tiny, small or medium, not {data.size!r}")
    contract = published_contracts()["orders"]
    with tempfile.TemporaryDirectory() as folder:
        made = generate(
            data.size,  # type: ignore[arg-type]
            data.seed,
            Path(folder),
            heterogeneity=data.heterogeneity,
        )
        splits = [
            fraud_split(
                party,
                made.orders(party),
                made.truth / "orders" / f"{party}.parquet",
                contract,
                made.cut_us,
            )
            for party in made.parties
            if not party.startswith("warehouse")
        ]
    most, entropy = settings.task.recipe.rows_per_unit, SystemEntropy()
    rows = {
        PartyId(s.party): gather_units(
            s.train.features, s.train.targets, s.train.units, most, entropy
        )
        for s in splits
    }

    def score(spec: ModelSpec, weights: Weights) -> float:
        scores = {
            s.party: forward(spec, weights[PartyId(s.party)], s.test_features) for s in splits
        }
        return mean_precision(splits, scores)

    return Task("average precision, higher is better", rows, mean_base_rate(splits), score)
