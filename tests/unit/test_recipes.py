"""Models and recipes have one spelling, and refuse what has no price."""

from dataclasses import replace
from decimal import Decimal

import numpy as np
import pytest

from federation.errors import MalformedOrderError
from federation.models import ModelSpec, forward
from federation.recipes import Progress, Recipe
from policies.budget.certificate import STEPS
from secure_compute import canonical

RECIPE = Recipe(
    model=ModelSpec((4, 8, 1), "tanh"),
    loss="huber",
    rounds=8,
    steps=10,
    sampling_rate=Decimal("0.25"),
    clip=Decimal("1.5"),
    noise_multiplier=Decimal("2.345"),
    grid=65536,
    learning_rate=Decimal("0.12"),
    expected_units=270,
    rows_per_unit=1,
    server_momentum=Decimal("0.5"),
    window=5,
)


def test_a_recipe_comes_back_from_its_canonical_bytes():
    wire = canonical.encode(RECIPE.to_json())
    assert Recipe.from_json(canonical.decode(wire)) == RECIPE
    assert canonical.encode(Recipe.from_json(canonical.decode(wire)).to_json()) == wire


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("clip", "1.50"),
        ("clip", 1.5),
        ("clip", "1e0"),
        ("clip", "NaN"),
        ("clip", "0"),
        ("noise_multiplier", "0"),
        ("noise_multiplier", "-1"),
        ("sampling_rate", "1.1"),
        ("server_momentum", "1"),
        ("steps", "10"),
        ("steps", True),
        ("steps", 0),
        ("grid", 2**33),
        ("window", 1),
        ("loss", "hinge"),
        ("model", "linear"),
        ("v", 2),
        ("seed", 1),
    ],
)
def test_another_spelling_or_an_impossible_value_is_refused(field, value):
    with pytest.raises(MalformedOrderError):
        Recipe.from_json(RECIPE.to_json() | {field: value})


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("sampling_rate", "0.1000000000000000000001"),
        ("sampling_rate", "0.10000000000000000000000000000000000001"),
        ("noise_multiplier", "1.2345678901"),
        ("clip", "1000001"),
        ("clip", "1E-999999999"),
        ("learning_rate", "1000001"),
        ("noise_multiplier", "1000001"),
        ("grid", 2**33),
        ("rounds", 10_001),
        ("expected_units", 10**9 + 1),
        ("rows_per_unit", 1001),
        ("window", 1001),
    ],
)
def test_a_number_out_of_range_is_refused_by_its_name(field, value):
    with pytest.raises(MalformedOrderError, match=field):
        Recipe.from_json(RECIPE.to_json() | {field: value})


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"rounds": 101, "steps": 100}, "rounds times steps"),
        ({"grid": 2**32, "clip": Decimal(100_000)}, "grid"),
        ({"grid": 2**32, "noise_multiplier": Decimal(1_000_000), "clip": Decimal(100)}, "grid"),
        ({"sampling_rate": Decimal("NaN")}, "sampling_rate"),
    ],
)
def test_numbers_that_do_not_go_together_are_refused(changes, named):
    with pytest.raises(MalformedOrderError, match=named):
        replace(RECIPE, **changes)


def test_noise_that_is_coarse_beside_its_grid_has_no_price():
    coarse = replace(RECIPE, grid=1, clip=Decimal(1), noise_multiplier=Decimal(1))
    with pytest.raises(MalformedOrderError, match="too coarse"):
        coarse.event()
    enough = -(-STEPS // coarse.sensitivity)
    least = replace(coarse, noise_multiplier=Decimal(enough))
    assert least.noise_scale >= STEPS
    assert least.event()
    less = replace(coarse, noise_multiplier=Decimal(enough - 1))
    assert less.noise_scale < STEPS
    with pytest.raises(MalformedOrderError, match="too coarse"):
        less.event()


def test_a_missing_field_is_refused():
    for field in RECIPE.to_json():
        value = {name: part for name, part in RECIPE.to_json().items() if name != field}
        with pytest.raises(MalformedOrderError):
            Recipe.from_json(value)


@pytest.mark.parametrize(
    "change",
    [
        {"layers": [4, 2]},
        {"layers": [1]},
        {"layers": [0, 1]},
        {"layers": [4.0, 1]},
        {"layers": "41"},
        {"layers": [10**6, 10**3, 1]},
        {"activation": "sin"},
        {"model": "tree"},
        {"v": 0},
        {"extra": 1},
    ],
)
def test_a_model_of_another_form_is_refused(change):
    with pytest.raises(MalformedOrderError):
        ModelSpec.from_json(RECIPE.model.to_json() | change)


def test_noise_grows_with_clip_grid_and_dimension():
    assert RECIPE.noise_scale >= float(RECIPE.noise_multiplier) * RECIPE.sensitivity
    assert RECIPE.sensitivity > RECIPE.grid * RECIPE.clip
    wider = replace(RECIPE, model=ModelSpec((4, 800, 1)))
    assert wider.sensitivity > RECIPE.sensitivity
    assert replace(RECIPE, clip=Decimal(3)).noise_scale > RECIPE.noise_scale
    assert RECIPE.divisor == pytest.approx(67.5)


def test_fresh_weights_depend_on_the_seed_alone_and_predict_zero():
    model = RECIPE.model
    assert np.array_equal(model.init(3), model.init(3))
    assert not np.array_equal(model.init(3), model.init(4))
    features = np.random.default_rng(0).normal(size=(6, 4))
    assert not forward(model, model.init(3), features).any()


def test_weights_of_another_model_are_refused():
    with pytest.raises(MalformedOrderError, match="version"):
        RECIPE.model.split(np.zeros(3))


def test_every_node_counts_the_same_and_momentum_carries_on():
    start = Progress.start(RECIPE, 1)
    ones = np.ones(RECIPE.model.dimension, np.float32)
    first = start.advance(RECIPE, [ones, 3 * ones])
    second = first.advance(RECIPE, [0 * ones, 0 * ones])
    assert np.allclose(first.weights - start.weights, 2.0)
    assert np.allclose(second.weights - first.weights, 1.0)


# -- options of the server and of local steps ------------------------------------------------------


def test_options_that_are_left_alone_do_not_stand_in_the_canonical_form():
    assert not {"proximal", "server_memory", "server_floor"} & set(RECIPE.to_json())
    other = replace(RECIPE, proximal=Decimal("0.1"), server_memory=Decimal("0.99"))
    wire = canonical.encode(other.to_json())
    assert Recipe.from_json(canonical.decode(wire)) == other
    for name, value in (("proximal", "0"), ("server_memory", "1"), ("server_floor", "0.001")):
        with pytest.raises(MalformedOrderError):
            Recipe.from_json({**RECIPE.to_json(), name: value})


def test_adam_at_the_server_is_that_of_its_paper():
    recipe = replace(
        RECIPE,
        server_rate=Decimal("0.5"),
        server_momentum=Decimal("0.9"),
        server_memory=Decimal("0.99"),
        server_floor=Decimal("0.01"),
    )
    state, draw = Progress.start(recipe, 1), np.random.default_rng(0)
    first = second = 0.0
    weights = state.weights.astype(np.float64)
    for _ in range(3):
        updates = [draw.normal(size=recipe.model.dimension).astype(np.float32) for _ in range(4)]
        mean = np.mean(updates, axis=0, dtype=np.float64)
        first = 0.9 * first + 0.1 * mean
        second = 0.99 * second + 0.01 * mean**2
        weights = weights + 0.5 * first / (np.sqrt(second) + 0.01)
        state = state.advance(recipe, updates)
    np.testing.assert_allclose(state.weights, weights, rtol=1e-4, atol=1e-5)
