"""Who orders again: what a customer's row reads, who is tested, and what a study makes of it."""

import numpy as np
import pandas as pd
import pytest

from clients.training.reads import changed_elsewhere
from experiments.datasets import cdnow, files
from experiments.settings import compose
from experiments.simulating import run_study
from experiments.studies import cdnow_study
from tests.tables import orders, real

TABLE = orders()
CUT = pd.Timestamp("1997-10-01")


def test_a_row_is_what_a_search_order_by_order_finds():
    rows = cdnow.customer_rows(TABLE)
    for customer in rows.index[::37]:
        own = TABLE[TABLE["customer_id"] == customer]
        early = own[own["date"] < CUT]
        row = rows.loc[customer]
        assert row["silence"] == pytest.approx((CUT - early["date"].max()).days / 273)
        assert row["age"] == pytest.approx((CUT - early["date"].min()).days / 273)
        assert row["further orders"] == pytest.approx(np.log(early["date"].nunique()))
        assert row["spent"] == pytest.approx(np.log1p(early["dollar_value"].sum()) - 4)
        assert row["again"] == float((own["date"] >= CUT).any())


def test_features_read_nothing_of_the_time_that_is_forecast():
    names = [item.name for item in cdnow.FEATURES]
    whole, early = (cdnow.customer_rows(rows) for rows in (TABLE, TABLE[TABLE["date"] < CUT]))
    pd.testing.assert_frame_equal(whole[names], early[names])
    assert whole["again"].any() and not early["again"].any()


def test_features_read_no_other_customer():
    def build(rows):
        """One row for each customer, by the place of its first order in the table."""
        first = rows.drop_duplicates("customer_id").set_index("customer_id", append=True)
        place = first.index.to_frame(index=False).set_index("customer_id")[0]
        made = cdnow.customer_rows(rows).drop(columns="again")
        return made.set_index(place.loc[made.index].to_numpy())

    changed = changed_elsewhere(build, TABLE, TABLE["customer_id"], "00007")
    assert changed == {item.name: 0 for item in cdnow.FEATURES}


def test_every_third_customer_of_a_shop_is_tested_and_never_trained_on():
    for split in cdnow.shop_splits(TABLE, shops=5):
        own = cdnow.customer_rows(cdnow.by_shop(TABLE, 5)[split.party])
        inputs = own[[item.name for item in cdnow.FEATURES]].to_numpy(np.float32)
        assert np.array_equal(split.test, inputs[2::3])
        assert len(split.train) + len(split.test) == len(own)
        assert len(split.train) == len(split.train_again)


def test_a_study_ranks_better_than_chance_and_names_the_customer():
    study = cdnow_study(cdnow.shop_splits(TABLE, shops=3))
    value = run_study(study, compose(["experiment=cdnow"]))
    assert value["cdnow_auc_federated"] > 0.6
    assert value["unit"] == "customer at one shop"


@real(cdnow.TABLE)
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_real_shops_gain_little():
    value = run_study(
        cdnow_study(cdnow.shop_splits(files.read(cdnow.TABLE))), compose(["experiment=cdnow"])
    )
    assert abs(value["cdnow_auc_federated"] - value["cdnow_auc_pooled"]) < 0.01
    assert 0 <= value["cdnow_auc_federated"] - value["cdnow_auc_local"] < 0.02
