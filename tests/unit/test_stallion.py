"""Monthly demand: what a row reads, what is held out, and whose rows are whose."""

import numpy as np
import pandas as pd
import pytest

from experiments.datasets import files, stallion
from tests.tables import real, volumes

TABLE = volumes()


def test_a_row_is_what_a_search_month_by_month_finds():
    rows = stallion.stallion_rows(TABLE)
    for index in rows.index[30::61]:
        one = TABLE.loc[index]
        own = TABLE[(TABLE["agency"] == one["agency"]) & (TABLE["sku"] == one["sku"])]
        ago = {
            months: own[own["date"] == one["date"] - pd.DateOffset(months=months)]
            for months in range(16)
        }
        volume = {months: part["volume"].to_numpy() for months, part in ago.items()}
        base = np.log1p(np.mean([volume[months] for months in (1, 2, 3)]))
        row = rows.loc[index]
        assert row["base"] == pytest.approx(base)
        assert row["before"] == pytest.approx(volume[1][0])
        assert row["volume 2 months before"] == pytest.approx(np.log1p(volume[2][0]) - base)
        known = [volume[months] for months in range(1, 13) if len(volume[months])]
        assert row["mean volume of 12 months"] == pytest.approx(np.log1p(np.mean(known)) - base)
        last_year = [volume[months] for months in (13, 14, 15) if len(volume[months])]
        assert row["has a last year"] == float(len(last_year) > 0)
        if last_year:
            mean = np.log1p(np.mean(last_year))
            assert row["the same month last year"] == pytest.approx(np.log1p(volume[12][0]) - mean)
            assert row["growth over a year"] == pytest.approx(np.clip(base - mean, -3, 3))
        price = {months: np.log(part["price_actual"].to_numpy()) for months, part in ago.items()}
        against = price[0] - np.mean([price[months] for months in (1, 2, 3)])
        assert row["price"] == pytest.approx(np.clip(10 * against[0], -3, 3))
        assert row[f"month {one['date'].month}"] == 1.0


def test_no_training_row_reads_a_month_of_the_test():
    early = TABLE[TABLE["date"] < stallion.FIRST_TEST]
    whole = stallion.stallion_splits(TABLE)
    cut = stallion.stallion_splits(early)
    for one, other in zip(whole, cut, strict=True):
        assert np.array_equal(one.train.features, other.train.features)
        assert np.array_equal(one.train.targets, other.train.targets)
        assert len(other.test.volume) == 0 and len(one.test.volume) == 3 * 6


def test_the_target_month_alone_never_shows_in_its_own_features():
    changed = TABLE.copy()
    last = changed["date"] == changed["date"].max()
    changed.loc[last, "volume"] *= 3
    names = [item.name for item in stallion.FEATURES]
    one, other = (stallion.stallion_rows(table)[names] for table in (TABLE, changed))
    pd.testing.assert_frame_equal(one, other)


def test_parties_are_agencies_and_predictions_undo_the_targets():
    splits = stallion.stallion_splits(TABLE)
    assert [str(split.party) for split in splits] == [f"agency-{n:02}" for n in range(4)]
    for split in splits:
        outputs = split.train.targets.astype(np.float64)
        assert split.train.predict(outputs) == pytest.approx(split.train.volume, rel=1e-4)
        assert (split.train.predict(outputs - 1e6) == 0).all()


def test_a_gap_in_a_series_leaves_out_the_rows_that_would_read_it():
    gone = (TABLE["agency"] == "Agency_00") & (TABLE["date"] == pd.Timestamp("2016-03-01"))
    rows, less = stallion.stallion_rows(TABLE), stallion.stallion_rows(TABLE[~gone])
    lost = rows.loc[rows.index.difference(less.index)]
    assert set(lost["agency"]) == {"Agency_00"}
    assert set(lost["date"]) == set(pd.date_range("2016-03-01", periods=4, freq="MS"))
    assert less[[item.name for item in stallion.FEATURES]].notna().all(axis=None)


@real(stallion.TABLE)
def test_the_real_table_has_58_agencies_and_2100_months_of_test():
    splits = stallion.stallion_splits(files.read(stallion.TABLE))
    assert len(splits) == 58
    assert sum(len(split.test.volume) for split in splits) == 350 * 6
    assert sum(len(split.train.volume) for split in splits) == 350 * 51
