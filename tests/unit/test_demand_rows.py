"""Demand rows read one window of one retailer, and nothing else."""

import numpy as np
import pandas as pd
import pytest

from clients.training.demand import (
    COLUMNS,
    DemandBounds,
    demand_rows,
    features_of,
    predicted_volume,
    private_units,
    wape,
)
from clients.training.errors import TrainingDataError

BOUNDS = DemandBounds(volume=10_000.0, price_low=0.0, price_high=10.0)
WINDOW = 4


def made_table(retailers: int = 5, weeks: int = 17) -> pd.DataFrame:
    generator = np.random.default_rng(4)
    count = retailers * weeks
    return pd.DataFrame(
        {
            "retailer": np.repeat([f"r{i}" for i in range(retailers)], weeks),
            "week": np.tile(np.arange(3, 3 + weeks), retailers),
            "volume": generator.integers(10, 5000, count).astype(float),
            "display": generator.random(count),
            "price": generator.uniform(1, 4, count),
        }
    ).sample(frac=1.0, random_state=1)


def by_unit(table: pd.DataFrame, phase: int, window: int = WINDOW) -> dict:
    """Return one step's rows, named by retailer and last week."""
    rows = demand_rows(table, window, BOUNDS)
    names = sorted(set(table["retailer"]))
    here = np.flatnonzero(private_units(rows).phase == phase)
    return {
        (names[rows.retailer[i]], int(rows.week[i])): (*rows.features[i], rows.targets[i])
        for i in here
    }


@pytest.mark.parametrize("window", [2, 4, 5])
def test_removing_one_unit_changes_no_row_of_another(window):
    table = made_table()
    for drop in range(0, len(table), 7):
        gone = table.iloc[drop]
        rest = table.drop(table.index[drop])
        for phase in range(window):
            before, after = by_unit(table, phase, window), by_unit(rest, phase, window)
            lost = set(before) - set(after)
            assert len(lost) <= 1 and set(after) <= set(before)
            assert all(after[key] == before[key] for key in after)
            for retailer, week in lost:
                assert retailer == gone["retailer"]
                assert 0 <= week - gone["week"] < window


def test_each_unit_stands_in_at_most_one_row_of_a_step():
    rows = demand_rows(made_table(), WINDOW, BOUNDS)
    for phase in range(WINDOW):
        here = np.flatnonzero(private_units(rows).phase == phase)
        read = [(rows.retailer[i], rows.week[i] - age) for i in here for age in range(WINDOW)]
        assert len(read) == len(set(read))


@pytest.mark.parametrize("place", range(len(features_of(WINDOW))))
def test_a_feature_reads_only_what_it_declares(place):
    feature = features_of(WINDOW)[place]
    table = made_table(1, WINDOW)
    last = int(table["week"].max())
    before = demand_rows(table, WINDOW, BOUNDS).features[0, place]
    for column in ("volume", "display", "price"):
        for age in range(WINDOW):
            changed = table.copy()
            changed.loc[changed["week"] == last - age, column] *= 0.37
            after = demand_rows(changed, WINDOW, BOUNDS).features[0, place]
            declared = column in feature.columns and age in feature.ages
            assert declared or after == before, (column, age)


def test_a_row_never_reads_the_volume_it_predicts():
    assert all(
        "volume" not in feature.columns or 0 not in feature.ages for feature in features_of(WINDOW)
    )


def test_targets_are_relative_to_the_moving_average():
    table = made_table(1, WINDOW).sort_values("week")
    rows = demand_rows(table, WINDOW, BOUNDS)
    volume = table["volume"].to_numpy()
    assert rows.targets[0] == pytest.approx(np.log1p(volume[-1]) - np.log1p(volume[:-1].mean()))
    assert predicted_volume(rows, rows.targets.astype(float))[0] == pytest.approx(volume[-1])


def test_a_gap_of_a_week_ends_the_window():
    table = made_table(1, 12)
    gap = table[table["week"] != 9]
    weeks = demand_rows(gap, WINDOW, BOUNDS).week
    assert weeks.tolist() == [6, 7, 8, 13, 14]


def test_wild_values_are_moved_into_the_bounds():
    table = made_table(2, 9)
    for column, value in (("volume", np.nan), ("price", -1.0), ("display", 1e9)):
        table.loc[table.index[3], column] = value
    rows = demand_rows(table, WINDOW, BOUNDS)
    assert np.isfinite(rows.features).all() and np.isfinite(rows.targets).all()
    assert np.abs(rows.features).max() <= 12.0


def test_of_two_rows_for_one_unit_one_counts():
    table = made_table(2, 9)
    double = pd.concat([table, table.iloc[:4].assign(volume=1.0)])
    one, two = demand_rows(table, WINDOW, BOUNDS), demand_rows(double, WINDOW, BOUNDS)
    assert np.array_equal(one.features, two.features)


@pytest.mark.parametrize("column", COLUMNS)
def test_a_missing_column_is_one_sentence(column):
    with pytest.raises(TrainingDataError, match="columns"):
        demand_rows(made_table().drop(columns=column), WINDOW, BOUNDS)


def test_fewer_weeks_than_a_window_are_no_rows():
    rows = demand_rows(made_table(3, WINDOW - 1), WINDOW, BOUNDS)
    assert len(rows) == 0
    assert len(private_units(rows)) == 0


def test_wape():
    assert wape(np.array([1.0, 4.0]), np.array([2.0, 2.0])) == pytest.approx(0.75)
