"""A boosting recipe has one spelling, its cells are where they say, its steps know the noise."""

import math
from dataclasses import replace
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation import ensembles
from federation.boosting import Boosting
from federation.boosting_steps import advance
from federation.errors import MalformedOrderError
from federation.partitions import Effect, Tree, drawn, told_cells
from secure_compute import canonical
from tests.boosts import RECIPE, trained_weights, without_trees


def test_a_recipe_comes_back_from_its_canonical_bytes():
    wire = canonical.encode(RECIPE.to_json())
    assert Boosting.from_json(canonical.decode(wire)) == RECIPE
    assert canonical.encode(Boosting.from_json(canonical.decode(wire)).to_json()) == wire


@pytest.mark.parametrize(
    ("field", "value"),
    [
        pytest.param("clip", "1.50", id="bad_second_spelling"),
        pytest.param("clip", 1.5, id="bad_float"),
        pytest.param("clip", "0", id="bad_clip_zero"),
        pytest.param("tree_clip", "-1", id="bad_clip_negative"),
        pytest.param("start", "-0", id="bad_minus_zero"),
        pytest.param("start", "NaN", id="bad_nan"),
        pytest.param("start", "\uff11", id="bad_wide_digit"),
        pytest.param("momentum", "1", id="bad_momentum"),
        pytest.param("loss", "huber", id="bad_loss"),
        pytest.param("loss", ["bce"], id="bad_loss_list"),
        pytest.param("effect_rounds", 0, id="bad_no_rounds"),
        pytest.param("effect_rounds", "3", id="bad_rounds_text"),
        pytest.param("trees", True, id="bad_trees_bool"),
        pytest.param("trees", 65, id="bad_too_many_trees"),
        pytest.param("depth", 4, id="bad_deeper_than_effects"),
        pytest.param("inputs", 2, id="bad_effect_of_no_input"),
        pytest.param("effects", [], id="bad_no_effects"),
        pytest.param("effects", {}, id="bad_effects_no_list"),
        pytest.param("effects", ["all"], id="bad_effect_no_object"),
        pytest.param("v", 2, id="bad_version"),
        pytest.param("v", True, id="bad_version_bool"),
        pytest.param("recipe", "fedavg_dp_sgd", id="bad_kind"),
        pytest.param("seed", 1, id="bad_further_field"),
    ],
)
def test_bad_recipes_are_refused(field, value):
    with pytest.raises(MalformedOrderError):
        Boosting.from_json(RECIPE.to_json() | {field: value})


@pytest.mark.parametrize(
    ("field", "value"),
    [
        pytest.param("feature", -1, id="bad_feature"),
        pytest.param("feature", True, id="bad_feature_bool"),
        pytest.param("edges", [], id="bad_no_edges"),
        pytest.param("edges", ["1", "1"], id="bad_equal_edges"),
        pytest.param("edges", ["2", "1"], id="bad_descending_edges"),
        pytest.param("edges", ["1.0"], id="bad_edge_spelling"),
        pytest.param("edges", [1], id="bad_edge_number"),
        pytest.param("rest", 2, id="bad_rest"),
        pytest.param("weight", "0", id="bad_weight"),
        pytest.param("weight", 1, id="bad_weight_number"),
        pytest.param("quantiles", 4, id="bad_further_field"),
    ],
)
def test_bad_effects_are_refused(field, value):
    effect = {"feature": 0, "edges": ["0"], "rest": 1, "weight": "1"}
    Effect.from_json(effect)
    with pytest.raises(MalformedOrderError):
        Effect.from_json(effect | {field: value})


def test_a_value_on_an_edge_lies_above_it_and_nan_lies_lowest():
    effect = Effect(0, (Decimal("-0.5"), Decimal("0.5")), 1)
    values = np.array([[-math.inf, -0.51, -0.5, 0.0, 0.5, math.inf, math.nan]])
    assert effect.place(values).tolist() == [0, 0, 1, 1, 2, 2, 0]
    assert told_cells(effect).tolist() == [0, 2]


def test_trees_follow_from_the_public_seed_alone():
    first = drawn(RECIPE.effects, 2, "1/3/0")
    assert first == drawn(RECIPE.effects, 2, "1/3/0")
    assert [(effect.feature, least) for effect, least in first.questions] == KNOWN_QUESTIONS
    names = {drawn(RECIPE.effects, 3, f"{seed}/3/0").questions for seed in range(40)}
    assert len(names) > 10
    for tree in names:
        assert sorted(effect.feature for effect, _ in tree) == [0, 1, 2]
        assert all(1 <= least < effect.cells for effect, least in tree)


KNOWN_QUESTIONS = [(2, 3), (1, 1)]  # SHA-256 of the names 1/3/0/…; a change is a change of form


def test_every_round_of_trees_has_its_own():
    trees = [ensembles.partitions(RECIPE, seed, number) for seed in range(20) for number in (3, 4)]
    assert len({tuple(tree.questions for tree in forest) for forest in trees}) > 35
    assert len(trees[0]) == RECIPE.trees
    assert ensembles.partitions(RECIPE, 1, 2) == RECIPE.effects


def test_a_leaf_is_the_answers_as_digits_and_the_rest_is_the_effects_rests():
    low, high = RECIPE.effects[0], RECIPE.effects[2]
    tree = Tree(((low, 2), (high, 1)))
    rows = np.array([[-1.0, 1.0, -1.0, 1.0], [0.0] * 4, [-2.0, -2.0, 3.0, 3.0]])
    assert tree.place(rows).tolist() == [0, 2, 1, 3]
    rest = np.array([[0.0], [0.0], [0.5]])  # each in the rest of its effect
    assert tree.rest == tree.place(rest)[0] == 1


def test_a_model_comes_back_from_its_bytes_and_nothing_else_does():
    weights = trained_weights(RECIPE, 1)
    data = ensembles.to_bytes(weights)
    assert np.array_equal(ensembles.from_bytes(RECIPE, data), weights)
    with pytest.raises(MalformedOrderError, match="bytes"):
        ensembles.from_bytes(RECIPE, data[:-4])
    with pytest.raises(MalformedOrderError, match="finite"):
        ensembles.from_bytes(RECIPE, data[:-4] + np.float32(np.nan).tobytes())
    with pytest.raises(MalformedOrderError, match="shape"):
        ensembles.split(without_trees(RECIPE), weights)


def test_a_fresh_model_gives_every_row_the_start():
    rows = np.random.default_rng(1).normal(size=(7, 3))
    assert ensembles.predict(RECIPE, 1, ensembles.start(RECIPE), rows).tolist() == [-1.0] * 7


def test_shapes_say_what_the_model_adds():
    """Without trees the tables and the intercept are the whole model."""
    recipe = without_trees(RECIPE)
    weights = trained_weights(recipe, 3)
    tables = ensembles.shapes(recipe, weights)
    for row in np.random.default_rng(2).normal(size=(20, 3)):
        expected = float(weights[0])
        for table in tables:
            (here,) = [step for step in table if step.low <= row[step.feature] < step.high]
            expected += here.adds
        assert ensembles.predict(recipe, 1, weights, row[None])[0] == pytest.approx(expected)
    assert [len(table) for table in tables] == [3, 2, 5]


def sum_of(recipe, number, slope, bend, slopes, bends):
    """Return a round's sum, as if no unit were clipped, from raw slopes and bends per partition."""
    weights = [float(part.weight) for part in ensembles.partitions(recipe, 1, number)]
    told = [
        [part * weight for part, weight in zip(kind, weights, strict=True)]
        for kind in (slopes, bends)
    ]
    raw = [
        np.concatenate([[slope], *told[0]]),
        float(recipe.bend) * np.concatenate([[bend], *told[1]]),
    ]
    clip = recipe.clip if number < recipe.effect_rounds else recipe.tree_clip
    return np.concatenate(raw) / float(clip)


SLOPES = [np.array([80.0, 0.0]), np.array([-60.0]), np.array([0.0, 0.0, 0.0, 40.0])]
BENDS = [np.array([100.0, 50.0]), np.array([100.0]), np.array([30.0, 40.0, 50.0, 90.0])]


def test_a_round_of_effects_is_the_posterior_mean_of_each_effect():
    """The middle effect has one told cell, so that its step fits on one line."""
    total = sum_of(RECIPE, 0, 0.0, 400.0, SLOPES, BENDS)
    for noise in (0.0, 3.0):
        after = ensembles.split(
            RECIPE, advance(RECIPE, 1, 0, ensembles.start(RECIPE), total, noise)
        )
        variance = (noise * 1.5 / 0.5) ** 2 / RECIPE.effect_rounds
        prior = 1.0 - math.exp(-1 / (2 * 0.6)) ** 2  # of one cell, given that the other is 0
        step = prior * 100.0 * -60.0 / (100.0 * prior * 100.0 + 100.0 + variance)
        assert after.values[1].tolist() == pytest.approx([0.0, 0.3 * step])
        assert after.velocity[1].tolist() == pytest.approx([0.0, step])
        assert after.bends[1].tolist() == [0.0, 100.0]
        assert [
            float(part[e.rest]) for part, e in zip(after.values, RECIPE.effects, strict=True)
        ] == [0.0] * 3


def test_neighbouring_cells_believe_one_another():
    total = sum_of(RECIPE, 0, 0.0, 400.0, SLOPES, BENDS)
    after = ensembles.split(RECIPE, advance(RECIPE, 1, 0, ensembles.start(RECIPE), total, 20.0))
    values = after.values[2].tolist()  # only cell 4 said anything
    assert values[4] > values[3] > 0.0 == values[2]


def test_cells_drowned_in_noise_go_to_nothing():
    total = sum_of(RECIPE, 0, 0.0, 400.0, SLOPES, BENDS)
    heights = []
    for noise in (0.0, 10.0, 100.0, 1e4):
        after = advance(RECIPE, 1, 0, ensembles.start(RECIPE), total, noise)
        heights.append(max(np.abs(part).max() for part in ensembles.split(RECIPE, after).values))
    assert heights == sorted(heights, reverse=True)
    assert heights[-1] < 1e-4 < heights[0]


def test_what_all_rows_ask_for_alike_moves_the_intercept_alone():
    slopes = [0.5 * bends for bends in BENDS]
    total = sum_of(RECIPE, 0, 200.0, 400.0, slopes, BENDS)
    after = ensembles.split(RECIPE, advance(RECIPE, 1, 0, ensembles.start(RECIPE), total, 1.0))
    assert max(np.abs(part).max() for part in after.values) < 0.01
    assert after.intercept[0] == pytest.approx(-1.0 + 0.6 * 0.5, abs=0.01)


def test_no_sum_moves_a_cell_by_more_than_the_limit():
    total = sum_of(RECIPE, 0, 0.0, 400.0, [1e9 * part for part in SLOPES], BENDS)
    after = ensembles.split(RECIPE, advance(RECIPE, 1, 0, ensembles.start(RECIPE), total, 0.0))
    assert max(np.abs(part).max() for part in after.values) <= 0.3 + 1e-6
    assert abs(after.intercept[0] + 1.0) <= 1.0


def test_a_round_of_trees_sets_its_leaves_and_nothing_else():
    number = RECIPE.effect_rounds + 1
    before = trained_weights(RECIPE, 5)
    ensembles.split(RECIPE, before).leaves[1] = 0.0
    slopes = [np.array([30.0, 0.0, -20.0])] * 3
    bends = [np.array([40.0, 50.0, 60.0])] * 3
    total = sum_of(RECIPE, number, 0.0, 200.0, slopes, bends)
    after = advance(RECIPE, 1, number, before, total, 2.0)
    changed = ensembles.split(RECIPE, after)
    trees = ensembles.partitions(RECIPE, 1, number)
    for tree, leaves in zip(trees, changed.leaves[1], strict=True):
        h, g, v = 40.0, 30.0, 0.25
        expected = 0.25 * v * h * g / (h * v * h + h + (2.0 * 2.0) ** 2)
        assert leaves[told_cells(tree)][0] == pytest.approx(expected)
        assert leaves[tree.rest] == 0.0
    changed.leaves[1] = 0.0
    assert np.array_equal(after, before)


@pytest.mark.parametrize("bad", ["short", "long", "gap", "matrix"])
def test_bad_sums_are_refused(bad):
    total = sum_of(RECIPE, 0, 0.0, 400.0, SLOPES, BENDS)
    sums = {
        "short": total[:-1],
        "long": np.append(total, 0.0),
        "gap": np.where(np.arange(len(total)) == 3, np.nan, total),
        "matrix": total[None],
    }
    with pytest.raises(MalformedOrderError, match="not of this round"):
        advance(RECIPE, 1, 0, ensembles.start(RECIPE), sums[bad], 1.0)


@given(seed=st.integers(0, 10**6), number=st.integers(0, 4), noise=st.sampled_from([0.0, 1.0, 1e3]))
def test_any_sum_gives_a_finite_model_and_leaves_the_old_one_alone(seed, number, noise):
    generator = np.random.default_rng(seed)
    before = trained_weights(RECIPE, seed)
    kept = before.copy()
    total = generator.normal(
        size=ensembles.dimension(RECIPE, 1, number)
    ) * 10.0 ** generator.integers(-6, 7)
    after = advance(RECIPE, 1, number, before, total, noise)
    assert np.isfinite(after).all()
    assert np.array_equal(before, kept)


def test_a_sums_length_is_two_numbers_for_each_told_cell_and_for_all_rows():
    assert ensembles.dimension(RECIPE, 1, 0) == 2 * (1 + 2 + 1 + 4)
    assert ensembles.dimension(RECIPE, 1, 3) == 2 * (1 + 3 * 3)
    assert ensembles.size(RECIPE) == 1 + 3 * 10 + 2 * 3 * 4
    assert replace(RECIPE, tree_rounds=0).rounds == 3
