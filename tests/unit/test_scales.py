"""Scales by private sums: what an order says of them, what is released, and what reads it."""

from dataclasses import replace
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pandas as pd
import pytest

from aggregator.training import absorb_sum, begin, resume
from clients.training.fraud import FEATURES, fraud_features
from clients.training.own import average_precision
from clients.training.plain import pooled, with_own_statistics
from clients.training.reads import Reads, Unit, changed_elsewhere, reading, unit_of
from clients.training.sampling import UnitRows
from clients.training.scales import scales_of
from experiments.demand_data import CHEESE
from experiments.errors import UsageError
from experiments.federating import federate
from experiments.measuring import Optimiser, fit_as
from experiments.ordering import published_contracts
from experiments.settings import compose
from experiments.simulating import run_study
from experiments.studies import load_study
from federation.errors import MalformedOrderError
from federation.feature_scales import Bins, robust_scales
from federation.informed import Informed
from federation.key_rates import Key
from federation.models import LARGEST_WEIGHT, ModelSpec, chances
from federation.scaled import Scaled
from federation.second_order import SecondOrder
from federation.sequences import SequenceSpec
from federation.tasks import TrainingTask, keys_of, read_recipe, require_unit, scales
from secure_compute import canonical, fixedpoint
from tests.simulator import orders_table, sum_recipe

BINS = Bins(count=33, reach=Decimal(12))
CONTRACT = published_contracts()["orders"]
CATEGORY = Key(column="category", domain=CONTRACT.column("category").domain or ())


INPUTS = len(FEATURES)


def scaled(features=INPUTS, bins=BINS, releases=1, keys=(), **changes):
    then = sum_recipe(model=ModelSpec((features + len(keys), 1)), **changes)
    method = Scaled(bins=bins, releases=releases, bound=Decimal(8), then=then.method)
    if keys:
        clips = {"event_clip": Decimal("1.2"), "row_clip": Decimal(8)}
        method = Informed(keys=keys, releases=1, then=method, **clips)
    return replace(then, method=method)


RECIPE = scaled()
BOTH = scaled(keys=(CATEGORY,), releases=2)


def rows_of(features, targets):
    """One unit for each row."""
    shape, phase = (len(targets), 1), np.zeros(len(targets), np.int64)
    return UnitRows(
        np.asarray(features, np.float32)[:, None],
        np.asarray(targets, np.float32).reshape(shape),
        np.ones(shape, np.bool_),
        phase,
    )


# -- what an order says ----------------------------------------------------------------------------


@pytest.mark.parametrize("recipe", [RECIPE, BOTH], ids=["scales", "rates and scales"])
def test_a_recipe_with_scales_comes_back_from_its_canonical_bytes(recipe):
    wire = canonical.encode(recipe.to_json())
    assert read_recipe(canonical.decode(wire)) == recipe
    assert scales(recipe) and not scales(replace(recipe, method=sum_recipe().method))


def test_scales_are_rounds_like_the_others_at_one_price():
    plain = sum_recipe()
    assert (RECIPE.rounds, plain.rounds, BOTH.rounds) == (4, 3, 6)
    assert [RECIPE.dimension(number) for number in range(4)] == [33 * 33, 629, 34, 34]
    assert RECIPE.method.size == 34 + 2 * 33 and keys_of(BOTH) == (CATEGORY,)
    assert RECIPE.widest == 33 * 33
    assert RECIPE.sensitivity == fixedpoint.l2_sensitivity(RECIPE.grid, Fraction(1), 33 * 33)
    require_unit(TrainingTask("fraud", 1, 0, RECIPE), CONTRACT)


def test_an_order_without_scales_is_spelled_as_ever():
    method = compose(["experiment=fraud"]).task.recipe.to_json()["method"]
    assert method["method"] == "second_order" and "bins" not in method
    rates = compose(["experiment=fraud", "model.statistics=[category]"]).task.recipe.to_json()
    assert rates["method"]["then"]["method"] == "second_order"


@pytest.mark.parametrize(
    "change",
    [
        {"releases": 0},
        {"releases": 101},
        {"releases": True},
        {"bound": "0"},
        {"bound": "8.0"},
        {"bound": 8},
        {"bins": {"count": 32, "reach": "12"}},
        {"bins": {"count": 1, "reach": "12"}},
        {"bins": {"count": 1027, "reach": "12"}},
        {"bins": {"count": 33, "reach": "0"}},
        {"bins": {"count": 33, "reach": "1000001"}},
        {"bins": {"count": 33, "reach": "0.0009"}},
        {"bins": {"count": 33, "reach": "12", "first": "-12"}},
        {"bins": {"count": 1025, "reach": "12"}},  # by 33 features they are too many counts
        {"bins": 33},
        {"then": {}},
        {"then": []},
        {"then": RECIPE.method.to_json()},
        {"v": 2},
        {"more": 1},
    ],
)
def test_bad_scales_are_refused(change):
    value = RECIPE.to_json()
    with pytest.raises(MalformedOrderError):
        read_recipe({**value, "method": {**value["method"], **change}})


def test_a_network_over_a_series_has_no_scales():
    series = sum_recipe(model=SequenceSpec("gru", 2, 2, 1, 3), moments=0).method
    with pytest.raises(MalformedOrderError, match="relative to their own mean"):
        Scaled(bins=BINS, releases=1, bound=Decimal(8), then=series)


# -- what is configured ----------------------------------------------------------------------------


def test_they_are_configured_beside_rates_and_in_this_order():
    made = compose(["experiment=fraud", "model.scales=2", "model.statistics=[category]"])
    method, plain = made.task.recipe.method, compose(["experiment=fraud"]).task.recipe
    assert isinstance(method, Informed) and isinstance(method.then, Scaled)
    assert isinstance(method.then.then, SecondOrder)
    assert method.then.bins == Bins(count=65, reach=Decimal(12)) and method.then.releases == 2
    assert made.task.recipe.rounds == plain.rounds + 4


@pytest.mark.parametrize(("more", "rounds"), [([], 11), (["model.statistics=[category]"], 13)])
def test_the_same_epsilon_pays_for_them_as_for_as_many_rounds_of_training(more, rounds):
    made = compose(["experiment=fraud", "model.scales=2", *more]).task.recipe
    longer = compose(["experiment=fraud", f"model.rounds={rounds}"]).task.recipe
    assert made.rounds == longer.rounds == rounds
    assert made.noise_multiplier == longer.noise_multiplier


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["experiment=fraud", "model.scales=-1"], "model.scales counts sums, from 0 to 100"),
        (["experiment=fraud", "model.scales=101"], "model.scales counts sums, from 0 to 100"),
        (["experiment=fraud", "model.scales=0.5"], "scales is a whole number, not 0.5"),
        (["experiment=fraud", "model.scales=much"], "scales is a number, not 'much'"),
        (["experiment=fraud", "model.scales=1", "model.scale_bins=64"], "odd number of bins"),
        (["experiment=fraud", "model.scales=1", "model.scale_bins=1025"], "choose fewer bins"),
        (["experiment=fraud", "model.scales=1", "model.scale_reach=0"], "reach must be above 0"),
        (["experiment=fraud", "model.scales=1", "model.scale_bound=-1"], "bound must be above 0"),
        (["experiment=fraud_boosted", "model.scales=1"], "leave model.scales out"),
        (["experiment=demand_boosted", "model.scales=1"], "leave model.scales out"),
        (["experiment=demand_gru", "model.scales=1"], "leave model.scales out"),
        (["experiment=fraud_fedavg", "model.scales=1"], "set model.scheme=sums"),
        (["experiment=demand_fedavg", "model.scales=1"], "set model.scheme=sums"),
    ],
)
def test_scales_out_of_range_or_without_a_meaning_are_refused_by_name(overrides, said):
    with pytest.raises(UsageError, match=said):
        compose(overrides)


# -- what a row reads ------------------------------------------------------------------------------


def test_an_input_declares_that_its_scale_is_a_released_statistic():
    declared = scales_of(["amount", "hour"])
    assert [item.reads for item in declared] == [Reads.RELEASED] * 2
    assert unit_of(declared, Unit("customer", "party")) == "customer"
    tiny = ["experiment=fraud", "data.size=tiny"]
    features = load_study(compose([*tiny, "model.scales=1"])).features
    named = reading(features, Reads.RELEASED)
    assert named == tuple(f"centre and scale of {name}" for name in FEATURES)
    assert not reading(load_study(compose(tiny)).features, Reads.RELEASED)


@pytest.mark.parametrize("customer", [3, 17])
def test_without_one_customer_no_row_of_another_changes_whatever_was_released(customer):
    raw = orders_table(5)
    weights = np.random.default_rng(1).normal(size=RECIPE.method.size).astype(np.float32)

    def build(table):
        features = fraud_features(table, CONTRACT).astype(np.float64)
        return pd.DataFrame(RECIPE.method.read(weights, features.T).T, table.index)

    found = changed_elsewhere(build, raw, raw["customer_id"], customer)
    assert len(found) == len(FEATURES) and not any(found.values())


# -- what is released ------------------------------------------------------------------------------


def votes_of(columns, bins=BINS):
    return np.stack(
        [np.bincount(bins.places(column), minlength=bins.count) for column in columns]
    ).astype(float)


def test_a_heavy_tail_is_brought_to_size_and_the_rare_the_absent_and_the_constant_stay():
    draw, wide = np.random.default_rng(3), Bins(count=129, reach=Decimal(10**6))
    cents = np.rint(100 * draw.lognormal(3, 1.5, 5000))
    columns = [cents, draw.random(5000) < 0.02, np.zeros(5000), np.full(5000, 7.0)]
    centres, scales = robust_scales(votes_of(columns, wide), 0.0, wide)
    assert centres[0] == pytest.approx(np.median(cents), rel=0.05)
    assert 1.349 / scales[0] == pytest.approx(
        np.subtract(*np.quantile(cents, [0.75, 0.25])), rel=0.1
    )
    assert centres[1:].tolist() == [0, 0, 0] and scales[1:].tolist() == [1, 1, 1]


def test_a_frequent_0_1_feature_still_tells_its_two_values_apart():
    votes = votes_of([np.arange(1000) % 2])
    (centre,), (scale,) = robust_scales(votes, 0.0, BINS)
    assert -0.3 < centre < 1.3 and 1 < scale < 3


@pytest.mark.parametrize("seed", range(5))
def test_under_noise_they_are_nearly_those_without_and_where_noise_is_louder_there_are_none(seed):
    draw = np.random.default_rng(seed)
    columns = [draw.normal(3, 2, 4000), draw.lognormal(0, 1, 4000), draw.random(4000) < 0.01]
    votes = votes_of(columns)
    exact = robust_scales(votes, 0.0, BINS)
    heard = robust_scales(votes + draw.normal(0, 40, votes.shape), 40.0, BINS)
    np.testing.assert_allclose(heard[0], exact[0], atol=0.35)
    np.testing.assert_allclose(heard[1], exact[1], rtol=0.3)
    drowned = robust_scales(votes + draw.normal(0, 400, votes.shape), 400.0, BINS)
    assert not drowned[0].any() and (drowned[1] == 1).all()


def test_the_bins_around_0_are_symmetric_and_hold_everything():
    values = np.array([-1e9, -12, -1, -0.05, 0, 0.05, 1, 12, 1e9, np.nan])
    places = BINS.places(values)
    assert places[4] == places[3] == places[5] == 16
    assert places[[0, 1]].tolist() == [0, 0] and places[7:].tolist() == [32, 32, 32]
    assert np.array_equal(places[:4] + places[[8, 7, 6, 5]], np.full(4, 32))


def test_noise_off_the_federation_releases_what_pooled_rows_say():
    draw = np.random.default_rng(4)
    parts = {
        name: rows_of(draw.normal(place, 1 + place, (300, 3)), draw.random(300) < 0.2)
        for place, name in enumerate("abc")
    }
    recipe = scaled(3)
    task = TrainingTask("fraud", 1, 0, recipe)
    weights = federate(task, parts, private=False)
    _, whole = with_own_statistics(recipe, pooled([*parts.values()]))
    np.testing.assert_allclose(weights[4:], whole, rtol=1e-5)
    everything = np.concatenate([part.features[:, 0] for part in parts.values()])
    quartiles = np.quantile(everything, [0.25, 0.5, 0.75], axis=0)
    np.testing.assert_allclose(weights[4:7], quartiles[1], atol=0.2)
    np.testing.assert_allclose(1.349 / weights[7:], quartiles[2] - quartiles[0], rtol=0.15)


def test_baselines_read_rows_by_their_own_exact_scales():
    draw = np.random.default_rng(5)
    rows = rows_of(draw.normal(5, 3, (200, 3)), draw.random(200) < 0.2)
    rows.present[:5] = False
    replaced, own = with_own_statistics(scaled(3), rows)
    centres, sizes = own.reshape(2, 3)
    expected = np.clip((rows.features - centres) * sizes, -8, 8)
    np.testing.assert_allclose(replaced.features[5:], expected[5:], rtol=1e-5, atol=1e-5)
    assert not replaced.features[:5].any()
    assert np.abs(np.median(replaced.features[5:], axis=0)).max() < 0.3
    fitted = fit_as(Optimiser(20, 0.1, 1e-3), scaled(3), np.zeros(4, np.float32), rows)
    np.testing.assert_array_equal(fitted[4:], own)
    outputs = scaled(3).baseline.predict(fitted, rows.features[5:, 0])
    np.testing.assert_allclose(outputs, expected[5:, 0] @ fitted[:3] + fitted[3], atol=1e-4)


@pytest.mark.parametrize("reach", ["0.001", "1000000"])
def test_no_centre_or_scale_leaves_the_range_of_weights(reach):
    bins = Bins(count=1025, reach=Decimal(reach))
    at_the_end = np.concatenate([np.zeros((1, 1021)), np.full((1, 4), 9.0)], axis=1)
    around = np.roll(at_the_end, -510, axis=1)
    centres, scales = robust_scales(np.concatenate([at_the_end, around]), 0.0, bins)
    assert (scales != 1).all()
    assert max(np.abs(centres).max(), scales.max()) < LARGEST_WEIGHT


def test_several_releases_are_read_off_together_each_with_its_noise():
    draw, recipe = np.random.default_rng(6), scaled(3, releases=2)
    votes = votes_of(draw.normal(2, 3, (3, 4000))) / np.sqrt(3)
    first, second = (votes.ravel() / 2 + draw.normal(0, 9, votes.size) for _ in range(2))
    state = recipe.method.start(1)
    for number, total in enumerate((first, second)):
        state = recipe.method.advance(state, number, total, 9.0)
    both = (first + second).reshape(3, -1) * np.sqrt(3)
    expected = robust_scales(both, 9 * np.sqrt(6), BINS)
    np.testing.assert_allclose(state.weights[4:], np.concatenate(expected), rtol=1e-5)
    assert (state.weights[7:] != 1).all()
    silent = recipe.method.advance(recipe.method.start(1), 0, first, 90.0)
    loud = recipe.method.advance(silent, 1, second, 9.0)
    assert (loud.weights[7:] == 1).all()  # the first's noise is still in the sum


def test_scales_survive_a_restart_of_the_aggregator_and_later_rounds_leave_them():
    draw, parties = np.random.default_rng(2), ("a", "b", "c", "d")
    recipe = scaled(keys=(CATEGORY,), releases=2)
    state = begin(recipe, 1, 3, parties)
    begins = recipe.model.dimension
    for number in range(recipe.rounds):
        total = np.abs(draw.normal(size=recipe.dimension(number))) * 500
        after = absorb_sum(state, total, 0.5, parties)
        again = absorb_sum(resume(recipe, 3, state.checkpoint()), total, 0.5, parties)
        assert after.weights == again.weights
        told, before = after.progress.weights[begins:], state.progress.weights[begins:]
        assert np.array_equal(told, before) == (number >= 3)
        state = after
    assert np.ptp(told[: 2 * recipe.method.inputs]) > 0


# -- what it gives ---------------------------------------------------------------------------------


def in_cents(seed, count):
    """Rows whose third feature is an amount in cents, and targets that all three speak of."""
    draw = np.random.default_rng(seed)
    amount = draw.lognormal(0, 1, count)
    features = np.stack([draw.normal(size=count), draw.random(count) < 0.3, 100 * amount], axis=1)
    logit = 2.0 * features[:, 0] + 2.0 * features[:, 1] + np.log(amount) - 3.5
    return features, draw.random(count) < chances(logit)


@pytest.mark.parametrize("noised", [False, True])
def test_where_a_feature_is_in_cents_the_same_recipe_is_clearly_better_with_scales(noised):
    parts = {name: rows_of(*in_cents(seed, 1500)) for seed, name in enumerate("abcd")}
    features, truth = in_cents(99, 20000)
    wide = Bins(count=65, reach=Decimal(10**5))
    with_scales = scaled(3, wide, noise_multiplier=Decimal(5), expected_units=6000, nodes=4)
    found = []
    for recipe in (replace(with_scales, method=with_scales.method.then), with_scales):
        task = TrainingTask("fraud", 1, 0, recipe)
        weights = federate(task, parts, private=True, noised=noised)
        found.append(average_precision(truth, recipe.predict(weights, features)))
    assert found[1] > found[0] + 0.1, found


def test_a_private_run_in_memory_keeps_what_it_released_and_trains_on_it():
    parts = {name: rows_of(*in_cents(seed, 1500)) for seed, name in enumerate("abcd")}
    wide = Bins(count=65, reach=Decimal(10**5))
    recipe = scaled(3, wide, noise_multiplier=Decimal(3), expected_units=6000, nodes=4)
    weights = federate(TrainingTask("fraud", 1, 0, recipe), parts, private=True)
    _, exact = with_own_statistics(recipe, pooled([*parts.values()]))
    np.testing.assert_allclose(weights[4:], exact, rtol=0.25, atol=0.15)
    assert weights[6] > 50  # cents: the centre of the third feature


@pytest.mark.skipif(not CHEESE.exists(), reason="the cheese set stands in a checkout alone")
def test_a_simulation_of_forecasts_runs_with_scales():
    settings = compose(["experiment=demand", "model.scales=1", "model.rounds=2", "model.moments=1"])
    quick = Optimiser(20, 0.05, 1e-3)
    study = replace(load_study(settings), local=quick, pooled=quick)
    value = run_study(study, settings)
    assert value["privacy"] == "dp" and value["rounds"] == 3
    assert value["unit"] == "retailer-week (commercial confidentiality)"
    assert 0 < value["federated"] < 1
