"""A feature declares whose rows it reads: the unit follows from that, or the run is refused."""

import numpy as np
import pandas as pd
import pytest

from clients.training.errors import ForeignRowsError, TrainingDataError
from clients.training.reads import Feature, Reads, Unit, changed_elsewhere, unit_of
from experiments.datasets import files, handbook, stallion
from tests.tables import payments, real, volumes

UNIT = Unit("customer", "whole shop")
OWN, PARTY, OTHERS = (
    Feature(name, reads)
    for name, reads in (
        ("own", Reads.OWN_UNIT),
        ("party", Reads.OWN_PARTY),
        ("others", Reads.OTHERS),
    )
)
FREE = (Feature("month", Reads.PUBLIC), Feature("risk", Reads.RELEASED))


def model_sees(raw):
    made = handbook.handbook_features(raw)
    names = [item.name for item in handbook.FEATURES]
    return pd.DataFrame(handbook.model_inputs(made, handbook.FEATURES), raw.index, names)


def require_declared(changed):
    assert set(changed) == {item.name for item in handbook.FEATURES}
    for item in handbook.FEATURES:
        foreign = item.name.startswith("TERMINAL_ID")
        assert (changed[item.name] > 0) == foreign == (item.reads is Reads.OTHERS), item


def test_own_rows_public_values_and_released_statistics_leave_the_unit_as_it_is():
    assert unit_of((*FREE, OWN), UNIT) == "customer"


def test_a_feature_of_the_whole_party_widens_the_unit_by_name():
    assert unit_of((OWN, PARTY), UNIT) == "whole shop"


@pytest.mark.parametrize("features", [(OTHERS,), (OWN, PARTY, OTHERS)])
def test_a_feature_of_other_parties_is_refused_by_name(features):
    with pytest.raises(ForeignRowsError, match="others read rows of other parties") as caught:
        unit_of(features, UNIT)
    assert caught.value.features == ("others",)


def test_removing_a_unit_finds_the_rows_that_read_it():
    raw = pd.DataFrame({"who": [1, 1, 2, 3], "shop": [0, 0, 0, 1], "paid": [1.0, 2.0, 4.0, 8.0]})

    def build(rows):
        return pd.DataFrame(
            {
                "own": rows.groupby("who")["paid"].transform("sum"),
                "party": rows.groupby("shop")["paid"].transform("sum"),
                "others": rows["paid"] / rows["paid"].max(),
            }
        )

    assert changed_elsewhere(build, raw, raw["who"], 1) == {"own": 0, "party": 1, "others": 0}
    assert changed_elsewhere(build, raw, raw["who"], 3) == {"own": 0, "party": 0, "others": 3}


def test_rows_that_come_or_go_with_another_unit_count_as_changed():
    raw = pd.DataFrame({"who": [1, 2, 2], "paid": [9.0, 1.0, 2.0]})

    def build(rows):
        return rows.loc[rows["paid"] >= rows["paid"].mean() - 2, ["paid"]]

    assert changed_elsewhere(build, raw, raw["who"], 1) == {"paid": 1}


def test_rows_that_cannot_be_told_apart_are_refused():
    raw = pd.DataFrame({"who": [1, 2]}, index=[0, 0])
    with pytest.raises(TrainingDataError):
        changed_elsewhere(lambda rows: rows, raw, raw["who"], 1)


@pytest.mark.parametrize("build", [handbook.handbook_features, model_sees])
@pytest.mark.parametrize("customer", [0, 7, 31])
def test_the_handbook_features_declared_own_read_no_other_customer_and_terminal_windows_do(
    customer, build
):
    raw = payments()
    require_declared(changed_elsewhere(build, raw, raw["CUSTOMER_ID"], customer))


@real(handbook.RAW)
@pytest.mark.slow
def test_the_real_handbook_features_read_what_they_declare():
    raw = files.read(handbook.RAW)
    raw = raw[raw["TX_TIME_DAYS"].between(77, 135)]
    robbed = raw["CUSTOMER_ID"][raw["TX_FRAUD"] == 1].mode()[0]  # whose frauds others' risks count
    require_declared(changed_elsewhere(model_sees, raw, raw["CUSTOMER_ID"], robbed))


def test_the_inputs_that_a_study_trains_on_are_those_that_were_checked():
    split = handbook.handbook_splits(payments(), issuers=2)[0]
    raw = payments()
    seen = model_sees(raw).loc[split.train.index].to_numpy(np.float32)
    assert np.array_equal(seen, handbook.model_inputs(split.train, handbook.FEATURES))


@pytest.mark.parametrize("series", [0, 5, 11])
def test_stallion_features_read_no_other_series(series):
    raw = volumes()
    units = raw.groupby(["agency", "sku"]).ngroup()
    names = [item.name for item in stallion.FEATURES]

    def build(rows):
        return stallion.stallion_rows(rows)[names]

    assert changed_elsewhere(build, raw, units, series) == dict.fromkeys(names, 0)
    assert {item.reads for item in stallion.FEATURES} == {Reads.OWN_UNIT, Reads.PUBLIC}


def test_a_month_is_no_unit_of_the_stallion_features():
    raw = volumes()
    names = [item.name for item in stallion.FEATURES]
    changed = changed_elsewhere(
        lambda rows: stallion.stallion_rows(rows)[names],
        raw,
        raw["date"],
        pd.Timestamp("2016-05-01"),
    )
    assert sum(count > 0 for count in changed.values()) > 10
