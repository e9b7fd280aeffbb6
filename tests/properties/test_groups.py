"""Any division is one, and any trimmed mean is scipy's, and stays between those who are honest."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy.stats import trim_mean

from federation.errors import MalformedOrderError
from federation.groups import Total, divide, together

NAMES = st.lists(st.text(min_size=1, max_size=8), min_size=1, max_size=40, unique=True)
FEW = st.integers(1, 8)


@given(NAMES, FEW, st.integers(0, 1000), st.randoms())
def test_every_party_is_in_one_group_and_groups_are_of_nearly_one_size(names, count, drawn, chance):
    groups = divide(names, count, "order", drawn)
    assert len(groups) == count
    assert sorted(party for group in groups for party in group) == sorted(names)
    sizes = [len(group) for group in groups]
    assert max(sizes) - min(sizes) <= 1
    shuffled = [*names]
    chance.shuffle(shuffled)
    again = divide(shuffled, count, "order", drawn)
    assert [set(group) for group in again] == [set(group) for group in groups]


MANY = st.lists(st.text(min_size=1, max_size=8), min_size=16, max_size=40, unique=True)


@given(MANY, st.integers(2, 8), st.integers(0, 1000), st.data())
def test_a_party_that_leaves_moves_the_ends_and_draws_nothing_again(names, count, drawn, data):
    gone = data.draw(st.sampled_from(names))
    before, after = (
        {party: place for place, group in enumerate(divide(some, count, drawn)) for party in group}
        for some in (names, [party for party in names if party != gone])
    )
    moved = [party for party, place in after.items() if before[party] != place]
    assert len(moved) <= count - 1
    assert all(abs(before[party] - after[party]) == 1 for party in moved)


@st.composite
def sums(draw, most=1e6):
    count = draw(st.integers(1, 12))
    trimmed = draw(st.integers(0, (count - 1) // 2))
    size = draw(st.integers(1, 5))
    numbers = arrays.arrays(np.float64, (count, size), elements=st.floats(-most, most))
    values, nodes = draw(numbers), draw(st.lists(st.integers(3, 9), min_size=count, max_size=count))
    totals = [Total(one, 1.0, many) for one, many in zip(values, nodes, strict=True)]
    return totals, trimmed


@given(sums())
def test_it_is_the_trimmed_mean_of_what_a_node_of_each_group_says_times_the_nodes(made):
    totals, trimmed = made
    found, nodes = together(totals, trimmed), sum(one.nodes for one in totals)
    assert found.nodes == nodes
    if not trimmed:
        np.testing.assert_array_equal(found.values, np.sum([one.values for one in totals], axis=0))
        return
    means = [one.values / one.nodes for one in totals]
    expected = trim_mean(means, (trimmed + 0.5) / len(totals), axis=0) * nodes
    np.testing.assert_allclose(found.values, expected, rtol=1e-9, atol=1e-6)


@given(sums(), st.data())
def test_as_many_liars_as_are_trimmed_leave_it_between_the_honest(made, data):
    totals, trimmed = made
    lies = st.floats(-1e300, 1e300)
    liars = data.draw(st.sets(st.sampled_from(range(len(totals))), max_size=trimmed))
    told = [
        Total(np.full_like(one.values, data.draw(lies)), one.noise, one.nodes)
        if place in liars
        else one
        for place, one in enumerate(totals)
    ]
    found = together(told, trimmed)
    honest = [one.values / one.nodes for place, one in enumerate(totals) if place not in liars]
    mean = found.values / found.nodes
    if trimmed:
        slack = 1e-9 * (1 + np.abs(honest).max())
        assert (mean >= np.min(honest, axis=0) - slack).all()
        assert (mean <= np.max(honest, axis=0) + slack).all()


@given(sums())
def test_its_noise_is_that_of_the_loudest_which_may_be_kept(made):
    totals, trimmed = made
    found, kept = together(totals, trimmed), len(totals) - 2 * trimmed
    if not trimmed:
        assert math.isclose(found.noise, math.sqrt(len(totals)))
        return
    fewest = sorted(one.nodes for one in totals)[:kept]
    slopes = [found.nodes / kept / many for many in fewest]
    assert math.isclose(found.noise, math.sqrt(sum(slope**2 for slope in slopes)))


def test_nothing_is_made_of_what_trimming_leaves_nothing_of():
    one = Total(np.zeros(2), 1.0, 5)
    with pytest.raises(MalformedOrderError, match="leaves none of 2"):
        together([one, one], 1)
