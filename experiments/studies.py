"""What a simulation runs on: rows per party, what costs nothing, how good weights are, who hides.

A study fixes its split, its scaling and its optimisers here and in conf/ before any test row is
opened; the numbers were chosen on the periods before the test.
"""

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from clients.training.errors import ForeignRowsError
from clients.training.reads import Feature, Reads, Unit, reading, unit_of
from clients.training.sampling import UnitRows, gather_units
from clients.training.scales import scales_of
from experiments.errors import PolicyRefusalError, UsageError
from experiments.measuring import OPTIMISERS, Optimiser
from experiments.settings import Settings
from federation.key_rates import Key
from federation.losses import Pinball
from federation.models import Predictor, Vector
from federation.sequences import SequenceSpec
from federation.tasks import keys_of, require_keys, scales
from policies.parties import PartyId
from secure_compute.entropy import SystemEntropy

Weights: TypeAlias = Mapping[PartyId, Vector]
Measure: TypeAlias = Literal["wape", "ap", "auc"]
Array: TypeAlias = NDArray[np.float64]

MEASURES: Final[Mapping[Measure, str]] = {
    "wape": "WAPE, lower is better",
    "ap": "average precision, higher is better",
    "auc": "area under the ROC curve, higher is better",
}


@dataclass(frozen=True, slots=True)
class Worth:
    """How good one way of working is: over all test rows, and on each party's own that has any."""

    overall: float
    each: Mapping[PartyId, float]

    @property
    def mean(self) -> float:
        """The mean over parties, each counting the same."""
        return float(np.mean(list(self.each.values())))


@dataclass(frozen=True, slots=True, eq=False)
class Study:
    """Rows per party, what costs nothing, and how good weights per party are.

    split:    which rows were held out, in words.
    unit:     whose presence a private run would hide, if the features read no further.
    local, pooled: how a model is trained by a party alone, and on all rows.
    """

    measure: Measure
    split: str
    rows: Mapping[PartyId, UnitRows]
    naive: Worth
    score: Callable[[Predictor, Weights], Worth]
    features: tuple[Feature, ...]
    unit: Unit
    local: Optimiser
    pooled: Optimiser

    def is_better(self, one: float, other: float) -> bool:
        """Whether `one` beats `other` by something that three digits show."""
        difference = round(one, 3) - round(other, 3)
        return difference < 0 if self.measure == "wape" else difference > 0

    def better(self, one: float, other: float) -> float:
        """Return the better of two."""
        return min(one, other) if self.measure == "wape" else max(one, other)

    def claim(self) -> str:
        """Return in words whose presence a private run could hide, and why nobody's if nobody's."""
        if foreign := reading(self.features, Reads.OTHERS):
            return f"no personal-data DP: {', '.join(foreign)} read rows of other parties"
        return f"differential privacy could hide one {self.hidden()}"

    def hidden(self) -> str | None:
        """Return the unit that a private run hides, or None if its features allow none."""
        if reading(self.features, Reads.OTHERS):
            return None
        return unit_of(self.features, self.unit)


def require_unit(features: Sequence[Feature], unit: Unit) -> str:
    """Return the name of the unit that a private run on these features hides.

    Raises:
        PolicyRefusalError: it would hide nobody, because a feature reads rows of other parties.
    """
    try:
        return unit_of(features, unit)
    except ForeignRowsError as why:
        raise PolicyRefusalError(f"a private run is refused: {why}") from why


def load_study(settings: Settings) -> Study:
    """Return the study of a configuration.

    Raises:
        UsageError: the data is not there, or the model does not fit it.
        PolicyRefusalError: the run is private, and a feature reads rows of other parties.
    """
    known: Mapping[tuple[str, str], Callable[[Settings], Study]] = {
        ("demand", "cheese"): _cheese,
        ("demand", "stallion"): _stallion,
        ("fraud", "commerce"): _commerce,
        ("fraud", "handbook"): _handbook,
        ("repeat", "cdnow"): _cdnow,
    }
    pair = (settings.task.model, settings.data.name)
    if pair not in known:
        raise UsageError(
            f"{pair[0]} does not train on {pair[1]}; known: "
            + ", ".join(f"{model} on {data}" for model, data in known)
        )
    if isinstance(settings.task.recipe.loss, Pinball):
        raise UsageError(
            "simulations score forecasts by WAPE, which no quantile but the median makes small: "
            "leave model.quantile out"
        )
    study = known[pair](settings)
    if not scales(settings.task.recipe):
        return study
    told = scales_of([feature.name for feature in study.features])
    return replace(study, features=(*study.features, *told))


# -- the project's own data ------------------------------------------------------------------------


def _cheese(settings: Settings) -> Study:
    from clients.training.demand import features_of, private_units
    from clients.training.tables import demand_bounds
    from experiments.demand_data import cheese_apart, cheese_set, demand_split
    from experiments.ordering import published_contracts

    chosen = cheese_apart() if settings.data.parties == "apart" else cheese_set()
    if chosen is None:
        raise UsageError("the cheese set stands in a checkout, not in an installed package")
    bounds = demand_bounds(published_contracts()["demand"])
    window, horizons = settings.task.recipe.window, settings.task.recipe.horizons
    series = isinstance(settings.task.recipe.model, SequenceSpec)
    splits = [
        demand_split(party, table, chosen.test_week, window, bounds, horizons, series=series)
        for party, table in chosen.tables.items()
    ]
    actual = {split.party: split.test.volume for split in splits}
    names = [item.name for item in features_of(window, horizons, series=series)]

    def score(spec: Predictor, weights: Weights) -> Worth:
        return wapes(actual, {s.party: s.predict(spec, weights[s.party]) for s in splits})

    return Study(
        measure="wape",
        split="the last 13 weeks of every retailer",
        rows={split.party: private_units(split.train) for split in splits},
        naive=wapes(actual, {split.party: split.naive for split in splits}),
        score=score,
        features=tuple(Feature(name, Reads.OWN_UNIT) for name in names),
        unit=Unit("retailer-week (commercial confidentiality)", "warehouse"),
        local=OPTIMISERS["demand"],
        pooled=OPTIMISERS["demand"],
    )


def _commerce(settings: Settings) -> Study:
    from clients.training.fraud import FEATURES
    from clients.training.keys import features_of
    from experiments.commerce.parties import FRAUD_PARTIES
    from experiments.commerce.write import generate
    from experiments.fraud_data import (
        average_precision,
        fraud_split,
        mean_base_rate,
        mean_precision,
    )
    from experiments.ordering import published_contracts

    data = settings.data
    if data.size not in {"tiny", "small", "medium"}:
        raise UsageError(f"data.size is tiny, small or medium, not {data.size!r}")
    if data.flipped and data.flipped not in FRAUD_PARTIES:
        raise UsageError(f"data.flipped is one of {', '.join(FRAUD_PARTIES)}, not {data.flipped!r}")
    contract = published_contracts()["orders"]
    require_keys(settings.task, contract)
    keys = keys_of(settings.task.recipe)
    with tempfile.TemporaryDirectory() as folder:
        made = generate(
            data.size,  # type: ignore[arg-type]
            data.seed,
            Path(folder),
            heterogeneity=data.heterogeneity,
            poisoned=data.flipped or None,
            struck=data.struck,
        )
        splits = [
            fraud_split(
                party,
                made.orders(party),
                made.truth / "orders" / f"{party}.parquet",
                contract,
                made.cut_us,
                keys,
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

    def score(spec: Predictor, weights: Weights) -> Worth:
        scores = {s.party: spec.predict(weights[PartyId(s.party)], s.test_features) for s in splits}
        each = {PartyId(s.party): average_precision(s.test_truth, scores[s.party]) for s in splits}
        return Worth(mean_precision(splits, scores), each)

    return Study(
        measure="ap",
        split="the orders at the cut and later",
        rows=rows,
        naive=Worth(mean_base_rate(splits), {PartyId(s.party): s.base_rate for s in splits}),
        score=score,
        features=(*(Feature(name, Reads.OWN_UNIT) for name in FEATURES), *features_of(keys)),
        unit=Unit("customer at one party", "party"),
        local=OPTIMISERS["fraud"],
        pooled=OPTIMISERS["fraud"],
    )


# -- real data, from a folder of the caller's ------------------------------------------------------


def _stallion(settings: Settings) -> Study:
    from experiments.datasets import files, stallion

    table = files.read(stallion.TABLE, settings.data.folder)
    return stallion_study(table, settings.task.recipe.rows_per_unit)


def stallion_study(table: Any, rows_per_unit: int) -> Study:
    """Return the study of monthly demand at 58 agencies, each a party."""
    from experiments.datasets import stallion

    splits, entropy = stallion.stallion_splits(table), SystemEntropy()
    actual = {split.party: split.test.volume for split in splits}

    def score(spec: Predictor, weights: Weights) -> Worth:
        return wapes(
            actual,
            {
                s.party: s.test.predict(spec.predict(weights[s.party], s.test.features))
                for s in splits
            },
        )

    return Study(
        measure="wape",
        split="the last six months of every series, forecast one month ahead",
        rows={
            s.party: gather_units(
                s.train.features, s.train.targets, s.train.series, rows_per_unit, entropy
            )
            for s in splits
        },
        naive=wapes(actual, {split.party: split.test.before for split in splits}),
        score=score,
        features=stallion.FEATURES,
        unit=stallion.UNIT,
        local=Optimiser(200, 0.01, 1e-2),
        pooled=Optimiser(400, 0.01, 3e-3),
    )


def _handbook(settings: Settings) -> Study:
    from experiments.datasets import files, handbook

    features = handbook.features_of(settings.data.features)
    if settings.private:
        require_unit(features, handbook.UNIT)  # before any row is read
    splits = handbook.handbook_splits(files.read(handbook.RAW, settings.data.folder))
    if settings.data.flipped:
        splits = _with_flipped(splits, settings.data.flipped, settings.data.seed)
    recipe = settings.task.recipe
    return handbook_study(splits, features, recipe.rows_per_unit, keys_of(recipe))


def _with_flipped(splits: Sequence[Any], party: str, seed: int) -> tuple[Any, ...]:
    from experiments.datasets.handbook import flipped

    names = [split.party for split in splits]
    if party not in names:
        raise UsageError(f"data.flipped is one of {names[0]} to {names[-1]}, not {party!r}")
    return tuple(flipped(one, seed) if one.party == party else one for one in splits)


def handbook_study(
    splits: Sequence[Any],
    features: tuple[Feature, ...],
    rows_per_unit: int,
    keys: Sequence[Key] = (),
) -> Study:
    """Return the study of card fraud at the issuers of `splits`, each a party."""
    from clients.training.keys import features_of, key_places
    from experiments.datasets.handbook import TERMINAL, UNIT, model_inputs

    if any(key.column != TERMINAL for key in keys):
        raise UsageError(f"on the handbook's payments, statistics are by {TERMINAL}/BUCKETS alone")

    def seen(table: Any) -> Any:
        return np.concatenate([model_inputs(table, features), key_places(table, keys)], axis=1)

    entropy = SystemEntropy()
    inputs = {split.party: seen(split.test) for split in splits}
    truth = {split.party: split.test["fraud"].to_numpy(np.int64) for split in splits}

    def score(spec: Predictor, weights: Weights) -> Worth:
        return precisions(
            truth, {party: spec.predict(weights[party], inputs[party]) for party in inputs}
        )

    return Study(
        measure="ap",
        split="the third of three weeks; no model is trained on the second",
        rows={
            split.party: gather_units(
                seen(split.train),
                split.train["fraud"].to_numpy(np.float32),
                split.train["customer"].to_numpy(),
                rows_per_unit,
                entropy,
            )
            for split in splits
        },
        naive=precisions(
            truth, {split.party: split.test["TX_AMOUNT"].to_numpy() for split in splits}
        ),
        score=score,
        features=(*features, *features_of(keys)),
        unit=UNIT,
        local=Optimiser(400, 0.1, 1e-3),
        pooled=Optimiser(1200, 0.1, 1e-5),
    )


def _cdnow(settings: Settings) -> Study:
    from experiments.datasets import cdnow, files

    return cdnow_study(cdnow.shop_splits(files.read(cdnow.TABLE, settings.data.folder)))


def cdnow_study(splits: Sequence[Any]) -> Study:
    """Return the study of who orders again, at the shops of `splits`, each a party."""
    from experiments.datasets.cdnow import FEATURES, UNIT

    entropy = SystemEntropy()
    truth = {split.party: split.test_again for split in splits}
    orders = [item.name for item in FEATURES].index("further orders")

    def score(spec: Predictor, weights: Weights) -> Worth:
        return ranks(truth, {s.party: spec.predict(weights[s.party], s.test) for s in splits})

    return Study(
        measure="auc",
        split="every third customer of each shop",
        rows={
            s.party: gather_units(s.train, s.train_again, np.arange(len(s.train)), 1, entropy)
            for s in splits
        },
        naive=ranks(truth, {s.party: s.test[:, orders] for s in splits}),
        score=score,
        features=FEATURES,
        unit=UNIT,
        local=Optimiser(200, 0.05, 1e-3),
        pooled=Optimiser(400, 0.05, 0.0),
    )


# -- scores ----------------------------------------------------------------------------------------


def wapes(actual: Mapping[PartyId, Array], guessed: Mapping[PartyId, Array]) -> Worth:
    """Return the WAPE over all test rows, and of every party that sold anything."""
    from clients.training.demand import wape

    each = {
        party: wape(guessed[party], values) for party, values in actual.items() if values.sum() > 0
    }
    return Worth(_together(wape, guessed, actual), each)


def precisions(truth: Mapping[PartyId, Any], scores: Mapping[PartyId, Any]) -> Worth:
    """Return the AP of all test rows in one ranking, and of every party that had a fraud."""
    from experiments.fraud_data import average_precision

    each = {
        party: average_precision(values, scores[party])
        for party, values in truth.items()
        if values.any()
    }
    return Worth(_together(average_precision, truth, scores), each)


def ranks(truth: Mapping[PartyId, Any], scores: Mapping[PartyId, Any]) -> Worth:
    """Return the AUC of all test rows in one ranking, and of every party with both outcomes."""
    from sklearn.metrics import roc_auc_score

    def auc(one: Any, other: Any) -> float:
        return float(roc_auc_score(one, other))

    both = {party: values for party, values in truth.items() if 0 < values.mean() < 1}
    each = {party: auc(values, scores[party]) for party, values in both.items()}
    return Worth(_together(auc, truth, scores), each)


def _together(
    measure: Callable[[Any, Any], float], one: Mapping[PartyId, Any], other: Mapping[PartyId, Any]
) -> float:
    return measure(*(np.concatenate([part[party] for party in one]) for part in (one, other)))
