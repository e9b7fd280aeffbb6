"""A run measures its forecasts by one more secure sum, on rows that no round trained on."""

import dataclasses
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from aggregator import coordinator
from aggregator.lineage import load
from clients.training import service, sums
from clients.training.demand import DemandBounds, demand_rows
from clients.training.evaluating import EXTRA
from clients.training.sampling import UnitRows, hold_out
from clients.training.tables import load_rows
from experiments.circle import Circle
from experiments.errors import UsageError
from experiments.ordering import Terms, published_contracts, training_order
from experiments.settings import compose
from federation.boosted import Boosted
from federation.errors import MalformedOrderError
from federation.evaluation import ForecastSums, ScoreSums
from federation.messages import Kind
from federation.models import ModelSpec
from federation.readings import read
from federation.sum_recipes import SumRecipe
from federation.tasks import TrainingTask, read_recipe
from secure_compute.entropy import SystemEntropy
from tests.seeded import SeededEntropy
from tests.simulator import WAREHOUSES, Simulation, demand_table, sum_recipe

WINDOW = 3
WIDE = ForecastSums(1, Decimal(8000), Decimal(8000))
SPEC = ForecastSums(1, Decimal(4000), Decimal(1500))
BOUNDS = DemandBounds(200_000.0, 0.0, 10.0)
MODEL = ModelSpec((4, 1))
WEIGHTS = np.array([-0.1, 0.05, 0.02, 0.4, 0.1], np.float32)


def measured(spec: ForecastSums = SPEC, **changes) -> SumRecipe:
    values = {
        "model": MODEL,
        "loss": "mse",
        "window": WINDOW,
        "rows_per_unit": 1,
        "holdout": Decimal("0.5"),
        "evaluation": spec,
        "noise_multiplier": Decimal(12),
    }
    return sum_recipe(**{**values, **changes})


RECIPE = measured()
LAST = RECIPE.method.rounds


def task_of(recipe: SumRecipe = RECIPE) -> TrainingTask:
    return TrainingTask("demand", 1, 0, recipe)


def laid(tmp_path: Path, table: pd.DataFrame, recipe: SumRecipe = RECIPE) -> UnitRows:
    path = tmp_path / "demand.parquet"
    table.to_parquet(path)
    return load_rows(task_of(recipe), published_contracts()["demand"], path, SystemEntropy())


# -- the recipe ------------------------------------------------------------------------------------


def test_forecasts_are_one_more_round_of_the_same_price():
    assert read_recipe(RECIPE.to_json()) == RECIPE
    assert RECIPE.rounds == LAST + 1 and RECIPE.evaluates(LAST)
    assert RECIPE.dimension(LAST) == SPEC.dimension
    without = dataclasses.replace(RECIPE, holdout=Decimal(0), evaluation=None)
    assert RECIPE.event() == without.event()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"loss": "bce"}, "scores is for `bce`"),
        ({"evaluation": ScoreSums(1, 1)}, "scores is for `bce`"),
        ({"rows_per_unit": 2}, "as many rows"),
        ({"window": 0}, "a window"),
        ({"holdout": Decimal(0)}, "held out"),
    ],
)
def test_a_bad_evaluation_of_forecasts_is_refused(changes, said):
    with pytest.raises(MalformedOrderError, match=said):
        measured(**changes)


def test_forecasts_are_of_demand_and_scores_of_fraud():
    with pytest.raises(MalformedOrderError, match="for the model demand"):
        TrainingTask("fraud", 1, 0, RECIPE)
    with pytest.raises(MalformedOrderError, match="for fraud"):
        TrainingTask("demand", 1, 0, sum_recipe(holdout=Decimal("0.5"), evaluation=ScoreSums(8, 2)))
    with pytest.raises(MalformedOrderError, match="held out"):
        TrainingTask("demand", 1, 0, RECIPE, 1, "a" * 64)


def test_the_configuration_measures_forecasts_by_the_switch_of_classifiers():
    recipe = compose(["experiment=demand", "model.holdout=0.2"]).task.recipe
    assert isinstance(recipe.evaluation, ForecastSums) and recipe.holdout == Decimal("0.2")
    plain = compose(["experiment=demand"]).task.recipe
    assert plain.evaluation is None and recipe.rounds == plain.rounds + 1
    assert recipe.noise_multiplier > plain.noise_multiplier  # the same epsilon for one more
    scores = compose(["experiment=fraud", "model.holdout=0.2"]).task.recipe
    assert isinstance(scores.evaluation, ScoreSums)
    for other in ("demand_fedavg", "fraud_fedavg"):
        with pytest.raises(UsageError):
            compose([f"experiment={other}", "model.holdout=0.2"])
    boosted = compose(["experiment=demand_boosted"]).task.recipe
    assert isinstance(boosted, SumRecipe) and isinstance(boosted.method, Boosted)


# -- the rows --------------------------------------------------------------------------------------


def by_hand(table: pd.DataFrame) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return actual, predicted and naive volumes of every window, from the table itself."""
    found = []
    for _, weeks in table.groupby("retailer"):
        one = weeks.set_index("week").sort_index()
        for week in one.index[WINDOW - 1 :]:
            past, now = one.loc[week - WINDOW + 1 : week - 1], one.loc[week]
            logs = np.log1p(past.volume)
            inputs = [
                10 * (np.log(now.price) - np.log(past.price).mean()),
                10 * (now.display - past.display.mean()),
                10 * (logs.mean() - np.log1p(past.volume.mean())),
                logs.iloc[-1] - logs.mean(),
            ]
            output = np.clip(inputs, -12, 12) @ WEIGHTS[:-1] + WEIGHTS[-1]
            predicted = np.expm1(output + np.log1p(past.volume.mean()))
            found.append((now.volume, max(predicted, 0.0), past.volume.iloc[-1]))
    return tuple(np.array(found).T)


def test_without_noise_the_sum_is_the_exact_error_of_the_table(tmp_path):
    table = demand_table(3)
    rows = laid(
        tmp_path, table, recipe := measured(WIDE, grid=1 << 17, noise_multiplier=Decimal(2))
    )
    total = np.zeros(WIDE.dimension)
    for phase in range(WINDOW):
        here = dataclasses.replace(
            recipe, method=dataclasses.replace(recipe.method, rounds=3 + phase)
        )
        part = sums.round_sum(WEIGHTS, rows, here, 3 + phase, SystemEntropy())
        total += part.values / here.grid
    actual, predicted, naive = by_hand(table)
    report = read(WIDE, total, 0.0)
    assert len(actual) == 6 * 28 == len(rows)
    missed = np.abs(predicted - actual)
    assert report.wape.value == pytest.approx(missed.sum() / actual.sum(), rel=1e-3)
    root = np.sqrt((missed**2).sum() / ((naive - actual) ** 2).sum())
    assert report.rmsse.value == pytest.approx(root, rel=2e-2)  # squares are small beside the grid
    assert report.moved.value == pytest.approx(0.0, abs=1e-3)


def test_what_is_measured_reads_the_base_and_the_last_known_week(tmp_path):
    table = demand_table(2)
    rows, plain = laid(tmp_path, table), demand_rows(table, WINDOW, BOUNDS)
    inputs = MODEL.layers[0]
    assert rows.features.shape == (len(plain), 1, inputs + EXTRA)
    assert np.array_equal(rows.features[:, 0, :inputs], plain.features)
    assert np.allclose(rows.features[:, 0, inputs], plain.base, rtol=1e-6)
    volume = table.set_index(["retailer", "week"])["volume"]
    names = sorted(set(table["retailer"]))
    before = [
        volume[names[at], week - 1] for at, week in zip(plain.retailer, plain.week, strict=True)
    ]
    assert np.allclose(rows.features[:, 0, inputs + 1], before, rtol=1e-6)
    bare = dataclasses.replace(RECIPE, holdout=Decimal(0), evaluation=None)
    assert laid(tmp_path, table, bare).features.shape[2] == inputs


@pytest.mark.parametrize("drop", range(0, 180, 23))
def test_removing_one_unit_moves_the_sum_by_one_row_at_most(tmp_path, drop):
    """And leaves every other row as it is, what is measured of it included."""
    table = demand_table(1)
    parts = [laid(tmp_path, t) for t in (table, table.drop(table.index[drop]))]
    for phase in range(WINDOW):
        before, after = (
            {rows.features[i].tobytes(): i for i in np.flatnonzero(rows.phase == phase)}
            for rows in parts
        )
        assert set(after) <= set(before) and len(before) - len(after) <= 1


def test_only_what_the_last_round_could_draw_is_held_out(tmp_path):
    rows = laid(tmp_path, demand_table(1))
    for step in (0, 4):
        trains, held = hold_out(rows, Decimal("0.5"), SeededEntropy(3), step)
        assert len(trains) + len(held) == len(rows) and len(held) > 10
        assert set(held.phase) == {step % WINDOW}
        assert set(trains.phase) == set(range(WINDOW))


# -- the federation --------------------------------------------------------------------------------


@pytest.fixture
def simulation(tmp_path):
    limits = {name: {"epsilon": "6.5", "delta": "1e-6"} for name in ("orders", "demand")}
    return Simulation(tmp_path / "federation", limits=limits)


def test_a_run_measures_its_forecasts_on_rows_that_no_round_trained_on(simulation, monkeypatch):
    seen, opened = [], []
    summed, reading = service.round_sum, coordinator.read

    def watched(weights, rows, recipe, number, entropy):
        seen.append((number, rows))
        return summed(weights, rows, recipe, number, entropy)

    def spied(spec, total, noise):
        opened.append((total, noise))
        return reading(spec, total, noise)

    monkeypatch.setattr(service, "round_sum", watched)
    monkeypatch.setattr(coordinator, "read", spied)
    terms = Terms(purpose="demand_forecasting", cohort=WAREHOUSES)
    order = training_order(simulation.home, task_of(), terms)
    assert order.releases == LAST + 1
    job = simulation.run(order)
    assert job.status == "done", job.result

    ((total, noise),) = opened
    exact = sum(simulation.workshops[party].sums[LAST] for party in WAREHOUSES) / RECIPE.grid
    assert exact[1] > 1.0  # volumes
    least = RECIPE.noise_scale / RECIPE.grid  # all of it, and the share of one who may tell
    assert noise == pytest.approx(least * np.sqrt(4 / 3), rel=1e-3)
    assert 0 < np.abs(total - exact).max() < 6 * noise  # noised, and nothing else
    metrics = read(SPEC, total, noise).to_json()
    assert job.result["metrics"] == metrics and set(metrics) == {"wape", "rmsse", "moved"}
    assert simulation.notes(order, "evaluated")[0]["metrics"] == metrics
    stored = load(Path(job.result["model"]))
    assert stored.card.metrics == metrics and stored.card.round == LAST + 1
    weights = simulation.jobs.last_round(order.id).weights
    asked = [x for x in simulation.mail.sent(Kind.SUM_ROUND) if x.sequence == LAST]
    assert {letter.blobs["weights"] for letter in asked} == {weights}  # measuring moves nothing
    for party in WAREHOUSES:
        assert simulation.account(party, "demand").releases == LAST + 1

    inputs = MODEL.layers[0]
    held = {row.tobytes() for n, rows in seen if n == LAST for row in rows.features[..., :inputs]}
    trained = {row.tobytes() for n, rows in seen if n < LAST for row in rows.features}
    assert len(held) > 40 and not held & trained
    assert len(held | trained) == 4 * 6 * 28
    assert all(rows.features.shape[2] == inputs for n, rows in seen if n < LAST)


# -- the intervals ---------------------------------------------------------------------------------


@pytest.mark.slow
def test_intervals_hold_what_masks_rounding_and_shared_noise_make_of_a_sum(tmp_path):
    """150 secure sums: a right interval holds fewer than .88 or more than .995 once in 2,000."""
    recipe = measured(SPEC, nodes=4, sampling_rate=Decimal(1), noise_multiplier=Decimal(3))
    tables = [pd.concat([demand_table(10 * n + k) for k in range(6)]) for n in range(4)]
    rows = {f"p{n}": laid(tmp_path, table, recipe) for n, table in enumerate(tables)}
    entropy = SystemEntropy()
    parts = {
        party: sums.round_sum(WEIGHTS, part, recipe, LAST, entropy).values
        for party, part in rows.items()
    }
    exact = read(SPEC, sum(parts.values()) / recipe.grid, 0.0)
    names, hits = ("wape", "rmsse", "moved"), []
    for _ in range(150):
        total, noise = Circle(tuple(rows), entropy).sum(recipe, LAST, parts)
        report = read(SPEC, total, noise)
        pairs = [(getattr(report, name), getattr(exact, name).value) for name in names]
        hits.append([found.low <= true <= found.high for found, true in pairs])
    assert all(0.88 <= share <= 0.995 for share in np.mean(hits, 0))
