"""What the demo knows beside the federation: baselines from the folders it wrote, and scores.

    python -m experiments.measuring DIR OUT.json

runs in a process of its own while the federation works, because training the baselines needs torch
and no node would permit it: it reads every party's rows. Scoring a released model needs no torch.
"""

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final, TypeAlias

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from clients.settings import load_settings
from clients.training.demand import private_units, wape
from clients.training.sampling import UnitRows, gather_units
from clients.training.tables import demand_bounds
from experiments.demand_data import DemandSplit, demand_split, overall_wape
from experiments.federating import federate
from experiments.fraud_data import FraudSplit, fraud_split, mean_base_rate, mean_precision
from experiments.fraud_data import average_precision as precision
from experiments.home import Home, open_home
from experiments.outcome import PartyScores, Scores
from experiments.settings import compose
from experiments.staging import OVERRIDES
from federation.key_rates import Key
from federation.models import Predictor, Vector
from federation.sequences import SequenceSpec
from federation.tasks import AnyRecipe, TrainingTask, keys_of
from policies.contracts import DataContract
from policies.parties import PartyId, Role
from secure_compute.entropy import SystemEntropy

Weights: TypeAlias = Mapping[str, Vector]
UNITS_A_STEP: Final = 1200


@dataclass(frozen=True, slots=True)
class Optimiser:
    """How a model is trained without privacy: Adam, as good as a short search found."""

    steps: int
    learning_rate: float
    decay: float


OPTIMISERS: Final = {
    "demand": Optimiser(400, 0.02, 1e-3),
    "fraud": Optimiser(800, 0.1, 0.0),
}

FRAUD_ROLES: Final = (Role.PAYMENT_PARTNER, Role.MERCHANT)


@dataclass(frozen=True, slots=True)
class Measured:
    """Scores over all parties and of each on its own test rows."""

    overall: Scores
    parties: Mapping[str, Scores]


@dataclass(frozen=True, slots=True)
class Beside:
    """The baselines of both models."""

    demand: Measured
    fraud: Measured


@dataclass(frozen=True, slots=True)
class Scored:
    """What one model is worth, over all parties and at each."""

    overall: float
    parties: tuple[PartyScores, ...]


# -- the sets --------------------------------------------------------------------------------------


def demand_splits(home: Home, recipe: AnyRecipe) -> tuple[DemandSplit, ...]:
    """Return the warehouses' rows; the weeks before the test feed its features."""
    test_week = int((home.truth / "demand" / "test_week").read_text(encoding="utf-8"))
    return tuple(
        demand_split(
            member.party,
            pd.read_parquet(home.truth / "demand" / f"{member.party}.parquet"),
            test_week,
            recipe.window,
            demand_bounds(_contract(home, member.party, "demand")),
            recipe.horizons,
            series=isinstance(recipe.model, SequenceSpec),
        )
        for member in home.roster().active(Role.WAREHOUSE)
    )


def fraud_splits(home: Home, keys: Sequence[Key] = ()) -> tuple[FraudSplit, ...]:
    """Return the rows of the parties that train fraud."""
    return tuple(
        fraud_split(
            str(member.party),
            home.node(member.party) / "data" / "orders.parquet",
            home.truth / "orders" / f"{member.party}.parquet",
            _contract(home, member.party, "orders"),
            home.cut_us,
            keys,
        )
        for member in home.roster().active(*FRAUD_ROLES)
    )


def _contract(home: Home, party: PartyId, name: str) -> DataContract:
    return load_settings(home.node(party)).contracts()[name]


# -- scores ----------------------------------------------------------------------------------------


def score_model(home: Home, task: TrainingTask, weights: Vector) -> Scored:
    """Return what a released model is worth on every party's test rows."""
    spec = task.recipe
    if task.model == "demand":
        demand = demand_splits(home, spec)
        return _scored(*_demand_scores(demand, spec, dict.fromkeys(_names(demand), weights)))
    fraud = fraud_splits(home, keys_of(task.recipe))
    return _scored(*_fraud_scores(fraud, spec, dict.fromkeys(_names(fraud), weights)))


def _scored(overall: float, parties: Mapping[str, float]) -> Scored:
    return Scored(
        overall,
        tuple(PartyScores(p, Scores(None, None, v, None, None)) for p, v in parties.items()),
    )


def _names(splits: Sequence[DemandSplit] | Sequence[FraudSplit]) -> list[str]:
    return [split.party for split in splits]


def _demand_scores(
    splits: Sequence[DemandSplit], spec: Predictor, weights: Weights
) -> tuple[float, dict[str, float]]:
    return _wapes(splits, {s.party: s.predict(spec, weights[s.party]) for s in splits})


def _wapes(
    splits: Sequence[DemandSplit], guessed: Mapping[PartyId, NDArray[np.float64]]
) -> tuple[float, dict[str, float]]:
    each = {str(s.party): wape(guessed[s.party], s.test.volume) for s in splits}
    return overall_wape(splits, guessed), each


def _fraud_scores(
    splits: Sequence[FraudSplit], spec: Predictor, weights: Weights
) -> tuple[float, dict[str, float]]:
    scores = {s.party: spec.predict(weights[s.party], s.test_features) for s in splits}
    each = {s.party: precision(s.test_truth, scores[s.party]) for s in splits}
    return mean_precision(splits, scores), each


# -- baselines -------------------------------------------------------------------------------------


def measure(home: Home) -> Beside:
    """Train the baselines of both models; minutes of nobody's privacy, seconds of one core."""
    return Beside(_measure_demand(home), _measure_fraud(home))


def _measure_demand(home: Home) -> Measured:
    task = compose(["experiment=demand", *OVERRIDES["demand"]]).task
    splits = demand_splits(home, task.recipe)
    trained = _train(task, {str(s.party): private_units(s.train) for s in splits})
    return _assemble(
        _wapes(splits, {s.party: s.naive for s in splits}),
        lambda weights: _demand_scores(splits, task.recipe.baseline, weights),
        trained,
    )


def _measure_fraud(home: Home) -> Measured:
    task = compose(["experiment=fraud", *OVERRIDES["fraud"]]).task
    splits = fraud_splits(home, keys_of(task.recipe))
    most = task.recipe.rows_per_unit
    rows = {
        s.party: gather_units(
            s.train.features, s.train.targets, s.train.units, most, SystemEntropy()
        )
        for s in splits
    }
    return _assemble(
        (mean_base_rate(splits), {s.party: s.base_rate for s in splits}),
        lambda weights: _fraud_scores(splits, task.recipe.baseline, weights),
        _train(task, rows),
    )


def _train(task: TrainingTask, rows: Mapping[str, UnitRows]) -> tuple[Weights, Weights, Weights]:
    """Return weights per party: its own, federated without privacy, and of all rows in one place.

    The federated ones are made in the recipe's own rounds, without sampling, clipping or noise.
    """
    from clients.training.plain import pooled

    recipe, steps = task.recipe, OPTIMISERS[task.model].steps
    start = recipe.model.init(task.seed)
    local = {party: fit_plainly(task, start, part, steps) for party, part in rows.items()}
    whole = fit_plainly(task, start, pooled(list(rows.values())), steps)
    together = federate(task, rows, private=False)
    return local, dict.fromkeys(rows, together), dict.fromkeys(rows, whole)


def fit_plainly(task: TrainingTask, weights: Vector, units: UnitRows, steps: int) -> Vector:
    """Return weights after `steps` of the task's optimiser over `units`. NOT PRIVATE."""
    return fit_as(replace(OPTIMISERS[task.model], steps=steps), task.recipe, weights, units)


def fit_as(adam: Optimiser, recipe: AnyRecipe, weights: Vector, units: UnitRows) -> Vector:
    """Return weights after the steps of `adam` over `units` by the recipe's loss. NOT PRIVATE."""
    from clients.training.plain import fit, with_own_statistics

    units, rates = with_own_statistics(recipe, units)
    fitted = fit(
        weights,
        units,
        recipe.model,
        recipe.loss,
        steps=adam.steps,
        learning_rate=adam.learning_rate,
        decay=adam.decay,
        parts=max(1, len(units) // UNITS_A_STEP),
    )
    return np.concatenate([fitted, rates])


def _assemble(
    base: tuple[float, Mapping[str, float]],
    score: Callable[[Weights], tuple[float, Mapping[str, float]]],
    trained: tuple[Weights, Weights, Weights],
) -> Measured:
    ways = [base, *(score(weights) for weights in trained)]
    whole = [way[0] for way in ways]
    return Measured(
        Scores(whole[0], whole[1], None, whole[2], whole[3]),
        {
            party: Scores(
                ways[0][1][party], ways[1][1][party], None, *(w[1][party] for w in ways[2:])
            )
            for party in trained[0]
        },
    )


# -- on disk ---------------------------------------------------------------------------------------


def read_measured(path: Path) -> Beside:
    """Read what `main` wrote."""
    value = json.loads(path.read_text(encoding="utf-8"))
    return Beside(_read(value["demand"]), _read(value["fraud"]))


def _read(value: dict[str, Any]) -> Measured:
    parties = {party: Scores(**scores) for party, scores in value["parties"].items()}
    return Measured(Scores(**value["overall"]), parties)


def main(folder: Path, result: Path) -> None:
    """Measure the federation in `folder` and write `result` whole."""
    partial = result.with_suffix(".partial")
    partial.write_text(json.dumps(asdict(measure(open_home(folder)))), encoding="utf-8")
    partial.replace(result)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m experiments.measuring", description=__doc__)
    parser.add_argument("folder", type=Path, help="the federation's")
    parser.add_argument("result", type=Path, help="the JSON file that is written, whole")
    words = parser.parse_args()
    main(words.folder, words.result)
