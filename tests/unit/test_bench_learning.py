"""The benchmark of learning adds up what nodes add up, pairs its runs, and knows its errors."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner

from experiments import bench_learning, learning_public, learning_runs
from experiments.bench_learning import AT, Extent
from experiments.commands.bench import command
from experiments.learning_ratios import mean, ratio, standard_error
from experiments.learning_runs import WAYS, Run, recipe_of, scores, variance
from experiments.learning_sets import ROWS, SEEDS, make_set
from experiments.learning_sums import exact_sum, gradient_sums, lay_out, require_same
from experiments.measuring import OPTIMISERS, Optimiser
from experiments.settings import compose
from policies.budget import accountant
from policies.budget.events import SampledGaussian

TINY = Extent("tiny", (101, 102), (AT, 8.0), 3, 2)
RATIOS = [
    "ap_ratio_eps2",
    "ap_ratio_eps2_c3",
    "customer_ratio_eps2",
    "ap_local_dp_ratio_eps2",
]


@pytest.fixture(scope="module")
def chosen():
    return make_set("tiny", 101)


@pytest.fixture(scope="module")
def recipes(chosen):
    return {level: recipe_of(level, AT, len(chosen.splits)) for level in ROWS}


# -- sums ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("level", list(ROWS))
def test_fast_sums_are_what_nodes_add_up(chosen, recipes, level):
    recipe, rows = recipes[level], chosen.rows[level]
    several = np.random.default_rng(3).normal(size=(5, recipe.method.size)).astype(np.float32)
    found = gradient_sums(recipe, lay_out(rows), several.astype(float))
    for weights, one in zip(several, found, strict=True):
        exact = exact_sum(recipe, recipe.method.moments, weights, rows)
        assert np.abs(one - exact).max() <= 1
        assert np.abs(exact).max() > 1000


@pytest.mark.parametrize("level", list(ROWS))
def test_other_sums_are_noticed(chosen, recipes, level):
    recipe, rows = recipes[level], chosen.rows[level]
    units = lay_out(rows)
    number, weights = recipe.method.moments, recipe.method.start(0).weights
    require_same(recipe, number, weights, rows, units)
    with pytest.raises(AssertionError, match="steps apart"):
        require_same(recipe, number, weights, rows, units[:-1])
    unclipped = replace(recipe, method=replace(recipe.method, clip=10**6))
    assert not np.array_equal(
        gradient_sums(recipe, units, weights[None].astype(float)),
        gradient_sums(unclipped, units, weights[None].astype(float)),
    )


def test_without_noise_a_run_ends_where_the_nodes_would(chosen, recipes):
    recipe, rows = recipes["customer"], chosen.rows["customer"]
    moments = exact_sum(recipe, 0, recipe.method.start(0).weights, rows)
    silent = learning_runs.Noise(0.0, np.random.default_rng(0))
    (found,) = learning_runs._train(recipe, moments, lay_out(rows), [silent])
    state = recipe.method.start(0)
    for number in range(recipe.rounds):
        total = exact_sum(recipe, number, state.weights, rows) / recipe.grid
        state = recipe.method.advance(state, number, total, 0.0)
    np.testing.assert_allclose(found, state.weights, rtol=1e-4, atol=1e-5)


# -- ways ------------------------------------------------------------------------------------------


def test_ways_differ_by_what_nobody_is_trusted_with(recipes):
    recipe = recipes["customer"]
    alone = recipe.noise_scale**2
    found = {way: float(variance(recipe, way) / alone) for way in WAYS}
    assert found == pytest.approx(
        {"local_dp": 8, "ours_c1": 8 / 7, "ours_c3": 8 / 5, "central": 1}, rel=1e-12
    )


@pytest.mark.parametrize("level", list(ROWS))
@pytest.mark.parametrize("epsilon", [0.5, 2.0, 8.0])
def test_a_run_costs_its_column(level, epsilon):
    recipe = recipe_of(level, epsilon, 8)
    assert 0.995 * epsilon < learning_runs.price(recipe) <= epsilon
    assert learning_runs.price(replace(recipe, colluding=3)) <= epsilon
    assert recipe.rows_per_unit == ROWS[level]


def test_noise_has_the_deviation_and_only_its_seed_says_where_it_points():
    one, twice = (
        learning_runs.Noise(deviation, np.random.default_rng([101, 2, 5])).over(np.zeros(10_000))
        for deviation in (1e6, 2e6)
    )
    assert one.std() == pytest.approx(1e6, rel=0.05)
    assert np.abs(twice - 2 * one).max() <= 1.5
    assert np.array_equal(one, np.rint(one))


def test_whatever_grid_a_column_has_its_noise_is_that_of_its_price():
    recipes = {
        epsilon: recipe_of("customer", epsilon, 8) for epsilon in bench_learning.QUICK.epsilons
    }
    assert len({recipe.grid for recipe in recipes.values()}) > 1  # the power of what follows
    for epsilon, recipe in recipes.items():
        exact = float(variance(recipe, "central")) ** 0.5 / recipe.grid
        for other in recipes.values():
            noise = learning_runs.noise_of(recipe, Run(epsilon, "central", 0), 101, other.grid)
            assert noise.deviation / other.grid == pytest.approx(exact)


def test_no_set_is_one_that_recipes_were_chosen_on():
    assert not {7, 8, 20} & set(SEEDS)
    assert SEEDS == bench_learning.QUICK.sets == bench_learning.FULL.sets


def test_runs_are_repeatable_and_differ_by_seed_and_way(chosen, recipes):
    runs = [Run(AT, way, seed) for way in WAYS for seed in range(2)]
    first = scores(chosen, "customer", {AT: recipes["customer"]}, runs)
    again = scores(chosen, "customer", {AT: recipes["customer"]}, runs[::-1])
    assert first == pytest.approx(again, abs=1e-6)
    assert len(set(first.values())) == len(runs)


def test_at_least_sixteen_seeds_and_the_gates_columns():
    for extent in (bench_learning.QUICK, bench_learning.FULL):
        assert extent.ratios >= 16
        assert extent.epsilons == (0.5, 1.0, 2.0, 4.0, 8.0)
        seeds = {run.seed for run in extent.runs() if (run.epsilon, run.way) == (AT, "ours_c1")}
        assert len(seeds) == extent.ratios


# -- ratios ----------------------------------------------------------------------------------------


def test_the_error_of_a_ratio_by_hand():
    one, other = np.array([[0.4, 0.5, 0.6]]), np.array([[0.5, 0.5, 0.5]])
    found = ratio(one, other, np.array([10.0]))
    assert found.value == pytest.approx(1.0)
    assert found.seeds == pytest.approx(0.1 / math.sqrt(3) / 0.5)
    assert found.sets is None


def test_what_both_share_is_no_error():
    one = np.random.default_rng(1).uniform(0.2, 0.6, (3, 16))
    found = ratio(0.97 * one, one, np.array([100.0, 200.0, 50.0]))
    assert found.value == pytest.approx(0.97)
    assert found.seeds == pytest.approx(0.0, abs=1e-12)
    assert found.sets == pytest.approx(0.0, abs=1e-12)


def test_the_error_of_a_ratio_is_how_far_ratios_lie_apart():
    generator, values, errors = np.random.default_rng(2), [], []
    for _ in range(2000):
        other = 0.5 + 0.02 * generator.standard_normal((2, 16))
        found = ratio(
            0.9 * other + 0.01 * generator.standard_normal((2, 16)), other, np.array([1.0, 3.0])
        )
        values.append(found.value)
        errors.append(found.seeds)
    assert np.mean(errors) == pytest.approx(np.std(values), rel=0.08)


def test_sets_count_by_their_frauds():
    scores = np.array([[0.2, 0.4], [0.6, 0.8]])
    assert mean(scores, np.array([300.0, 100.0])).value == pytest.approx(0.4)
    assert standard_error(np.array([0.5])) is None


# -- results ---------------------------------------------------------------------------------------


def test_every_result_has_its_name_and_a_number(chosen, monkeypatch):
    monkeypatch.setattr(bench_learning, "QUICK", TINY)
    monkeypatch.setattr(bench_learning, "make_set", lambda _, seed: replace(chosen, seed=seed))
    monkeypatch.setattr(bench_learning, "OTHERS", ())
    monkeypatch.setitem(OPTIMISERS, "fraud", Optimiser(20, 0.1, 0.0))
    said = CliRunner().invoke(command, ["learning", "--json"], standalone_mode=False)
    assert said.exception is None
    results = {one["name"]: one for one in json.loads(said.stdout)["results"]}
    cells = {f"ap_{level}_{way}_eps{e}" for level in ROWS for way in WAYS for e in ("2", "8")}
    assert set(results) == {*RATIOS, *cells, "ap_local_only", "ap_pooled"}
    for one in results.values():
        assert set(one) >= {"value", "unit", "peer", "peer_value", "se", "se_sets", "test_frauds"}
        assert 0 < one["value"] < 3
    assert all(results[name]["se"] > 0 for name in [*RATIOS, *cells])
    assert [results[name]["peer_value"] for name in RATIOS] == [0.99, 0.97, 0.95, None]
    assert "| customer | ours, c = 1 | 0." in said.stderr


@pytest.mark.parametrize("name", ["stallion", "handbook"])
def test_a_set_that_is_not_there_is_skipped_with_a_reason(name, monkeypatch, tmp_path):
    monkeypatch.setenv("ENTREPOT_DATA", str(tmp_path))
    found = learning_public.federated(name, lambda _: None)
    assert found["name"] in {"stallion_wape_federated", "handbook_ap_federated"}
    assert found["value"] is None
    assert "is not in" in found["skipped"]


def test_a_public_price_is_that_of_the_recipe_or_says_why_there_is_none():
    settings = compose(["experiment=stallion"])
    found = learning_public.price(settings, "series", "")
    leaf = SampledGaussian(1.0, str(found["noise_multiplier"]))
    assert found["releases"] == 200
    assert 1.99 < accountant.epsilon([leaf] * 200, learning_public.DELTA) <= 2.0
    none = learning_public.price(settings, None, "no personal-data DP: reads others")
    assert none["noise_multiplier"] is None
    assert none["why_not"].startswith("no personal-data DP")


def test_a_result_that_was_skipped_says_so_to_people(monkeypatch):
    result = {"name": "x", "value": None, "unit": "AP", "peer": "", "peer_value": None}
    monkeypatch.setattr(
        "experiments.benches.run",
        lambda *_: [result | {"skipped": "no file"}, result | {"value": 0.9, "se": 0.01}],
    )
    said = CliRunner().invoke(command, ["learning"], standalone_mode=False)
    assert said.output == "x: skipped (no file)\nx: 0.9 ± 0.01 AP\n"
