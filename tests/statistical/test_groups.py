"""Groups are drawn as by chance, and the noise that is told is the noise that is there."""

import random
from dataclasses import replace
from decimal import Decimal

import numpy as np
import pytest
from scipy import stats

from experiments.circle import Circle
from federation.groups import Total, divide, together
from federation.models import ModelSpec
from federation.secure_sums import divided
from secure_compute.entropy import SystemEntropy
from tests.simulator import sum_recipe

NAMES = tuple(f"party-{number:02}" for number in range(20))
ROUNDS = 4000
GROUPS = 4
RARELY = 1e-6


def careless(parties, count, number):
    """The shuffle that swaps every place with any place: some orders come up more often."""
    chance, order = random.Random(number), [*parties]
    for place in range(len(order)):
        other = chance.randrange(len(order))
        order[place], order[other] = order[other], order[place]
    size = len(order) // count
    return [order[size * group : size * (group + 1)] for group in range(count)]


def table(make) -> np.ndarray:
    """How often each party was in each group, and with each other party."""
    places = np.empty((ROUNDS, len(NAMES)), int)
    for number in range(ROUNDS):
        for group, members in enumerate(make(number)):
            for party in members:
                places[number, NAMES.index(party)] = group
    return places


def by_group(places) -> float:
    """The χ² of party by group, of which (20 - 1)(4 - 1) numbers are free."""
    counts = np.stack([(places == group).sum(0) for group in range(GROUPS)])
    expected = ROUNDS / GROUPS
    # Places are drawn without replacement: the counts of a round are that much less spread.
    return float(((counts - expected) ** 2 / expected).sum()) * (len(NAMES) - 1) / len(NAMES)


@pytest.fixture(scope="module")
def places():
    return table(lambda number: divide(NAMES, GROUPS, "order", number))


def test_every_party_is_as_likely_in_every_group(places):
    free = (len(NAMES) - 1) * (GROUPS - 1)
    assert by_group(places) < stats.chi2.isf(RARELY, free)
    assert by_group(places) > stats.chi2.ppf(RARELY, free)  # not dealt out by turns


def test_a_careless_shuffle_is_found_out():
    found = by_group(table(lambda number: careless(NAMES, GROUPS, number)))
    assert found > stats.chi2.isf(RARELY, (len(NAMES) - 1) * (GROUPS - 1))


def test_every_two_parties_meet_as_often_and_not_for_having_met_before(places):
    met = places[:, :, None] == places[:, None, :]
    pairs = met[:, *np.triu_indices(len(NAMES), 1)]
    chance = (len(NAMES) / GROUPS - 1) / (len(NAMES) - 1)
    spread = np.sqrt(chance * (1 - chance) / ROUNDS)
    assert np.abs(pairs.mean(0) - chance).max() < 5.5 * spread
    again = (pairs[1:] & pairs[:-1]).sum() / pairs[:-1].sum()
    assert abs(again - chance) < 6 * np.sqrt(chance * (1 - chance) / pairs.sum())


# -- noise -----------------------------------------------------------------------------------------

SIZE = 40_000


def measured(apart: float, noises, nodes, trimmed, seed=0) -> float:
    """How large the noise of a trimmed mean is, as parts of what is told."""
    rng = np.random.default_rng(seed)
    means = apart * rng.permuted(np.tile(np.arange(len(noises)), (SIZE, 1)), axis=1).T
    exact = [Total(mean * many, 0.0, many) for mean, many in zip(means, nodes, strict=True)]
    noisy = [
        Total(one.values + noise * rng.normal(size=SIZE), noise, one.nodes)
        for one, noise in zip(exact, noises, strict=True)
    ]
    found, true = together(noisy, trimmed), together(exact, trimmed)
    return float(np.std(found.values - true.values) / found.noise)


@pytest.mark.parametrize(
    ("groups", "trimmed"), [(3, 1), (4, 1), (5, 1), (10, 2), (10, 4), (4, 0), (1, 0)]
)
def test_groups_far_apart_have_all_the_noise_that_is_told(groups, trimmed):
    found = measured(1e6, [2.0] * groups, [5] * groups, trimmed)
    spread = 6 / np.sqrt(2 * SIZE)
    assert abs(found - 1) < spread < 0.03  # so 3 % more or less would fail


@pytest.mark.parametrize(("groups", "trimmed"), [(3, 1), (4, 1), (5, 2), (10, 2), (16, 4)])
def test_groups_alike_have_less_and_never_more(groups, trimmed):
    assert 0.5 < measured(0.0, [2.0] * groups, [5] * groups, trimmed) < 0.95


@pytest.mark.parametrize("apart", [0.0, 0.1, 0.3, 1.0, 1e6])
def test_groups_of_other_sizes_and_noises_never_have_more(apart):
    spread = 6 / np.sqrt(2 * SIZE)
    noises, nodes = [2.0, 2.2, 2.5, 2.0, 3.0, 2.1], [5, 4, 4, 6, 3, 5]
    assert measured(apart, noises, nodes, 2) < 1 + spread


def test_sums_under_masks_have_the_noise_that_is_told():
    """Skellam noise in shares, by the nodes' own reducers, in three groups far apart."""
    wide = sum_recipe(
        nodes=20, groups=3, trimmed=1, model=ModelSpec((499, 1)), moments=0, rounds=10,
        noise_multiplier=Decimal(3), expected_units=200,
    )  # fmt: skip
    circle, seen = Circle(NAMES, SystemEntropy()), []
    for number in range(wide.rounds):
        vectors = {
            party: np.full(500, 40 * wide.grid * place, np.int64)
            for place, party in enumerate(NAMES)
        }
        division = divided(circle._epoch, "simulation", wide, number, NAMES)
        exact = [
            Total(np.sum([vectors[party] for party in group], axis=0) / wide.grid, 0.0, len(group))
            for group in division
        ]
        found, told = circle.sum(wide, number, vectors)
        seen.append((found - together(exact, 1).values) / told)
    # Groups of six and seven: the larger has less noise a node, and the louder is told.
    most, least = 1.0, 6 / 7 * np.sqrt((7 / 6) / (6 / 5))
    spread = 6 / np.sqrt(2 * np.size(seen))
    assert least - spread < np.std(seen) < most + spread
    alone = replace(wide, groups=1, trimmed=0)
    assert told > 1.5 * float(alone.noise_scale) / alone.grid
