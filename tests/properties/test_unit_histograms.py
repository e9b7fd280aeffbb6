"""A unit's vector is its own: nobody beside it changes a bit, and no unit moves a sum too far."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clients.training.histograms import histogram_blocks, unit_vectors
from federation import ensembles
from tests.boosts import GRID, RECIPE, rounded_sum, trained_weights
from tests.steps import batch as made_batch
from tests.steps import chosen


def drawn_batch(generator, units: int, loss: str = "bce"):
    features = generator.normal(size=(units, 4, 3)) * 1.5
    features[generator.random(features.shape) < 0.2] = 0.5  # on an edge
    targets = generator.integers(0, 2, (units, 4)).astype(float)
    return made_batch(features, targets, generator.random((units, 4)) < 0.7)


def slow_vector(recipe, number: int, weights, features, targets, present) -> list[float]:
    """Return one unit's vector as the definition says it: row after row, cell after cell."""
    model = ensembles.split(recipe, weights)
    rounds = range(recipe.effect_rounds, recipe.rounds)
    terms = [
        *zip(recipe.effects, model.values, strict=True),
        *[
            pair
            for leaves, later in zip(model.leaves, rounds, strict=True)
            for pair in zip(ensembles.partitions(recipe, 1, later), leaves, strict=True)
        ],
    ]
    parts = ensembles.partitions(recipe, 1, number)
    keys = [(None, None)] + [
        (place, cell)
        for place, part in enumerate(parts)
        for cell in range(part.cells)
        if cell != part.rest
    ]
    slopes, bends = dict.fromkeys(keys, 0.0), dict.fromkeys(keys, 0.0)
    for row, target in zip(features[present], targets[present], strict=True):
        score = float(weights[0]) + sum(float(adds[slow_cell(part, row)]) for part, adds in terms)
        chance = 1 / (1 + math.exp(-score))
        slope, bend = target - chance, chance * (1 - chance)
        if recipe.loss == "mse":
            slope, bend = target - score, 1.0
        for key in [(None, None), *[(i, slow_cell(part, row)) for i, part in enumerate(parts)]]:
            if key in slopes:
                weight = 1.0 if key[0] is None else float(parts[key[0]].weight)
                slopes[key] += weight * slope
                bends[key] += weight * bend * float(recipe.bend)
    clip = float(recipe.clip if number < recipe.effect_rounds else recipe.tree_clip)
    return [value / clip for value in [*slopes.values(), *bends.values()]]


def slow_cell(part, row) -> int:
    if hasattr(part, "questions"):
        answers = [slow_cell(effect, row) >= least for effect, least in part.questions]
        return int("".join(str(int(answer)) for answer in answers), 2)
    return sum(float(row[part.feature]) >= float(edge) for edge in part.edges)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    number=st.integers(0, RECIPE.rounds - 1),
    loss=st.sampled_from(["bce", "mse"]),
)
def test_vectors_are_what_the_definition_says(seed, number, loss):
    from dataclasses import replace

    recipe = replace(RECIPE, loss=loss)
    generator = np.random.default_rng(seed)
    many, weights = drawn_batch(generator, 5), trained_weights(recipe, seed)
    for unit in range(5):
        expected = slow_vector(
            recipe, number, weights,
            many.features[unit], many.targets[unit], many.present[unit],
        )  # fmt: skip
        for block in histogram_blocks(recipe, chosen(many, [unit])):
            vectors = unit_vectors(recipe, 1, number, weights, block)
            assert vectors[:, 0].tolist() == pytest.approx(expected, abs=1e-12)
            assert not vectors[:, 1:].any()


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    number=st.integers(0, RECIPE.rounds - 1),
    units=st.integers(1, 60),
)
def test_one_unit_less_takes_exactly_its_own_integers(seed, number, units):
    generator = np.random.default_rng(seed)
    many, weights = drawn_batch(generator, units), trained_weights(RECIPE, seed)
    alone = [rounded_sum(RECIPE, number, weights, chosen(many, [u])) for u in range(units)]
    whole = rounded_sum(RECIPE, number, weights, many)
    gone = int(generator.integers(units))
    rest = chosen(many, [u for u in range(units) if u != gone])
    assert np.array_equal(whole - rounded_sum(RECIPE, number, weights, rest), alone[gone])
    assert np.array_equal(whole, sum(alone))


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), number=st.integers(0, RECIPE.rounds - 1))
def test_the_sum_over_parties_is_the_sum_over_pooled_rows_bit_for_bit(seed, number):
    generator = np.random.default_rng(seed)
    many, weights = drawn_batch(generator, 90), trained_weights(RECIPE, seed)
    party = generator.integers(0, 8, 90)
    sums = [
        rounded_sum(RECIPE, number, weights, chosen(many, np.flatnonzero(party == p).tolist()))
        for p in range(8)
    ]
    assert np.array_equal(sum(sums), rounded_sum(RECIPE, number, weights, many))


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    number=st.integers(0, RECIPE.rounds - 1),
    size=st.floats(-3, 30),
    equal=st.booleans(),
)
def test_no_unit_moves_the_sum_by_more_than_the_sensitivity(seed, number, size, equal):
    from dataclasses import replace

    recipe = replace(RECIPE, loss="mse")
    generator = np.random.default_rng(seed)
    many, weights = drawn_batch(generator, 9), trained_weights(recipe, seed)
    many.targets[-1] = generator.normal(size=4) * 10.0**size
    if equal:  # K equal rows, so that clipping row by row would let through K times as much
        many.features[-1], many.targets[-1] = many.features[-1, 0], many.targets[-1, 0]
    many.present[-1] = True
    moved = rounded_sum(recipe, number, weights, many)
    moved -= rounded_sum(recipe, number, weights, chosen(many, list(range(8))))
    dimension = ensembles.dimension(recipe, 1, number)
    assert np.linalg.norm(moved.astype(float)) <= GRID + math.sqrt(dimension)


def test_equal_rows_of_one_unit_are_clipped_together():
    rows = made_batch(np.full((1, 8, 3), 3.0), np.ones((1, 8)), np.ones((1, 8)))
    whole = rounded_sum(RECIPE, 0, ensembles.start(RECIPE), rows).astype(float)
    one = made_batch(np.full((1, 1, 3), 3.0), np.ones((1, 1)), np.ones((1, 1)))
    single = rounded_sum(RECIPE, 0, ensembles.start(RECIPE), one).astype(float)
    assert np.linalg.norm(single) < GRID  # one row alone is within the clip
    assert np.linalg.norm(whole) == pytest.approx(GRID, rel=1e-3)  # eight are at it, not beyond


@pytest.mark.parametrize("value", [3e38, -1e300, np.inf, np.nan, 1e-320])
def test_rows_as_wild_as_floats_can_be_are_one_units_own_affair(value):
    generator = np.random.default_rng(4)
    many, weights = drawn_batch(generator, 20), trained_weights(RECIPE, 4)
    before = rounded_sum(RECIPE, 0, weights, many)
    many.features[3], many.targets[3] = value, value
    gone = chosen(many, [u for u in range(20) if u != 3])
    wild = rounded_sum(RECIPE, 0, weights, chosen(many, [3]))
    assert np.array_equal(
        rounded_sum(RECIPE, 0, weights, many), rounded_sum(RECIPE, 0, weights, gone) + wild
    )
    assert before.shape == wild.shape


def test_a_row_that_is_not_there_says_nothing():
    generator = np.random.default_rng(6)
    many, weights = drawn_batch(generator, 20), trained_weights(RECIPE, 6)
    before = rounded_sum(RECIPE, 3, weights, many)
    many.features[~many.present] = 7.0
    many.targets[~many.present] = np.nan
    assert np.array_equal(rounded_sum(RECIPE, 3, weights, many), before)
