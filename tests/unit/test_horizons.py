"""Several weeks ahead: a stretch of weeks is one unit, of a row for each horizon."""

import dataclasses
from decimal import Decimal

import numpy as np
import pytest

from clients.training.demand import demand_rows, features_of, private_units
from clients.training.errors import TrainingDataError
from clients.training.sums import round_sum
from clients.training.tables import load_rows
from experiments.demand_data import demand_split
from experiments.errors import UsageError
from experiments.ordering import Terms, published_contracts, training_order
from experiments.settings import compose
from federation.errors import MalformedOrderError
from federation.losses import Pinball
from federation.models import ModelSpec
from federation.recipes import Recipe
from federation.sum_recipes import SumRecipe
from federation.tasks import TrainingTask, read_recipe, require_unit
from policies.parties import PartyId
from secure_compute import canonical
from secure_compute.entropy import SystemEntropy
from tests.simulator import WAREHOUSES, Simulation, demand_table, recipe, sum_recipe
from tests.unit.test_demand_rows import BOUNDS, made_table

WINDOW, HORIZONS = 4, 3
SPAN = WINDOW - 1 + HORIZONS
INPUTS = len(features_of(WINDOW, HORIZONS))


def horizon_recipe(**changes) -> SumRecipe:
    values = {
        "model": ModelSpec((INPUTS, 1)),
        "loss": "mse",
        "window": WINDOW,
        "horizons": HORIZONS,
        "rows_per_unit": HORIZONS,
    }
    made = sum_recipe(**{**values, "moments": 0, **changes})
    return dataclasses.replace(made, horizons={**values, **changes}["horizons"])


def stretches(table, phase: int) -> dict:
    """Return one step's units, named by retailer and last week, to the last bit."""
    rows = demand_rows(table, WINDOW, BOUNDS, HORIZONS)
    units, names = private_units(rows), sorted(set(table["retailer"]))
    here = np.flatnonzero(units.phase == phase)
    return {
        (names[rows.retailer[HORIZONS * i]], int(rows.last[HORIZONS * i])): (
            units.features[i].tobytes(),
            units.targets[i].tobytes(),
            units.present[i].tobytes(),
        )
        for i in here
    }


# -- the rows --------------------------------------------------------------------------------------


@pytest.mark.parametrize("drop", range(0, 85, 6))
def test_removing_one_unit_takes_one_stretch_whole_and_changes_no_row_of_another(drop):
    """A stretch that lost a row would be clipped to another vector: twice the clip may move."""
    table = made_table()
    gone, rest = table.iloc[drop], table.drop(table.index[drop])
    for phase in range(SPAN):
        before, after = stretches(table, phase), stretches(rest, phase)
        lost = set(before) - set(after)
        assert set(after) <= set(before) and len(lost) <= 1
        assert all(after[key] == before[key] for key in after)
        for retailer, last in lost:
            assert retailer == gone["retailer"] and 0 <= last - gone["week"] < SPAN


def test_each_unit_stands_in_at_most_one_stretch_of_a_step():
    rows = demand_rows(made_table(), WINDOW, BOUNDS, HORIZONS)
    units = private_units(rows)
    assert units.phases == SPAN and units.present.all()
    for phase in range(SPAN):
        here = HORIZONS * np.flatnonzero(units.phase == phase)
        read = [(rows.retailer[i], rows.last[i] - age) for i in here for age in range(SPAN)]
        assert len(read) == len(set(read))


def test_removing_one_unit_moves_a_sum_by_its_clip_and_no_more():
    agreed = horizon_recipe(clip=Decimal("0.05"), grid=1 << 16)
    table = made_table()
    weights = np.array([0.3, -0.2, 0.1, 0.5, -0.4, 0.2, 0.1], np.float32)

    def summed(rows, number):
        return round_sum(weights, private_units(rows), agreed, number, SystemEntropy()).values

    whole = demand_rows(table, WINDOW, BOUNDS, HORIZONS)
    moved = []
    for drop in range(0, len(table), 9):
        rest = demand_rows(table.drop(table.index[drop]), WINDOW, BOUNDS, HORIZONS)
        moved += [np.linalg.norm(summed(whole, n) - summed(rest, n)) for n in range(SPAN)]
    assert 0.9 * agreed.grid < max(moved) <= agreed.sensitivity


def test_a_row_of_every_horizon_is_that_of_its_own_window():
    """The same known weeks, and the week that lies so far ahead as its target."""
    table = made_table(2, 12).sort_values(["retailer", "week"])
    rows = demand_rows(table, WINDOW, BOUNDS, HORIZONS)
    assert len(rows) == 2 * HORIZONS * (12 - SPAN + 1)
    known = table.iloc[: WINDOW - 1]["volume"]
    for place in range(HORIZONS):
        target = table.iloc[WINDOW - 1 + place]
        assert rows.horizon[place] == place + 1 and rows.week[place] == target["week"]
        assert rows.volume[place] == target["volume"]
        assert rows.base[place] == pytest.approx(np.log1p(known.mean()))
        assert rows.naive[place] == known.iloc[-1]
        assert rows.features[place, 4] == pytest.approx(1 - 1 / (place + 1))
        assert rows.features[place, 2] == rows.features[0, 2]  # of known weeks alone
    assert (rows.last == rows.week + HORIZONS - rows.horizon).all()


def test_one_horizon_is_what_it_was():
    one = demand_rows(made_table(), WINDOW, BOUNDS)
    assert len(features_of(WINDOW)) == one.features.shape[1] == 4
    many = demand_rows(made_table(), WINDOW, BOUNDS, HORIZONS)
    near = many.where(many.horizon == 1)
    where = {(r, w): i for i, (r, w) in enumerate(zip(one.retailer, one.week, strict=True))}
    here = [where[key] for key in zip(near.retailer, near.week, strict=True)]
    assert np.array_equal(near.features[:, :4], one.features[here])
    assert not near.features[:, 4:].any()


@pytest.mark.parametrize("place", range(INPUTS))
def test_a_feature_of_a_horizon_reads_only_what_it_declares(place):
    feature = features_of(WINDOW, HORIZONS)[place]
    table = made_table(1, SPAN)
    first = int(table["week"].min())
    before = demand_rows(table, WINDOW, BOUNDS, HORIZONS).features[:, place]
    for column in ("volume", "display", "price"):
        for week in range(SPAN):
            changed = table.copy()
            changed.loc[changed["week"] == first + week, column] *= 0.37
            after = demand_rows(changed, WINDOW, BOUNDS, HORIZONS).features[:, place]
            for horizon in range(1, HORIZONS + 1):
                known = week < WINDOW - 1
                age = WINDOW - 1 - week if known else 0
                mine = known or week == WINDOW - 2 + horizon
                declared = mine and column in feature.columns and age in feature.ages
                assert declared or after[horizon - 1] == before[horizon - 1]


def test_rows_of_a_stretch_that_are_not_whole_are_refused():
    rows = demand_rows(made_table(), WINDOW, BOUNDS, HORIZONS)
    for chosen in (rows.horizon < HORIZONS, np.arange(len(rows)) % 4 != 0, rows.horizon == 2):
        with pytest.raises(TrainingDataError, match="lacks a row"):
            private_units(rows.where(chosen))
    assert len(private_units(rows.where(rows.last < 12))) > 0
    assert len(private_units(demand_rows(made_table(3, SPAN - 1), WINDOW, BOUNDS, HORIZONS))) == 0
    with pytest.raises(TrainingDataError):
        demand_rows(made_table(), WINDOW, BOUNDS, 0)


def test_a_training_row_reads_no_test_week_at_any_horizon():
    split = demand_split(PartyId("a"), made_table(), 14, WINDOW, BOUNDS, HORIZONS)
    assert split.train.last.max() == 13 and split.test.week.min() == 14
    assert len(private_units(split.train)) > 0
    assert set(split.test.horizon[split.test.week == 14]) == {1, 2, 3}


# -- the recipe ------------------------------------------------------------------------------------


def test_horizons_stand_in_the_order_where_there_are_several():
    for one in (
        horizon_recipe(),
        recipe(window=WINDOW, horizons=HORIZONS, rows_per_unit=HORIZONS),
    ):
        wire = canonical.encode(one.to_json())
        assert read_recipe(canonical.decode(wire)) == one and one.to_json()["horizons"] == HORIZONS
        kind = type(one)
        for wrong in (1, 0, 101, True, "3", 2):  # 2: a unit has three rows
            with pytest.raises(MalformedOrderError):
                kind.from_json({**one.to_json(), "horizons": wrong})
    for plain in (sum_recipe(), recipe()):
        assert "horizons" not in plain.to_json() and plain.horizons == 1


@pytest.mark.parametrize(
    ("changes", "said"), [({"window": 0}, "a window"), ({"rows_per_unit": 8}, "each horizon")]
)
def test_horizons_without_weeks_or_room_are_refused(changes, said):
    with pytest.raises(MalformedOrderError, match=said):
        horizon_recipe(**changes)
    with pytest.raises(MalformedOrderError, match=said):
        recipe(**{"window": WINDOW, "rows_per_unit": 3, "horizons": 3, **changes})


def test_the_price_is_that_of_a_unit_whatever_its_rows():
    one = horizon_recipe(horizons=1, rows_per_unit=1)
    assert horizon_recipe().event() == one.event()


def test_a_unit_has_as_many_rows_as_horizons_and_no_more():
    contract = published_contracts()["demand"]
    require_unit(TrainingTask("demand", 1, 0, horizon_recipe()), contract)
    more = horizon_recipe(horizons=1, rows_per_unit=2)
    with pytest.raises(MalformedOrderError, match="at most 1"):
        require_unit(TrainingTask("demand", 1, 0, more), contract)
    with pytest.raises(MalformedOrderError, match="fraud is none"):
        TrainingTask("fraud", 1, 0, horizon_recipe())


def test_horizons_are_configured_for_forecasts_alone():
    found = compose(["experiment=demand", "model.horizons=4"]).task.recipe
    assert isinstance(found, SumRecipe) and found.method.inputs == INPUTS
    assert (found.horizons, found.rows_per_unit) == (4, 4)
    with pytest.raises(UsageError, match="would flatter"):
        compose(["experiment=demand", "model.horizons=4", "model.holdout=0.5"])
    both = compose(["experiment=demand_quantile", "model.horizons=4", "model.quantile=0.9"])
    assert (both.task.recipe.horizons, both.task.recipe.loss) == (4, Pinball(Decimal("0.9")))
    averaged = compose(["experiment=demand_fedavg", "model.horizons=2"]).task.recipe
    assert isinstance(averaged, Recipe) and averaged.rows_per_unit == 2
    assert compose(["experiment=demand"]).task.recipe.horizons == 1
    for other in ("fraud", "fraud_fedavg", "fraud_boosted"):
        with pytest.raises(UsageError, match="makes none"):
            compose([f"experiment={other}", "+model.horizons=4"])
    with pytest.raises(UsageError, match="one horizon"):
        compose(["experiment=demand_boosted", "model.horizons=4"])
    with pytest.raises(UsageError, match="horizons"):
        compose(["experiment=demand", "model.horizons=0"])


@pytest.mark.parametrize("experiment", ["demand", "demand_quantile", "demand_fedavg"])
def test_numbers_that_bound_or_divide_a_row_grow_with_the_rows_of_a_unit(experiment):
    """So that what a unit of equal rows adds is what one of its rows would add alone."""
    one = compose([f"experiment={experiment}"]).task.recipe
    four = compose([f"experiment={experiment}", "model.horizons=4"]).task.recipe
    if isinstance(one, Recipe):
        assert four.clip == 4 * one.clip and four.divisor == 4 * one.divisor
        return
    for name in ("clip", "moment_clip", "target_clip", "ridge", "expected_units"):
        assert getattr(four.method, name) == 4 * getattr(one.method, name)
    for name in ("learning_rate", "momentum", "rounds"):
        assert getattr(four.method, name) == getattr(one.method, name)
    assert four.expected_units == one.expected_units  # units of a sum, for its room
    assert four.noise_multiplier == one.noise_multiplier


# -- the federation --------------------------------------------------------------------------------


@pytest.mark.parametrize("loss", ["mse", Pinball(Decimal("0.9"))])
def test_a_federation_trains_several_weeks_ahead(tmp_path, loss):
    limits = {name: {"epsilon": "6.5", "delta": "1e-6"} for name in ("orders", "demand")}
    simulation = Simulation(tmp_path / "federation", limits=limits)
    agreed = horizon_recipe(noise_multiplier=Decimal(12), loss=loss)
    terms = Terms(purpose="demand_forecasting", cohort=WAREHOUSES)
    task = TrainingTask("demand", 1, 0, agreed)
    order = training_order(simulation.home, task, terms)
    job = simulation.run(order)
    assert job.status == "done", job.result
    assert not job.result["metrics"]
    for party in WAREHOUSES:
        assert simulation.account(party, "demand").releases == 3
    weights = np.frombuffer(simulation.jobs.last_round(order.id).weights, "<f4")
    assert len(weights) == INPUTS + 1 and np.isfinite(weights).all() and weights.any()


def test_a_nodes_table_has_whole_stretches(tmp_path):
    table = demand_table(1)
    path = tmp_path / "demand.parquet"
    table.to_parquet(path)
    task = TrainingTask("demand", 1, 0, horizon_recipe())
    laid = load_rows(task, published_contracts()["demand"], path, SystemEntropy())
    assert laid.features.shape == (6 * (30 - SPAN + 1), HORIZONS, INPUTS)
    assert laid.present.all() and laid.phases == SPAN
