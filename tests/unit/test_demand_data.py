"""The demo's demand data: who holds what, what is held out, and what the recipe reaches on it."""

import numpy as np
import pytest

from clients.training.demand import DemandBounds, private_units, wape
from experiments import demand_data
from experiments.commerce.write import generate
from experiments.demand_data import NEWCOMER, cheese_apart, cheese_set, demand_split, overall_wape

BOUNDS = DemandBounds(200_000.0, 0.0, 10.0)
CHEESE = pytest.mark.skipif(
    not demand_data.CHEESE.exists(), reason="the cheese set stands in a checkout alone"
)


@CHEESE
def test_warehouses_share_the_areas_and_the_newcomer_has_six_retailers():
    chosen = cheese_set()
    held = {party: set(table["retailer"]) for party, table in chosen.tables.items()}
    assert len(held) == 4 and sum(map(len, held.values())) == len(set().union(*held.values())) == 88
    areas = [{name.split(" - ")[0] for name in names} for names in held.values()]
    assert sum(map(len, areas)) == len(set().union(*areas))
    newcomer = chosen.tables[NEWCOMER]
    assert len(held[NEWCOMER]) == 6
    assert newcomer["week"].min() == chosen.test_week - 8
    assert all(table["week"].max() == chosen.test_week + 12 for table in chosen.tables.values())


@CHEESE
def test_without_its_file_there_is_no_cheese(tmp_path):
    assert cheese_set(tmp_path / "none") is None
    assert cheese_apart(tmp_path / "none") is None
    assert len(cheese_apart().tables) == 88


@CHEESE
def test_no_training_row_reads_a_test_week_and_naive_is_last_week():
    chosen = cheese_set()
    for party, table in chosen.tables.items():
        split = demand_split(party, table, chosen.test_week, 5, BOUNDS)
        alone = demand_split(
            party, table[table["week"] < chosen.test_week], chosen.test_week, 5, BOUNDS
        )
        assert np.array_equal(split.train.features, alone.train.features)
        assert split.train.week.max() < chosen.test_week <= split.test.week.min()
        assert len(split.naive) == len(split.test) == 13 * table["retailer"].nunique()
        last = table.sort_values(["retailer", "week"]).groupby("retailer")["volume"].shift(1)
        assert split.naive.sum() == pytest.approx(last[table["week"] >= chosen.test_week].sum())


def test_generated_demand_has_the_columns_of_the_contract(tmp_path):
    made = demand_data.generated_set(generate("tiny", 3, tmp_path))
    assert set(made.tables) == {"warehouse-cn", "warehouse-eu", "warehouse-uk", "warehouse-us"}
    for party, table in made.tables.items():
        split = demand_split(party, table, made.test_week, 5, BOUNDS)
        assert len(split.train) and len(split.test)
        assert split.train.week.max() < made.test_week


@CHEESE
@pytest.mark.slow
def test_the_demo_recipe_helps_the_newcomer_with_privacy():
    """Mean over fresh noise, so that no lucky draw decides; each draw stays in its bounds too."""
    from clients.training.plain import fit
    from experiments.federating import federate
    from experiments.settings import compose

    settings = compose(["experiment=demand"])
    recipe, chosen = settings.task.recipe, cheese_set()
    splits = {
        party: demand_split(party, table, chosen.test_week, recipe.window, BOUNDS)
        for party, table in chosen.tables.items()
    }
    rows = {party: private_units(split.train) for party, split in splits.items()}
    scores = []
    for _ in range(5):
        weights = federate(settings.task, rows, private=True)
        forecasts = {party: s.predict(recipe.model, weights) for party, s in splits.items()}
        scores.append(
            (
                splits[NEWCOMER].score(recipe.model, weights),
                overall_wape(list(splits.values()), forecasts),
            )
        )
    newcomer, everybody = np.array(scores).T
    own = fit(recipe.model.init(1), rows[NEWCOMER], recipe.model, recipe.loss)
    naive = wape(splits[NEWCOMER].naive, splits[NEWCOMER].test.volume)
    assert settings.epsilon == 4.0 and recipe.rounds <= 12
    assert newcomer.mean() <= 0.26 and newcomer.max() <= 0.30
    assert everybody.max() <= 0.24
    assert splits[NEWCOMER].score(recipe.model, own) >= 0.29
    assert naive >= 0.50
