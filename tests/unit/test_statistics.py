"""Rates by key: released by private sums, kept with the model, and all that a row reads of others.

Noise off they are the pooled rates; with noise most of it is drawn out of them again.
"""

from dataclasses import replace
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest

from aggregator.training import absorb_sum, begin, resume
from clients.attributes import uses_of
from clients.training.fraud import FEATURES, fraud_features, fraud_rows
from clients.training.keys import features_of, key_places
from clients.training.plain import with_own_statistics
from clients.training.reads import Reads, Unit, changed_elsewhere, unit_of
from clients.training.sampling import gather_units
from clients.training.tables import EVER, load_rows
from experiments.errors import UsageError
from experiments.federating import federate
from experiments.ordering import published_contracts
from experiments.settings import compose
from federation.errors import MalformedOrderError
from federation.informed import Informed
from federation.key_rates import Key, log_rates
from federation.models import ModelSpec
from federation.orders import WorkOrder
from federation.tasks import TrainingTask, keys_of, keys_only, read_recipe, require_unit
from policies.parties import Grade, PartyId
from secure_compute import canonical
from secure_compute.entropy import SystemEntropy
from tests.simulator import orders_table, sum_recipe

CONTRACT = published_contracts()["orders"]
CATEGORY = Key(column="category", domain=CONTRACT.column("category").domain or ())
SHOP = Key(column="counterparty_id", buckets=16)
TABLES = {PartyId(name): orders_table(seed) for seed, name in enumerate("abcd")}


def informed(keys=(CATEGORY, SHOP), releases=2, **changes):
    inputs = len(FEATURES) + len(keys)
    then = sum_recipe(model=ModelSpec((inputs, 1)), **changes)
    method = Informed(
        keys=keys,
        releases=releases,
        event_clip=Decimal("1.2"),
        row_clip=Decimal(8),
        then=then.method,
    )
    return replace(then, method=method)


RECIPE = informed()
TASK = TrainingTask("fraud", 1, 0, RECIPE)


def units(table, recipe=RECIPE, most=8):
    rows = fraud_rows(table, CONTRACT, EVER, keys_of(recipe))
    return gather_units(rows.features, rows.targets, rows.units, most, SystemEntropy())


# -- what a key is ---------------------------------------------------------------------------------


def test_a_recipe_with_statistics_comes_back_from_its_canonical_bytes():
    wire = canonical.encode(RECIPE.to_json())
    assert read_recipe(canonical.decode(wire)) == RECIPE
    assert RECIPE.rounds == 5 and [RECIPE.dimension(n) for n in (0, 1, 3)] == [48, 48, 36]
    assert RECIPE.method.size == 36 + 24


def test_a_place_is_public_the_domains_or_a_bucket_that_anybody_computes():
    assert CATEGORY.places(["toys", "weapons"]) == {"toys": 7}
    assert SHOP.places(["1", "2"]) == Key(column="counterparty_id", buckets=16).places(["1", "2"])
    many = Key(column="counterparty_id", buckets=1 << 14)
    assert many.places(["17", "18"]) == {"17": 14207, "18": 11114}  # of SHA-256: it never changes
    assert Key(column="other", buckets=1 << 14).places(["17"]) != many.places(["17"])


def test_rows_name_places_and_what_has_none_names_none():
    table = pd.DataFrame({"category": ["toys", None, "weapons", "beauty"]})
    found = key_places(table, [CATEGORY, SHOP])
    assert found[:, 0].tolist() == [7, -1, -1, 0]
    assert (found[:, 1] == -1).all()
    whole = pd.DataFrame({"counterparty_id": pd.array([3, None, 3], "Int64")})
    text = pd.DataFrame({"counterparty_id": ["3", None, "3"]})
    assert np.array_equal(key_places(whole, [SHOP]), key_places(text, [SHOP]))


@pytest.mark.parametrize(
    "change",
    [
        {"keys": []},
        {"keys": [CATEGORY.to_json()] * 2},
        {"keys": [{**SHOP.to_json(), "buckets": 0}]},
        {"keys": [{**CATEGORY.to_json(), "buckets": 4}]},
        {"keys": [{**SHOP.to_json(), "buckets": (1 << 14) + 1}]},
        {"keys": [{**SHOP.to_json(), "seed": 1}]},
        {"keys": [{**CATEGORY.to_json(), "domain": ["a", "a"]}]},
        {"keys": [SHOP.to_json()], "releases": 0},
        {"releases": True},
        {"event_clip": "0"},
        {"row_clip": "8.0"},
        {"then": {}},
        {"then": {**RECIPE.method.then.to_json(), "loss": "mse"}},
        {"v": 2},
        {"more": 1},
    ],
)
def test_bad_statistics_are_refused(change):
    value = RECIPE.to_json()
    with pytest.raises(MalformedOrderError):
        read_recipe({**value, "method": {**value["method"], **change}})


# -- who may ask for them --------------------------------------------------------------------------


def test_a_key_without_a_public_domain_is_refused_by_name():
    with pytest.raises(UsageError, match="no public domain of counterparty_id"):
        compose(["experiment=fraud", "model.statistics=[counterparty_id]"])
    made = compose(["experiment=fraud", "model.statistics=[category,counterparty_id/64]"])
    assert keys_of(made.task.recipe) == (CATEGORY, Key(column="counterparty_id", buckets=64))
    assert made.task.recipe.rounds == compose(["experiment=fraud"]).task.recipe.rounds + 2


@pytest.mark.parametrize("column", ["customer_id", "order_id", "label_fraud", "nothing"])
def test_a_node_releases_no_rate_by_a_unit_a_row_or_a_label(column):
    task = replace(TASK, recipe=informed(keys=(Key(column=column, buckets=8),)))
    with pytest.raises(MalformedOrderError, match=column):
        require_unit(task, CONTRACT)


def test_a_node_knows_no_domain_but_its_contracts():
    require_unit(TASK, CONTRACT)
    other = Key(column="category", domain=("toys", "books"))
    with pytest.raises(MalformedOrderError, match="is not that of contract orders"):
        require_unit(replace(TASK, recipe=informed(keys=(other,))), CONTRACT)
    listed = Key(column="counterparty_id", domain=("1", "2"))
    with pytest.raises(MalformedOrderError, match="no public domain of counterparty_id"):
        require_unit(replace(TASK, recipe=informed(keys=(listed,))), CONTRACT)


def test_a_key_is_read_in_clear_and_the_law_is_told_so():
    assert "counterparty_id" not in keys_only(TASK)
    assert "counterparty_id" in keys_only(replace(TASK, recipe=informed(keys=(CATEGORY,))))

    def read(recipe):
        order = WorkOrder.__new__(WorkOrder)  # of an order, the law's view reads these two alone
        object.__setattr__(order, "kind", "train")
        object.__setattr__(order, "parameters", replace(TASK, recipe=recipe).to_json())
        return uses_of(order, CONTRACT).aggregated

    assert Grade.S3 in read(RECIPE)  # S3 is never read in clear: the node refuses
    assert read(informed(keys=(CATEGORY,))) == read(sum_recipe())


# -- what a row reads ------------------------------------------------------------------------------


def test_an_input_declares_that_it_reads_a_released_statistic():
    declared = features_of(RECIPE.method.keys)
    assert [item.reads for item in declared] == [Reads.RELEASED] * 2
    assert unit_of(declared, Unit("customer", "party")) == "customer"


@pytest.mark.parametrize("customer", [3, 17, 40])
def test_without_one_customer_no_row_of_another_changes_whatever_was_released(customer):
    raw = orders_table(5)
    rates = np.random.default_rng(1).normal(size=RECIPE.method.size).astype(np.float32)

    def build(table):
        rows = fraud_features(table, CONTRACT, RECIPE.method.keys)
        places = rows[:, -2:].astype(np.float64).T
        rows[:, -2:] = RECIPE.method.looked_up(rates, places).T
        return pd.DataFrame(rows, table.index)

    found = changed_elsewhere(build, raw, raw["customer_id"], customer)
    assert len(found) == len(FEATURES) + 2 and not any(found.values())


def test_the_nodes_own_loader_lays_the_places_beside_the_features(tmp_path):
    orders_table(1).to_parquet(tmp_path / "orders.parquet")
    rows = load_rows(TASK, CONTRACT, tmp_path / "orders.parquet", SystemEntropy())
    last = rows.features[rows.present][:, -2:]
    assert rows.features.shape[2] == RECIPE.method.inputs
    assert np.array_equal(last, np.rint(last)) and last.min() >= 0 and last.max() < 16


# -- what is released ------------------------------------------------------------------------------


def test_noise_off_what_is_released_are_the_pooled_counts_rates():
    tables = {party: table.copy() for party, table in TABLES.items()}
    for table in tables.values():
        often = (table["category"] == "toys") | (table["counterparty_id"] == 3)
        table["label_fraud"] = (often & (table["amount"] < 300)).astype(int)
        table["label_ts"] = table["ts"]
    whole = pd.concat(tables.values(), ignore_index=True)
    apart = {party: units(table, most=40) for party, table in tables.items()}
    released = federate(TASK, apart, private=False)[RECIPE.method.then.size :]
    expected = []
    for key in RECIPE.method.keys:
        places = key_places(whole, [key])[:, 0].astype(int)
        rows = np.bincount(places, minlength=key.size).astype(float)
        events = np.bincount(places, whole["label_fraud"], minlength=key.size)
        expected.append(log_rates(events, rows, 0.0, 0.0))
    np.testing.assert_allclose(released, np.concatenate(expected), atol=1e-5)
    assert np.ptp(released[:8]) > 1 and np.ptp(released[8:]) > 0.5


def test_baselines_read_the_exact_rates_of_the_same_rows():
    rows = units(TABLES[PartyId("a")])
    replaced, rates = with_own_statistics(RECIPE, rows)
    alone = federate(TASK, {"a": rows}, private=False)[RECIPE.method.then.size :]
    np.testing.assert_allclose(rates, alone, atol=1e-6)
    assert np.array_equal(replaced.features[..., :-2], rows.features[..., :-2])
    some = rows.features[0, 0, -2:]
    assert replaced.features[0, 0, -2] == rates[int(some[0])]
    assert replaced.features[0, 0, -1] == rates[8 + int(some[1])]
    same, none = with_own_statistics(sum_recipe(), rows)
    assert same is rows and not len(none)


def test_statistics_survive_a_restart_of_the_aggregator_and_later_rounds_leave_them():
    draw, parties = np.random.default_rng(2), tuple(TABLES)
    state = begin(RECIPE, 1, 3, parties)
    for number in range(RECIPE.rounds):
        total = np.abs(draw.normal(size=RECIPE.dimension(number))) * 5
        after = absorb_sum(state, total, 0.5, parties)
        again = absorb_sum(resume(RECIPE, 3, state.checkpoint()), total, 0.5, parties)
        assert after.weights == again.weights
        rates = after.progress.weights[36:]
        if number >= 2:
            assert np.array_equal(rates, state.progress.weights[36:])
        state = after
    assert np.ptp(rates) > 0


def test_in_memory_a_federation_trains_on_rates_that_it_released():
    table = orders_table(9)
    struck = table["counterparty_id"] == 4
    table["label_fraud"] = np.where(struck, 1, 0)
    table["label_ts"] = table["ts"]
    rows = {party: units(table) for party in TABLES}
    quiet = replace(TASK, recipe=informed(noise_multiplier=Decimal("0.5"), grid=1 << 16))
    weights = federate(quiet, rows, private=True)
    rates = weights[36 + 8 :]
    assert rates.argmax() == SHOP.places(["4"])["4"]
    scores = RECIPE.predict(weights, fraud_features(table, CONTRACT, RECIPE.method.keys))
    assert scores[struck].mean() > scores[~struck].mean()


# -- noise -----------------------------------------------------------------------------------------


def test_noise_alone_says_next_to_nothing_and_what_stands_out_of_it_is_kept():
    draw = np.random.default_rng(3)
    rows, events = np.full(400, 300.0), np.full(400, 2.0)
    alone = log_rates(events + draw.normal(0, 8, 400), rows + draw.normal(0, 60, 400), 8.0, 60.0)
    assert np.std(alone) < 0.3
    events[:5] = 60.0
    found = log_rates(events + draw.normal(0, 8, 400), rows + draw.normal(0, 60, 400), 8.0, 60.0)
    assert found[:5].min() > 1.5 > found[5:].max() - 0.5
    assert np.std(found[5:]) < 0.4


@pytest.mark.parametrize("wild", [0.0, -1e9, 1e9])
def test_rates_are_finite_and_bounded_whatever_the_counts(wild):
    for noise in (0.0, 1.0, 1e6):
        found = log_rates(np.array([wild, 1.0]), np.array([1.0, wild]), noise, noise)
        assert np.isfinite(found).all() and np.abs(found).max() <= 4.0 + 1e-9
