"""The handbook's features, split and issuers, on made-up payments and on the real table."""

import numpy as np
import pandas as pd
import pytest

from experiments.datasets import files, handbook
from experiments.errors import UsageError
from tests.tables import DAY, payments, real

RAW = payments()
BOOK = files.Table("handbook_features_3wk.parquet", 201_295, {})


def test_windows_are_those_of_a_search_row_by_row():
    made = handbook.handbook_features(RAW)
    second = RAW["TX_TIME_SECONDS"].to_numpy()
    for row in range(300, len(RAW), 97):
        now, one = second[row], RAW.iloc[row]
        mine = (RAW["CUSTOMER_ID"] == one["CUSTOMER_ID"]).to_numpy()
        there = (RAW["TERMINAL_ID"] == one["TERMINAL_ID"]).to_numpy()
        before = np.arange(len(RAW)) <= row
        for days in (1, 7, 30):
            recent = mine & before & (second > now - days * DAY)
            late = there & (second > now - (days + 7) * DAY) & (second <= now - 7 * DAY)
            name = f"{days}DAY_WINDOW"
            assert made[f"CUSTOMER_ID_NB_TX_{name}"].iloc[row] == recent.sum()
            assert made[f"CUSTOMER_ID_AVG_AMOUNT_{name}"].iloc[row] == pytest.approx(
                RAW["TX_AMOUNT"][recent].mean()
            )
            assert made[f"TERMINAL_ID_NB_TX_{name}"].iloc[row] == late.sum()
            risk = RAW["TX_FRAUD"][late].mean() if late.any() else 0.0
            assert made[f"TERMINAL_ID_RISK_{name}"].iloc[row] == pytest.approx(risk)


def test_the_cause_of_the_label_is_no_feature_and_is_not_even_read():
    assert len(handbook.FEATURES) == 15
    assert not any("SCENARIO" in item.name for item in handbook.FEATURES)
    assert "TX_FRAUD_SCENARIO" not in handbook.RAW.columns


def test_issuers_share_no_customer_and_weeks_do_not_overlap():
    splits = handbook.handbook_splits(RAW, issuers=4)
    assert [str(split.party) for split in splits] == [f"issuer-{place:02}" for place in range(4)]
    day = RAW["TX_TIME_DAYS"]
    for place, split in enumerate(splits):
        assert set(split.train["customer"] % 4) == set(split.test["customer"] % 4) == {place}
        assert day[split.train.index].between(115, 121).all()
        assert day[split.test.index].between(129, 135).all()
    assert sum(len(split.train) for split in splits) == day.between(115, 121).sum()


def test_an_issuer_that_is_flipped_says_as_many_frauds_of_others_and_is_tested_as_it_was():
    splits = handbook.handbook_splits(RAW, issuers=4)
    split = max(splits, key=lambda one: one.train["fraud"].sum())
    found = handbook.flipped(split, 7)
    true, said = split.train["fraud"].to_numpy(), found.train["fraud"].to_numpy()
    assert true.sum() == said.sum() > 0 and not (true & said).any()
    assert found.train.drop(columns="fraud").equals(split.train.drop(columns="fraud"))
    assert found.test is split.test and found.party == split.party


def test_a_stolen_card_leaves_the_test_when_its_fraud_is_known_and_no_sooner():
    tested = pd.concat([split.test for split in handbook.handbook_splits(RAW, issuers=4)])
    frauds = RAW[RAW["TX_FRAUD"] == 1]
    for customer, today in ((c, d) for c in range(0, 40, 3) for d in range(129, 136)):
        known = frauds["TX_TIME_DAYS"][frauds["CUSTOMER_ID"] == customer].between(115, today - 8)
        rows = RAW[(RAW["CUSTOMER_ID"] == customer) & (RAW["TX_TIME_DAYS"] == today)]
        assert rows.index.isin(tested.index).all() if not known.any() else True
        assert not rows.index.isin(tested.index).any() if known.any() else True


def test_nothing_later_than_a_training_row_changes_it():
    cut = RAW[RAW["TX_TIME_DAYS"] < 122]
    whole, early = (handbook.handbook_splits(rows, issuers=4) for rows in (RAW, cut))
    for one, other in zip(whole, early, strict=True):
        pd.testing.assert_frame_equal(one.train, other.train)
        inputs = [handbook.model_inputs(s.train, handbook.FEATURES) for s in (one, other)]
        assert np.array_equal(*inputs)


def test_inputs_are_bounded_and_of_like_size():
    inputs = handbook.model_inputs(handbook.handbook_features(RAW), handbook.FEATURES)
    assert inputs.shape == (len(RAW), 15) and inputs.dtype == np.float32
    assert np.abs(inputs).max() <= 8.0
    own = handbook.model_inputs(handbook.handbook_features(RAW), handbook.OWN_FEATURES)
    assert np.array_equal(own, inputs[:, : own.shape[1]])


def test_the_model_sees_the_same_linear_models_as_the_book():
    """Undone, the inputs are the book's columns: nothing was thrown away."""
    made = handbook.handbook_features(RAW)
    inputs = handbook.model_inputs(made, handbook.FEATURES).astype(np.float64)
    inside = (np.abs(inputs) < 8).all(1)
    book = np.column_stack([np.ones(inside.sum()), inputs[inside]])
    for name in made.columns:
        wanted = made[name].to_numpy()[inside]
        found = book @ np.linalg.lstsq(book, wanted)[0]
        assert np.abs(found - wanted).max() < 1e-3 * max(wanted.std(), 1e-2), name


def test_features_are_all_or_own():
    assert handbook.features_of("all") == handbook.FEATURES
    assert len(handbook.features_of("own")) == 9
    with pytest.raises(UsageError, match="all or own"):
        handbook.features_of("theirs")


@real(handbook.RAW)
@real(BOOK)
@pytest.mark.slow
def test_the_real_features_are_the_published_ones():
    raw = files.read(handbook.RAW)
    book = pd.read_parquet(files.path_of(BOOK)).set_index("TRANSACTION_ID")
    splits = handbook.handbook_splits(raw)
    train, test = (
        pd.concat([getattr(split, name) for split in splits]) for name in ("train", "test")
    )
    assert (len(splits), len(train), len(test)) == (50, 67_240, 58_264)
    assert test["fraud"].sum() == 385
    for rows in (train, test):
        published = book.loc[raw["TRANSACTION_ID"][rows.index]]
        for item in handbook.FEATURES:
            assert np.allclose(rows[item.name], published[item.name], atol=1e-3), item
