"""Recipes of secure sums: one spelling, a price for the worst round, and what is refused."""

from dataclasses import replace
from decimal import Decimal
from fractions import Fraction
from math import isqrt

import numpy as np
import pytest

from experiments.errors import UsageError
from experiments.ordering import for_nodes
from experiments.settings import compose
from federation import moments
from federation.errors import MalformedOrderError
from federation.evaluation import ScoreSums
from federation.models import LARGEST_WEIGHT, ModelSpec
from federation.recipes import Recipe
from federation.second_order import start_from
from federation.sum_recipes import SumRecipe
from federation.tasks import TrainingTask, read_recipe, require_unit
from policies.budget import accountant
from policies.budget.events import Approximate, Repeated, Skellam
from secure_compute import canonical
from tests.simulator import sum_recipe

RECIPE = sum_recipe()


def test_a_recipe_comes_back_from_its_canonical_bytes():
    wire = canonical.encode(RECIPE.to_json())
    again = read_recipe(canonical.decode(wire))
    assert again == RECIPE
    assert canonical.encode(again.to_json()) == wire


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("noise_multiplier", "0"),
        ("noise_multiplier", "1.50"),
        ("sampling_rate", "1.1"),
        ("sampling_rate", 1),
        ("grid", 1 << 25),
        ("window", 1),
        ("v", 2),
        ("seed", 1),
        ("method", "linear"),
        ("method", {}),
        ("colluding", 0),
        ("colluding", 7),
        ("nodes", 2),
        ("nodes", True),
        ("ring_bits", 24),
    ],
)
def test_a_bad_field_is_refused(field, value):
    with pytest.raises(MalformedOrderError):
        SumRecipe.from_json({**RECIPE.to_json(), field: value})


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("clip", "1.50"),
        ("clip", 1.5),
        ("moment_clip", "0"),
        ("target_clip", "NaN"),
        ("momentum", "1"),
        ("base_rate", "1"),
        ("base_rate", "0"),
        ("rounds", 0),
        ("rounds", 1001),
        ("moments", 4),
        ("moments", True),
        ("loss", "hinge"),
        ("model", "linear"),
        ("model", {"model": "mlp", "v": 1, "layers": [4, 8, 1], "activation": "relu"}),
        ("v", 2),
        ("method", "third_order"),
        ("seed", 1),
    ],
)
def test_a_bad_field_of_the_method_is_refused(field, value):
    method = {**RECIPE.to_json()["method"], field: value}
    with pytest.raises(MalformedOrderError):
        SumRecipe.from_json({**RECIPE.to_json(), "method": method})


MEASURED = sum_recipe(holdout=Decimal("0.2"), evaluation=ScoreSums(8, 2))


def test_an_evaluation_is_one_more_round_of_the_same_price():
    assert read_recipe(MEASURED.to_json()) == MEASURED
    assert MEASURED.rounds == 4 and MEASURED.evaluates(3) and not MEASURED.evaluates(2)
    assert MEASURED.dimension(3) == ScoreSums(8, 2).dimension
    assert not RECIPE.evaluates(3)


@pytest.mark.parametrize(
    "changes",
    [
        {"holdout": "0"},
        {"holdout": "1"},
        {"evaluation": None},
        {"evaluation": {"evaluation": "scores", "v": 1, "rows": 7, "rare": 2}},
        {"evaluation": {"evaluation": "scores", "v": 1, "rows": 8, "rare": 9}},
        {"evaluation": {"evaluation": "scores", "v": 2, "rows": 8, "rare": 2}},
        {"evaluation": {"evaluation": "forecasts", "v": 1, "rows": 8, "volume": "1", "error": "1"}},
        {"evaluation": []},
    ],
)
def test_a_bad_evaluation_is_refused(changes):
    with pytest.raises(MalformedOrderError):
        SumRecipe.from_json({**MEASURED.to_json(), **changes})


def test_kinds_are_told_apart_by_their_name():
    averaged = compose(["experiment=fraud_fedavg"]).task.recipe
    assert isinstance(read_recipe(averaged.to_json()), Recipe)
    with pytest.raises(MalformedOrderError):
        read_recipe({**RECIPE.to_json(), "recipe": "something"})


# -- the price -------------------------------------------------------------------------------------


def test_the_price_is_of_rounded_sums_of_the_longest_round_at_the_noise_that_no_c_know():
    event = RECIPE.event()
    assert isinstance(event, Approximate) and isinstance(event.event, Skellam)
    wide = RECIPE.dimension(0)
    assert wide == 34 * 37 // 2 > RECIPE.dimension(1) == 34
    l2 = int(event.event.l2)
    assert l2 >= RECIPE.grid + isqrt(wide)
    assert event.event.l1 >= min(l2**2, l2 * wide**0.5)
    assert event.event.variance >= (Fraction(RECIPE.noise_multiplier) * l2) ** 2
    assert 0 < event.delta < Decimal("1e-9")


def test_the_price_holds_for_any_number_of_nodes_and_any_minimum():
    from policies.budget.events import own_delta

    priced = own_delta([RECIPE.event()])
    for nodes in range(3, 9):
        assert own_delta([replace(RECIPE, nodes=nodes).event()]) <= priced
        for minimum in range(3, nodes + 1):
            shares = RECIPE.shares(RECIPE.parameters(nodes, minimum))
            assert shares.variance == RECIPE.noise_scale**2
            assert shares.threshold >= minimum


def test_a_round_has_a_threshold_that_no_minimum_lowers():
    assert RECIPE.parameters(8).threshold == 5
    assert RECIPE.parameters(8, 3).threshold == 5
    assert RECIPE.parameters(8, 7).threshold == 7


@pytest.mark.parametrize("nodes", [0, 2, 9])
def test_rounds_of_too_few_or_too_many_are_refused(nodes):
    with pytest.raises(MalformedOrderError):
        RECIPE.parameters(nodes)


def test_three_colluders_need_more_nodes_and_more_noise_in_all():
    three = sum_recipe(colluding=3)
    with pytest.raises(MalformedOrderError):
        three.parameters(4)
    one = RECIPE.shares(RECIPE.parameters(8))
    more = three.shares(three.parameters(8))
    assert one.left(0) == one.variance * Fraction(8, 7)
    assert more.left(0) == more.variance * Fraction(8, 5)


def test_a_configured_epsilon_is_what_the_run_costs():
    for name in ("fraud", "demand"):
        settings = compose([f"experiment={name}"])
        recipe = settings.task.recipe
        cost = accountant.epsilon([Repeated(recipe.event(), recipe.rounds)], 1e-6)
        assert settings.epsilon is not None
        assert settings.epsilon - 0.01 < cost <= settings.epsilon


def test_a_grid_at_which_sums_would_wrap_is_refused_by_public_numbers():
    with pytest.raises(MalformedOrderError, match="too fine"):
        sum_recipe(grid=1 << 17, expected_units=10**6)
    with pytest.raises(MalformedOrderError, match="too fine"):
        sum_recipe(ring_bits=16)
    assert sum_recipe(ring_bits=20, grid=256).ring_bits == 20


def test_a_grid_too_coarse_for_its_noise_has_no_price():
    with pytest.raises(MalformedOrderError, match="too coarse"):
        sum_recipe(grid=1, noise_multiplier=Decimal("0.5")).event()


def test_noise_that_no_table_draws_is_refused_and_a_coarser_grid_is_configured():
    with pytest.raises(MalformedOrderError, match="coarser"):
        sum_recipe(grid=1 << 16, noise_multiplier=Decimal(200))
    quiet = compose(["experiment=demand", "privacy.epsilon=0.05"]).task.recipe
    assert quiet.grid < 1 << 16 and quiet.event()
    assert compose(["experiment=demand"]).task.recipe.grid == 1 << 16


def test_the_price_of_a_large_cohort_is_found_once():
    recipe = sum_recipe(nodes=100, colluding=33, noise_multiplier=Decimal(5))
    assert recipe.event() is recipe.event()
    with pytest.raises(MalformedOrderError):
        sum_recipe(nodes=129)


def test_an_account_that_may_grow_beyond_the_price_is_refused():
    from experiments.ordering import published_contracts

    contract = published_contracts()["orders"]
    task = TrainingTask("fraud", 1, 0, RECIPE)
    require_unit(task, contract)
    large = replace(contract, limit=replace(contract.limit, epsilon=Decimal(11)))
    with pytest.raises(MalformedOrderError, match="more than epsilon"):
        require_unit(task, large)


def test_an_order_says_for_how_many_nodes_its_recipe_is():
    task = TrainingTask("fraud", 1, 0, RECIPE)
    assert for_nodes(task, 4).recipe.nodes == 4
    averaged = replace(task, recipe=compose(["experiment=fraud_fedavg"]).task.recipe)
    assert for_nodes(averaged, 4) == averaged
    with pytest.raises(UsageError, match=r"cohort\.parties"):
        for_nodes(task, 2)


# -- the arithmetic --------------------------------------------------------------------------------


def plain_moments(features, targets, recipe):
    """Second moments by matrix products, laid out by hand."""
    x = np.concatenate([features, np.ones((len(features), 1))], axis=1)
    second, wide = x.T @ x, x.shape[1]
    upper = [
        second[row, column] * (1.0 if row == column else 2.0**0.5)
        for row in range(wide)
        for column in range(row, wide)
    ]
    return np.concatenate(
        [np.array(upper) / float(recipe.moment_clip), x.T @ targets / float(recipe.target_clip)]
    )


def regression(**changes):
    return sum_recipe(
        model=ModelSpec((3, 1)), loss="mse", rounds=4, moments=2, start_norm=Decimal(0), **changes
    ).method


def made(rows=200, seed=0):
    draw = np.random.default_rng(seed)
    features = draw.normal(size=(rows, 3))
    return features, features @ [1.0, -2.0, 0.5] + 0.3 + 0.01 * draw.normal(size=rows)


def test_moments_come_back_from_their_vector():
    features, targets = made()
    x = np.concatenate([features, np.ones((len(features), 1))], axis=1)
    vector = plain_moments(features, targets, regression(moment_clip=1, target_clip=1))
    assert len(vector) == moments.size(4)
    matrix, first = moments.unpack(vector, 4)
    np.testing.assert_allclose(matrix, x.T @ x)
    np.testing.assert_allclose(first, x.T @ targets)
    norm = np.linalg.norm(x[0][:, None] * x[0])
    one = plain_moments(features[:1], targets[:1], regression(moment_clip=1, target_clip=1))
    np.testing.assert_allclose(np.linalg.norm(one[:10]), norm)


def test_the_start_is_ridge_on_the_mean_of_the_moments():
    recipe = regression(ridge=Decimal("0.001"))
    features, targets = made()
    total = plain_moments(features, targets, recipe)
    state = recipe.start(1)
    first = recipe.advance(state, 0, total, 0.0)
    np.testing.assert_array_equal(first.weights, state.weights)  # not before the last of them
    second = recipe.advance(first, 1, total, 0.0)
    np.testing.assert_allclose(second.weights, [1.0, -2.0, 0.5, 0.3], atol=0.01)


def test_a_logistic_start_has_the_norm_and_the_bias_of_the_recipe():
    recipe = replace(regression(), loss="bce", start_norm=Decimal(4), base_rate=Decimal("0.05"))
    features, targets = made()
    weights = start_from(recipe, 2 * plain_moments(features, targets > 0, recipe))
    assert np.linalg.norm(weights[:-1]) == pytest.approx(4.0, rel=1e-5)
    assert weights[-1] == pytest.approx(np.log(0.05 / 0.95), rel=1e-5)


def test_a_gradient_step_is_taken_in_the_metric_of_the_moments_with_momentum():
    recipe = regression(ridge=Decimal("0.001"), momentum=Decimal("0.5"), learning_rate=Decimal(1))
    features, targets = made()
    x = np.concatenate([features, np.ones((len(features), 1))], axis=1)
    total = plain_moments(features, targets, recipe)
    state = recipe.start(1)
    for number in (0, 1):
        state = recipe.advance(state, number, total, 0.0)
    gradient = np.array([4.0, -2.0, 1.0, 8.0])
    metric = x.T @ x + 0.001 * np.eye(4)
    once = recipe.advance(state, 2, gradient, 0.0)
    step = np.linalg.solve(metric, float(recipe.clip) * gradient)
    np.testing.assert_allclose(once.weights, state.weights - step, rtol=1e-4, atol=1e-6)
    twice = recipe.advance(once, 3, gradient, 0.0)
    np.testing.assert_allclose(twice.weights, once.weights - 1.5 * step, rtol=1e-4, atol=1e-5)


def test_without_moments_the_metric_is_the_expected_number_of_units():
    recipe = sum_recipe(
        model=ModelSpec((3, 4, 1)),
        moments=0,
        clip=Decimal(2),
        learning_rate=Decimal(10),
        expected_units=100,
        ridge=Decimal(1),
    ).method
    state = recipe.start(1)
    gradient = np.linspace(-1, 1, recipe.model.dimension)
    after = recipe.advance(state, 0, gradient, 0.0)
    np.testing.assert_allclose(after.weights, state.weights - 20 * gradient / 101, atol=1e-6)


def test_noise_that_makes_moments_indefinite_stops_nothing():
    recipe = regression()
    state = recipe.start(1)
    for number in range(4):
        state = recipe.advance(state, number, -1e12 * np.ones(recipe.dimension(number)), 0.0)
    assert np.isfinite(state.weights).all() and np.abs(state.weights).max() <= LARGEST_WEIGHT


def test_a_run_goes_on_from_its_checkpoint():
    from aggregator.training import absorb_sum, begin, resume

    recipe, features = sum_recipe(nodes=4), np.random.default_rng(0)
    parties = ("a", "b", "c")
    state = begin(recipe, 3, 3, parties)
    totals = [features.normal(size=recipe.dimension(number)) for number in range(3)]
    whole = again = state
    for total in totals:
        whole = absorb_sum(whole, total, 0.0, parties)
        again = resume(recipe, 3, absorb_sum(again, total, 0.0, parties).checkpoint())
    np.testing.assert_array_equal(whole.progress.weights, again.progress.weights)
    assert whole.done and again.done
